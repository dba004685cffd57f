/** When a new sealing key is due: by age, by a cutoff time, on request, and when none is left. */

import type { Logger } from '../api/logger.ts';
import type { KeyRing } from './key-ring.ts';
import { inUseSinceMs } from './key-secret.ts';

/** Timers can't be set further ahead than 24.8 days; the wait is worked out anew at least this often. */
const LONGEST_WAIT_MS = 24 * 3_600_000;
const RETRY_MS = 30_000;
/** Certificates start on whole seconds: two made within one can't be told apart by age. */
const CERTIFICATE_RESOLUTION_MS = 1_000;
/** Time to put another key in the place of the last one, before a new first one is made. */
const REPLACEMENT_PATIENCE_MS = 5_000;

/** When to renew. */
export interface KeyRenewalOptions {
  ring: Pick<KeyRing, 'newest' | 'makeNext' | 'onChange'>;
  /** `--key-renew-period`; 0: never by age. */
  periodMs: number;
  /** `--key-cutoff-time`, in milliseconds since 1970: a newest key from before it is renewed then, or now if it is past. */
  cutoffTimeMs?: number | undefined;
  /** `false`: none is made when none is left. */
  createFirstKey?: boolean;
  logger: Logger;
  now?: () => number;
  replacementPatienceMs?: number;
}

/**
 * Makes the newest key's successor in time. Old keys stay in force: they go on unsealing what was sealed with
 * them. A key's age counts from {@link inUseSinceMs}. A renewal that fails is tried again, for ever.
 */
export class KeyRenewal {
  readonly name = 'sealing-key-renewal';
  readonly #o: KeyRenewalOptions;
  readonly #shutdown = new AbortController();
  #unsubscribe: () => void = () => {};
  #emptySinceMs: number | undefined;
  #notBeforeMs = 0;
  #requested = false;
  #wake: () => void = () => {};
  #ended: Promise<void> = Promise.resolve();

  constructor(o: KeyRenewalOptions) {
    this.#o = o;
  }

  /** Begins; assumes that the ring has loaded its keys. */
  async start(): Promise<void> {
    this.#unsubscribe = this.#o.ring.onChange(() => this.#wake());
    this.#ended = this.#run(this.#shutdown.signal);
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#shutdown.abort(new DOMException('the operator is shutting down', 'AbortError'));
    this.#wake();
    await this.#ended;
  }

  /** Asks for a new key now (SIGUSR1). The schedule then counts from that key. */
  renewNow(): void {
    this.#requested = true;
    this.#wake();
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const dueInMs = this.#dueAtMs() - this.#now();
      if (dueInMs > 0) await this.#sleep(Math.min(dueInMs, LONGEST_WAIT_MS));
      else await this.#renew(signal);
    }
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const { ring, logger } = this.#o;
    const predecessor = ring.newest()?.fingerprint;
    try {
      await ring.makeNext(signal);
      this.#requested = false;
      const isNewest = ring.newest()?.fingerprint !== predecessor;
      this.#notBeforeMs = this.#now() + (isNewest ? CERTIFICATE_RESOLUTION_MS : RETRY_MS);
    } catch (error) {
      if (signal.aborted) return;
      this.#notBeforeMs = this.#now() + RETRY_MS;
      logger.error('no new sealing key could be made; trying again', { error });
    }
  }

  /** When the next key has to be made, in milliseconds since 1970; infinity: never, as things stand. */
  #dueAtMs(): number {
    const { ring, periodMs, cutoffTimeMs, createFirstKey } = this.#o;
    if (this.#requested) return this.#notBeforeMs;
    const newest = ring.newest();
    if (newest === undefined) {
      if (createFirstKey === false) return Number.POSITIVE_INFINITY;
      this.#emptySinceMs ??= this.#now();
      const patienceMs = this.#o.replacementPatienceMs ?? REPLACEMENT_PATIENCE_MS;
      return Math.max(this.#emptySinceMs + patienceMs, this.#notBeforeMs);
    }
    this.#emptySinceMs = undefined;
    const sinceMs = inUseSinceMs(newest);
    const byCutoff = cutoffTimeMs !== undefined && sinceMs < cutoffTimeMs ? cutoffTimeMs : Infinity;
    const byAge = periodMs > 0 ? sinceMs + periodMs : Infinity;
    return Math.max(Math.min(byCutoff, byAge), this.#notBeforeMs);
  }

  async #sleep(durationMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = Number.isFinite(durationMs) ? setTimeout(resolve, durationMs) : undefined;
    this.#wake = resolve;
    await promise;
    clearTimeout(timer);
    this.#wake = () => {};
  }

  #now(): number {
    return this.#o.now?.() ?? Date.now();
  }
}
