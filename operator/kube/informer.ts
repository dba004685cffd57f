/** One informer: a reflector, the store that it writes, and the handlers told of each change. */

import type { Logger } from '../api/logger.ts';
import type { StoredObject } from '../api/objects.ts';
import { describeObject, objectKey } from '../api/resources.ts';
import { abortable } from './backoff.ts';
import type { KubeClient } from './client.ts';
import type { Informer, InformerEvent, InformerSpec } from './informers.ts';
import { Reflector, type ReflectorPacing, type ReflectorSink, type ReflectorState } from './reflector.ts';
import { type Entry, IndexedStore, type Store } from './store.ts';
import type { WatchEvent } from './watch-stream.ts';

/** Options of a {@link SharedInformer}. */
export interface SharedInformerOptions<T> {
  spec: InformerSpec<T>;
  client: KubeClient;
  logger: Logger;
  onState: (state: ReflectorState) => void;
  pacing?: Partial<ReflectorPacing> | undefined;
}

/** See `Informer` for what it promises to followers. */
export class SharedInformer<T> implements Informer<T>, ReflectorSink {
  readonly #spec: InformerSpec<T>;
  readonly #logger: Logger;
  readonly #store: IndexedStore<T>;
  readonly #handlers = new Set<(event: InformerEvent<T>) => void>();
  readonly #firstList = Promise.withResolvers<void>();
  readonly #onState: (state: ReflectorState) => void;
  readonly #reflector: Reflector;
  #hasSynced = false;
  #failing: unknown;

  constructor(o: SharedInformerOptions<T>) {
    this.#spec = o.spec;
    this.#logger = o.logger;
    this.#onState = o.onState;
    this.#store = new IndexedStore(o.spec.indexes);
    // Nobody may be waiting when the informer is stopped.
    this.#firstList.promise.catch(() => {});
    const { type, namespace, labelSelector, fieldSelector, metadataOnly } = o.spec;
    this.#reflector = new Reflector({
      client: o.client,
      type,
      namespace,
      labelSelector,
      fieldSelector,
      metadataOnly,
      sink: this,
      onState: (state) => this.#stateChanged(state),
      pacing: o.pacing,
    });
  }

  get store(): Store<T> {
    return this.#store;
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  get failing(): unknown {
    return this.#failing;
  }

  synced(signal: AbortSignal): Promise<void> {
    return abortable(this.#firstList.promise, signal);
  }

  subscribe(handler: (event: InformerEvent<T>) => void): () => void {
    // Its own function object, so that one handler subscribed twice is told twice and removed once.
    const subscription = (event: InformerEvent<T>) => handler(event);
    for (const [key, kept] of this.#store.entries()) this.#tell(subscription, { type: 'added', key, kept });
    this.#handlers.add(subscription);
    return () => void this.#handlers.delete(subscription);
  }

  /** Follows until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#reflector.run(signal);
    this.#handlers.clear();
    this.#firstList.reject(new Error(`the informer of ${this.#spec.type.plural} was stopped`));
  }

  /** The reflector's side: a list is gathered beside the store and swapped in at once. */
  beginList(): { page(objects: StoredObject[]): void; done(): void } {
    const next = new Map<string, Entry<T>>();
    return {
      page: (objects) => {
        for (const object of objects) {
          const key = objectKey(object);
          const entry = this.#entryOf(key, object);
          if (entry !== undefined) next.set(key, entry);
        }
      },
      done: () => this.#swapIn(next),
    };
  }

  /** The reflector's side: one change off the watch. */
  apply(event: WatchEvent): void {
    const { object } = event;
    const key = objectKey(object);
    const previous = this.#store.entry(key);
    if (event.type === 'DELETED') {
      if (previous === undefined) return;
      this.#store.delete(key);
      this.#tellAll({ type: 'deleted', key, kept: previous.kept, object });
      return;
    }
    const entry = this.#entryOf(key, object);
    if (entry === undefined || entry === previous) return;
    this.#store.set(key, entry);
    const { kept } = entry;
    if (previous === undefined) this.#tellAll({ type: 'added', key, kept, object });
    else this.#tellAll({ type: 'modified', key, kept, previous: previous.kept, object });
  }

  #swapIn(next: Map<string, Entry<T>>): void {
    const { deleted, changed } = this.#store.swap(next);
    this.#hasSynced = true;
    for (const { key, kept } of deleted) this.#tellAll({ type: 'deleted', key, kept });
    for (const { key, kept, previous } of changed) {
      if (previous === undefined) this.#tellAll({ type: 'added', key, kept });
      else this.#tellAll({ type: 'modified', key, kept, previous });
    }
    this.#firstList.resolve();
  }

  /** The entry as it is when the version is known already; the previous one when `keep` throws. */
  #entryOf(key: string, object: StoredObject): Entry<T> | undefined {
    const previous = this.#store.entry(key);
    const { resourceVersion } = object.metadata;
    if (previous?.resourceVersion === resourceVersion) return previous;
    try {
      return { kept: this.#spec.keep(object), resourceVersion };
    } catch (error) {
      this.#logger.error(`${describeObject(object)}: keeping it failed`, { error });
      return previous;
    }
  }

  #tellAll(event: InformerEvent<T>): void {
    for (const handler of this.#handlers) this.#tell(handler, event);
  }

  #tell(handler: (event: InformerEvent<T>) => void, event: InformerEvent<T>): void {
    const failed = (error: unknown) =>
      this.#logger.error(`a handler failed on ${event.type} ${this.#spec.type.kind}/${event.key}`, { error });
    try {
      const result: unknown = handler(event);
      // An async function is a legal handler to the compiler; its rejection would end the process.
      if (result instanceof Promise) result.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  #stateChanged(state: ReflectorState): void {
    if (state.at === 'watching') this.#failing = undefined;
    if (state.at === 'waiting' && state.error !== undefined) this.#noteFailure(state.error, state.delayMs);
    try {
      this.#onState(state);
    } catch (error) {
      this.#logger.error('an observer of informers failed', { error });
    }
  }

  /** The first failure is worth a warning; its repetitions are not. */
  #noteFailure(error: unknown, delayMs: number): void {
    const { plural } = this.#spec.type;
    const message = `following ${plural} was interrupted: ${error instanceof Error ? error.message : String(error)}`;
    const fields = { retryInMs: Math.round(delayMs) };
    if (this.#failing === undefined) this.#logger.warn(message, fields);
    else this.#logger.debug(message, fields);
    this.#failing = error;
  }
}
