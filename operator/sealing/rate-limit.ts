/** The generic cell rate algorithm (ATM Forum TM 4.0, section 4.4.2), as Sealed Secrets limits verify and rotate. */

/** More clients than these are forgotten, the one longest unseen first. */
const MAX_CLIENTS = 65_536;
/** Sums of fractional milliseconds are off by less: a request must not be refused for the error of a sum. */
const ROUNDING_MS = 1e-3;

/** What a request is told. Seconds are whole, rounded up. */
export interface RateLimitAnswer {
  allowed: boolean;
  /** How many may come at once. */
  limit: number;
  /** How many more may come now. */
  remaining: number;
  /** Until `remaining` is `limit` again. */
  resetSeconds: number;
  /** Until the next one is let in; 0 when this one is. */
  retryAfterSeconds: number;
}

/** Lets `perSecond` requests through for each key, and `burst` more at once after a pause. */
export class RateLimit {
  readonly #intervalMs: number;
  readonly #limit: number;
  readonly #arrivals = new Map<string, number>();

  constructor(o: { perSecond: number; burst: number }) {
    this.#intervalMs = 1_000 / o.perSecond;
    this.#limit = o.burst + 1;
  }

  /** Counts a request at `nowMs`, which never goes back. A refused one costs nothing. */
  take(key: string, nowMs: number): RateLimitAnswer {
    const toleranceMs = this.#intervalMs * this.#limit;
    const previousMs = Math.max(this.#arrivals.get(key) ?? 0, nowMs);
    const nextMs = previousMs + this.#intervalMs;
    const waitMs = nextMs - toleranceMs - nowMs;
    const allowed = waitMs <= ROUNDING_MS;
    const arrivalMs = allowed ? nextMs : previousMs;
    this.#arrivals.delete(key);
    this.#arrivals.set(key, arrivalMs);
    const oldest = this.#arrivals.size > MAX_CLIENTS ? this.#arrivals.keys().next().value : undefined;
    if (oldest !== undefined) this.#arrivals.delete(oldest);
    const aheadMs = arrivalMs - nowMs;
    return {
      allowed,
      limit: this.#limit,
      remaining: Math.max(0, Math.floor((toleranceMs - aheadMs) / this.#intervalMs)),
      resetSeconds: Math.ceil(aheadMs / 1_000),
      retryAfterSeconds: allowed ? 0 : Math.ceil(waitMs / 1_000),
    };
  }
}
