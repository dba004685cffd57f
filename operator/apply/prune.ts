/** Deleting what left Git. The most dangerous thing that the operator does, so each deletion is decided on the live object. */

import type { StoredObject } from '../api/objects.ts';
import type { NamespacedName, ResourceType } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { type Discovery, NoMatchError } from '../kube/discovery.ts';
import { isConflict, isNotFound } from '../kube/errors.ts';
import { type Action, type Change, subjectOf } from './change-set.ts';
import { isKeptFromPrune, type Owner, ownerOf, sameOwner } from './controls.ts';
import { isKindMissing, proofsOverturnedBy } from './definitions.ts';
import { inParallel } from './in-parallel.ts';
import { type InventoryEntry, type ObjectId, parseId } from './inventory.ts';
import { deletionWaves } from './order.ts';
import type { ProofBook } from './proof-book.ts';

/** What a prune needs. */
export interface PruneOptions {
  client: KubeClient;
  discovery: Discovery;
  owner: Owner;
  /** What left Git: the old inventory without the new. */
  entries: readonly InventoryEntry[];
  proofs: ProofBook;
  /** Identities that the pass has just applied: spared, should one be listed under an older group or scope too. */
  applied?: ReadonlySet<string>;
  signal: AbortSignal;
  /** Deletions at once; 8 unless told. */
  concurrency?: number;
}

/** `survivors` stay in the inventory: their deletion was refused, or not known to have happened. */
export interface PruneResult {
  changes: Change[];
  survivors: InventoryEntry[];
  /** Why, each naming its object. */
  errors: string[];
}

const DEFAULT_CONCURRENCY = 8;
/** The object may change between the look and the deletion; then we look again. */
const MAX_LOOKS = 5;

/**
 * Deletes in reverse apply order, what depends first, with Background propagation and without waiting for the end.
 * An object is deleted only if it carries this owner's two labels when it is looked at, isn't marked to be kept, and
 * hasn't changed since the look (uid and resourceVersion are preconditions). What isn't there (any more), or whose
 * kind isn't served (any more), counts as deleted. A failure stops nothing: its entry survives. Throws InventoryError
 * only; an aborted signal leaves the rest as survivors.
 */
export async function pruneObjects(o: PruneOptions): Promise<PruneResult> {
  const result: PruneResult = { changes: [], survivors: [], errors: [] };
  const never = new AbortController().signal;
  for (const wave of deletionWaves(o.entries)) {
    // Not the caller's signal: a prune that is cut short must still say of each entry what became of it.
    await inParallel(wave, { limit: o.concurrency ?? DEFAULT_CONCURRENCY, signal: never }, async (entry) => {
      const subject = subjectOf(parseId(entry.id));
      try {
        o.signal.throwIfAborted();
        result.changes.push({ id: entry.id, subject, action: await prune(entry, o) });
      } catch (error) {
        result.survivors.push(entry);
        result.errors.push(
          `${subject} delete failed: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    });
  }
  return result;
}

/** The drift monitor must have forgotten the object before it goes, or it would bring it back: see {@link ProofBook}. */
function prune(entry: InventoryEntry, o: PruneOptions): Promise<Action> {
  return o.proofs.exclusive(o.owner, entry.id, async () => {
    o.proofs.forget(o.owner, entry.id);
    const id = parseId(entry.id);
    const type = await resolveServed(id, entry.v, o);
    if (type === undefined) return 'deleted';
    const name = type.namespaced ? { namespace: id.namespace, name: id.name } : { name: id.name };
    for (let look = 1; ; look += 1) {
      const action = await lookAndDelete(type, name, o, look === MAX_LOOKS);
      if (action !== undefined) return action;
    }
  });
}

/** One look and what follows from it; `undefined` when the object changed in between (an error on the `last` look). */
async function lookAndDelete(
  type: ResourceType,
  name: NamespacedName,
  o: PruneOptions,
  last: boolean,
): Promise<Action | undefined> {
  const { client, signal } = o;
  const live = await getLive(type, name, o);
  if (live === undefined) return 'deleted';
  if (isSpared(live, o)) return 'skipped';
  const { uid, resourceVersion } = live.metadata;
  try {
    await client.delete(type, name, { uid, resourceVersion, propagationPolicy: 'Background', signal });
  } catch (error) {
    if (isConflict(error) && !last) return undefined;
    throw error;
  }
  const changed = proofsOverturnedBy(live);
  if (changed !== undefined) o.proofs.fall(changed.group);
  return 'deleted';
}

function isSpared({ metadata }: StoredObject, o: PruneOptions): boolean {
  return (
    !sameOwner(ownerOf(metadata), o.owner) ||
    isKeptFromPrune(metadata) ||
    (o.applied?.has(metadata.uid) ?? false)
  );
}

/** `undefined` when the object, or its whole kind since discovery, is gone. */
async function getLive(
  type: ResourceType,
  name: NamespacedName,
  o: PruneOptions,
): Promise<StoredObject | undefined> {
  try {
    return await o.client.get(type, name, { signal: o.signal });
  } catch (error) {
    if (!isKindMissing(error)) throw error;
    o.discovery.forget(type.group);
    if ((await resolveServed(type, type.version, o)) === undefined) return undefined;
    throw error;
  }
}

/**
 * The kind in its recorded version, or in another if that one is no longer served; `undefined` when the API server
 * has no such kind in any, so that there can't be such an object. Not being able to tell is an error.
 */
async function resolveServed(
  { group, kind }: Pick<ObjectId, 'group' | 'kind'>,
  recorded: string,
  { client, discovery, signal }: PruneOptions,
): Promise<ResourceType | undefined> {
  const recordedType = await resolveIn({ group, version: recorded, kind }, discovery, signal);
  if (recordedType !== undefined || group === '') return recordedType;
  let versions: { version: string }[];
  try {
    const path = `/apis/${group}`;
    ({ versions } = await client.request<{ versions: { version: string }[] }>({
      method: 'GET',
      path,
      signal,
    }));
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
  // A miss is remembered for a moment; what follows from it here is final.
  discovery.forget(group);
  for (const { version } of versions) {
    const type = await resolveIn({ group, version, kind }, discovery, signal);
    if (type !== undefined) return type;
  }
  return undefined;
}

async function resolveIn(
  gvk: { group: string; version: string; kind: string },
  discovery: Discovery,
  signal: AbortSignal,
): Promise<ResourceType | undefined> {
  try {
    return await discovery.resolve(gvk, { signal });
  } catch (error) {
    if (error instanceof NoMatchError) return undefined;
    throw error;
  }
}
