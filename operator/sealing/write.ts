/** What to do with the Secret that is already there: Sealed Secrets' ownership rules as a pure decision. */

import { MANAGED_ANNOTATION, PATCH_ANNOTATION } from '../api/names.ts';
import type { KubeObject, StoredObject } from '../api/objects.ts';

const DEFAULT_TYPE = 'Opaque';
const IMMUTABLE_SUFFIX = 'field is immutable when `immutable` is set';

/** The decision: `update` carries the whole object for a PUT, with the live object's resourceVersion. */
export type WriteDecision =
  | { action: 'create'; secret: KubeObject }
  | { action: 'update'; secret: KubeObject }
  | { action: 'none' }
  | { action: 'refuse'; message: string };

/**
 * Decides, for the Secret as unsealed and as it is in the cluster now (sealed-secrets 0.40.0):
 *
 *   no such Secret                               create
 *   annotated `patch: "true"`                    merge data, labels, annotations; owner only if `managed` too
 *   controlled by the SealedSecret (by uid)      overwrite data, labels, annotations, owners, type
 *   annotated `managed: "true"`                  the same: it is taken over
 *   anything else                                refuse, with upstream's text (that of the event; the status
 *                                                has `failed update: ` before it)
 *
 * `immutable` and finalizers are left as they are. Where upstream sends an update that changes nothing, this
 * says `none`; where it makes a typed Secret's patch fail for want of a template type, the type is kept.
 * Decide again on the Secret that a create returned: one that asks for no owner and isn't annotated is
 * refused from then on, as upstream refuses it.
 */
export function decideWrite(o: {
  desired: KubeObject;
  existing: StoredObject | undefined;
  ownerUid: string;
}): WriteDecision {
  const { desired, existing } = o;
  if (existing === undefined) return { action: 'create', secret: desired };
  const patches = isAnnotated(existing, PATCH_ANNOTATION);
  if (!patches && !isControlledBy(existing, o.ownerUid) && !isAnnotated(existing, MANAGED_ANNOTATION)) {
    const name = JSON.stringify(existing.metadata.name);
    return {
      action: 'refuse',
      message: `Resource ${name} already exists and is not managed by SealedSecret`,
    };
  }
  const secret = patches ? merged(existing, desired) : overwritten(existing, desired);
  return sameSecret(existing, secret) ? { action: 'none' } : { action: 'update', secret };
}

/** Whether the Secret is somebody else's, who lets SealedSecrets add to it. */
export function isOnlyPatched(existing: StoredObject, ownerUid: string): boolean {
  return (
    isAnnotated(existing, PATCH_ANNOTATION) &&
    !isAnnotated(existing, MANAGED_ANNOTATION) &&
    !isControlledBy(existing, ownerUid)
  );
}

/**
 * The event text for a refused update: upstream's explanation when the Secret is immutable, else the API
 * server's own message. `key` is `namespace/name` of the SealedSecret.
 */
export function describeRefusedUpdate(key: string, apiMessage: string): string {
  if (!apiMessage.includes(IMMUTABLE_SUFFIX)) return apiMessage;
  return `Error updating ${key}: the target Secret is immutable. Once a Secret is marked as immutable, it is not possible to revert this change nor to mutate the contents of the data field. You can only delete and recreate the Secret.`;
}

function overwritten(existing: StoredObject, desired: KubeObject): KubeObject {
  const { labels, annotations, ownerReferences } = desired.metadata;
  return {
    ...existing,
    metadata: {
      ...existing.metadata,
      labels: labels ?? {},
      annotations: annotations ?? {},
      ownerReferences: ownerReferences ?? [],
    },
    data: desired.data ?? {},
    type: typeOf(desired),
  };
}

function merged(existing: StoredObject, desired: KubeObject): KubeObject {
  const annotations = { ...existing.metadata.annotations, ...desired.metadata.annotations };
  const secret: KubeObject = {
    ...existing,
    metadata: {
      ...existing.metadata,
      labels: { ...existing.metadata.labels, ...desired.metadata.labels },
      annotations,
    },
    data: { ...stringMap(existing.data), ...stringMap(desired.data) },
    type: desired.type ?? typeOf(existing),
  };
  if (isAnnotated(secret, MANAGED_ANNOTATION)) {
    secret.metadata.ownerReferences = desired.metadata.ownerReferences ?? [];
  }
  return secret;
}

function isAnnotated(object: KubeObject, annotation: string): boolean {
  return object.metadata.annotations?.[annotation] === 'true';
}

function isControlledBy(object: KubeObject, ownerUid: string): boolean {
  return object.metadata.ownerReferences?.find((owner) => owner.controller === true)?.uid === ownerUid;
}

function typeOf(secret: KubeObject): unknown {
  return secret.type === undefined || secret.type === '' ? DEFAULT_TYPE : secret.type;
}

/** Equal in all that a decision writes. */
function sameSecret(a: KubeObject, b: KubeObject): boolean {
  return (
    sameMap(stringMap(a.data), stringMap(b.data)) &&
    sameMap(a.metadata.labels, b.metadata.labels) &&
    sameMap(a.metadata.annotations, b.metadata.annotations) &&
    canonical(a.metadata.ownerReferences ?? []) === canonical(b.metadata.ownerReferences ?? []) &&
    typeOf(a) === typeOf(b)
  );
}

function sameMap(a: Record<string, string> = {}, b: Record<string, string> = {}): boolean {
  const entries = Object.entries(a);
  return (
    entries.length === Object.keys(b).length &&
    entries.every(([key, value]) => Object.hasOwn(b, key) && b[key] === value)
  );
}

/** Owner references are compared in order, their fields in any; one that says `false` equals one that says nothing. */
function canonical(owners: ReadonlyArray<object>): string {
  return JSON.stringify(
    owners.map((owner) =>
      Object.entries(owner)
        .filter(([, value]) => value !== false)
        .toSorted(),
    ),
  );
}

function stringMap(value: unknown): Record<string, string> {
  return (value ?? {}) as Record<string, string>;
}
