/** Exponential back-off per key, with jitter. Pure apart from its random source. */

/** Limits of a back-off, in milliseconds. */
export interface BackOffLimits {
  minMs: number;
  maxMs: number;
}

/** Flux's `--min-retry-delay` and `--max-retry-delay` defaults. */
export const DEFAULT_BACK_OFF: BackOffLimits = { minMs: 750, maxMs: 15 * 60_000 };

/** Share by which a delay is varied either way, so that objects that failed together don't retry together. */
const JITTER = 0.1;

/**
 * The delay before retry number `failures` (1 is the first), in milliseconds: `minMs` doubled each time,
 * varied by 10 % either way, never outside the limits. `random` is uniform in [0, 1).
 */
export function retryDelayMs(limits: BackOffLimits, failures: number, random: number): number {
  // The exponent is bounded, so that the product can't overflow to Infinity * 0.
  const exponent = Math.min(Math.max(failures - 1, 0), 52);
  const varied = limits.minMs * 2 ** exponent * (1 + JITTER * (2 * random - 1));
  return Math.round(Math.min(limits.maxMs, Math.max(limits.minMs, varied)));
}
