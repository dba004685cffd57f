/** Metadata of an unsealed Secret: the template's, with the names and the owner that it must have. */

import { SKIP_SET_OWNER_ANNOTATION } from '../api/names.ts';
import type { JsonObject, ObjectMeta, OwnerReference } from '../api/objects.ts';
import { apiVersionOf, SEALED_SECRET } from '../api/resources.ts';
import type { SealedSecret } from '../api/sealed-secret.gen.ts';
import { UnsealError } from './unseal-error.ts';

/**
 * Labels, annotations and finalizers of `source` (the template's metadata, or that of a Secret sealed as a whole); name
 * and namespace of the SealedSecret; the SealedSecret as controlling owner unless the template is annotated to skip it,
 * and then the owners of `source`. Unlike upstream, other metadata (uid, resourceVersion, generateName …) is left out.
 * Throws {@link UnsealError} naming the field by `path`.
 */
export function secretMeta(sealedSecret: SealedSecret, source: JsonObject, path: string): ObjectMeta {
  const { name, namespace, uid } = sealedSecret.metadata;
  const labels = readStringMap(source, 'labels', path);
  const annotations = readStringMap(source, 'annotations', path);
  const finalizers = readList(source, 'finalizers', path) as string[] | undefined;
  const metadata: ObjectMeta = { name };
  if (namespace !== undefined) metadata.namespace = namespace;
  if (labels !== undefined) metadata.labels = labels;
  if (annotations !== undefined) metadata.annotations = annotations;
  if (finalizers !== undefined) metadata.finalizers = finalizers;
  if (skipsOwner(sealedSecret)) {
    const owners = readList(source, 'ownerReferences', path) as OwnerReference[] | undefined;
    if (owners !== undefined) metadata.ownerReferences = owners;
  } else {
    const { kind } = SEALED_SECRET;
    metadata.ownerReferences = [
      { apiVersion: apiVersionOf(SEALED_SECRET), kind, name, uid, controller: true },
    ];
  }
  return metadata;
}

/** Only the template's annotation counts, also for a Secret that is sealed as a whole. */
function skipsOwner({ spec }: SealedSecret): boolean {
  const annotations = readStringMap(spec.template?.metadata ?? {}, 'annotations', 'spec.template.metadata');
  return annotations?.[SKIP_SET_OWNER_ANNOTATION] === 'true';
}

/** The CRD leaves the template's metadata unchecked. A null value is read as empty, as Go reads it. */
function readStringMap(source: JsonObject, field: string, path: string): Record<string, string> | undefined {
  const value = source[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value))
    throw malformed(`${path}.${field}`, 'a map of strings');
  const entries = Object.entries(value).map(([key, text]): [string, string] => {
    if (text !== null && typeof text !== 'string') throw malformed(`${path}.${field}`, 'a map of strings');
    return [key, text ?? ''];
  });
  return Object.fromEntries(entries);
}

/** What is in the list is the API server's to check. */
function readList(source: JsonObject, field: string, path: string): unknown[] | undefined {
  const value = source[field];
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw malformed(`${path}.${field}`, 'a list');
  return value;
}

function malformed(field: string, wanted: string): UnsealError {
  return new UnsealError(`${field} must be ${wanted}`);
}
