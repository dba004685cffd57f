/** How long a call to the API server may take, and what its failure is called. */

import { ApiError, RequestTimeout, TransportError } from './errors.ts';

/** What bounds one call. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** For the whole call with its retries; 30 s unless told. */
  timeoutMs?: number | undefined;
}

const DEFAULT_TIMEOUT_MS = 30_000;

/** The caller's signal and the call's time limit in one signal that leaves no listener behind. */
export class TimeLimit {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #call: string;
  readonly #timer: NodeJS.Timeout;
  readonly #deadlineMs: number;
  readonly #onAbort: () => void;

  constructor(call: string, o: CallOptions) {
    const timeoutMs = o.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#call = call;
    this.#caller = o.signal;
    this.#caller?.throwIfAborted();
    this.#onAbort = () => this.#controller.abort(this.#caller?.reason);
    this.#caller?.addEventListener('abort', this.#onAbort, { once: true });
    this.#deadlineMs = performance.now() + timeoutMs;
    this.#timer = setTimeout(() => {
      this.#controller.abort(new RequestTimeout(`${this.#call}: no answer within ${timeoutMs} ms`));
    }, timeoutMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  allows(waitMs: number): boolean {
    return performance.now() + waitMs < this.#deadlineMs;
  }

  /** The error to throw: an abort's reason as it is, anything of the network named after the call. */
  explain(error: unknown): unknown {
    if (this.signal.aborted) return this.signal.reason;
    if (error instanceof ApiError || error instanceof TransportError) return error;
    const { code, message } = error as NodeJS.ErrnoException;
    return new TransportError(`${this.#call}: ${message || code || 'connection failed'}`, {
      code,
      cause: error,
    });
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener('abort', this.#onAbort);
  }
}
