/** When a pass comes round again: the spec's intervals, spread so that a fleet doesn't move in step. */

import { parseDurationMs } from '../api/duration.ts';

/** Spreads a delay by up to a percentage either way. */
export type Jitter = (delayMs: number) => number;

/** A jitter of `percentage` (0 to 50); `random` yields numbers from 0 up to 1. */
export function jitter(percentage: number, random: () => number = Math.random): Jitter {
  return (delayMs) => Math.round(delayMs * (1 + ((random() * 2 - 1) * percentage) / 100));
}

/**
 * A duration field of a spec in milliseconds; `fallbackMs` when it is absent. The CRDs' patterns have admitted it,
 * so a value that still can't be read (one sent past them) counts as absent.
 */
export function specDurationMs(text: string | undefined, fallbackMs: number): number {
  return (text === undefined ? undefined : parseDurationMs(text)) ?? fallbackMs;
}
