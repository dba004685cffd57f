/** Secrets that SealedSecrets stand for: who changed, made or deleted one has it looked at. */

import type { StoredObject } from '../api/objects.ts';
import { SECRET } from '../api/resources.ts';
import { type Informer, type Informers, listReadiness } from '../kube/informers.ts';
import type { Runnable } from '../runtime/manager.ts';
import { secretVersions } from './secret-versions.ts';

/** What the watch works with. */
export interface SecretWatchOptions {
  informers: Informers;
  /** Watch this namespace only. */
  namespace: string | undefined;
  /** The Secret of this name (and so the SealedSecret's) isn't as we left it. */
  onChanged: (key: string) => void;
}

/** A write of ours: its own event is to be passed over, whether it comes before the write's answer or after it. */
interface OwnWrite {
  /** As answered; `undefined` while the write is under way. */
  resourceVersion: string | undefined;
  /** Seen while it was under way; `undefined` for a deletion. */
  seen: Array<string | undefined>;
}

/**
 * Follows Secrets as metadata: no value is ever held. A change that isn't our own last write is passed on; whether it
 * matters, a reconciliation decides.
 */
export class SecretWatch implements Runnable {
  readonly name = 'secret watch';
  readonly #o: SecretWatchOptions;
  readonly #writes = new Map<string, OwnWrite>();
  #release: () => void = () => {};
  #informer: Informer<string> | undefined;

  constructor(o: SecretWatchOptions) {
    this.#o = o;
  }

  async start(): Promise<void> {
    const { informer, release } = this.#o.informers.acquire(secretVersions(this.#o.namespace));
    this.#informer = informer;
    const unsubscribe = informer.subscribe(({ type, key, kept }) => {
      // What the first list brings is looked at anyway: every SealedSecret has a pass when the operator starts.
      if (type === 'added' && !informer.hasSynced) return;
      this.#observe(key, type === 'deleted' ? undefined : kept);
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
    return listReadiness(this.#informer, SECRET.plural);
  }

  /** No such Secret is known. There may be one all the same: it is new, or not among those that are watched. */
  seemsAbsent(key: string): boolean {
    return this.#informer?.hasSynced === true && this.#informer.store.get(key) === undefined;
  }

  /** Runs a write of ours to the Secret; answers what the write does. */
  async during(key: string, write: () => Promise<StoredObject>): Promise<StoredObject> {
    const own: OwnWrite = { resourceVersion: undefined, seen: [] };
    this.#writes.set(key, own);
    try {
      const written = await write();
      own.resourceVersion = written.metadata.resourceVersion;
      return written;
    } finally {
      const { resourceVersion, seen } = own;
      const ours = resourceVersion !== undefined && seen.includes(resourceVersion);
      if (resourceVersion === undefined || ours) this.#writes.delete(key);
      if (seen.some((version) => version === undefined || version !== resourceVersion))
        this.#o.onChanged(key);
    }
  }

  #observe(key: string, version: string | undefined): void {
    const own = this.#writes.get(key);
    if (own !== undefined && own.resourceVersion === undefined) {
      own.seen.push(version);
      return;
    }
    if (own !== undefined && (version === own.resourceVersion || version === undefined)) {
      this.#writes.delete(key);
    }
    if (version === undefined || version !== own?.resourceVersion) this.#o.onChanged(key);
  }
}
