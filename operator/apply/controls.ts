/** The per-object controls of `kustomize.toolkit.fluxcd.io/…`, given as label or annotation (issue #5). */

import { KUSTOMIZE_CONTROL_PREFIX, OWNER_NAME_LABEL, OWNER_NAMESPACE_LABEL } from '../api/names.ts';
import type { ObjectMeta } from '../api/objects.ts';

/** The Kustomization that an object belongs to: its two labels go on every object. */
export interface Owner {
  name: string;
  namespace: string;
}

/** A control's value in lower case, the annotation before the label; `undefined` when neither is there. */
function controlOf(metadata: ObjectMeta, control: string): string | undefined {
  const key = `${KUSTOMIZE_CONTROL_PREFIX}/${control}`;
  return (metadata.annotations?.[key] ?? metadata.labels?.[key])?.toLowerCase();
}

/** `reconcile: disabled` or `ssa: Ignore`: neither applied nor healed nor pruned. Holds on the desired or the live object. */
export function isLeftAlone(metadata: ObjectMeta): boolean {
  return controlOf(metadata, 'reconcile') === 'disabled' || controlOf(metadata, 'ssa') === 'ignore';
}

/** `ssa: Merge`: fields that kubectl added stay. Holds on the desired or the live object. */
export function isMerged(metadata: ObjectMeta): boolean {
  return controlOf(metadata, 'ssa') === 'merge';
}

/** `ssa: IfNotPresent`: created once, then left alone. Counts on the desired object only. */
export function isCreatedOnce(metadata: ObjectMeta): boolean {
  return controlOf(metadata, 'ssa') === 'ifnotpresent';
}

/** `force: Enabled`: recreated when an immutable field changes. Holds on the desired or the live object. */
export function isForced(metadata: ObjectMeta): boolean {
  return controlOf(metadata, 'force') === 'enabled';
}

/** True when the live object must not be pruned: `prune: disabled`, or left alone altogether. */
export function isKeptFromPrune(metadata: ObjectMeta): boolean {
  return controlOf(metadata, 'prune') === 'disabled' || isLeftAlone(metadata);
}

/** Whose labels an object carries; `undefined` unless both are there. */
export function ownerOf(metadata: ObjectMeta): Owner | undefined {
  const name = metadata.labels?.[OWNER_NAME_LABEL];
  const namespace = metadata.labels?.[OWNER_NAMESPACE_LABEL];
  return name === undefined || namespace === undefined ? undefined : { name, namespace };
}

/** The owner's key in maps and queues: `namespace/name`. */
export function ownerKey(owner: Owner): string {
  return `${owner.namespace}/${owner.name}`;
}

/** True when both name the same Kustomization. */
export function sameOwner(a: Owner | undefined, b: Owner | undefined): boolean {
  return a?.name === b?.name && a?.namespace === b?.namespace;
}
