/** Shared, counted informers: one list and watch for all who follow the same objects in the same way. */

import type { Logger } from '../api/logger.ts';
import type { StoredObject } from '../api/objects.ts';
import { apiVersionOf, type ResourceType } from '../api/resources.ts';
import type { KubeClient, Selection } from './client.ts';
import { SharedInformer } from './informer.ts';
import type { ReflectorPacing, ReflectorState } from './reflector.ts';
import type { Store } from './store.ts';

/** What to follow and what to remember of it. */
export interface InformerSpec<T> extends Selection {
  type: ResourceType;
  metadataOnly?: boolean | undefined;
  /**
   * What the store holds; runs once per event. Keep little: the whole object costs kilobytes. An object it throws for
   * is logged and passed over.
   */
  keep: (object: StoredObject) => T;
  /** Names `keep` and `indexes`: the same type, selection and variant share one informer. */
  variant: string;
  /** What {@link Store.byIndex} finds it under. Must not throw. */
  indexes?: Record<string, (kept: T) => string[]>;
}

/**
 * A change of the store. `object` is the whole object when the change came off the watch; it is absent on the first
 * list, a relist and a replay, because full objects aren't held: read `kept`. The same name with another uid is
 * `modified`.
 */
export type InformerEvent<T> =
  | { type: 'added' | 'modified'; key: string; kept: T; previous?: T; object?: StoredObject }
  | { type: 'deleted'; key: string; kept: T; object?: StoredObject };

/** The following side of an informer. */
export interface Informer<T> {
  readonly store: Store<T>;
  /** True once the first list is in the store; it stays true. */
  readonly hasSynced: boolean;
  /** Why the kind can't be followed just now (RBAC, no such kind, no connection); undefined while it can. */
  readonly failing: unknown;
  /** Resolves with the first list in the store; rejects when `signal` aborts or the informer is stopped. */
  synced(signal: AbortSignal): Promise<void>;
  /**
   * Calls `handler` after each change of the store, in order. A late subscriber gets the store replayed as `added`,
   * before this returns. What a handler throws is logged, never fatal. Answers how to unsubscribe.
   */
  subscribe(handler: (event: InformerEvent<T>) => void): () => void;
}

/** Options of {@link Informers}. */
export interface InformersOptions {
  client: KubeClient;
  logger: Logger;
  onState?: (type: ResourceType, state: ReflectorState | { at: 'stopped' }) => void;
  pacing?: Partial<ReflectorPacing>;
}

/** `true` once the first list is in the store; else what is waited for and, where it is known, why. */
export function listReadiness(
  informer: Pick<Informer<unknown>, 'hasSynced' | 'failing'> | undefined,
  plural: string,
): true | string {
  if (informer?.hasSynced === true) return true;
  const failing = informer?.failing;
  const because = failing === undefined ? '' : `: ${failing instanceof Error ? failing.message : failing}`;
  return `waiting for the list of ${plural}${because}`;
}

interface Shared {
  informer: SharedInformer<unknown>;
  users: number;
  controller: AbortController;
  ended: Promise<void>;
}

/** Starts an informer for its first user and stops it after its last. */
export class Informers {
  readonly #o: InformersOptions;
  readonly #shared = new Map<string, Shared>();
  readonly #ending = new Set<Promise<void>>();
  #stopped = false;

  constructor(o: InformersOptions) {
    this.#o = o;
  }

  /** Begins (or joins) following; `release` once, when done with it. */
  acquire<T>(spec: InformerSpec<T>): { informer: Informer<T>; release(): void } {
    const key = identityOf(spec);
    let shared = this.#shared.get(key);
    if (shared === undefined) {
      shared = this.#start(spec);
      this.#shared.set(key, shared);
    }
    const held = shared;
    held.users += 1;
    let released = false;
    return {
      informer: held.informer as unknown as Informer<T>,
      release: () => {
        if (released) return;
        released = true;
        held.users -= 1;
        if (held.users > 0) return;
        if (this.#shared.get(key) === held) this.#shared.delete(key);
        held.controller.abort();
      },
    };
  }

  /** Stops all, whoever still holds them, for good; resolves when no watch is left. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const { controller } of this.#shared.values()) controller.abort();
    this.#shared.clear();
    await Promise.all(this.#ending);
  }

  #start<T>(spec: InformerSpec<T>): Shared {
    const { client, logger, onState, pacing } = this.#o;
    const controller = new AbortController();
    if (this.#stopped) controller.abort();
    const informer = new SharedInformer({
      spec,
      client,
      logger: logger.child({ watch: `${spec.type.plural}.${spec.type.group || 'core'}` }),
      onState: (state) => onState?.(spec.type, state),
      pacing,
    });
    const ended = informer.run(controller.signal).finally(() => {
      this.#ending.delete(ended);
      onState?.(spec.type, { at: 'stopped' });
    });
    this.#ending.add(ended);
    return { informer: informer as unknown as SharedInformer<unknown>, users: 0, controller, ended };
  }
}

function identityOf<T>(spec: InformerSpec<T>): string {
  const { type, namespace, labelSelector, fieldSelector, metadataOnly, variant } = spec;
  return JSON.stringify([
    apiVersionOf(type),
    type.plural,
    namespace ?? '',
    labelSelector ?? '',
    fieldSelector ?? '',
    metadataOnly ?? false,
    variant,
  ]);
}
