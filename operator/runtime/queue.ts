/**
 * The work queue: which keys need work, which are being worked on, which will need work later.
 *
 * The three collections are client-go's (`util/workqueue`), and so is the invariant:
 *
 *   dirty       keys that need work
 *   processing  keys that a worker holds
 *   delayed     keys that will become dirty at a time
 *
 *   1. A worker is handed keys of `dirty \ processing` only, oldest first, and the key moves from dirty to
 *      processing at that moment: so one key never runs twice at once.
 *   2. A key added while it is processed stays dirty and is handed out again after `done`: so no addition is
 *      lost, and any number of them is one run.
 *   3. No key is both dirty and delayed: the earlier of two times wins, and "now" is earlier than any delay.
 *
 * `#waiting` is `dirty \ processing` in order; `#again` is `dirty ∩ processing`.
 */

import { type BackOffLimits, DEFAULT_BACK_OFF, retryDelayMs } from './retry-delay.ts';

/** Monotonic time and timers, replaced in tests. */
export interface Clock {
  nowMs(): number;
  /** Runs `callback` once after `delayMs`; the answer cancels it. */
  schedule(callback: () => void, delayMs: number): () => void;
}

/** Node's own. Its timers don't keep the process alive: a queue with only future work may end. */
export const SYSTEM_CLOCK: Clock = {
  nowMs: () => performance.now(),
  schedule: (callback, delayMs) => {
    const timer = setTimeout(callback, delayMs).unref();
    return () => clearTimeout(timer);
  },
};

/** What a queue reports; the metrics room turns it into the `workqueue_*` series. */
export interface QueueObserver {
  added(): void;
  /** A worker took a key that had waited so long. */
  taken(waitedMs: number): void;
  /** A worker gave a key back after so long. */
  finished(workedMs: number): void;
  retried(): void;
}

/** A picture of the queue, for metrics at scrape time. */
export interface QueueStats {
  /** Keys that wait for a worker. */
  depth: number;
  processing: number;
  delayed: number;
  /** How long each key in processing has been worked on, in milliseconds. */
  runningMs: number[];
}

/** Options of a {@link WorkQueue}; everything has a default. */
export interface WorkQueueOptions {
  backOff?: BackOffLimits;
  observer?: QueueObserver;
  clock?: Clock;
  /** Uniform in [0, 1). */
  random?: () => number;
}

/** A longer `setTimeout` fires at once, so that long delays are waited for in parts. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** See the head of this file. Never throws; after {@link shutDown} every addition is ignored. */
export class WorkQueue<K extends string = string> {
  readonly #waiting = new Map<K, number>();
  readonly #again = new Set<K>();
  readonly #processing = new Map<K, number>();
  readonly #delayed = new Map<K, { dueAtMs: number; cancel: () => void }>();
  readonly #failures = new Map<K, number>();
  readonly #getters: ((key: K | undefined) => void)[] = [];
  readonly #drainers: (() => void)[] = [];
  readonly #backOff: BackOffLimits;
  readonly #observer: QueueObserver | undefined;
  readonly #clock: Clock;
  readonly #random: () => number;
  #closed = false;

  constructor(options: WorkQueueOptions = {}) {
    this.#backOff = options.backOff ?? DEFAULT_BACK_OFF;
    this.#observer = options.observer;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#random = options.random ?? Math.random;
  }

  /** The key needs work now. */
  add(key: K): void {
    if (this.#closed) return;
    this.#dropDelay(key);
    if (this.#waiting.has(key) || this.#again.has(key)) return;
    this.#observer?.added();
    if (this.#processing.has(key)) {
      this.#again.add(key);
      return;
    }
    this.#waiting.set(key, this.#clock.nowMs());
    this.#handOut();
  }

  /** The key needs work in `delayMs`, unless it is due earlier already. */
  addAfter(key: K, delayMs: number): void {
    if (this.#closed) return;
    if (!(delayMs > 0)) {
      this.add(key);
      return;
    }
    if (this.#waiting.has(key) || this.#again.has(key)) return;
    const dueAtMs = this.#clock.nowMs() + delayMs;
    const planned = this.#delayed.get(key);
    if (planned !== undefined && planned.dueAtMs <= dueAtMs) return;
    this.#dropDelay(key);
    this.#arm(key, dueAtMs);
  }

  /** The key's work failed: it needs work after its back-off, whose length is returned in milliseconds. */
  addRateLimited(key: K): number {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    const delayMs = retryDelayMs(this.#backOff, failures, this.#random());
    if (this.#closed) return delayMs;
    this.#failures.set(key, failures);
    this.#observer?.retried();
    this.addAfter(key, delayMs);
    return delayMs;
  }

  /** The key's work succeeded: its back-off starts anew. What is dirty or delayed stays so. */
  forget(key: K): void {
    this.#failures.delete(key);
  }

  /**
   * The next key to work on, as soon as there is one; `undefined` after {@link shutDown} or when `signal` is
   * aborted. Each key got must be given back by {@link done}.
   */
  get(signal: AbortSignal): Promise<K | undefined> {
    if (this.#closed || signal.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const getter = (key: K | undefined): void => {
        signal.removeEventListener('abort', leave);
        resolve(key);
      };
      const leave = (): void => {
        this.#getters.splice(this.#getters.indexOf(getter), 1);
        resolve(undefined);
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#getters.push(getter);
      this.#handOut();
    });
  }

  /** A worker gives a key back that it got. */
  done(key: K): void {
    const startedAtMs = this.#processing.get(key);
    if (startedAtMs === undefined) return;
    this.#processing.delete(key);
    this.#observer?.finished(this.#clock.nowMs() - startedAtMs);
    if (this.#again.delete(key) && !this.#closed) this.#waiting.set(key, this.#clock.nowMs());
    this.#handOut();
    if (this.#processing.size === 0) for (const drained of this.#drainers.splice(0)) drained();
  }

  /** No key is handed out any more and everything planned is dropped; keys in work go on until `done`. */
  shutDown(): void {
    this.#closed = true;
    for (const planned of this.#delayed.values()) planned.cancel();
    this.#delayed.clear();
    this.#waiting.clear();
    this.#again.clear();
    for (const getter of this.#getters.splice(0)) getter(undefined);
  }

  /** Resolves when no key is in work. */
  drain(): Promise<void> {
    if (this.#processing.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#drainers.push(resolve));
  }

  get stats(): QueueStats {
    const nowMs = this.#clock.nowMs();
    return {
      depth: this.#waiting.size,
      processing: this.#processing.size,
      delayed: this.#delayed.size,
      runningMs: [...this.#processing.values()].map((startedAtMs) => nowMs - startedAtMs),
    };
  }

  #handOut(): void {
    for (const [key, addedAtMs] of this.#waiting) {
      const getter = this.#getters.shift();
      if (getter === undefined) return;
      const nowMs = this.#clock.nowMs();
      this.#waiting.delete(key);
      this.#processing.set(key, nowMs);
      this.#observer?.taken(nowMs - addedAtMs);
      getter(key);
    }
  }

  #arm(key: K, dueAtMs: number): void {
    const leftMs = dueAtMs - this.#clock.nowMs();
    const cancel =
      leftMs > LONGEST_TIMER_MS
        ? this.#clock.schedule(() => this.#arm(key, dueAtMs), LONGEST_TIMER_MS)
        : this.#clock.schedule(() => this.add(key), leftMs);
    this.#delayed.set(key, { dueAtMs, cancel });
  }

  #dropDelay(key: K): void {
    this.#delayed.get(key)?.cancel();
    this.#delayed.delete(key);
  }
}
