/** What this process knows of the objects it has applied: their desired state, their proofs, and who is at work on them. */

import { randomBytes } from 'node:crypto';
import type { StoredObject } from '../api/objects.ts';
import type { NamespacedName, ResourceType } from '../api/resources.ts';
import { type Owner, ownerKey } from './controls.ts';
import { parseId } from './inventory.ts';
import { digestDesired, type Observation, observe, type Proof } from './proof.ts';

/** One applied object, as its owner's last pass wanted it. */
export interface Held {
  readonly owner: Owner;
  readonly id: string;
  readonly type: ResourceType;
  readonly name: NamespacedName;
  /** The JSON as it was sent; kept as text, small and exact. Absent for a Secret: its plaintext is in no cache. */
  readonly desired: string | undefined;
  readonly desiredDigest: string;
  /** Git's `ssa: Merge`. */
  readonly merged: boolean;
  /** Recreate when an immutable field stands in the way. */
  readonly forced: boolean;
  /** Absent: not known to be equal to Git; the next event or pass asks the API server. */
  readonly proof: Proof | undefined;
}

/**
 * Shared by the passes over whole Kustomizations, by prune and by the drift monitor. In memory only: with the process
 * everything known is gone, and the next pass proves it anew.
 *
 * The invariant that keeps heals and passes from working against each other: **whoever writes an object of an owner
 * does so inside {@link exclusive}, and decides what to write from {@link get} there.** A pass puts an object's new
 * desired state in the same section in which it applies it; prune forgets the object in the same section before it
 * deletes it. So a heal that comes first restores the old state and the pass follows with the new one; a heal that
 * comes after finds the new desired state, or nothing to heal. It can neither bring back what prune deleted nor put
 * back an older desired state.
 */
export class ProofBook {
  readonly #hmacKey = randomBytes(32);
  readonly #owners = new Map<string, Map<string, Held>>();
  /** The end of the last section in line, by owner and id. */
  readonly #sections = new Map<string, Promise<void>>();
  readonly #settledHandlers = new Set<(owner: Owner, id: string, o: { recheck: boolean }) => void>();
  #epoch = 0;

  /** Grows whenever proofs fall: a proof from a request that began in an older epoch is void. */
  get epoch(): number {
    return this.#epoch;
  }

  observe(object: StoredObject): Observation {
    return observe(object, this.#hmacKey);
  }

  digest(desiredJson: string): string {
    return digestDesired(desiredJson, this.#hmacKey);
  }

  get(owner: Owner, id: string): Held | undefined {
    return this.#owners.get(ownerKey(owner))?.get(id);
  }

  /** Remembers what the owner wants of an object. The proof counts only if no proofs fell since `epoch`. */
  put(held: Held, epoch: number): void {
    const key = ownerKey(held.owner);
    const objects = this.#owners.get(key) ?? new Map<string, Held>();
    this.#owners.set(key, objects);
    objects.set(held.id, epoch === this.#epoch ? held : { ...held, proof: undefined });
  }

  /** Forgets one object, or all of an owner's: they are no longer healed. */
  forget(owner: Owner, id?: string): void {
    const key = ownerKey(owner);
    const objects = this.#owners.get(key);
    if (id !== undefined) objects?.delete(id);
    if (id === undefined || objects?.size === 0) this.#owners.delete(key);
  }

  /** Proofs fall, of one API group's objects or of all: a CRD or an admission configuration changed, and what an apply does with it. */
  fall(group?: string): void {
    this.#epoch += 1;
    for (const objects of this.#owners.values()) {
      for (const [id, held] of objects) {
        if (group === undefined || parseId(id).group === group)
          objects.set(id, { ...held, proof: undefined });
      }
    }
  }

  /** Runs `work` when nobody else is at work on this owner's object; first come first served. See the class. */
  async exclusive<T>(owner: Owner, id: string, work: () => Promise<T>): Promise<T> {
    const key = `${ownerKey(owner)} ${id}`;
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const before = this.#sections.get(key);
    this.#sections.set(key, ended);
    await before;
    try {
      return await work();
    } finally {
      if (this.#sections.get(key) === ended) this.#sections.delete(key);
      end();
      this.#settled(owner, id, false);
    }
  }

  /** Somebody is at work on the object, or about to be: what is observed now may be their own write. */
  isBusy(owner: Owner, id: string): boolean {
    return this.#sections.has(`${ownerKey(owner)} ${id}`);
  }

  /** Asks those who observe the object to hold what they saw against what is now known of it. */
  recheck(owner: Owner, id: string): void {
    this.#settled(owner, id, true);
  }

  /** Called when work on an object ends, or with `recheck` when it is to be looked at again. Returns the way out. */
  onSettled(handler: (owner: Owner, id: string, o: { recheck: boolean }) => void): () => void {
    this.#settledHandlers.add(handler);
    return () => this.#settledHandlers.delete(handler);
  }

  #settled(owner: Owner, id: string, recheck: boolean): void {
    if (this.isBusy(owner, id)) return;
    for (const handler of this.#settledHandlers) handler(owner, id, { recheck });
  }
}
