/** Bounded parallel work that leaves room for everything else on the event loop. */

import { setImmediate as nextTurn } from 'node:timers/promises';

/** Ten thousand proven objects mean ten thousand digests without one pause for I/O; others want to run too. */
const LONGEST_STRETCH_MS = 8;

/**
 * Runs `work` on all items, at most `limit` at once, in order of start, and waits for whatever was started.
 * Results are in the items' order. After a failure nothing new is started unless `goOn(error)` says so. Throws the
 * first failure that stopped it, else an AggregateError of the failures gone on from (one alone is thrown itself),
 * else the signal's reason if that is why it stopped.
 */
export async function inParallel<T, R>(
  items: readonly T[],
  o: { limit: number; signal: AbortSignal; goOn?: (error: unknown) => boolean },
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  const errors: unknown[] = [];
  let stopped: { error: unknown } | undefined;
  let next = 0;
  let stretchFromMs = performance.now();

  const worker = async (): Promise<void> => {
    while (next < items.length && stopped === undefined && !o.signal.aborted) {
      const index = next++;
      try {
        results[index] = await work(items[index] as T);
      } catch (error) {
        if (o.goOn?.(error)) errors.push(error);
        else stopped ??= { error };
      }
      if (performance.now() - stretchFromMs > LONGEST_STRETCH_MS) {
        await nextTurn();
        stretchFromMs = performance.now();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(o.limit, items.length) }, worker));

  if (stopped !== undefined) throw stopped.error;
  o.signal.throwIfAborted();
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors);
  return results;
}
