/** Putting one object back. */

import type { ManagedFieldsEntry, StoredObject } from '../api/objects.ts';
import type { KubeClient } from '../kube/client.ts';
import { applyFailed, isWaitingForNamespace } from './apply-error.ts';
import { subjectOf } from './change-set.ts';
import { type Owner, sameOwner } from './controls.ts';
import { proofsOverturnedBy } from './definitions.ts';
import { fieldSetsOverlap } from './field-set.ts';
import { agrees, isOurs, type Observation, proofOf, sameFields } from './proof.ts';
import type { Held, ProofBook } from './proof-book.ts';
import { type Applied, applyAndTakeOver, recreate, replaceable, type Target } from './server-side-apply.ts';

/**
 * What came of a drift.
 * - `none`: it agrees with Git (again), or is to be left alone, or nobody holds it any more.
 * - `created`, `configured`: put back.
 * - `transferred`: its labels and that owner's inventory say that it moved; this owner has forgotten it.
 * - `reconcile`: a Secret; its desired state is kept nowhere, so the owner has to be reconciled.
 * - `waiting`: its namespace, or a predecessor of it, is still terminating; look again after `retryAfterMs`.
 */
export interface HealResult {
  action: 'none' | 'created' | 'configured' | 'transferred' | 'reconcile' | 'waiting';
  /** `Kind/namespace/name`. */
  subject: string;
  /** Field managers that lost fields to this: who changed it. Names, never values. */
  managers: string[];
  retryAfterMs?: number;
}

/** What a heal starts from. */
export interface HealOptions {
  client: KubeClient;
  proofs: ProofBook;
  held: Held;
  /** The object in the watch's store. */
  seen: Observation | undefined;
  /** Of the event that showed the drift: spares a GET. May be of another version than `seen`. */
  metadata: StoredObject['metadata'] | undefined;
  isOwnedBy: (owner: Owner, id: string) => boolean | Promise<boolean>;
  signal: AbortSignal;
}

/** The live object as far as a heal has to know it. */
interface Live {
  observation: Observation;
  metadata: StoredObject['metadata'] | undefined;
}

/**
 * One pass over one object; to be called inside `proofs.exclusive`. Throws ApplyError when the API server refuses,
 * and what the client throws.
 */
export async function heal(o: HealOptions): Promise<HealResult> {
  const { held, proofs, signal } = o;
  const subject = subjectOf({ kind: held.type.kind, ...held.name });
  const result = (action: HealResult['action'], managers: string[] = []): HealResult => ({
    action,
    subject,
    managers,
  });

  const live = await look(o);
  if (live !== undefined) {
    const early = await judge(live.observation, o);
    if (early !== undefined) return result(early);
  }
  if (held.desired === undefined) return result('reconcile');

  const { type, name, merged, forced, desired: json, proof: accepted } = held;
  const target: Target = { client: o.client, proofs, type, name, json, merged, forced, accepted, signal };
  const { epoch } = proofs;
  const applied = await put(target, extrasOnly(held, live));
  if (applied === undefined) return result('waiting');

  proofs.put({ ...held, proof: proofOf(applied.observation, merged) }, epoch);
  if (applied.object.metadata.resourceVersion === live?.observation.resourceVersion) return result('none');
  const overturned = proofsOverturnedBy(applied.object);
  if (overturned !== undefined) proofs.fall(overturned.group);
  return result(
    live === undefined ? 'created' : 'configured',
    losers(live?.metadata?.managedFields, applied),
  );
}

/** The watch's word, or the API server's when the watch doesn't know it: deleted, or only its owner label. */
async function look(o: HealOptions): Promise<Live | undefined> {
  if (o.seen !== undefined) return { observation: o.seen, metadata: o.metadata };
  const object = await o.client.get(o.held.type, o.held.name, { signal: o.signal });
  if (object === undefined) return undefined;
  return { observation: o.proofs.observe(object), metadata: object.metadata };
}

/** What needs no apply; `undefined` when one has to decide. */
async function judge(
  observation: Observation,
  { held, proofs, seen, isOwnedBy }: HealOptions,
): Promise<HealResult['action'] | undefined> {
  if (observation.leftAlone) return 'none';
  // Watched, its end will be an event; unwatched (without its label) nobody tells us.
  if (observation.deleting) return seen === undefined ? 'waiting' : 'none';
  if (held.proof !== undefined && agrees(held.proof, observation)) return 'none';
  const { owner } = observation;
  if (owner !== undefined && !sameOwner(owner, held.owner) && (await isOwnedBy(owner, held.id))) {
    proofs.forget(held.owner, held.id);
    return 'transferred';
  }
  return undefined;
}

/** When our own fields stand, an apply would change nothing: what was added has to be taken over first. */
function extrasOnly(held: Held, live: Live | undefined): Pick<StoredObject, 'metadata'> | undefined {
  if (live?.metadata === undefined || held.proof === undefined) return undefined;
  if (live.metadata.resourceVersion !== live.observation.resourceVersion) return undefined;
  return sameFields(held.proof, live.observation) ? { metadata: live.metadata } : undefined;
}

/** `undefined` when the namespace has to end or begin first. */
async function put(
  target: Target,
  takeOverFrom: Pick<StoredObject, 'metadata'> | undefined,
): Promise<Applied | undefined> {
  try {
    return await applyAndTakeOver(target, takeOverFrom);
  } catch (error) {
    if (isWaitingForNamespace(error)) return undefined;
    const inTheWay = await replaceable(target, error);
    if (inTheWay !== undefined) return recreate(target, inTheWay);
    throw applyFailed({ kind: target.type.kind, metadata: target.name }, 'apply', error);
  }
}

/** Who held fields before that are ours alone after: those that changed them. */
function losers(before: readonly ManagedFieldsEntry[] | undefined, { object, absorbed }: Applied): string[] {
  const after = object.metadata.managedFields ?? [];
  const ours = after.filter(isOurs);
  const stillHolds = (entry: ManagedFieldsEntry) =>
    after.some(
      ({ manager, operation, subresource, fieldsV1 }) =>
        manager === entry.manager &&
        operation === entry.operation &&
        subresource === entry.subresource &&
        ours.some((own) => fieldSetsOverlap(own.fieldsV1 ?? {}, fieldsV1 ?? {})),
    );
  const lost = (before ?? []).filter(
    (entry) =>
      !isOurs(entry) &&
      ours.some((own) => fieldSetsOverlap(own.fieldsV1 ?? {}, entry.fieldsV1 ?? {})) &&
      !stillHolds(entry),
  );
  return [...new Set([...lost, ...absorbed].map(({ manager }) => manager ?? 'unknown'))];
}
