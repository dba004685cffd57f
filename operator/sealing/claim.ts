/** SealedSecrets as untrusted clients send them: read, verified and sealed anew, without rendering or making anything. */

import type { KeyObject } from 'node:crypto';
import type { JsonObject } from '../api/objects.ts';
import { apiVersionOf, SEALED_SECRET } from '../api/resources.ts';
import { decrypt, encrypt, type OpeningKey } from './hybrid.ts';
import { decodedItem } from './items.ts';
import { labelOf, type ScopedMeta } from './scope.ts';

/** Parsing YAML blocks the event loop for about a millisecond a kilobyte; `kubeseal` always sends JSON. */
const MAX_YAML_BYTES = 128 * 1024;
const MAX_YAML_ALIASES = 100;
/** What the API server writes into metadata; an object that is to be applied anew doesn't carry it. */
const SERVER_METADATA = [
  'creationTimestamp',
  'deletionGracePeriodSeconds',
  'deletionTimestamp',
  'generation',
  'managedFields',
  'resourceVersion',
  'selfLink',
  'uid',
];

/** One SealedSecret, as sent. */
export interface Claim {
  object: JsonObject;
  scoped: ScopedMeta;
  encryptedData: JsonObject;
  /** The deprecated form: one item that holds a whole Secret. */
  legacyData: unknown;
}

/** How claims are opened. */
export interface Opening {
  keys: readonly OpeningKey[];
  acceptDeprecatedV1Data: boolean;
  signal: AbortSignal;
}

/** Reads one SealedSecret, JSON or YAML. `undefined` when it isn't one. As with upstream, items that aren't a map count as none. */
export async function readClaim(body: unknown): Promise<Claim | undefined> {
  const object = Buffer.isBuffer(body) ? await parseObject(body) : undefined;
  if (object?.kind !== SEALED_SECRET.kind || object.apiVersion !== apiVersionOf(SEALED_SECRET)) {
    return undefined;
  }
  const metadata = asObject(object.metadata);
  const spec = asObject(object.spec);
  return {
    object,
    scoped: {
      name: asText(metadata.name),
      namespace: asText(metadata.namespace),
      annotations: asObject(metadata.annotations) as Record<string, string>,
    },
    encryptedData: asObject(spec.encryptedData),
    legacyData: spec.data ?? undefined,
  };
}

/** Whether every item could be decrypted. One item at a time, ending at the first that can't be opened. */
export async function canOpen(claim: Claim, opening: Opening): Promise<boolean> {
  return await everyItem(claim, opening, (_item, plaintext) => plaintext.length >= 0);
}

/**
 * The same object with every item sealed for `publicKey`, in the scope of its own annotations, which stay as they
 * are: the scope can't get wider. Template, labels and annotations are kept as sent; what only the API server
 * writes (uid, resourceVersion, managedFields, status …) is left out. `undefined` when an item can't be opened.
 */
export async function reseal(
  claim: Claim,
  publicKey: KeyObject,
  opening: Opening,
): Promise<JsonObject | undefined> {
  const label = labelOf(claim.scoped);
  const items: Array<[string, string]> = [];
  let legacy: string | undefined;
  const opened = await everyItem(claim, opening, (item, plaintext) => {
    const sealed = encrypt(publicKey, plaintext, label).toString('base64');
    if (item === undefined) legacy = sealed;
    else items.push([item, sealed]);
    return true;
  });
  if (!opened) return undefined;
  const { object } = claim;
  const metadata = Object.entries(asObject(object.metadata)).filter(
    ([field]) => !SERVER_METADATA.includes(field),
  );
  const spec: JsonObject = { ...asObject(object.spec), encryptedData: Object.fromEntries(items) };
  if (legacy !== undefined) spec.data = legacy;
  return {
    apiVersion: object.apiVersion ?? '',
    kind: object.kind ?? '',
    metadata: Object.fromEntries(metadata),
    spec,
  };
}

/** Opens item after item (the legacy one has no name), as long as `use` says so, and wipes what it opened. */
async function everyItem(
  claim: Claim,
  { keys, acceptDeprecatedV1Data, signal }: Opening,
  use: (item: string | undefined, plaintext: Buffer) => boolean,
): Promise<boolean> {
  const { encryptedData, legacyData } = claim;
  const items: Array<[string | undefined, unknown]> = Object.entries(encryptedData);
  if (legacyData !== undefined) {
    if (!acceptDeprecatedV1Data || items.length > 0) return false;
    items.push([undefined, legacyData]);
  }
  const label = labelOf(claim.scoped);
  for (const [item, value] of items) {
    const sealed = decodedItem(value);
    if (typeof sealed === 'string') return false;
    const opened = await decrypt({ sealed, label, keys, signal });
    if (opened === undefined) return false;
    try {
      if (!use(item, opened.plaintext)) return false;
    } finally {
      opened.plaintext.fill(0);
    }
  }
  return true;
}

async function parseObject(body: Buffer): Promise<JsonObject | undefined> {
  const text = body.toString();
  try {
    return asObject(JSON.parse(text));
  } catch {
    return body.length > MAX_YAML_BYTES ? undefined : await parseYaml(text);
  }
}

/** Loaded when needed: `kubeseal` never sends YAML. Several documents, and anything unreadable, are `undefined`. */
async function parseYaml(text: string): Promise<JsonObject | undefined> {
  const { parseDocument } = await import('yaml');
  try {
    const document = parseDocument(text, { version: '1.1', uniqueKeys: false, logLevel: 'error' });
    return document.errors.length > 0
      ? undefined
      : asObject(document.toJS({ maxAliasCount: MAX_YAML_ALIASES }));
  } catch {
    return undefined;
  }
}

function asObject(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
