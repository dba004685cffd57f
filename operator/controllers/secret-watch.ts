/** Secrets that SealedSecrets stand for: who changed or deleted one has it put back. */

import type { StoredObject } from '../api/objects.ts';
import { SECRET } from '../api/resources.ts';
import type { Informers } from '../kube/informers.ts';
import type { Runnable } from '../runtime/manager.ts';

/** Helm keeps its releases, megabytes of them, in Secrets; no SealedSecret makes one. */
const ALL_BUT_HELM_RELEASES = 'type!=helm.sh/release.v1';

/** What the watch works with. */
export interface SecretWatchOptions {
  informers: Informers;
  /** Watch this namespace only. */
  namespace: string | undefined;
  /** The Secret of this name (and so the SealedSecret's) isn't as we left it. */
  onChanged: (key: string) => void;
}

/**
 * Follows Secrets as metadata: no value is ever held. A change that isn't our own last write is passed on; whether it
 * matters, a reconciliation decides.
 */
export class SecretWatch implements Runnable {
  readonly name = 'secret watch';
  readonly #o: SecretWatchOptions;
  /** resourceVersions of our last writes, until their events have come. */
  readonly #written = new Map<string, string>();
  #release: () => void = () => {};
  #synced: () => boolean = () => false;

  constructor(o: SecretWatchOptions) {
    this.#o = o;
  }

  async start(): Promise<void> {
    const { informer, release } = this.#o.informers.acquire<string>({
      type: SECRET,
      namespace: this.#o.namespace,
      fieldSelector: ALL_BUT_HELM_RELEASES,
      metadataOnly: true,
      keep: ({ metadata }) => metadata.resourceVersion,
      variant: 'versions',
    });
    this.#synced = () => informer.hasSynced;
    const unsubscribe = informer.subscribe(({ type, key, kept }) => {
      const ours = this.#written.get(key) === kept && type !== 'deleted';
      if (ours || type === 'deleted') this.#written.delete(key);
      if (!ours && type !== 'added') this.#o.onChanged(key);
    });
    this.#release = () => {
      unsubscribe();
      release();
    };
  }

  async stop(): Promise<void> {
    this.#release();
  }

  ready(): boolean | string {
    return this.#synced() || 'waiting for the list of secrets';
  }

  /** Our own write, whose event is to be passed over. */
  expect(key: string, secret: StoredObject): void {
    this.#written.set(key, secret.metadata.resourceVersion);
  }
}
