/** How a controller's passes reach the API server: the status writer of the kube room, as its kind wants it. */

import type { CustomResource } from '../api/objects.ts';
import type { ResourceType } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { isConflict, isNotFound } from '../kube/errors.ts';
import { patchStatus, putStatus, statusDifference } from '../kube/status.ts';
import type { StatusPort } from './pass.ts';

/**
 * `merge-patch`: the difference, as Flux's kinds; `put`: the whole, as SealedSecret (its RBAC has no patch);
 * `none`: status isn't written.
 */
export type StatusWrite = 'merge-patch' | 'put' | 'none';

/**
 * The limit of one status write. It isn't bound to the pass's signal: what a pass found out before its timeout
 * or the shutdown is to be written all the same.
 */
const WRITE_LIMIT_MS = 10_000;

/** A port for passes over one kind. `onWritten` sees each object that a write or read answered. */
export function statusPort<Spec, Status extends object>(o: {
  client: KubeClient;
  type: ResourceType;
  fieldManager: string;
  statusWrite: StatusWrite;
  onWritten: (object: CustomResource<Spec, Status>) => void;
  /** Hears of each write that failed, conflicts and objects that are gone apart. */
  onStatusFailed?: ((object: CustomResource<Spec, Status>) => void) | undefined;
}): StatusPort<Spec, Status> {
  const { client, type, fieldManager } = o;
  const seen = (object: unknown): CustomResource<Spec, Status> | undefined => {
    if (object === undefined) return undefined;
    const answered = object as CustomResource<Spec, Status>;
    o.onWritten(answered);
    return answered;
  };
  const save: StatusPort<Spec, Status>['save'] = async (object, status) => {
    if (o.statusWrite === 'none') return undefined;
    const signal = AbortSignal.timeout(WRITE_LIMIT_MS);
    if (o.statusWrite === 'merge-patch') {
      return seen(await patchStatus<Status>(client, { type, object, status, fieldManager, signal }));
    }
    if (statusDifference(object.status ?? {}, status) === undefined) return undefined;
    return seen(
      await putStatus<Status>(client, {
        type,
        name: nameOf(object),
        known: object,
        // Another object under the same name: this status isn't about it.
        mutate: (current) => (current.metadata.uid === object.metadata.uid ? status : undefined),
        fieldManager,
        signal,
      }),
    );
  };
  return {
    save: async (object, status) => {
      try {
        return await save(object, status);
      } catch (error) {
        if (!isConflict(error) && !isNotFound(error)) o.onStatusFailed?.(object);
        throw error;
      }
    },
    read: async (object) => {
      const signal = AbortSignal.timeout(WRITE_LIMIT_MS);
      return seen(await client.get(type, nameOf(object), { signal }));
    },
  };
}

function nameOf(object: CustomResource<unknown, unknown>): { name: string; namespace?: string } {
  const { name, namespace } = object.metadata;
  return namespace === undefined ? { name } : { name, namespace };
}
