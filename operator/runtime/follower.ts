/** Following a kind that has no reconciler: an informer, a queue by object, and a handler of the latest change. */

import type { Logger } from '../api/logger.ts';
import type { StoredObject } from '../api/objects.ts';
import { type Informer, type InformerSpec, type Informers, listReadiness } from '../kube/informers.ts';
import type { Runnable } from './manager.ts';
import { WorkQueue } from './queue.ts';

/** The latest that happened to an object. Changes in between may have been skipped. */
export interface Change {
  type: 'added' | 'modified' | 'deleted';
  object: StoredObject;
}

/** What to follow and who is told. */
export interface FollowerOptions {
  name: string;
  spec: Omit<InformerSpec<StoredObject>, 'keep' | 'variant' | 'indexes'>;
  /** Never runs twice at once for one object; when it throws it is called again after a back-off. */
  handle: (change: Change) => Promise<void>;
  concurrency: number;
  informers: Informers;
  logger: Logger;
}

/** See the head of this file. Objects that are there at the start arrive as `added`; nothing is replayed later. */
export class Follower implements Runnable {
  readonly name: string;
  readonly #o: FollowerOptions;
  readonly #queue = new WorkQueue();
  readonly #pending = new Map<string, Change>();
  readonly #shutdown = new AbortController();
  #informer: Informer<StoredObject> | undefined;
  #release: () => void = () => {};

  constructor(o: FollowerOptions) {
    this.name = o.name;
    this.#o = o;
  }

  /** Resolves with the first list. */
  async start(signal: AbortSignal): Promise<void> {
    const { informers, spec, concurrency } = this.#o;
    const { informer, release } = informers.acquire<StoredObject>({
      ...spec,
      keep: (object) => object,
      variant: 'follower',
    });
    this.#informer = informer;
    const unsubscribe = informer.subscribe(({ type, key, kept, object }) => {
      this.#pending.set(key, { type, object: object ?? kept });
      this.#queue.add(key);
    });
    this.#release = () => {
      unsubscribe();
      release();
    };
    for (let worker = 0; worker < concurrency; worker += 1) void this.#work();
    try {
      await informer.synced(signal);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Resolves when no handler runs any more. */
  async stop(): Promise<void> {
    this.#shutdown.abort();
    this.#queue.shutDown();
    this.#release();
    await this.#queue.drain();
  }

  ready(): boolean | string {
    return listReadiness(this.#informer, this.#o.spec.type.plural);
  }

  async #work(): Promise<void> {
    const { signal } = this.#shutdown;
    for (let key = await this.#queue.get(signal); key !== undefined; key = await this.#queue.get(signal)) {
      const change = this.#pending.get(key);
      this.#pending.delete(key);
      if (change !== undefined) await this.#handle(key, change);
      this.#queue.done(key);
    }
  }

  async #handle(key: string, change: Change): Promise<void> {
    try {
      await this.#o.handle(change);
      this.#queue.forget(key);
    } catch (error) {
      // A newer change, which came meanwhile, is the one to repeat with.
      if (!this.#pending.has(key)) this.#pending.set(key, change);
      this.#queue.addRateLimited(key);
      this.#o.logger.error(`${this.name}: the handler failed and will be called again`, {
        object: key,
        error,
      });
    }
  }
}
