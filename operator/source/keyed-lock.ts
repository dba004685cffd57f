/** Mutual exclusion by name, inside this process. */

/** One holder per key at a time, first come first served. Different keys don't wait for each other. */
export class KeyedLock {
  /** The release of the last in line, by key: whoever comes next waits for it. */
  readonly #tails = new Map<string, Promise<void>>();

  /** Resolves with the release function, to be called exactly once, when the key is ours. */
  async acquire(key: string): Promise<() => void> {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const before = this.#tails.get(key);
    this.#tails.set(key, released);
    await before;
    return () => {
      if (this.#tails.get(key) === released) this.#tails.delete(key);
      release();
    };
  }

  /** Runs `work` while holding the key. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const release = await this.acquire(key);
    try {
      return await work();
    } finally {
      release();
    }
  }
}
