/** How a pass ended, decided in one place from what the reconciler returned or threw. Pure. */

import { formatDurationMs } from '../api/duration.ts';
import { ApiError, RequestTimeout, TransportError } from '../kube/errors.ts';
import type { Standing } from './condition-policy.ts';
import { FailedError, type Outcome, PostponedError, StalledError, WaitingError } from './reconciler.ts';

/** The end of a pass. */
export type Verdict =
  | { state: 'ready'; outcome: Outcome }
  | { state: 'finalized' }
  | {
      state: 'failed';
      reason: string;
      message: string;
      retryAfterMs: number | undefined;
      /** The event's text where it isn't the message. */
      eventMessage?: string | undefined;
    }
  | { state: 'waiting'; reason: string; message: string; afterMs: number }
  | { state: 'postponed'; message: string; afterMs: number }
  | { state: 'stalled'; reason: string; message: string }
  /** An error that no step owns: the message for people says so, `error` is for the log. */
  | { state: 'bug'; reason: string; message: string; error: unknown }
  /** Shutdown cut the pass short. */
  | { state: 'interrupted' }
  /** The object was deleted during the pass. */
  | { state: 'gone' };

/** What was the case when the reconciler threw. */
export interface Circumstances {
  /** The reason of errors that name none. */
  failureReason: string;
  shuttingDown: boolean;
  gone: boolean;
  /** The limit in milliseconds, if it had passed. */
  expiredAfterMs: number | undefined;
}

/** Judges what a reconciler threw. */
export function verdictOf(error: unknown, circumstances: Circumstances): Verdict {
  const { failureReason, shuttingDown, gone, expiredAfterMs } = circumstances;
  if (gone) return { state: 'gone' };
  if (shuttingDown) return { state: 'interrupted' };
  if (error instanceof StalledError)
    return { state: 'stalled', reason: error.reason, message: error.message };
  if (error instanceof WaitingError) {
    return { state: 'waiting', reason: error.reason, message: error.message, afterMs: error.afterMs };
  }
  if (error instanceof PostponedError) {
    return { state: 'postponed', message: error.message, afterMs: error.afterMs };
  }
  if (expiredAfterMs !== undefined) {
    const reason = error instanceof FailedError ? error.reason : failureReason;
    const message = `timed out after ${formatDurationMs(expiredAfterMs)}${isAbort(error) ? '' : `: ${textOf(error)}`}`;
    return { state: 'failed', reason, message, retryAfterMs: retryAfterMs(error) };
  }
  if (error instanceof FailedError) {
    const { reason, message, retryAfterMs, eventMessage } = error;
    const failure = { state: 'failed' as const, reason, message, retryAfterMs };
    return eventMessage === undefined ? failure : { ...failure, eventMessage };
  }
  if (isApiTrouble(error)) {
    return { state: 'failed', reason: failureReason, message: error.message, retryAfterMs: undefined };
  }
  // Its message isn't shown: an unexpected error may quote what it stumbled over (JSON.parse does), a Secret too.
  const kind = error instanceof Error ? error.name : typeof error;
  const message = `internal error (${kind}): the operator's log has the details`;
  return { state: 'bug', reason: failureReason, message, error };
}

/** What status says of an end; `undefined` when there is no status left to say it in. */
export function standingOf(verdict: Verdict): Standing | undefined {
  switch (verdict.state) {
    case 'ready':
      return { state: 'ready', reason: verdict.outcome.reason, message: verdict.outcome.message };
    case 'failed':
    case 'bug':
      return { state: 'failed', reason: verdict.reason, message: verdict.message };
    case 'waiting':
    case 'stalled':
      return { state: verdict.state, reason: verdict.reason, message: verdict.message };
    case 'interrupted':
    case 'postponed':
      return { state: 'interrupted' };
    case 'finalized':
    case 'gone':
      return undefined;
  }
}

/** An unexpected error for the log: where it came from, without the message of one that may quote data. */
export function bugFields(error: unknown): { error: string; stacktrace?: string } {
  if (!(error instanceof Error)) return { error: `a ${typeof error} was thrown` };
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  const text = error instanceof SyntaxError ? error.name : `${error.name}: ${error.message}`;
  return { error: text, stacktrace: frames.join('\n') };
}

function isApiTrouble(error: unknown): error is Error {
  return error instanceof ApiError || error instanceof TransportError || error instanceof RequestTimeout;
}

function retryAfterMs(error: unknown): number | undefined {
  return error instanceof FailedError ? error.retryAfterMs : undefined;
}

/** An error that says no more than that it was aborted, or a step's that wraps one. */
function isAbort(error: unknown): boolean {
  const inner = error instanceof FailedError ? error.cause : error;
  return inner instanceof Error && (inner.name === 'AbortError' || inner.name === 'TimeoutError');
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
