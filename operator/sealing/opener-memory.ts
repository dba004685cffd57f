const MAX_ITEMS = 100_000;

/**
 * Which key opened which item, so that an object that was opened once is opened at the first try among any number of
 * keys. Bounded: beyond `maxItems` items, the objects that were opened longest ago are forgotten, which costs time only.
 */
export class OpenerMemory {
  readonly #maxItems: number;
  /** In the order in which they were opened last. */
  readonly #objects = new Map<string, ReadonlyMap<string, string>>();
  #items = 0;

  constructor(maxItems: number = MAX_ITEMS) {
    this.#maxItems = maxItems;
  }

  /** Item → fingerprint, as last remembered for the object. */
  recall(key: string): ReadonlyMap<string, string> | undefined {
    return this.#objects.get(key);
  }

  /** Remembers what `unseal` answered for the object. */
  remember(key: string, openedBy: ReadonlyMap<string, string>): void {
    this.forget(key);
    this.#objects.set(key, openedBy);
    this.#items += openedBy.size;
    for (const oldest of this.#objects.keys()) {
      if (this.#items <= this.#maxItems) return;
      this.forget(oldest);
    }
  }

  /** The object is gone. */
  forget(key: string): void {
    this.#items -= this.#objects.get(key)?.size ?? 0;
    this.#objects.delete(key);
  }

  /** Items remembered now. */
  get size(): number {
    return this.#items;
  }
}
