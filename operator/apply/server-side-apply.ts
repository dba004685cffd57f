/** One object to the API server: server-side apply, take-over of what kubectl wrote, recreation over immutable fields. */

import { setTimeout as delay } from 'node:timers/promises';
import { APPLY_FIELD_MANAGER, OBSOLETE_ANNOTATIONS, OBSOLETE_LABELS } from '../api/names.ts';
import type { Json, JsonObject, ManagedFieldsEntry, StoredObject } from '../api/objects.ts';
import type { NamespacedName, ResourceType } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { isAlreadyExists, isConflict, isInvalid, isNotFound } from '../kube/errors.ts';
import { collectionPath, objectPath } from '../kube/paths.ts';
import { ApplyError } from './apply-error.ts';
import { subjectOf } from './change-set.ts';
import { isForced } from './controls.ts';
import { unionFieldSets } from './field-set.ts';
import {
  acceptedAtFirst,
  isAbsorbable,
  isOurs,
  needsTakeOver,
  type Observation,
  type Proof,
} from './proof.ts';
import type { ProofBook } from './proof-book.ts';

/** What to write, and by whose right. */
export interface Target {
  readonly client: KubeClient;
  readonly proofs: ProofBook;
  readonly type: ResourceType;
  readonly name: NamespacedName;
  readonly json: string;
  readonly merged: boolean;
  readonly forced: boolean;
  /** Of the last proof, when there was one. */
  readonly accepted?: Proof | undefined;
  readonly signal: AbortSignal;
}

/** The answer to an apply, and what it shows. */
export interface Applied {
  readonly object: StoredObject;
  readonly observation: Observation;
  /** Managed fields as they stood before a take-over, if there was one. */
  readonly absorbed: readonly ManagedFieldsEntry[];
}

/** Somebody may write again between our steps; giving up leaves the rest to the next event. */
const MAX_TAKE_OVERS = 3;
const GONE_POLL_MS = 50;
const GONE_WITHIN_MS = 60_000;

/**
 * Server-side apply with force, of JSON text as it is. A dry-run's answer for an object that doesn't exist has no
 * resourceVersion. Throws what the client throws.
 */
export function applyJson(o: Target, dryRun = false): Promise<StoredObject> {
  return o.client.request<StoredObject>({
    method: 'PATCH',
    path: objectPath(o.type, o.name),
    query: { fieldManager: APPLY_FIELD_MANAGER, force: 'true', dryRun: dryRun ? 'All' : undefined },
    contentType: 'application/apply-patch+yaml',
    body: o.json,
    signal: o.signal,
  });
}

/**
 * Applies, and while the answer shows fields or leftovers that give way to Git, takes them over and applies again
 * (which removes what Git doesn't name). `live`: what is known to need a take-over first, which saves an apply.
 */
export async function applyAndTakeOver(o: Target, live?: Pick<StoredObject, 'metadata'>): Promise<Applied> {
  const absorbed: ManagedFieldsEntry[] = [];
  let next = live;
  for (let takeOvers = 0; ; takeOvers += 1) {
    if (next !== undefined) {
      absorbed.push(...(next.metadata.managedFields ?? []).filter(isAbsorbable));
      await takeOver(o, next);
    }
    const object = await applyJson(o);
    const observation = o.proofs.observe(object);
    const accepted = o.accepted ?? acceptedAtFirst(o.merged);
    const done = observation.leftAlone || observation.deleting || !needsTakeOver(observation, accepted);
    if (done || takeOvers >= MAX_TAKE_OVERS) return { object, observation, absorbed };
    next = object;
  }
}

/**
 * Turns the absorbable managers' entries into ours and removes obsolete annotations and labels, provided that the
 * object hasn't changed since; if it has, or is gone, nothing is done: the apply that follows shows how it stands.
 */
async function takeOver(o: Target, live: Pick<StoredObject, 'metadata'>): Promise<void> {
  try {
    await o.client.patch(o.type, o.name, takeOverPatch(live), {
      as: 'json',
      fieldManager: APPLY_FIELD_MANAGER,
      signal: o.signal,
    });
  } catch (error) {
    if (!isConflict(error) && !isNotFound(error)) throw error;
  }
}

/** Exported for its test. Setting the resourceVersion makes it a precondition: a change in between is a conflict. */
export function takeOverPatch(live: Pick<StoredObject, 'metadata'>): JsonObject[] {
  const { metadata } = live;
  const patch: JsonObject[] = [
    { op: 'replace', path: '/metadata/resourceVersion', value: metadata.resourceVersion },
    {
      op: 'replace',
      path: '/metadata/managedFields',
      value: absorb(metadata.managedFields ?? []) as unknown as Json,
    },
  ];
  for (const name of OBSOLETE_ANNOTATIONS) {
    if (metadata.annotations?.[name] !== undefined) {
      patch.push({ op: 'remove', path: `/metadata/annotations/${pointerToken(name)}` });
    }
  }
  for (const name of OBSOLETE_LABELS) {
    if (metadata.labels?.[name] !== undefined) {
      patch.push({ op: 'remove', path: `/metadata/labels/${pointerToken(name)}` });
    }
  }
  return patch;
}

function pointerToken(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

/** One entry of ours with the fields of all that give way, under the version of ours where there is one. */
function absorb(entries: readonly ManagedFieldsEntry[]): ManagedFieldsEntry[] {
  const yielding = entries.filter((entry) => isOurs(entry) || isAbsorbable(entry));
  const model = yielding.find(isOurs) ?? yielding[0];
  if (model === undefined) return [...entries];
  const { subresource: _subresource, ...kept } = model;
  const ours: ManagedFieldsEntry = {
    ...kept,
    manager: APPLY_FIELD_MANAGER,
    operation: 'Apply',
    fieldsV1: yielding.reduce<JsonObject>((all, { fieldsV1 }) => unionFieldSets(all, fieldsV1 ?? {}), {}),
  };
  return [ours, ...entries.filter((entry) => !yielding.includes(entry))];
}

/**
 * The live object to delete so that the desired one can be created: when an apply was refused as invalid, force
 * is asked for by Git or by the live object, and the desired object would be accepted under a free name. That last
 * question is put to the API server (a dry-run create gets as far as "already exists"), so a plain validation error
 * never deletes anything.
 */
export async function replaceable(o: Target, error: unknown): Promise<StoredObject | undefined> {
  if (!isInvalid(error)) return undefined;
  const live = await o.client.get(o.type, o.name, { signal: o.signal });
  if (live === undefined || !(o.forced || isForced(live.metadata))) return undefined;
  try {
    await o.client.request({
      method: 'POST',
      path: collectionPath(o.type, o.name.namespace),
      query: { dryRun: 'All', fieldManager: APPLY_FIELD_MANAGER },
      body: o.json,
      signal: o.signal,
    });
  } catch (refusal) {
    return isAlreadyExists(refusal) ? live : undefined;
  }
  return live;
}

/** Deletes the object and waits until it is gone, then applies. Throws ApplyError when finalizers hold it for a minute. */
export async function recreate(o: Target, live: StoredObject): Promise<Applied> {
  const { uid } = live.metadata;
  await o.client.delete(o.type, o.name, { uid, propagationPolicy: 'Background', signal: o.signal });
  const deadlineMs = performance.now() + GONE_WITHIN_MS;
  for (;;) {
    const left = await o.client.get(o.type, o.name, { signal: o.signal });
    if (left?.metadata.uid !== uid) return applyAndTakeOver(o);
    if (performance.now() > deadlineMs) {
      const subject = subjectOf({ kind: o.type.kind, ...o.name });
      throw new ApplyError(`${subject} is not gone a minute after its deletion: see its finalizers`);
    }
    await delay(GONE_POLL_MS, undefined, { signal: o.signal });
  }
}
