/** How a kind is named and addressed, and the kinds that Signet knows by heart. */

import type { KubeObject } from './objects.ts';

/** Group, version and kind. The core group is the empty string. */
export interface GroupVersionKind {
  group: string;
  version: string;
  kind: string;
}

/** A kind with its place in the API: what discovery (REST mapping) answers. */
export interface ResourceType extends GroupVersionKind {
  /** The plural, lower-case name in URLs, e.g. `deployments`. */
  plural: string;
  namespaced: boolean;
}

/** The name of one object. `namespace` is absent for cluster-scoped kinds. */
export interface NamespacedName {
  namespace?: string;
  name: string;
}

/** Flux's source kind, served by the source room's controller. */
export const GIT_REPOSITORY: ResourceType = {
  group: 'source.toolkit.fluxcd.io',
  version: 'v1',
  kind: 'GitRepository',
  plural: 'gitrepositories',
  namespaced: true,
};

/** Flux's applying kind (not kustomize's own `kustomize.config.k8s.io` file kind). */
export const KUSTOMIZATION: ResourceType = {
  group: 'kustomize.toolkit.fluxcd.io',
  version: 'v1',
  kind: 'Kustomization',
  plural: 'kustomizations',
  namespaced: true,
};

/** Sealed Secrets' kind. */
export const SEALED_SECRET: ResourceType = {
  group: 'bitnami.com',
  version: 'v1alpha1',
  kind: 'SealedSecret',
  plural: 'sealedsecrets',
  namespaced: true,
};

/** What SealedSecrets become, and what sealing keys and credentials are kept in. */
export const SECRET: ResourceType = {
  group: '',
  version: 'v1',
  kind: 'Secret',
  plural: 'secrets',
  namespaced: true,
};

/** Core events: `kubectl describe` and `flux events` read these, not those of `events.k8s.io`. */
export const EVENT: ResourceType = {
  group: '',
  version: 'v1',
  kind: 'Event',
  plural: 'events',
  namespaced: true,
};

/** Watched because a changed definition can change what an object means. */
export const CUSTOM_RESOURCE_DEFINITION: ResourceType = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
  namespaced: false,
};

/** `v1` or `apps/v1`. */
export function apiVersionOf(gv: { group: string; version: string }): string {
  return gv.group === '' ? gv.version : `${gv.group}/${gv.version}`;
}

/** Splits an object's `apiVersion` and `kind`. Total: a malformed apiVersion ends up in `version`. */
export function gvkOf(object: { apiVersion: string; kind: string }): GroupVersionKind {
  const slash = object.apiVersion.indexOf('/');
  return {
    group: slash < 0 ? '' : object.apiVersion.slice(0, slash),
    version: object.apiVersion.slice(slash + 1),
    kind: object.kind,
  };
}

/** `namespace/name`, or `name` for a cluster-scoped object: the key of stores and queues. */
export function keyOf(name: NamespacedName): string {
  return name.namespace === undefined || name.namespace === '' ? name.name : `${name.namespace}/${name.name}`;
}

/** The key of an object: see {@link keyOf}. */
export function objectKey(object: { metadata: { namespace?: string; name?: string } }): string {
  const { namespace, name = '' } = object.metadata;
  return namespace === undefined ? name : keyOf({ namespace, name });
}

/** Undoes {@link keyOf}. */
export function parseKey(key: string): NamespacedName {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** How messages and events name an object, as Flux does: `Kind/namespace/name`, `Kind/name` when cluster-scoped. */
export function describeObject(object: Pick<KubeObject, 'kind' | 'metadata'>): string {
  return `${object.kind}/${objectKey(object)}`;
}
