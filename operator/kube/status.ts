/** The one writer of status: as little as possible, never over somebody else's change. */

import { isDeepStrictEqual } from 'node:util';
import type { CustomResource, JsonObject, StoredObject } from '../api/objects.ts';
import type { NamespacedName, ResourceType } from '../api/resources.ts';
import type { KubeClient } from './client.ts';
import { isConflict, isNotFound } from './errors.ts';

const TIMES = new Set(['lastTransitionTime', 'lastUpdateTime']);
const MAX_CONFLICTS = 5;

/**
 * Writes the difference between `object.status` (as read) and `status` as one JSON merge patch: explicit nulls for what
 * goes, `object`'s resourceVersion as precondition, so a conflict (409, thrown) means that `object` was outdated.
 * (Server-side apply would leave a predecessor's fields standing: another manager owns them.)
 * Answers the object as written, or `undefined` when nothing but times of conditions differs and nothing was sent.
 */
export async function patchStatus<S extends object>(
  client: KubeClient,
  o: {
    type: ResourceType;
    object: CustomResource<unknown, S>;
    status: S;
    fieldManager: string;
    signal?: AbortSignal;
  },
): Promise<CustomResource<unknown, S> | undefined> {
  const { type, object, status, fieldManager, signal } = o;
  const difference = statusDifference(object.status ?? {}, status);
  if (difference === undefined) return undefined;
  const { resourceVersion } = object.metadata;
  const patch = { metadata: { resourceVersion }, status: difference };
  return client.patch(type, nameOf(object), patch, {
    as: 'merge',
    subresource: 'status',
    fieldManager,
    signal,
  });
}

/**
 * Replaces the status: reads the object, asks `mutate` for its new status (`undefined`: leave it), and PUTs; on a
 * conflict it begins anew, a few times. Answers the object as written; `undefined` when there was nothing to write or
 * the object is gone. `mutate` may run more than once and must not change what it is given.
 */
export async function putStatus<S extends object>(
  client: KubeClient,
  o: {
    type: ResourceType;
    name: NamespacedName;
    mutate: (current: CustomResource<unknown, S>) => S | undefined;
    /** The object as the caller has it: spares the first read. If it is an old one, the conflict says so. */
    known?: CustomResource<unknown, S>;
    fieldManager: string;
    signal?: AbortSignal;
  },
): Promise<CustomResource<unknown, S> | undefined> {
  const { type, name, mutate, fieldManager, signal } = o;
  let { known } = o;
  for (let conflicts = 0; ; conflicts += 1) {
    const current = known ?? (await client.get<CustomResource<unknown, S>>(type, name, { signal }));
    known = undefined;
    if (current === undefined) return undefined;
    const status = mutate(current);
    if (status === undefined || statusDifference(current.status ?? {}, status) === undefined)
      return undefined;
    try {
      const options = { subresource: 'status', fieldManager, signal };
      return await client.replace(type, { ...current, status }, options);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      if (!isConflict(error) || conflicts === MAX_CONFLICTS) throw error;
    }
  }
}

/**
 * The merge patch (RFC 7396) from one status to the next; `undefined` when they are equal apart from the times of
 * conditions. Conditions that say the same keep their old times. A null in `next` means absent.
 */
export function statusDifference(previous: object, next: object): JsonObject | undefined {
  const before = previous as JsonObject;
  const after = next as JsonObject;
  const patch = mergePatch(before, after);
  if (isDeepStrictEqual(withoutTimes(before.conditions), withoutTimes(after.conditions)))
    delete patch.conditions;
  return Object.keys(patch).length === 0 ? undefined : patch;
}

function mergePatch(before: JsonObject, after: JsonObject): JsonObject {
  const patch: JsonObject = {};
  for (const key of Object.keys(before)) {
    if (after[key] === undefined || after[key] === null) patch[key] = null;
  }
  for (const [key, value] of Object.entries(after)) {
    const old = before[key];
    if (value === undefined || value === null || isDeepStrictEqual(old, value)) continue;
    if (!isObject(value) || !isObject(old)) {
      patch[key] = value;
      continue;
    }
    const inner = mergePatch(old, value);
    if (Object.keys(inner).length > 0) patch[key] = inner;
  }
  return patch;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function withoutTimes(conditions: unknown): unknown {
  if (!Array.isArray(conditions)) return conditions;
  return conditions.map((condition: unknown) =>
    isObject(condition)
      ? Object.fromEntries(
          Object.entries(condition).filter(([key, value]) => value !== undefined && !TIMES.has(key)),
        )
      : condition,
  );
}

function nameOf(object: StoredObject<object>): NamespacedName {
  const { name, namespace } = object.metadata;
  return namespace === undefined ? { name } : { name, namespace };
}
