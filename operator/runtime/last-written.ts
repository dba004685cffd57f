/**
 * The newest object that this process knows: what the store holds, or what our own last write returned.
 *
 * A store follows its watch, so right after a write it may still hold the object as it was before: a pass that
 * started from that would see an older inventory, and what the newer one lists would be orphaned. The rule:
 * the object that a write returned stands in for the store's until the store has seen a resourceVersion at
 * least as new, or holds another object (another uid) or none under that key.
 *
 * resourceVersions are compared as numbers, which the API promises within a resource (KEP-5504).
 */

import type { StoredObject } from '../api/objects.ts';

type Versioned = Pick<StoredObject, 'metadata'>;

/** See the head of this file. Holds an object for the time between a write and its watch event only. */
export class LastWritten<T extends Versioned> {
  readonly #written = new Map<string, T>();

  /** What a write returned; `stored` is what the store holds at this moment. */
  remember(key: string, written: T, stored: T | undefined): void {
    if (standsIn(written, stored)) this.#written.set(key, written);
  }

  /** The newer of the store's object and our last write. */
  newest(key: string, stored: T | undefined): T | undefined {
    const written = this.#written.get(key);
    if (written === undefined) return stored;
    if (standsIn(written, stored)) return written;
    this.#written.delete(key);
    return stored;
  }

  /** Objects held now. */
  get size(): number {
    return this.#written.size;
  }
}

function standsIn(written: Versioned, stored: Versioned | undefined): boolean {
  if (stored === undefined || stored.metadata.uid !== written.metadata.uid) return false;
  return isOlder(stored.metadata.resourceVersion, written.metadata.resourceVersion);
}

/** True when resourceVersion `a` is older than `b`. Both are decimal numbers, beyond 2^53 in principle. */
export function isOlder(a: string, b: string): boolean {
  if (a.length !== b.length) return a.length < b.length;
  return a < b;
}
