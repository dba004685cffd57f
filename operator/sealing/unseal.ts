/** From a SealedSecret to the Secret that it stands for. All or nothing. */

import { SKIP_SET_OWNER_ANNOTATION } from '../api/names.ts';
import type { JsonObject, KubeObject, ObjectMeta, OwnerReference } from '../api/objects.ts';
import { apiVersionOf, SEALED_SECRET } from '../api/resources.ts';
import type { SealedSecret, SealedSecretSpec } from '../api/sealed-secret.gen.ts';
import { decodeBase64 } from './base64.ts';
import { decrypt, type Opened, type OpeningKey } from './hybrid.ts';
import { labelOf, type ScopedMeta } from './scope.ts';

const NO_KEY_COULD_DECRYPT = 'no key could decrypt secret';

/** Why a SealedSecret couldn't be unsealed, in Sealed Secrets' words where it has some. Never shows plaintext. */
export class UnsealError extends Error {
  override readonly name = 'UnsealError';
}

/** An unsealed SealedSecret. */
export interface Unsealed {
  /** As it would be created: values in base64, nothing of the live Secret in it. */
  secret: KubeObject;
  /** The fingerprint of the key that opened each item, to be given back as `remembered`. */
  openedBy: Map<string, string>;
}

/** What unsealing needs. */
export interface UnsealRequest {
  sealedSecret: SealedSecret;
  /** Tried in this order. */
  keys: readonly OpeningKey[];
  /** Item → fingerprint of the key to try first. Wrong or stale entries only cost time. */
  remembered?: ReadonlyMap<string, string>;
  signal?: AbortSignal;
}

/**
 * Decrypts every item and puts the Secret together (sealed-secrets 0.40.0): name and namespace of the
 * SealedSecret; type, immutable, labels, annotations and finalizers of the template; the SealedSecret as
 * controlling owner unless the template is annotated to skip it. Unlike upstream, the template's other
 * metadata (uid, resourceVersion, generateName …) is left out. Throws {@link UnsealError}.
 */
export async function unseal(request: UnsealRequest): Promise<Unsealed> {
  const { sealedSecret } = request;
  refuseUnsupported(sealedSecret.spec);
  const metadata = secretMeta(sealedSecret);
  const opened = await openItems(request);
  const data = Object.fromEntries(
    Array.from(opened, ([item, { plaintext }]) => {
      const value = plaintext.toString('base64');
      plaintext.fill(0);
      return [item, value];
    }),
  );
  const template = sealedSecret.spec.template;
  const secret: KubeObject = { apiVersion: 'v1', kind: 'Secret', metadata, data };
  if (template?.type !== undefined && template.type !== '') secret.type = template.type;
  if (template?.immutable !== undefined) secret.immutable = template.immutable;
  return { secret, openedBy: new Map(Array.from(opened, ([item, { fingerprint }]) => [item, fingerprint])) };
}

/**
 * Whether every item could be decrypted, without looking at templates or making anything of the plaintext.
 * Takes items as an untrusted client sent them. One item at a time, ending at the first that can't be opened.
 */
export async function canUnseal(o: {
  metadata: ScopedMeta;
  encryptedData: JsonObject;
  keys: readonly OpeningKey[];
  signal?: AbortSignal;
}): Promise<boolean> {
  const label = labelOf(o.metadata);
  for (const value of Object.values(o.encryptedData)) {
    const sealed = typeof value === 'string' ? decoded(value) : undefined;
    if (!(sealed instanceof Buffer)) return false;
    const opened = await decrypt({ sealed, label, keys: o.keys, signal: o.signal });
    if (opened === undefined) return false;
    opened.plaintext.fill(0);
  }
  return true;
}

function refuseUnsupported(spec: SealedSecretSpec): void {
  if (spec.data !== undefined && spec.data !== null) {
    throw new UnsealError(
      'spec.data, the deprecated form, is not supported: seal the Secret again into spec.encryptedData',
    );
  }
  if (Object.keys(spec.template?.data ?? {}).length > 0) {
    throw new UnsealError('spec.template.data is not supported: put the items into spec.encryptedData');
  }
}

async function openItems(request: UnsealRequest): Promise<Map<string, Opened>> {
  const label = labelOf(request.sealedSecret.metadata);
  const items = Object.entries(request.sealedSecret.spec.encryptedData ?? {});
  const results = await Promise.all(
    items.map(async ([item, value]): Promise<[string, Opened | string]> => {
      const sealed = decoded(value);
      if (typeof sealed === 'string') return [item, sealed];
      const keys = orderedKeys(request.keys, request.remembered?.get(item));
      const opened = await decrypt({ sealed, label, keys, signal: request.signal });
      return [item, opened ?? NO_KEY_COULD_DECRYPT];
    }),
  );
  const opened = new Map<string, Opened>();
  const failures: Array<[string, string]> = [];
  for (const [item, result] of results) {
    if (typeof result === 'string') failures.push([item, result]);
    else opened.set(item, result);
  }
  if (failures.length > 0) {
    for (const { plaintext } of opened.values()) plaintext.fill(0);
    throw new UnsealError(describeFailures(failures));
  }
  return opened;
}

/** The item's bytes, or what is wrong with its base64. */
function decoded(value: string): Buffer | string {
  try {
    return decodeBase64(value);
  } catch (error) {
    return (error as Error).message;
  }
}

function orderedKeys(keys: readonly OpeningKey[], first: string | undefined): readonly OpeningKey[] {
  const remembered = keys.find((key) => key.fingerprint === first);
  return remembered === undefined ? keys : [remembered, ...keys.filter((key) => key !== remembered)];
}

/** Sealed Secrets' form, `error (item, item)`, one line an error, but in an order that stays the same. */
function describeFailures(failures: ReadonlyArray<[string, string]>): string {
  const itemsByError = new Map<string, string[]>();
  for (const [item, error] of failures.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    itemsByError.set(error, [...(itemsByError.get(error) ?? []), item]);
  }
  return Array.from(itemsByError, ([error, items]) => `${error} (${items.join(', ')})`).join('\n');
}

function secretMeta(sealedSecret: SealedSecret): ObjectMeta {
  const { name, namespace, uid } = sealedSecret.metadata;
  const template = sealedSecret.spec.template?.metadata ?? {};
  const labels = readStringMap(template, 'labels');
  const annotations = readStringMap(template, 'annotations');
  const finalizers = readList(template, 'finalizers') as string[] | undefined;
  const metadata: ObjectMeta = { name };
  if (namespace !== undefined) metadata.namespace = namespace;
  if (labels !== undefined) metadata.labels = labels;
  if (annotations !== undefined) metadata.annotations = annotations;
  if (finalizers !== undefined) metadata.finalizers = finalizers;
  if (annotations?.[SKIP_SET_OWNER_ANNOTATION] === 'true') {
    const owners = readList(template, 'ownerReferences') as OwnerReference[] | undefined;
    if (owners !== undefined) metadata.ownerReferences = owners;
  } else {
    const { kind } = SEALED_SECRET;
    metadata.ownerReferences = [
      { apiVersion: apiVersionOf(SEALED_SECRET), kind, name, uid, controller: true },
    ];
  }
  return metadata;
}

/** The CRD leaves the template's metadata unchecked. A null value is read as empty, as Go reads it. */
function readStringMap(template: JsonObject, field: string): Record<string, string> | undefined {
  const value = template[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value)) throw malformed(field, 'a map of strings');
  const entries = Object.entries(value).map(([key, text]): [string, string] => {
    if (text !== null && typeof text !== 'string') throw malformed(field, 'a map of strings');
    return [key, text ?? ''];
  });
  return Object.fromEntries(entries);
}

/** What is in the list is the API server's to check. */
function readList(template: JsonObject, field: string): unknown[] | undefined {
  const value = template[field];
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw malformed(field, 'a list');
  return value;
}

function malformed(field: string, wanted: string): UnsealError {
  return new UnsealError(`spec.template.metadata.${field} must be ${wanted}`);
}
