/** `spec.data`, Sealed Secrets' first and deprecated form: a whole Secret sealed as one blob. */

import type { JsonObject, KubeObject } from '../api/objects.ts';
import type { SealedSecret } from '../api/sealed-secret.gen.ts';
import { decodeBase64 } from './base64.ts';
import { decrypt, type OpeningKey } from './hybrid.ts';
import { decodedItem, NO_KEY_COULD_DECRYPT } from './items.ts';
import { labelOf } from './scope.ts';
import { secretMeta } from './secret-meta.ts';
import { UnsealError } from './unseal-error.ts';

/** Stands for the blob where items have their names: the key that opened it is remembered under it. */
export const WHOLE_SECRET = '';

const INNER = 'the Secret in spec.data';

/** What opening the blob needs; as for items. */
export interface LegacyRequest {
  sealedSecret: SealedSecret;
  keys: readonly OpeningKey[];
  remembered?: ReadonlyMap<string, string> | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * The Secret in the blob: its type, immutable, data, labels and annotations, under the SealedSecret's name. Of the
 * template only the annotation that skips the owner counts. Throws {@link UnsealError}, which never quotes the blob.
 */
export async function unsealLegacy(
  request: LegacyRequest,
): Promise<{ secret: KubeObject; fingerprint: string }> {
  const { sealedSecret, signal } = request;
  const { data: blob, encryptedData } = sealedSecret.spec;
  if (Object.keys(encryptedData ?? {}).length > 0) {
    throw new UnsealError(
      "cannot use the field 'encryptedData' and the deprecated field 'data' at the same time",
    );
  }
  const sealed = decodedItem(blob);
  if (typeof sealed === 'string') throw new UnsealError(sealed);
  const first = request.remembered?.get(WHOLE_SECRET);
  const keys = request.keys.toSorted(
    (a, b) => Number(b.fingerprint === first) - Number(a.fingerprint === first),
  );
  const opened = await decrypt({ sealed, label: labelOf(sealedSecret.metadata), keys, signal });
  if (opened === undefined) throw new UnsealError(NO_KEY_COULD_DECRYPT);
  const inner = parseSecret(opened.plaintext);
  const secret: KubeObject = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: secretMeta(sealedSecret, inner.metadata, `${INNER}: metadata`),
    data: inner.data,
  };
  if (typeof inner.type === 'string' && inner.type !== '') secret.type = inner.type;
  if (typeof inner.immutable === 'boolean') secret.immutable = inner.immutable;
  return { secret, fingerprint: opened.fingerprint };
}

interface InnerSecret {
  metadata: JsonObject;
  data: Record<string, string>;
  type: unknown;
  immutable: unknown;
}

function parseSecret(plaintext: Buffer): InnerSecret {
  const { apiVersion, kind, metadata, data, stringData, type, immutable } = parseObject(plaintext);
  if (apiVersion !== 'v1' || kind !== 'Secret') throw new UnsealError('spec.data holds no v1 Secret');
  const texts = Object.entries(object(stringData, 'stringData')).map(([key, value]): [string, string] => [
    key,
    Buffer.from(text(value, `stringData.${key}`)).toString('base64'),
  ]);
  const values = Object.entries(object(data, 'data')).map(([key, value]): [string, string] => [
    key,
    base64(text(value, `data.${key}`), `data.${key}`),
  ]);
  return {
    metadata: object(metadata, 'metadata'),
    data: Object.fromEntries([...values, ...texts]),
    type,
    immutable,
  };
}

/** JSON.parse's own message would quote the Secret. */
function parseObject(plaintext: Buffer): JsonObject {
  try {
    return object(JSON.parse(plaintext.toString()), 'the whole');
  } catch {
    throw new UnsealError('spec.data holds no v1 Secret');
  } finally {
    plaintext.fill(0);
  }
}

function object(value: unknown, field: string): JsonObject {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value))
    throw new UnsealError(`${INNER}: ${field} must be an object`);
  return value as JsonObject;
}

function text(value: unknown, field: string): string {
  if (value === null) return '';
  if (typeof value !== 'string') throw new UnsealError(`${INNER}: ${field} must be a string`);
  return value;
}

function base64(value: string, field: string): string {
  try {
    return decodeBase64(value).toString('base64');
  } catch {
    throw new UnsealError(`${INNER}: ${field} must be base64`);
  }
}
