/** The sealing keys that are in force: loaded from Secrets, watched, and the first one made when there is none. */

import { SEALING_KEY_ACTIVE, SEALING_KEY_LABEL } from '../api/names.ts';
import { SECRET } from '../api/resources.ts';
import { type Informer, type Informers, listReadiness } from '../kube/informers.ts';
import { type KeyMakerOptions, makeKey } from './key-maker.ts';
import {
  byCertificateNotBefore,
  type KeyOrder,
  type ReadKey,
  readKeySecret,
  type SealingKey,
} from './key-secret.ts';
import { PrivateKeyLanes } from './private-key.ts';

/** How long a key that the API server has may take to arrive by watch before the cluster is asked again. */
const ARRIVAL_PATIENCE_MS = 5_000;

/** Where the keys live, which is the newest, and what new ones look like. */
export interface KeyRingOptions extends KeyMakerOptions {
  informers: Pick<Informers, 'acquire'>;
  /** Which key is the newest; without: the one whose certificate starts last. */
  order?: KeyOrder;
  /** `false`: never make a first key, wait for one. */
  createFirstKey?: boolean;
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

  /** The key to seal with: the newest of those with a certificate. */
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
   * when there is a key to seal with or none may be made; rejects when the API server refuses the first one
   * or `signal` aborts.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { namespace, keyPrefix, createFirstKey, logger } = this.#options;
    this.#watch('active', { labelSelector: `${SEALING_KEY_LABEL}=${SEALING_KEY_ACTIVE}`, namespace });
    this.#watch('legacy', { fieldSelector: `metadata.name=${keyPrefix}`, namespace });
    await Promise.all(this.#informers.map((informer) => informer.synced(signal)));
    this.#refresh();
    for (const key of this.#keys) logger.info('sealing key loaded', describe(key));
    if (createFirstKey !== false) {
      while (this.newest() === undefined) await this.makeNext(signal);
    } else if (this.newest() === undefined) {
      logger.warn('there is no sealing key and none may be made: waiting for one', { namespace });
    }
  }

  /**
   * Makes the successor of the newest key, or the first one, unless another replica just did. Resolves when it
   * has arrived here (or should have); rejects when the API server refuses it or `signal` aborts.
   */
  async makeNext(signal: AbortSignal): Promise<void> {
    const predecessor = this.newest()?.fingerprint;
    const known = new Set(this.#keys.map(({ secretName }) => secretName));
    await makeKey({ ...this.#options, lanes: this.#lanes }, { predecessor, known }, signal);
    await this.#newestOtherThan(predecessor, signal);
  }

  /** Stops watching. The keys stay usable for work that is under way. */
  async stop(): Promise<void> {
    for (const release of this.#releases.splice(0)) release();
    this.#informers = [];
  }

  /** Whether there is a key to seal with, else why not: for the readiness endpoint. */
  ready(): boolean | string {
    if (this.newest() !== undefined) return true;
    const unlisted = this.#informers.map((informer) => listReadiness(informer, 'sealing keys'));
    return unlisted.find((answer) => answer !== true) ?? 'no sealing key';
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
    for (const key of found.sort(this.#options.order ?? byCertificateNotBefore)) {
      if (!byFingerprint.has(key.fingerprint)) byFingerprint.set(key.fingerprint, key);
    }
    const previous = this.#keys;
    this.#keys = Array.from(byFingerprint.values());
    if (identity(previous) === identity(this.#keys)) return;
    this.#tellServed(previous[0]);
    for (const handler of this.#handlers) this.#notify(handler);
  }

  /** Who brings a certificate along wants to know whether it is the one that is handed out (and why not). */
  #tellServed(previous: SealingKey | undefined): void {
    const newest = this.newest();
    const { logger } = this.#options;
    if (newest === undefined) logger.warn('no sealing key is left to seal with');
    else if (newest.fingerprint !== previous?.fingerprint) {
      logger.info('certificate served', describe(newest));
    }
  }

  #notify(handler: () => void): void {
    try {
      handler();
    } catch (error) {
      this.#options.logger.error('a handler of sealing key changes failed', { error });
    }
  }

  /** Resolves when another key is the newest, or patience is at its end; rejects when `signal` aborts. */
  async #newestOtherThan(fingerprint: string | undefined, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const arrived = () => this.newest()?.fingerprint !== fingerprint;
    if (arrived()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const aborted = () => reject(signal.reason);
    const timer = setTimeout(resolve, ARRIVAL_PATIENCE_MS);
    const unsubscribe = this.onChange(() => {
      if (arrived()) resolve();
    });
    signal.addEventListener('abort', aborted, { once: true });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      unsubscribe();
      signal.removeEventListener('abort', aborted);
    }
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
    notBefore: key.certificate?.notBefore.toISOString(),
    notAfter: key.certificate?.notAfter.toISOString(),
  };
}
