/** Making sealing keys so that replicas that make one at the same moment make one together. */

import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import type { Logger } from '../api/logger.ts';
import { SEALED_SECRETS_FIELD_MANAGER, SEALING_KEY_ACTIVE, SEALING_KEY_LABEL } from '../api/names.ts';
import type { StoredObject } from '../api/objects.ts';
import { type ResourceType, SECRET } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { isAlreadyExists, isForbidden } from '../kube/errors.ts';
import { createCertificate } from './certificate.ts';
import { agreedKeyName, keySecret, readKeySecret } from './key-secret.ts';
import type { PrivateKeyLanes } from './private-key.ts';

const NAMESPACE: ResourceType = {
  group: '',
  version: 'v1',
  kind: 'Namespace',
  plural: 'namespaces',
  namespaced: false,
};
const SELF_SUBJECT_REVIEWS = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
const PUBLIC_EXPONENT = 65_537;
/** Taken names (keys set aside by hand) that are stepped over before giving up. */
const MAX_NAMES = 100;
const generateKeyPairAsync = promisify(generateKeyPair);

/** Where new keys go and what they look like. */
export interface KeyMakerOptions {
  client: Pick<KubeClient, 'get' | 'create' | 'request'>;
  /** The controller's namespace. */
  namespace: string;
  /** `--key-prefix`: starts the names of new keys. */
  keyPrefix: string;
  /** `--key-size`, in bits. */
  keySize: number;
  /** `--key-ttl`: how long a new certificate is valid. */
  keyTtlMs: number;
  /** `--my-cn`; may be empty. */
  commonName: string;
  /** `--privatekey-labels`; the label that makes a Secret a sealing key stands above them. */
  labels?: Readonly<Record<string, string>>;
  /** `--privatekey-annotations`. */
  annotations?: Readonly<Record<string, string>>;
  logger: Logger;
  now?: () => Date;
}

/**
 * Creates a sealing key under the name that every replica arrives at, or finds that another one was first. The
 * name follows from `predecessor`, the fingerprint of the key that was the newest until now (nothing: there is
 * none). Names taken by Secrets that are no usable, active keys (set aside as compromised), and those in
 * `known`, the keys that were in force when the new one was asked for, are stepped over.
 */
export async function makeKey(
  o: KeyMakerOptions & { lanes: PrivateKeyLanes },
  request: { predecessor: string | undefined; known: ReadonlySet<string> },
  signal: AbortSignal,
): Promise<void> {
  const { namespace, keyPrefix: prefix } = o;
  const { predecessor, known } = request;
  const seed = await nameSeed(o, signal);
  for (let attempt = 0; attempt < MAX_NAMES; attempt++) {
    const name = agreedKeyName({ prefix, seed, predecessor, attempt });
    if (!known.has(name) && (await claim(o, name, signal))) return;
  }
  throw new Error(
    `no name is free for a new sealing key in namespace ${namespace}: remove unused Secrets that start with ${prefix}`,
  );
}

/** Whether there is now a usable, active key under this name: a new one of ours, or the one that was first. */
async function claim(
  o: KeyMakerOptions & { lanes: PrivateKeyLanes },
  name: string,
  signal: AbortSignal,
): Promise<boolean> {
  const { client, namespace } = o;
  const taken = await client.get(SECRET, { namespace, name }, { signal });
  if (taken !== undefined) return isUsable(taken, o.lanes);
  try {
    await create(o, name, signal);
    return true;
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
  const first = await client.get(SECRET, { namespace, name }, { signal });
  return first !== undefined && isUsable(first, o.lanes);
}

function isUsable(secret: StoredObject, lanes: PrivateKeyLanes): boolean {
  const isActive = secret.metadata.labels?.[SEALING_KEY_LABEL] === SEALING_KEY_ACTIVE;
  return isActive && readKeySecret(secret, lanes).key?.certificate !== undefined;
}

async function create(o: KeyMakerOptions, name: string, signal: AbortSignal): Promise<void> {
  const { client, namespace, keySize, keyTtlMs, commonName, labels, annotations, logger } = o;
  const { privateKey } = await generateKeyPairAsync('rsa', {
    modulusLength: keySize,
    publicExponent: PUBLIC_EXPONENT,
  });
  const now = o.now?.() ?? new Date();
  const certificatePem = await createCertificate({ privateKey, commonName, validForMs: keyTtlMs, now });
  const secret = keySecret({ namespace, name, privateKey, certificatePem, labels, annotations });
  await client.create<StoredObject>(SECRET, secret, { signal, fieldManager: SEALED_SECRETS_FIELD_MANAGER });
  logger.info('sealing key created', { namespace, name, certificate: certificatePem });
}

/**
 * Something that all replicas in this cluster know and other clusters don't, so that a backup restored into
 * a new cluster never meets a new key of the same name: the namespace's uid or, where it may not be read
 * (the chart's rights), the uid of the account that we run as.
 */
async function nameSeed({ client, namespace }: KeyMakerOptions, signal: AbortSignal): Promise<string> {
  try {
    const found = await client.get(NAMESPACE, { name: namespace }, { signal });
    return found?.metadata.uid ?? '';
  } catch (error) {
    if (!isForbidden(error)) throw error;
  }
  const review = await client.request<{ status?: { userInfo?: { uid?: string } } }>({
    method: 'POST',
    path: SELF_SUBJECT_REVIEWS,
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
    signal,
  });
  return review.status?.userInfo?.uid ?? '';
}
