/** The one writer of finalizers: adds and removes its own, whatever others do to the list meanwhile. */

import type { JsonObject, StoredObject } from '../api/objects.ts';
import { describeObject, type NamespacedName, type ResourceType } from '../api/resources.ts';
import type { KubeClient } from './client.ts';
import { ApiError, isConflict, isInvalid, isNotFound } from './errors.ts';

const MAX_CONFLICTS = 5;

/**
 * Adds `finalizer`, keeping all others. Answers the object as it then is (`object` itself when it has it already).
 * Throws what the client throws: 404 when the object is gone, 422 when it is being deleted already.
 */
export async function addFinalizer(
  client: KubeClient,
  type: ResourceType,
  object: StoredObject,
  finalizer: string,
  signal?: AbortSignal,
): Promise<StoredObject> {
  return edit(client, { type, object, signal }, (finalizers) =>
    finalizers.includes(finalizer) ? undefined : [...finalizers, finalizer],
  );
}

/**
 * Removes `finalizer`, keeping all others. Answers the object as it then is; `undefined` when it is gone, which the
 * removal of the last finalizer of a deleted object brings about.
 */
export async function removeFinalizer(
  client: KubeClient,
  type: ResourceType,
  object: StoredObject,
  finalizer: string,
  signal?: AbortSignal,
): Promise<StoredObject | undefined> {
  try {
    return await edit(client, { type, object, signal }, (finalizers) =>
      finalizers.includes(finalizer) ? finalizers.filter((other) => other !== finalizer) : undefined,
    );
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/**
 * Writes what `change` makes of the list, or nothing when it answers `undefined`. The patch tests what it was computed
 * from (422 or 409 otherwise), then the object is read again. Throws 404 when the object is gone.
 */
async function edit(
  client: KubeClient,
  target: { type: ResourceType; object: StoredObject; signal: AbortSignal | undefined },
  change: (finalizers: readonly string[]) => string[] | undefined,
): Promise<StoredObject> {
  const { type, signal } = target;
  let { object } = target;
  for (let conflicts = 0; ; conflicts += 1) {
    const finalizers = change(object.metadata.finalizers ?? []);
    if (finalizers === undefined) return object;
    try {
      return await client.patch(type, nameOf(object), patchOf(object, finalizers), { as: 'json', signal });
    } catch (error) {
      if (!(isConflict(error) || isInvalid(error)) || conflicts === MAX_CONFLICTS) throw error;
      const current = await readAgain(client, { type, object, signal });
      // Refused although nothing moved: the refusal wasn't about the test.
      if (current.metadata.resourceVersion === object.metadata.resourceVersion) throw error;
      object = current;
    }
  }
}

async function readAgain(
  client: KubeClient,
  o: { type: ResourceType; object: StoredObject; signal: AbortSignal | undefined },
): Promise<StoredObject> {
  const current = await client.get(o.type, nameOf(o.object), { signal: o.signal });
  if (current !== undefined && current.metadata.uid === o.object.metadata.uid) return current;
  throw new ApiError({ status: 404, reason: 'NotFound', message: `${describeObject(o.object)} is gone` });
}

function nameOf(object: StoredObject): NamespacedName {
  const { name, namespace } = object.metadata;
  return namespace === undefined ? { name } : { name, namespace };
}

/** An absent list can't be tested, so its absence is vouched for by the resourceVersion. */
function patchOf(object: StoredObject, finalizers: string[]): JsonObject[] {
  const { uid, resourceVersion, finalizers: asRead } = object.metadata;
  const path = '/metadata/finalizers';
  return [
    { op: 'test', path: '/metadata/uid', value: uid },
    asRead === undefined
      ? { op: 'test', path: '/metadata/resourceVersion', value: resourceVersion }
      : { op: 'test', path, value: asRead },
    { op: 'add', path, value: finalizers },
  ];
}
