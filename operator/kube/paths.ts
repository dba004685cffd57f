/** Where objects live in the API server's URL space. */

import type { NamespacedName, ResourceType } from '../api/resources.ts';

/** The folder of a group version: `/api/v1`, `/apis/apps/v1`. */
export function groupVersionPath(gv: { group: string; version: string }): string {
  return gv.group === '' ? `/api/${gv.version}` : `/apis/${gv.group}/${gv.version}`;
}

/** The collection of a kind, in one namespace or (cluster-scoped kinds, or none given) in all. */
export function collectionPath(type: ResourceType, namespace: string | undefined): string {
  const scope =
    type.namespaced && namespace !== undefined && namespace !== ''
      ? `/namespaces/${encodeURIComponent(namespace)}`
      : '';
  return `${groupVersionPath(type)}${scope}/${type.plural}`;
}

/** One object. Throws when a namespaced kind comes without its namespace, or the name is empty: another URL would answer. */
export function objectPath(type: ResourceType, name: NamespacedName, subresource?: string): string {
  if (name.name === '') throw new Error(`${type.kind}: metadata.name is missing`);
  if (type.namespaced && (name.namespace === undefined || name.namespace === '')) {
    throw new Error(`${type.kind}/${name.name}: metadata.namespace is missing`);
  }
  const tail = subresource === undefined ? '' : `/${subresource}`;
  return `${collectionPath(type, name.namespace)}/${encodeURIComponent(name.name)}${tail}`;
}
