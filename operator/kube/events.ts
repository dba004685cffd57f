/** The one writer of events: core/v1 Events as `kubectl events` and the flux CLI read them, repeated ones counted. */

import { randomBytes } from 'node:crypto';
import type { Logger } from '../api/logger.ts';
import type { KubeObject } from '../api/objects.ts';
import { describeObject, EVENT } from '../api/resources.ts';
import { abortable, Backoff, pause } from './backoff.ts';
import type { KubeClient } from './client.ts';
import { ApiError, isAlreadyExists, isNotFound } from './errors.ts';

/** Something worth telling about an object. `reason` is a CamelCase word; `message` is cut at 1024 bytes. */
export interface EventFacts {
  object: KubeObject;
  type: 'Normal' | 'Warning';
  reason: string;
  message: string;
  annotations?: Record<string, string>;
}

/** Options of an {@link EventRecorder}. `component` is the controller's name; `now` answers epoch milliseconds. */
export interface EventRecorderOptions {
  client: KubeClient;
  component: string;
  now?: () => number;
  logger: Logger;
}

/** As client-go's correlator: within this time a repetition is counted, later it is a new event. */
const REPEATED_WITHIN_MS = 10 * 60_000;
const MAX_MESSAGE_BYTES = 1_024;
const MAX_NAME_LENGTH = 253;
/** Bounds of memory, far above what a healthy operator needs. */
const MAX_PENDING = 1_000;
const MAX_REMEMBERED = 4_096;
const MAX_ATTEMPTS = 6;

/** Waiting to be sent; repetitions meanwhile only count. */
interface Pending {
  facts: EventFacts;
  name: string;
  occurrences: number;
  firstAtMs: number;
  lastAtMs: number;
}

/** Sent before, and still young enough to be counted on. */
interface Sent {
  name: string;
  count: number;
  lastAtMs: number;
}

/** Sends events one after another beside the reconciling, so that recording costs its caller nothing. */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #component: string;
  readonly #now: () => number;
  readonly #logger: Logger;
  readonly #pending = new Map<string, Pending>();
  readonly #sent = new Map<string, Sent>();
  readonly #stop = new AbortController();
  #worker: Promise<void> | undefined;

  constructor(o: EventRecorderOptions) {
    this.#client = o.client;
    this.#component = o.component;
    this.#now = o.now ?? Date.now;
    this.#logger = o.logger;
  }

  /** Never throws, never blocks. What the API server won't take is logged and dropped. */
  record(facts: EventFacts): void {
    if (this.#stop.signal.aborted) return;
    const key = identityOf(facts);
    const nowMs = this.#now();
    const waiting = this.#pending.get(key);
    if (waiting !== undefined) {
      waiting.occurrences += 1;
      waiting.lastAtMs = nowMs;
      return;
    }
    if (this.#pending.size >= MAX_PENDING) this.#dropOldest();
    const name = eventName(facts.object);
    this.#pending.set(key, { facts, name, occurrences: 1, firstAtMs: nowMs, lastAtMs: nowMs });
    this.#worker ??= this.#work();
  }

  /** Resolves when all that was recorded is sent or given up. An abort drops what is left, now and later, and rejects. */
  async flush(signal: AbortSignal): Promise<void> {
    try {
      while (this.#worker !== undefined) await abortable(this.#worker, signal);
    } finally {
      if (signal.aborted) this.#stop.abort();
    }
  }

  async #work(): Promise<void> {
    // Let the recording caller go on first.
    await Promise.resolve();
    for (;;) {
      const next = this.#pending.entries().next();
      if (next.done === true || this.#stop.signal.aborted) {
        // In the same turn as the look at the queue, or a record in between would wait for ever.
        this.#worker = undefined;
        return;
      }
      const [key, pending] = next.value;
      this.#pending.delete(key);
      await this.#deliver(key, pending);
    }
  }

  async #deliver(key: string, pending: Pending): Promise<void> {
    const backoff = new Backoff({ initialMs: 500, maxMs: 10_000 });
    const { signal } = this.#stop;
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#send(key, pending);
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (isFinal(error) || attempt === MAX_ATTEMPTS) {
          this.#logDropped(pending, error);
          return;
        }
        await pause(backoff.next(), signal).catch(() => {});
      }
    }
  }

  async #send(key: string, pending: Pending): Promise<void> {
    const sent = this.#sent.get(key);
    if (sent !== undefined && pending.lastAtMs - sent.lastAtMs < REPEATED_WITHIN_MS) {
      if (await this.#countOn(sent, pending)) {
        this.#remember(key, { ...sent, count: sent.count + pending.occurrences, lastAtMs: pending.lastAtMs });
        return;
      }
    }
    await this.#create(pending);
    this.#remember(key, { name: pending.name, count: pending.occurrences, lastAtMs: pending.lastAtMs });
  }

  /** False when the event has expired on the server meanwhile. */
  async #countOn(sent: Sent, pending: Pending): Promise<boolean> {
    const patch = { count: sent.count + pending.occurrences, lastTimestamp: timestamp(pending.lastAtMs) };
    const name = { namespace: namespaceOf(pending.facts.object), name: sent.name };
    try {
      await this.#client.patch(EVENT, name, patch, { as: 'merge', signal: this.#stop.signal });
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  async #create(pending: Pending): Promise<void> {
    try {
      await this.#client.create(EVENT, this.#eventOf(pending), { signal: this.#stop.signal });
    } catch (error) {
      // The name is random: it is there because an attempt whose answer was lost had succeeded.
      if (!isAlreadyExists(error)) throw error;
    }
  }

  #eventOf({ facts, name, occurrences, firstAtMs, lastAtMs }: Pending): KubeObject {
    const { apiVersion, kind, metadata } = facts.object;
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: {
        name,
        namespace: namespaceOf(facts.object),
        ...(facts.annotations === undefined ? {} : { annotations: facts.annotations }),
      },
      involvedObject: {
        apiVersion,
        kind,
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        resourceVersion: metadata.resourceVersion,
      },
      type: facts.type,
      reason: facts.reason,
      message: cut(facts.message),
      source: { component: this.#component },
      // Go's ReportingController.
      reportingComponent: this.#component,
      firstTimestamp: timestamp(firstAtMs),
      lastTimestamp: timestamp(lastAtMs),
      count: occurrences,
    };
  }

  /** The least recently sent falls out first. */
  #remember(key: string, sent: Sent): void {
    this.#sent.delete(key);
    this.#sent.set(key, sent);
    if (this.#sent.size <= MAX_REMEMBERED) return;
    const [oldest] = this.#sent.keys();
    if (oldest !== undefined) this.#sent.delete(oldest);
  }

  #dropOldest(): void {
    const [oldest] = this.#pending;
    if (oldest === undefined) return;
    const [key, pending] = oldest;
    this.#pending.delete(key);
    this.#logDropped(pending, new Error('too many events are waiting'));
  }

  #logDropped({ facts }: Pending, error: unknown): void {
    this.#logger.warn(`event ${facts.reason} of ${describeObject(facts.object)} was dropped`, { error });
  }
}

function identityOf({ object, type, reason, message, annotations }: EventFacts): string {
  const { kind, apiVersion, metadata } = object;
  const { uid, namespace, name } = metadata;
  return JSON.stringify([apiVersion, kind, namespace, name, uid, type, reason, message, annotations]);
}

/** Events of cluster-scoped objects live in `default`, as everybody expects. */
function namespaceOf(object: KubeObject): string {
  const { namespace } = object.metadata;
  return namespace === undefined || namespace === '' ? 'default' : namespace;
}

function eventName(object: KubeObject): string {
  const suffix = `.${randomBytes(8).toString('hex')}`;
  return `${(object.metadata.name ?? '').slice(0, MAX_NAME_LENGTH - suffix.length)}${suffix}`;
}

/** metav1.Time: whole seconds. */
function timestamp(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
}

/** Never in the middle of a character. */
function cut(message: string): string {
  const bytes = Buffer.from(message, 'utf8');
  if (bytes.length <= MAX_MESSAGE_BYTES) return message;
  let end = MAX_MESSAGE_BYTES - 3;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return `${bytes.toString('utf8', 0, end)}...`;
}

/** A refusal that repetition won't change: RBAC, a terminating namespace, validation. */
function isFinal(error: unknown): boolean {
  return error instanceof ApiError && error.status < 500 && error.status !== 429;
}
