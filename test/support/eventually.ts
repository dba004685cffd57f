import { setTimeout as sleep } from 'node:timers/promises';

/** How long to wait and for what. */
export interface WaitOptions {
  /** What is waited for, as it is to stand in a failure: "the Deployment to be scaled back". */
  readonly what: string;
  /** Default 30,000. Only a test that fails ever waits this long. */
  readonly timeoutMs?: number;
  /** Default 25. */
  readonly pollMs?: number;
}

/**
 * Calls `probe` until it answers with something other than undefined, null and false, and answers with that.
 *
 * A probe that throws isn't satisfied yet: write it with assertions, and a failure shows the last one beside what was
 * waited for. Rejects after the timeout.
 */
export async function eventually<T>(
  probe: () => Promise<T | undefined | null | false> | T | undefined | null | false,
  options: WaitOptions,
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let lastSeen: unknown;
    try {
      const value = await probe();
      if (value !== undefined && value !== null && value !== false) return value;
      lastSeen = value;
    } catch (error) {
      lastSeen = error;
    }
    if (performance.now() > deadline) {
      const seen = lastSeen instanceof Error ? lastSeen.message : String(lastSeen);
      throw new Error(`waited ${timeoutMs} ms for ${options.what}; last seen: ${seen}`, { cause: lastSeen });
    }
    await sleep(options.pollMs ?? 25);
  }
}

/**
 * Calls `probe` again and again for `forMs`; rejects at once when it throws or answers false. For what must not
 * happen: a passing test always takes this long, so keep it short.
 */
export async function throughout(
  probe: () => Promise<unknown> | unknown,
  options: { readonly what: string; readonly forMs: number; readonly pollMs?: number },
): Promise<void> {
  const end = performance.now() + options.forMs;
  while (performance.now() < end) {
    if ((await probe()) === false)
      throw new Error(`expected throughout ${options.forMs} ms: ${options.what}`);
    await sleep(options.pollMs ?? 25);
  }
}
