/** The sealing keys that are in force: loaded from Secrets, watched, and the first one made when there is none. */

import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import type { Logger } from '../api/logger.ts';
import { SEALED_SECRETS_FIELD_MANAGER, SEALING_KEY_ACTIVE, SEALING_KEY_LABEL } from '../api/names.ts';
import type { KubeObject, StoredObject } from '../api/objects.ts';
import { type ResourceType, SECRET } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { isAlreadyExists, isForbidden } from '../kube/errors.ts';
import type { Informer, Informers } from '../kube/informers.ts';
import { createCertificate } from './certificate.ts';
import {
  byCertificateNotBefore,
  firstKeyName,
  keySecret,
  type ReadKey,
  readKeySecret,
  type SealingKey,
} from './key-secret.ts';
import { PrivateKeyLanes } from './private-key.ts';

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
const MAX_FIRST_KEY_NAMES = 100;
/** How long a key that the API server has may take to arrive by watch before the cluster is asked again. */
const ARRIVAL_PATIENCE_MS = 5_000;
const generateKeyPairAsync = promisify(generateKeyPair);

/** Where the keys live and what new ones look like. */
export interface KeyRingOptions {
  client: Pick<KubeClient, 'get' | 'create' | 'request'>;
  informers: Pick<Informers, 'acquire'>;
  /** The controller's namespace. */
  namespace: string;
  /** `--key-prefix`: starts the names of new keys, and is the whole name of the legacy, unlabelled key Secret. */
  keyPrefix: string;
  /** `--key-size`, in bits. */
  keySize: number;
  /** `--key-ttl`: how long a new certificate is valid. */
  keyTtlMs: number;
  /** `--my-cn`; may be empty. */
  commonName: string;
  logger: Logger;
  now?: () => Date;
}

/**
 * Private keys come from Secrets labelled active in the controller's namespace, and from the one named exactly
 * as the prefix whatever its label (Sealed Secrets before 0.9). They are watched: one that is added or restored
 * is used at once, one that is relabelled or removed is dropped. A Secret that can't be used is logged and
 * skipped. The same key in two Secrets counts once.
 */
export class KeyRing {
  readonly name = 'sealing-keys';
  readonly #options: KeyRingOptions;
  readonly #lanes = new PrivateKeyLanes();
  readonly #handlers = new Set<() => void>();
  readonly #releases: Array<() => void> = [];
  #informers: Informer<ReadKey>[] = [];
  #keys: readonly SealingKey[] = [];

  constructor(options: KeyRingOptions) {
    this.#options = options;
  }

  /** Every key in force, newest first. Decryption tries them in this order. */
  keys(): readonly SealingKey[] {
    return this.#keys;
  }

  /** The key to seal with: of those with a certificate, the one whose validity starts last. */
  newest(): (SealingKey & Required<Pick<SealingKey, 'certificate'>>) | undefined {
    const key = this.#keys[0];
    return key?.certificate === undefined ? undefined : { ...key, certificate: key.certificate };
  }

  /** Calls `handler` whenever the keys in force changed; answers how to stop that. */
  onChange(handler: () => void): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  /**
   * Loads the keys, makes the first one if none can seal, and goes on watching until {@link stop}. Resolves
   * when there is a key to seal with; rejects when the API server refuses the first one or `signal` aborts.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { namespace, keyPrefix } = this.#options;
    this.#watch('active', { labelSelector: `${SEALING_KEY_LABEL}=${SEALING_KEY_ACTIVE}`, namespace });
    this.#watch('legacy', { fieldSelector: `metadata.name=${keyPrefix}`, namespace });
    await Promise.all(this.#informers.map((informer) => informer.synced(signal)));
    this.#refresh();
    for (const key of this.#keys) this.#options.logger.info('sealing key loaded', describe(key));
    while (this.newest() === undefined) {
      await this.#ensureFirstKey(signal);
      await this.#changeWithin(ARRIVAL_PATIENCE_MS, signal);
    }
  }

  /** Stops watching. The keys stay usable for work that is under way. */
  async stop(): Promise<void> {
    for (const release of this.#releases.splice(0)) release();
    this.#informers = [];
  }

  /** Whether there is a key to seal with, else why not: for the readiness endpoint. */
  ready(): boolean | string {
    return this.newest() === undefined ? 'no sealing key' : true;
  }

  #watch(
    kind: string,
    selection: { namespace: string; labelSelector?: string; fieldSelector?: string },
  ): void {
    const { informer, release } = this.#options.informers.acquire<ReadKey>({
      type: SECRET,
      ...selection,
      variant: `sealing-key/${kind}`,
      keep: (secret) => readKeySecret(secret, this.#lanes),
    });
    this.#informers.push(informer);
    const unsubscribe = informer.subscribe((event) => {
      if (event.type !== 'deleted') this.#logProblems(event.kept);
      this.#refresh();
    });
    this.#releases.push(unsubscribe, release);
  }

  #logProblems({ secretName, problems }: ReadKey): void {
    const { logger, namespace } = this.#options;
    for (const problem of problems) {
      logger.error('sealing key Secret cannot be used', { namespace, name: secretName, problem });
    }
  }

  /** Recomputes the keys in force from what the stores hold now, and tells about a change. */
  #refresh(): void {
    const found = this.#informers.flatMap((informer) =>
      informer.store.list().flatMap(({ key }) => key ?? []),
    );
    const byFingerprint = new Map<string, SealingKey>();
    for (const key of found.sort(byCertificateNotBefore)) {
      if (!byFingerprint.has(key.fingerprint)) byFingerprint.set(key.fingerprint, key);
    }
    const previous = this.#keys;
    this.#keys = Array.from(byFingerprint.values());
    if (identity(previous) === identity(this.#keys)) return;
    for (const handler of this.#handlers) this.#notify(handler);
  }

  #notify(handler: () => void): void {
    try {
      handler();
    } catch (error) {
      this.#options.logger.error('a handler of sealing key changes failed', { error });
    }
  }

  /** Resolves when the keys changed or the time is over; rejects when `signal` aborts. */
  async #changeWithin(durationMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.newest() !== undefined) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const aborted = () => reject(signal.reason);
    const timer = setTimeout(resolve, durationMs);
    const unsubscribe = this.onChange(resolve);
    signal.addEventListener('abort', aborted, { once: true });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      unsubscribe();
      signal.removeEventListener('abort', aborted);
    }
  }

  /**
   * Creates the first key under the name that every replica arrives at, or finds that another replica was
   * first. Names taken by Secrets that are no usable, active keys (set aside as compromised) are stepped over.
   */
  async #ensureFirstKey(signal: AbortSignal): Promise<void> {
    const { namespace, keyPrefix } = this.#options;
    const seed = await this.#nameSeed(signal);
    for (let attempt = 0; attempt < MAX_FIRST_KEY_NAMES; attempt++) {
      const name = firstKeyName({ prefix: keyPrefix, seed, attempt });
      if (await this.#claim(name, signal)) return;
    }
    throw new Error(
      `no name is free for the first sealing key in namespace ${namespace}: remove unused Secrets that start with ${keyPrefix}`,
    );
  }

  /** Whether there is now a usable, active key under this name: a new one of ours, or the one that was first. */
  async #claim(name: string, signal: AbortSignal): Promise<boolean> {
    const { client, namespace, logger } = this.#options;
    const taken = await client.get(SECRET, { namespace, name }, { signal });
    if (taken !== undefined) return this.#isUsable(taken);
    try {
      await client.create<StoredObject>(SECRET, await this.#newKeySecret(name), {
        signal,
        fieldManager: SEALED_SECRETS_FIELD_MANAGER,
      });
      logger.info('sealing key created', { namespace, name });
      return true;
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
    const first = await client.get(SECRET, { namespace, name }, { signal });
    return first !== undefined && this.#isUsable(first);
  }

  #isUsable(secret: StoredObject): boolean {
    const isActive = secret.metadata.labels?.[SEALING_KEY_LABEL] === SEALING_KEY_ACTIVE;
    return isActive && readKeySecret(secret, this.#lanes).key?.certificate !== undefined;
  }

  async #newKeySecret(name: string): Promise<KubeObject> {
    const { namespace, keySize, keyTtlMs, commonName, now = () => new Date() } = this.#options;
    const { privateKey } = await generateKeyPairAsync('rsa', {
      modulusLength: keySize,
      publicExponent: PUBLIC_EXPONENT,
    });
    const certificatePem = await createCertificate({
      privateKey,
      commonName,
      validForMs: keyTtlMs,
      now: now(),
    });
    return keySecret({ namespace, name, privateKey, certificatePem });
  }

  /**
   * Something that all replicas in this cluster know and other clusters don't, so that a backup restored into
   * a new cluster never meets a new key of the same name: the namespace's uid or, where it may not be read
   * (the chart's rights), the uid of the account that we run as.
   */
  async #nameSeed(signal: AbortSignal): Promise<string> {
    const { client, namespace } = this.#options;
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
}

/** Equal for the same keys offered in the same way. */
function identity(keys: readonly SealingKey[]): string {
  return JSON.stringify(keys.map((key) => [key.fingerprint, key.certificate?.pem]));
}

function describe(key: SealingKey): Record<string, unknown> {
  return {
    name: key.secretName,
    fingerprint: key.fingerprint,
    notAfter: key.certificate?.notAfter.toISOString(),
  };
}
