/**
 * The reconcile contract: what a controller's author writes, and the four ways in which a pass can end.
 *
 * A reconciler is level-based: it gets the object as it is now and never learns why it was called. It returns
 * facts, never conditions, and decides nothing about retries beyond the words below; the shell
 * (`controller.ts`) does the rest in one switch.
 */

import type { LogFields, Logger } from '../api/logger.ts';
import type { CustomResource } from '../api/objects.ts';
import type { ConditionFact } from './condition-policy.ts';

/** A pass that succeeded. */
export interface Outcome {
  /** What the summary condition says. */
  message: string;
  /** The summary condition's reason; the kind's policy has a default. */
  reason?: string;
  /** When to look again, in milliseconds; absent: only when something changes. */
  requeueAfterMs?: number;
}

/** Status fields to set; `null` or `undefined` removes a field. */
export type Facts<Status> = { [Field in keyof Status]?: Status[Field] | null | undefined };

/** An event about the object that is being reconciled. */
export interface ReconcileEvent {
  type: 'Normal' | 'Warning';
  reason: string;
  message: string;
  annotations?: Record<string, string>;
}

/** What a reconciler is given beside the object. */
export interface ReconcileContext<Status> {
  /** Aborted at the pass's timeout and at shutdown. Everything that waits takes it. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Also in each log line of the pass. */
  readonly reconcileId: string;
  /** Status facts that are true even if a later step throws; written at the next checkpoint or at the end. */
  record(facts: Facts<Status>): void;
  /**
   * Writes the recorded facts and the current progress, and returns when the API server has them (the
   * write-ahead inventory). A conflict is retried on the object as it is by then. Throws when the object is
   * gone or the API server can't be reached: what was to be announced must then not be done.
   */
  checkpoint(): Promise<void>;
  /** What the pass is doing now; seen in status at the next checkpoint, or as the retry's text if it fails. */
  progress(reason: string, message: string): void;
  /**
   * What a condition says from now on that the kind's policy leaves to the reconciler; `undefined` removes it. Holds
   * however the pass ends.
   */
  claim(type: string, fact: ConditionFact | undefined): void;
  event(event: ReconcileEvent): void;
}

/** One kind's reconciler. The object is shared with the cache and frozen: never change it. */
export interface Reconciler<Spec, Status> {
  /** Brings the world to what the object says. Throws by {@link failed}, {@link waiting} or {@link stalled}. */
  reconcile(object: CustomResource<Spec, Status>, context: ReconcileContext<Status>): Promise<Outcome>;
  /** Undoes what must not outlive the object; called until it succeeds. May run again after it succeeded. */
  finalize?(object: CustomResource<Spec, Status>, context: ReconcileContext<Status>): Promise<void>;
}

/** What a failure may say beside its reason and message. */
export interface FailureOptions {
  cause?: unknown;
  retryAfterMs?: number;
  /** The Warning event's text, where it isn't the message that status shows. */
  eventMessage?: string;
}

/** Try again: after `retryAfterMs`, or by the key's back-off. */
export class FailedError extends Error {
  override readonly name = 'FailedError';
  readonly reason: string;
  readonly retryAfterMs: number | undefined;
  readonly eventMessage: string | undefined;

  constructor(reason: string, message: string, options: FailureOptions = {}) {
    super(message, { cause: options.cause });
    this.reason = reason;
    this.retryAfterMs = options.retryAfterMs;
    this.eventMessage = options.eventMessage;
  }
}

/** Not an error: something else has to happen first; look again after `afterMs`. Counts in no error metric. */
export class WaitingError extends Error {
  override readonly name = 'WaitingError';
  readonly reason: string;
  readonly afterMs: number;

  constructor(reason: string, message: string, afterMs: number) {
    super(message);
    this.reason = reason;
    this.afterMs = afterMs;
  }
}

/** Nothing was found out about the object, so that nothing is said of it: its turn comes again after `afterMs`. */
export class PostponedError extends Error {
  override readonly name = 'PostponedError';
  readonly afterMs: number;

  constructor(message: string, afterMs: number) {
    super(message);
    this.afterMs = afterMs;
  }
}

/** Only a new spec can help: no retry. */
export class StalledError extends Error {
  override readonly name = 'StalledError';
  readonly reason: string;

  constructor(reason: string, message: string, options: { cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.reason = reason;
  }
}

/** Ends the pass with {@link FailedError}. */
export function failed(reason: string, message: string, options: FailureOptions = {}): never {
  throw new FailedError(reason, message, options);
}

/** Ends the pass with {@link WaitingError}. */
export function waiting(reason: string, message: string, afterMs: number): never {
  throw new WaitingError(reason, message, afterMs);
}

/** Ends the pass with {@link PostponedError}; `message` says for the log what it has to wait for. */
export function postponed(message: string, afterMs: number): never {
  throw new PostponedError(message, afterMs);
}

/** Ends the pass with {@link StalledError}. */
export function stalled(reason: string, message: string, options: { cause?: unknown } = {}): never {
  throw new StalledError(reason, message, options);
}

/** True for what {@link failed}, {@link waiting}, {@link postponed} and {@link stalled} throw. */
export function isVerdictError(
  error: unknown,
): error is FailedError | WaitingError | PostponedError | StalledError {
  return [FailedError, WaitingError, PostponedError, StalledError].some((kind) => error instanceof kind);
}

/**
 * Runs one step of a pass: any error of a capability becomes `failed(reason, its message)` with the error as
 * cause; what {@link failed}, {@link waiting} or {@link stalled} threw passes through.
 */
export async function step<T>(reason: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isVerdictError(error)) throw error;
    return failed(reason, error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** The fields by which the lines of one pass are found, as controller-runtime names them. */
export function passLogFields(o: {
  controller: string;
  group: string;
  kind: string;
  name: string;
  namespace?: string;
  reconcileId: string;
}): LogFields {
  return {
    controller: o.controller,
    controllerGroup: o.group,
    controllerKind: o.kind,
    name: o.name,
    ...(o.namespace === undefined ? {} : { namespace: o.namespace }),
    reconcileID: o.reconcileId,
  };
}
