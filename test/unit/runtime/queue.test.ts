import assert from 'node:assert/strict';
import { type Clock, WorkQueue } from '../../../operator/runtime/queue.ts';
import { DEFAULT_BACK_OFF, retryDelayMs } from '../../../operator/runtime/retry-delay.ts';

/** Time that passes when the test says so; timers fire in order of their due times. */
class ManualClock implements Clock {
  #nowMs = 0;
  #nextId = 0;
  readonly #timers = new Map<number, { dueAtMs: number; callback: () => void }>();

  nowMs(): number {
    return this.#nowMs;
  }

  schedule(callback: () => void, delayMs: number): () => void {
    const id = this.#nextId++;
    // As Node's setTimeout: a delay that doesn't fit fires at once.
    const effectiveMs = delayMs > 2 ** 31 - 1 ? 1 : delayMs;
    this.#timers.set(id, { dueAtMs: this.#nowMs + effectiveMs, callback });
    return () => this.#timers.delete(id);
  }

  advance(byMs: number): void {
    const untilMs = this.#nowMs + byMs;
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.dueAtMs <= untilMs);
      const next = due.sort((a, b) => a[1].dueAtMs - b[1].dueAtMs || a[0] - b[0])[0];
      if (next === undefined) break;
      this.#timers.delete(next[0]);
      this.#nowMs = next[1].dueAtMs;
      next[1].callback();
    }
    this.#nowMs = untilMs;
  }

  get armed(): number {
    return this.#timers.size;
  }
}

/** Mulberry32: a small generator whose whole state is the seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const never = new AbortController().signal;

function queueAt(clock: ManualClock, random: () => number = () => 0.5): WorkQueue {
  return new WorkQueue({ clock, random });
}

/** The key handed out at once, or `undefined`. */
async function next(queue: WorkQueue): Promise<string | undefined> {
  const given = new AbortController();
  const got = queue.get(given.signal);
  given.abort();
  return await got;
}

describe('work queue', () => {
  it('hands keys out in the order in which they were added, each once', async () => {
    const queue = queueAt(new ManualClock());
    for (const key of ['b', 'a', 'b', 'c', 'a']) queue.add(key);
    assert.deepEqual(
      [await next(queue), await next(queue), await next(queue), await next(queue)],
      ['b', 'a', 'c', undefined],
    );
  });

  it('wakes a worker that waits when a key is added', async () => {
    const queue = queueAt(new ManualClock());
    const waiting = queue.get(never);
    queue.add('a');
    assert.equal(await waiting, 'a');
  });

  it('runs a key that was added while it ran once more, after it was given back', async () => {
    const queue = queueAt(new ManualClock());
    queue.add('a');
    assert.equal(await next(queue), 'a');
    queue.add('a');
    queue.add('a');
    assert.equal(await next(queue), undefined);
    queue.done('a');
    assert.equal(await next(queue), 'a');
    queue.done('a');
    assert.equal(await next(queue), undefined);
  });

  it('lets the earliest of several delays win, whichever came first', async () => {
    for (const delays of [
      [500, 100],
      [100, 500],
    ]) {
      const clock = new ManualClock();
      const queue = queueAt(clock);
      for (const delayMs of delays) queue.addAfter('a', delayMs);
      clock.advance(99);
      assert.equal(await next(queue), undefined);
      clock.advance(1);
      assert.equal(await next(queue), 'a');
      queue.done('a');
      clock.advance(10_000);
      assert.equal(await next(queue), undefined, 'the later delay is gone');
    }
  });

  it('drops a delay when the key is added at once: now is earlier', async () => {
    const clock = new ManualClock();
    const queue = queueAt(clock);
    queue.addAfter('a', 1_000);
    queue.add('a');
    assert.equal(clock.armed, 0);
    assert.equal(await next(queue), 'a');
    queue.addAfter('a', 1_000);
    queue.done('a');
    clock.advance(1_000);
    assert.equal(await next(queue), 'a', 'a delay asked for during the run holds');
  });

  it('waits for a delay longer than a timer can be', async () => {
    const clock = new ManualClock();
    const queue = queueAt(clock);
    const fortyDaysMs = 40 * 24 * 3_600_000;
    queue.addAfter('a', fortyDaysMs);
    clock.advance(fortyDaysMs - 1);
    assert.equal(await next(queue), undefined);
    clock.advance(1);
    assert.equal(await next(queue), 'a');
  });

  it('backs off per key, and anew after a success', () => {
    const queue = queueAt(new ManualClock());
    assert.deepEqual(
      [1, 2, 3].map(() => queue.addRateLimited('a')),
      [750, 1_500, 3_000],
    );
    assert.equal(queue.addRateLimited('b'), 750);
    queue.forget('a');
    assert.equal(queue.addRateLimited('a'), 750);
  });

  it('keeps the back-off of a key that was added for another reason meanwhile', async () => {
    const clock = new ManualClock();
    const queue = queueAt(clock);
    queue.addRateLimited('a');
    queue.add('a');
    assert.equal(await next(queue), 'a');
    assert.equal(queue.addRateLimited('a'), 1_500);
  });

  it('hands nothing out after a shutdown, and drains when the last key in work is given back', async () => {
    const queue = queueAt(new ManualClock());
    queue.add('a');
    queue.add('b');
    assert.equal(await next(queue), 'a');
    const waiting = queue.get(never);
    assert.equal(await waiting, 'b');
    const late = queue.get(never);
    queue.add('a');
    queue.shutDown();
    assert.equal(await late, undefined);
    assert.equal(await queue.get(never), undefined);
    let drained = false;
    const drain = queue.drain().then(() => {
      drained = true;
    });
    queue.done('a');
    await Promise.resolve();
    assert.equal(drained, false);
    queue.done('b');
    await drain;
    queue.add('c');
    assert.deepEqual(queue.stats, { depth: 0, processing: 0, delayed: 0, runningMs: [] });
  });

  it('runs no key twice at once and loses none in a thousand random operations', async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    console.log(`        seed ${seed}`);
    await simulate(seed);
  });
});

/**
 * Random operations against a model that knows only what was promised: for each key, since when an answer is
 * owed. A run answers what was owed when it began.
 */
async function simulate(seed: number): Promise<void> {
  const random = seeded(seed);
  const clock = new ManualClock();
  const queue = queueAt(clock, random);
  const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
  const running = new Set<string>();
  const owedAtMs = new Map<string, number>();
  const owe = (key: string, atMs: number): void => {
    owedAtMs.set(key, Math.min(atMs, owedAtMs.get(key) ?? Number.POSITIVE_INFINITY));
  };
  const pick = (from: readonly string[]): string => from[Math.floor(random() * from.length)] ?? 'a';
  const take = async (): Promise<boolean> => {
    const key = await next(queue);
    if (key === undefined) return false;
    assert.ok(!running.has(key), `seed ${seed}: ${key} runs twice at once`);
    const dueAtMs = owedAtMs.get(key);
    assert.ok(dueAtMs !== undefined && dueAtMs <= clock.nowMs(), `seed ${seed}: ${key} ran unasked or early`);
    owedAtMs.delete(key);
    running.add(key);
    return true;
  };
  const giveBack = (key: string): void => {
    running.delete(key);
    queue.done(key);
  };
  const operations: (() => Promise<void> | void)[] = [
    () => {
      const key = pick(keys);
      queue.add(key);
      owe(key, clock.nowMs());
    },
    () => {
      const key = pick(keys);
      const delayMs = random() * 5_000;
      queue.addAfter(key, delayMs);
      owe(key, clock.nowMs() + delayMs);
    },
    () => {
      const key = pick(keys);
      owe(key, clock.nowMs() + queue.addRateLimited(key));
    },
    () => queue.forget(pick(keys)),
    () => clock.advance(random() * 2_000),
    async () => {
      await take();
    },
    () => {
      if (running.size > 0) giveBack(pick([...running]));
    },
  ];
  for (let i = 0; i < 1_000; i++) await operations[Math.floor(random() * operations.length)]?.();
  // Everything that is still owed comes, given time.
  for (const key of [...running]) giveBack(key);
  clock.advance(3_600_000);
  while (await take()) for (const key of [...running]) giveBack(key);
  assert.deepEqual([...owedAtMs.keys()], [], `seed ${seed}: lost`);
}

describe('retry delay', () => {
  it('doubles from 750 ms and ends at 15 min by default', () => {
    const delays = [1, 2, 3, 4, 11, 12, 60, 5_000].map((n) => retryDelayMs(DEFAULT_BACK_OFF, n, 0.5));
    assert.deepEqual(delays, [750, 1_500, 3_000, 6_000, 768_000, 900_000, 900_000, 900_000]);
  });

  it('varies by a tenth either way, never outside its limits', () => {
    assert.equal(retryDelayMs(DEFAULT_BACK_OFF, 3, 0), 2_700);
    assert.equal(retryDelayMs(DEFAULT_BACK_OFF, 3, 1), 3_300);
    assert.equal(retryDelayMs(DEFAULT_BACK_OFF, 1, 0), 750);
    assert.equal(retryDelayMs(DEFAULT_BACK_OFF, 40, 1), 900_000);
  });
});
