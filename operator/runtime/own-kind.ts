/** The informer of a kind of ours: whole objects, shared by everyone who asks for the same. */

import type { CustomResource } from '../api/objects.ts';
import type { ResourceType } from '../api/resources.ts';
import type { InformerSpec } from '../kube/informers.ts';

/** Index functions by name: see {@link ownKind}. */
export type Indexes<Spec, Status> = Record<string, (object: CustomResource<Spec, Status>) => string[]>;

/**
 * What to acquire for a custom resource of ours. Objects are kept whole and frozen: they are shared by every
 * reader, and one that changes a cached object fails there and then. Same type, namespace and index names: same
 * informer, so the functions behind an index name must be the same too.
 */
export function ownKind<Spec, Status>(o: {
  type: ResourceType;
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  indexes?: Indexes<Spec, Status> | undefined;
}): InformerSpec<CustomResource<Spec, Status>> {
  const names = Object.keys(o.indexes ?? {}).sort();
  return {
    type: o.type,
    ...(o.namespace === undefined ? {} : { namespace: o.namespace }),
    ...(o.labelSelector === undefined ? {} : { labelSelector: o.labelSelector }),
    keep: (object) => deepFreeze(object) as CustomResource<Spec, Status>,
    variant: ['whole', ...names].join('+'),
    ...(o.indexes === undefined ? {} : { indexes: o.indexes }),
  };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}
