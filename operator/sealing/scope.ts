/** Sealing scopes: which names an encrypted item is bound to (Sealed Secrets' `SecretScope` and `EncryptionLabel`). */

import { CLUSTER_WIDE_ANNOTATION, NAMESPACE_WIDE_ANNOTATION } from '../api/names.ts';
import type { ObjectMeta } from '../api/objects.ts';

/** How far an item may move: nowhere, to another name in its namespace, or anywhere. */
export type Scope = 'strict' | 'namespace-wide' | 'cluster-wide';

/** What of an object's metadata decides its scope and label. */
export type ScopedMeta = Pick<ObjectMeta, 'name' | 'namespace' | 'annotations'>;

/**
 * The scope that a SealedSecret's own annotations ask for (never the template's). Only the exact string
 * `true` counts, and cluster-wide wins when both are set.
 */
export function scopeOf(metadata: ScopedMeta): Scope {
  const annotations = metadata.annotations ?? {};
  if (annotations[CLUSTER_WIDE_ANNOTATION] === 'true') return 'cluster-wide';
  if (annotations[NAMESPACE_WIDE_ANNOTATION] === 'true') return 'namespace-wide';
  return 'strict';
}

/** The OAEP label of the object's scope: `namespace/name`, `namespace`, or nothing. */
export function labelOf(metadata: ScopedMeta): Buffer {
  const { namespace = '', name = '' } = metadata;
  switch (scopeOf(metadata)) {
    case 'cluster-wide':
      return Buffer.alloc(0);
    case 'namespace-wide':
      return Buffer.from(namespace);
    case 'strict':
      return Buffer.from(`${namespace}/${name}`);
  }
}
