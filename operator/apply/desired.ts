/** From a built manifest to what is sent to the API server. */

import {
  OBSOLETE_ANNOTATIONS,
  OBSOLETE_LABELS,
  OWNER_NAME_LABEL,
  OWNER_NAMESPACE_LABEL,
} from '../api/names.ts';
import type { KubeObject, ObjectMeta } from '../api/objects.ts';
import { describeObject, type ResourceType, SECRET } from '../api/resources.ts';
import { ApplyError } from './apply-error.ts';
import { isCreatedOnce, isForced, isLeftAlone, isMerged, type Owner } from './controls.ts';
import { type InventoryEntry, type ObjectId, parseId } from './inventory.ts';
import type { Held, ProofBook } from './proof-book.ts';

/** A manifest with its place in the inventory; its kind may not be served yet. */
export interface Manifest {
  readonly object: KubeObject;
  readonly entry: InventoryEntry;
  readonly id: ObjectId;
}

/** A manifest ready to be sent. */
export interface Desired extends Omit<Held, 'proof' | 'desired'> {
  readonly object: KubeObject;
  readonly entry: InventoryEntry;
  /** The body of the apply: the object with the owner labels, exact in every number. */
  readonly json: string;
  readonly createdOnce: boolean;
  readonly leftAlone: boolean;
}

/** A manifest with its inventory entry. Throws InventoryError for a name that an inventory can't carry. */
export function manifestOf(object: KubeObject, entry: InventoryEntry): Manifest {
  return { object, entry, id: parseId(entry.id) };
}

/** `metadata` as it is applied: with the owner labels, without leftovers of other tools and what only a server may write. */
function appliedMetadata(metadata: ObjectMeta, owner: Owner, type: ResourceType): ObjectMeta {
  const {
    uid: _uid,
    resourceVersion: _resourceVersion,
    managedFields: _managedFields,
    namespace,
    labels,
    annotations,
    ...rest
  } = metadata;
  const kept = without(annotations, OBSOLETE_ANNOTATIONS);
  return {
    ...rest,
    ...(type.namespaced && namespace !== undefined ? { namespace } : {}),
    labels: {
      ...without(labels, OBSOLETE_LABELS),
      [OWNER_NAME_LABEL]: owner.name,
      [OWNER_NAMESPACE_LABEL]: owner.namespace,
    },
    ...(Object.keys(kept).length === 0 ? {} : { annotations: kept }),
  };
}

function without(map: Record<string, string> | undefined, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(map ?? {}).filter(([name]) => !names.includes(name)));
}

/** Throws ApplyError when a namespaced object has no namespace: nothing is defaulted, as in Flux. */
export function desiredOf(
  manifest: Manifest,
  o: { owner: Owner; type: ResourceType; force: boolean; proofs: ProofBook },
): Desired {
  const { object, entry } = manifest;
  const { name = '', namespace } = object.metadata;
  if (o.type.namespaced && (namespace === undefined || namespace === '')) {
    throw new ApplyError(
      `${describeObject(object)} namespace not specified: set metadata.namespace in the manifest, or spec.targetNamespace`,
    );
  }
  const json = JSON.stringify({ ...object, metadata: appliedMetadata(object.metadata, o.owner, o.type) });
  return {
    owner: o.owner,
    id: entry.id,
    type: o.type,
    name: o.type.namespaced && namespace !== undefined ? { namespace, name } : { name },
    object,
    entry,
    json,
    desiredDigest: o.proofs.digest(json),
    merged: isMerged(object.metadata),
    forced: o.force || isForced(object.metadata),
    createdOnce: isCreatedOnce(object.metadata),
    leftAlone: isLeftAlone(object.metadata),
  };
}

/** True for kind Secret of the core group: its plaintext is kept nowhere. */
export function isSecret(type: ResourceType): boolean {
  return type.group === SECRET.group && type.kind === SECRET.kind;
}

/** What the book keeps of a desired object. */
export function heldOf(desired: Desired, proof: Held['proof']): Held {
  const { owner, id, type, name, desiredDigest, merged, forced } = desired;
  const json = isSecret(type) ? undefined : desired.json;
  return { owner, id, type, name, desired: json, desiredDigest, merged, forced, proof };
}
