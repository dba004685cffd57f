/** Waiting, as the kube room does it: abortable, growing, with jitter. */

import { setTimeout as delay } from 'node:timers/promises';

/** Waits `durationMs`; rejects with the signal's reason when aborted. */
export async function pause(durationMs: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  try {
    await delay(durationMs, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

/** The promise's answer, unless `signal` aborts first; the work behind it goes on for whoever else waits for it. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** `valueMs` spread by ±`share` (0…1), so that many clients don't act in step. */
export function jittered(valueMs: number, share: number): number {
  return valueMs * (1 - share + 2 * share * Math.random());
}

/** Growing delays: `initialMs`, doubled each time up to `maxMs`, each ±50 %. */
export class Backoff {
  readonly #initialMs: number;
  readonly #maxMs: number;
  #failures = 0;

  constructor(o: { initialMs: number; maxMs: number }) {
    this.#initialMs = o.initialMs;
    this.#maxMs = o.maxMs;
  }

  /** The next delay in milliseconds. */
  next(): number {
    const delayMs = Math.min(this.#maxMs, this.#initialMs * 2 ** this.#failures);
    this.#failures += 1;
    return jittered(delayMs, 0.5);
  }

  /** Call after success. */
  reset(): void {
    this.#failures = 0;
  }
}
