/** What an informer remembers of its objects. Only the informer's own reflector writes. */

/** The reading side. Values are shared: nobody changes them. `key` is `namespace/name`, or `name` if cluster-scoped. */
export interface Store<T> {
  get(key: string): T | undefined;
  list(): T[];
  /** What the spec's index function filed under `value`; empty for an unknown index value. Throws for an unknown index. */
  byIndex(index: string, value: string): T[];
  readonly size: number;
}

/** A kept object with the version that it was kept from. */
export interface Entry<T> {
  kept: T;
  resourceVersion: string;
}

/** What a swap changed. `previous` is absent for what is new. */
export interface SwapChanges<T> {
  deleted: { key: string; kept: T }[];
  changed: { key: string; kept: T; previous: T | undefined }[];
}

/** The one implementation, with indexes that follow every write. */
export class IndexedStore<T> implements Store<T> {
  #entries = new Map<string, Entry<T>>();
  readonly #indexes: ReadonlyMap<string, Index<T>>;

  constructor(indexes: Readonly<Record<string, (kept: T) => string[]>> = {}) {
    this.#indexes = new Map(Object.entries(indexes).map(([name, valuesOf]) => [name, new Index(valuesOf)]));
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): T | undefined {
    return this.#entries.get(key)?.kept;
  }

  /** With the version; for the reflector. */
  entry(key: string): Entry<T> | undefined {
    return this.#entries.get(key);
  }

  list(): T[] {
    return Array.from(this.#entries.values(), (entry) => entry.kept);
  }

  /** Key and value of everything. */
  *entries(): Generator<[string, T]> {
    for (const [key, entry] of this.#entries) yield [key, entry.kept];
  }

  byIndex(name: string, value: string): T[] {
    const index = this.#indexes.get(name);
    if (index === undefined) throw new Error(`the informer has no index ${JSON.stringify(name)}`);
    const found: T[] = [];
    for (const key of index.keys(value)) {
      const entry = this.#entries.get(key);
      if (entry !== undefined) found.push(entry.kept);
    }
    return found;
  }

  set(key: string, entry: Entry<T>): void {
    const previous = this.#entries.get(key);
    this.#entries.set(key, entry);
    for (const index of this.#indexes.values()) index.move(key, previous?.kept, entry.kept);
  }

  delete(key: string): void {
    const previous = this.#entries.get(key);
    this.#entries.delete(key);
    for (const index of this.#indexes.values()) index.move(key, previous?.kept, undefined);
  }

  /** Takes a whole list at once: no reader ever sees half of it. */
  swap(next: Map<string, Entry<T>>): SwapChanges<T> {
    const previous = this.#entries;
    this.#entries = next;
    for (const index of this.#indexes.values()) index.rebuild(next);
    const changes: SwapChanges<T> = { deleted: [], changed: [] };
    for (const [key, entry] of previous) {
      if (!next.has(key)) changes.deleted.push({ key, kept: entry.kept });
    }
    for (const [key, entry] of next) {
      const before = previous.get(key);
      if (before?.resourceVersion === entry.resourceVersion) continue;
      changes.changed.push({ key, kept: entry.kept, previous: before?.kept });
    }
    return changes;
  }
}

/** Keys by what a function of the kept object says. */
class Index<T> {
  readonly #valuesOf: (kept: T) => string[];
  readonly #keys = new Map<string, Set<string>>();

  constructor(valuesOf: (kept: T) => string[]) {
    this.#valuesOf = valuesOf;
  }

  keys(value: string): Iterable<string> {
    return this.#keys.get(value) ?? [];
  }

  move(key: string, from: T | undefined, to: T | undefined): void {
    if (from !== undefined) this.#remove(key, from);
    if (to !== undefined) this.#add(key, to);
  }

  rebuild(entries: ReadonlyMap<string, Entry<T>>): void {
    this.#keys.clear();
    for (const [key, entry] of entries) this.#add(key, entry.kept);
  }

  #add(key: string, kept: T): void {
    for (const value of this.#valuesOf(kept)) {
      const keys = this.#keys.get(value);
      if (keys === undefined) this.#keys.set(value, new Set([key]));
      else keys.add(key);
    }
  }

  #remove(key: string, kept: T): void {
    for (const value of this.#valuesOf(kept)) {
      const keys = this.#keys.get(value);
      keys?.delete(key);
      if (keys?.size === 0) this.#keys.delete(value);
    }
  }
}
