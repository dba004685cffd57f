/** Sealing keys as Secrets: reading what Sealed Secrets (or a person) stored, writing what it would read. */

import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import { SEALING_KEY_ACTIVE, SEALING_KEY_LABEL } from '../api/names.ts';
import type { KubeObject } from '../api/objects.ts';
import { type Certificate, parseCertificate } from './certificate.ts';
import { PrivateKey, type PrivateKeyLanes } from './private-key.ts';

/** Go's crypto/rsa refuses smaller keys. */
const MIN_MODULUS_BITS = 1024;
/** OpenSSL refuses larger moduli in private-key operations. */
const MAX_MODULUS_BITS = 16_384;
/** Of Kubernetes' generated names (apimachinery's `rand.String`): no vowels, no characters that look alike. */
const NAME_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';
const NAME_SUFFIX_LENGTH = 5;

/** A sealing key ready for use. */
export interface SealingKey {
  /** The Secret that it came from. */
  secretName: string;
  /** OpenSSH SHA-256 of the public key. */
  fingerprint: string;
  privateKey: PrivateKey;
  /** What may be handed out to seal with. Absent when there is none, or it is for another key. */
  certificate?: Certificate;
  /** The Secret's `creationTimestamp`, in milliseconds since 1970. */
  createdAtMs: number;
}

/** What a key Secret holds: a key, problems to tell a person about, or both. Problems never quote the data. */
export interface ReadKey {
  secretName: string;
  key?: SealingKey;
  problems: string[];
}

/**
 * Reads `tls.key` (PKCS#1 or PKCS#8 PEM) and the first certificate of `tls.crt`. Never throws. The Secret's
 * type and label aren't looked at. A key whose certificate is missing, unreadable or for another key still
 * decrypts (as with Sealed Secrets), but isn't offered for sealing.
 */
export function readKeySecret(secret: KubeObject, lanes: PrivateKeyLanes): ReadKey {
  const secretName = secret.metadata.name ?? '';
  const data = (secret.data ?? {}) as Record<string, unknown>;
  const privateKey = readPrivateKey(data['tls.key']);
  if (typeof privateKey === 'string') return { secretName, problems: [privateKey] };
  const opener = importKey(privateKey, lanes);
  if (opener === undefined) return { secretName, problems: ['OpenSSL refuses the RSA key'] };
  const key: SealingKey = {
    secretName,
    fingerprint: opener.fingerprint,
    privateKey: opener,
    createdAtMs: Date.parse(secret.metadata.creationTimestamp ?? '') || 0,
  };
  const certificate = readCertificate(data['tls.crt'], opener);
  if (typeof certificate === 'string') return { secretName, key, problems: [certificate] };
  return { secretName, key: { ...key, certificate }, problems: [] };
}

/** The Secret that Sealed Secrets' controller would make for a key. */
export function keySecret(o: {
  namespace: string;
  name: string;
  privateKey: KeyObject;
  certificatePem: string;
  /** Further labels; the one that makes it a sealing key stands above them. */
  labels?: Readonly<Record<string, string>> | undefined;
  annotations?: Readonly<Record<string, string>> | undefined;
}): KubeObject {
  const privateKeyPem = o.privateKey.export({ type: 'pkcs1', format: 'pem' });
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      namespace: o.namespace,
      name: o.name,
      labels: { ...o.labels, [SEALING_KEY_LABEL]: SEALING_KEY_ACTIVE },
      ...(Object.keys(o.annotations ?? {}).length === 0 ? {} : { annotations: { ...o.annotations } }),
    },
    type: 'kubernetes.io/tls',
    data: {
      'tls.key': Buffer.from(privateKeyPem).toString('base64'),
      'tls.crt': Buffer.from(o.certificatePem).toString('base64'),
    },
  };
}

/**
 * The name of a new key: it looks generated, but everyone with the same `seed` and `predecessor` (the
 * fingerprint of the newest key until now, if there is one) arrives at the same one, so that of two replicas
 * that create it at once the second collides. `attempt` counts up past taken names.
 */
export function agreedKeyName(o: {
  prefix: string;
  seed: string;
  predecessor?: string | undefined;
  attempt: number;
}): string {
  const agreed = [o.prefix, o.seed, o.attempt, ...(o.predecessor === undefined ? [] : [o.predecessor])];
  const digest = createHash('sha256').update(JSON.stringify(agreed)).digest();
  const letters = Array.from(
    digest.subarray(0, NAME_SUFFIX_LENGTH),
    (byte) => NAME_ALPHABET[byte % NAME_ALPHABET.length],
  );
  return o.prefix + letters.join('');
}

/** Puts the newest first. */
export type KeyOrder = (a: SealingKey, b: SealingKey) => number;

/** Newest certificate first; among equals the Secret that was there first, then by name. Keys without one last. */
export function byCertificateNotBefore(a: SealingKey, b: SealingKey): number {
  const [notBeforeA, notBeforeB] = [notBeforeMs(a), notBeforeMs(b)];
  if (notBeforeA !== notBeforeB) return notBeforeA < notBeforeB ? 1 : -1;
  if (a.createdAtMs !== b.createdAtMs) return a.createdAtMs - b.createdAtMs;
  return a.secretName < b.secretName ? -1 : 1;
}

/** Newest Secret first; within a second the newer certificate, then by name. Keys without a certificate last. */
export function bySecretCreation(a: SealingKey, b: SealingKey): number {
  const [certifiedA, certifiedB] = [a.certificate !== undefined, b.certificate !== undefined];
  if (certifiedA !== certifiedB) return certifiedA ? -1 : 1;
  if (a.createdAtMs !== b.createdAtMs) return b.createdAtMs - a.createdAtMs;
  return byCertificateNotBefore(a, b);
}

/**
 * Since when a key counts, for its renewal: the later of the start of its certificate and the creation of its
 * Secret. So a certificate that was brought along or restored serves a whole period in its new place.
 */
export function inUseSinceMs(key: SealingKey): number {
  return Math.max(notBeforeMs(key), key.createdAtMs);
}

function notBeforeMs(key: SealingKey): number {
  return key.certificate?.notBefore.getTime() ?? Number.NEGATIVE_INFINITY;
}

function readPrivateKey(field: unknown): KeyObject | string {
  const pem = decodeField(field);
  if (pem === undefined) return 'data["tls.key"] is missing: it holds the RSA private key in PEM';
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    return 'data["tls.key"] is not an unencrypted private key in PEM (PKCS#1 or PKCS#8)';
  } finally {
    pem.fill(0);
  }
  if (key.asymmetricKeyType !== 'rsa') return 'the private key is not an RSA key';
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < MIN_MODULUS_BITS || bits > MAX_MODULUS_BITS) {
    return `the RSA key has ${bits} bits: between ${MIN_MODULUS_BITS} and ${MAX_MODULUS_BITS} are accepted`;
  }
  return key;
}

function importKey(key: KeyObject, lanes: PrivateKeyLanes): PrivateKey | undefined {
  try {
    return new PrivateKey(key, lanes);
  } catch {
    return undefined;
  }
}

function readCertificate(field: unknown, key: PrivateKey): Certificate | string {
  const pem = decodeField(field);
  const certificate = pem === undefined ? undefined : parseCertificate(pem.toString('latin1'));
  if (certificate === undefined) {
    return 'data["tls.crt"] has no certificate in PEM: the key is used to unseal, not offered to seal';
  }
  if (!certificate.publicKey.equals(key.publicKey)) {
    return 'the certificate is not for the private key: the key is used to unseal, not offered to seal';
  }
  return certificate;
}

/** The API server guarantees base64 in a stored Secret's data. */
function decodeField(field: unknown): Buffer | undefined {
  return typeof field === 'string' && field !== '' ? Buffer.from(field, 'base64') : undefined;
}
