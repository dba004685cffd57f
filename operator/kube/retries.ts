/** The retries that are always right, whatever the call is for. */

import { abortable, pause } from './backoff.ts';
import type { ClusterConfig } from './config.ts';
import { ApiError, TransportError } from './errors.ts';
import type { TimeLimit } from './time-limit.ts';

/** A pooled connection may have died unnoticed; with twelve of them more than one can. */
const MAX_RESETS = 3;
const RESET_CODES = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET']);

/** The retries of one call: what they need to remember between attempts. */
export class Retries {
  readonly #isRead: boolean;
  readonly #limit: TimeLimit;
  readonly #config: ClusterConfig;
  #authorization: string | undefined;
  #refreshed = false;
  #resets = 0;

  constructor(o: { isRead: boolean; limit: TimeLimit; config: ClusterConfig }) {
    this.#isRead = o.isRead;
    this.#limit = o.limit;
    this.#config = o.config;
  }

  /** Runs `attempt` until it succeeds or another try can't help. */
  async run<T>(attempt: (authorization: string | undefined) => Promise<T>): Promise<T> {
    this.#authorization = await this.#credentials(false);
    for (;;) {
      try {
        return await attempt(this.#authorization);
      } catch (error) {
        if (!(await this.#mayTryAgain(error))) throw error;
      }
    }
  }

  async #mayTryAgain(error: unknown): Promise<boolean> {
    if (isUnauthorized(error)) return this.#rotated();
    if (isAskedToWait(error)) {
      if (!this.#limit.allows(error.retryAfterMs)) return false;
      await pause(error.retryAfterMs, this.#limit.signal);
      return true;
    }
    if (!this.#isRead || !isReset(error)) return false;
    this.#resets += 1;
    return this.#resets <= MAX_RESETS;
  }

  async #rotated(): Promise<boolean> {
    if (this.#refreshed) return false;
    this.#refreshed = true;
    const previous = this.#authorization;
    this.#authorization = await this.#credentials(true);
    return this.#authorization !== previous;
  }

  #credentials(fresh: boolean): Promise<string | undefined> {
    return abortable(this.#config.authorization({ fresh }), this.#limit.signal);
  }
}

function isUnauthorized(error: unknown): boolean {
  return error instanceof ApiError && error.status === 401;
}

function isAskedToWait(error: unknown): error is ApiError & { retryAfterMs: number } {
  return (
    error instanceof ApiError &&
    (error.status === 429 || error.status === 503) &&
    error.retryAfterMs !== undefined
  );
}

function isReset(error: unknown): boolean {
  return error instanceof TransportError && error.code !== undefined && RESET_CODES.has(error.code);
}
