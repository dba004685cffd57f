/** Drift, by watch: what was applied is followed, and what no longer agrees with its proof is put back at once. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../api/logger.ts';
import { OWNER_NAME_LABEL } from '../api/names.ts';
import type { StoredObject } from '../api/objects.ts';
import { apiVersionOf, keyOf, type NamespacedName, type ResourceType } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { type Discovery, NoMatchError } from '../kube/discovery.ts';
import { ApiError } from '../kube/errors.ts';
import type { Informer, InformerEvent, Informers } from '../kube/informers.ts';
import { subjectOf } from './change-set.ts';
import { type Owner, ownerKey } from './controls.ts';
import type { Watched } from './decide.ts';
import { type HealResult, heal } from './heal.ts';
import { type InventoryEntry, parseId } from './inventory.ts';
import { agrees, type Observation } from './proof.ts';
import type { ProofBook } from './proof-book.ts';

/** An object that doesn't agree (or isn't known to agree) with what its owner wants. */
export interface Drift {
  owner: Owner;
  id: string;
}

/** Options of a {@link DriftMonitor}. */
export interface DriftMonitorOptions {
  client: KubeClient;
  informers: Informers;
  discovery: Discovery;
  proofs: ProofBook;
  logger: Logger;
  /** Called at once, on the watch's own turn, for each event that shows drift: put it into a queue that knows repetitions. */
  onDrift: (drift: Drift) => void;
  /** True when that Kustomization exists and its inventory lists the object: then it moved, and isn't drift. */
  isOwnedBy: (owner: Owner, id: string) => boolean | Promise<boolean>;
}

/** An inventory entry with its place in a watch. */
interface Tracked {
  readonly owner: Owner;
  readonly id: string;
  readonly watch: KindWatch;
  readonly objectKey: string;
}

interface KindWatch {
  readonly typeKey: string;
  readonly type: ResourceType;
  readonly informer: Informer<Observation>;
  /** By object key; more than one where two owners list the same object. */
  readonly tracked: Map<string, Tracked[]>;
  close(): void;
}

const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 1_000;
const SYNC_POLL_MS = 20;

/** The key of a drift in queues. */
export function driftKey({ owner, id }: Drift): string {
  return `${ownerKey(owner)} ${id}`;
}

/**
 * One informer for each kind that some inventory holds, selected by the existence of the owner label; it keeps
 * {@link Observation}s only.
 *
 * An object is healed once its owner has applied it in this process (it is in the {@link ProofBook}); before that the
 * owner's pass is what asks the API server. Events for ids that nobody tracks are dropped, whatever their labels
 * say. While somebody is at work on an object its events wait: they may be the echo of that very write, and are held
 * against the proof when the work has ended.
 */
export class DriftMonitor implements Watched {
  readonly #o: DriftMonitorOptions;
  readonly #watches = new Map<string, KindWatch>();
  readonly #owners = new Map<string, Map<string, Tracked>>();
  /** Metadata of the events that showed the drifts under way, by drift key. */
  readonly #metadata = new Map<string, StoredObject['metadata']>();
  /** Drift keys with events that came while somebody was at work on the object. */
  readonly #dirty = new Set<string>();
  readonly #waits = new Map<string, number>();
  readonly #stopObserving: () => void;

  constructor(o: DriftMonitorOptions) {
    this.#o = o;
    this.#stopObserving = o.proofs.onSettled((owner, id, { recheck }) => this.#settled(owner, id, recheck));
  }

  /**
   * Follows exactly these entries for the owner, and forgets the desired state of what it followed before and isn't
   * among them. To be called before a pass with the inventory and what the pass will apply (so that the pass finds
   * everything watched), and after it with the inventory that came of it (for kinds that the pass itself defined).
   * Resolves when the watches have their first list, or say why not. `unwatched` names the kinds that can't be
   * followed just now (`Secret`, `Deployment.apps`): they heal when the owner is reconciled.
   */
  async track(
    owner: Owner,
    entries: readonly InventoryEntry[],
    signal: AbortSignal,
  ): Promise<{ unwatched: string[] }> {
    const types = await this.#resolveAll(entries, signal);
    const previous = this.#owners.get(ownerKey(owner)) ?? new Map<string, Tracked>();
    const next = new Map<string, Tracked>();
    for (const entry of entries) {
      const type = types.get(kindKey(entry));
      if (type !== undefined) next.set(entry.id, this.#follow(owner, entry, type));
    }
    for (const [id, tracked] of previous) {
      if (next.get(id) !== tracked) this.#unfollow(tracked);
    }
    const listed = new Set(entries.map(({ id }) => id));
    for (const id of previous.keys()) {
      if (!listed.has(id)) this.#o.proofs.forget(owner, id);
    }
    if (next.size > 0) this.#owners.set(ownerKey(owner), next);
    else this.#owners.delete(ownerKey(owner));
    this.#closeUnused();

    const watches = new Set(Array.from(next.values(), ({ watch }) => watch));
    await Promise.all(Array.from(watches, (watch) => firstList(watch, signal)));
    for (const tracked of next.values()) {
      if (previous.get(tracked.id) !== tracked) this.#evaluate(tracked);
    }
    return { unwatched: [...watches].filter(isRefused).map(({ type }) => kindName(type)) };
  }

  /** Follows these ids of the owner (or all) no longer and forgets what was wanted of them: nothing brings them back. */
  untrack(owner: Owner, ids?: readonly string[]): void {
    const tracked = this.#owners.get(ownerKey(owner));
    for (const id of ids ?? [...(tracked?.keys() ?? [])]) {
      const one = tracked?.get(id);
      if (one !== undefined) this.#unfollow(one);
      tracked?.delete(id);
      this.#o.proofs.forget(owner, id);
    }
    if (ids === undefined) this.#o.proofs.forget(owner);
    if (tracked?.size === 0) this.#owners.delete(ownerKey(owner));
    this.#closeUnused();
  }

  observed(type: ResourceType, name: NamespacedName): Observation | undefined {
    const informer = this.#watches.get(typeKey(type))?.informer;
    return informer !== undefined && isReliable(informer) ? informer.store.get(keyOf(name)) : undefined;
  }

  /** True when the object is watched and agrees with its proof: equal to Git as far as anybody can know without asking. */
  matchesStore(owner: Owner, id: string): boolean {
    const proof = this.#o.proofs.get(owner, id)?.proof;
    const tracked = this.#owners.get(ownerKey(owner))?.get(id);
    if (proof === undefined || tracked === undefined || !isReliable(tracked.watch.informer)) return false;
    const observation = tracked.watch.informer.store.get(tracked.objectKey);
    return observation !== undefined && agrees(proof, observation);
  }

  /**
   * Puts the object back, if it (still) has to be; alone on the object (see {@link ProofBook}). No request when it agrees
   * with its proof by now. Throws ApplyError and what the client throws: call it again later.
   */
  async heal(drift: Drift, signal: AbortSignal): Promise<HealResult> {
    const { client, proofs, isOwnedBy } = this.#o;
    const { owner, id } = drift;
    const key = driftKey(drift);
    const result = await proofs.exclusive(owner, id, async (): Promise<HealResult> => {
      const held = proofs.get(owner, id);
      const tracked = this.#owners.get(ownerKey(owner))?.get(id);
      if (held === undefined || tracked === undefined) {
        return { action: 'none', subject: subjectOf(parseId(id)), managers: [] };
      }
      const seen = tracked.watch.informer.store.get(tracked.objectKey);
      return heal({ client, proofs, held, seen, metadata: this.#metadata.get(key), isOwnedBy, signal });
    });
    this.#metadata.delete(key);
    if (result.action !== 'waiting') {
      this.#waits.delete(key);
      return result;
    }
    const waits = this.#waits.get(key) ?? 0;
    this.#waits.set(key, waits + 1);
    return { ...result, retryAfterMs: Math.min(FIRST_RETRY_MS * 2 ** waits, LONGEST_RETRY_MS) };
  }

  /** Ends all watches. Drifts under way may still be healed. */
  stop(): void {
    this.#stopObserving();
    for (const watch of this.#watches.values()) watch.close();
    this.#watches.clear();
    this.#owners.clear();
    this.#metadata.clear();
    this.#dirty.clear();
    this.#waits.clear();
  }

  async #resolveAll(
    entries: readonly InventoryEntry[],
    signal: AbortSignal,
  ): Promise<Map<string, ResourceType>> {
    const kinds = new Map(entries.map((entry) => [kindKey(entry), entry]));
    const types = new Map<string, ResourceType>();
    await Promise.all(
      Array.from(kinds, async ([key, { id, v }]) => {
        const { group, kind } = parseId(id);
        try {
          types.set(key, await this.#o.discovery.resolve({ group, version: v, kind }, { signal }));
        } catch (error) {
          // Its CRD may come with this very pass, or be gone: nothing to watch.
          if (!(error instanceof NoMatchError)) throw error;
        }
      }),
    );
    return types;
  }

  /** What is followed already stays as it is. */
  #follow(owner: Owner, { id }: InventoryEntry, type: ResourceType): Tracked {
    const known = this.#owners.get(ownerKey(owner))?.get(id);
    if (known !== undefined && known.watch.typeKey === typeKey(type)) return known;
    const watch = this.#watches.get(typeKey(type)) ?? this.#open(type);
    const { namespace, name } = parseId(id);
    const objectKey = keyOf(type.namespaced ? { namespace, name } : { name });
    const tracked: Tracked = { owner, id, watch, objectKey };
    watch.tracked.set(objectKey, [...(watch.tracked.get(objectKey) ?? []), tracked]);
    return tracked;
  }

  #unfollow(tracked: Tracked): void {
    const { watch, objectKey } = tracked;
    const left = (watch.tracked.get(objectKey) ?? []).filter((other) => other !== tracked);
    if (left.length > 0) watch.tracked.set(objectKey, left);
    else watch.tracked.delete(objectKey);
    const key = driftKey(tracked);
    this.#metadata.delete(key);
    this.#dirty.delete(key);
    this.#waits.delete(key);
  }

  #open(type: ResourceType): KindWatch {
    const { informer, release } = this.#o.informers.acquire<Observation>({
      type,
      labelSelector: OWNER_NAME_LABEL,
      keep: (object) => this.#o.proofs.observe(object),
      variant: 'drift',
    });
    const tracked = new Map<string, Tracked[]>();
    const unsubscribe = informer.subscribe((event) => this.#onEvent(tracked, event));
    const close = () => {
      unsubscribe();
      release();
    };
    const watch: KindWatch = { typeKey: typeKey(type), type, informer, tracked, close };
    this.#watches.set(watch.typeKey, watch);
    this.#evaluateOnceSynced(watch);
    return watch;
  }

  /** What is missing from the first list shows in no event. */
  #evaluateOnceSynced(watch: KindWatch): void {
    watch.informer.synced(new AbortController().signal).then(
      () => {
        for (const each of [...watch.tracked.values()].flat()) this.#evaluate(each);
      },
      () => this.#o.logger.debug('watch ended before its first list', { kind: kindName(watch.type) }),
    );
  }

  #closeUnused(): void {
    for (const [key, watch] of this.#watches) {
      if (watch.tracked.size > 0) continue;
      watch.close();
      this.#watches.delete(key);
    }
  }

  #onEvent(tracked: Map<string, Tracked[]>, event: InformerEvent<Observation>): void {
    for (const each of tracked.get(event.key) ?? []) {
      this.#evaluate(each, event.type === 'deleted' ? undefined : event.object?.metadata);
    }
  }

  #evaluate(tracked: Tracked, metadata?: StoredObject['metadata']): void {
    const { owner, id, watch, objectKey } = tracked;
    const held = this.#o.proofs.get(owner, id);
    // A Secret isn't healed from here, and its annotations may hold its values.
    if (metadata !== undefined && held?.desired !== undefined)
      this.#metadata.set(driftKey(tracked), metadata);
    if (this.#o.proofs.isBusy(owner, id)) {
      this.#dirty.add(driftKey(tracked));
      return;
    }
    const observation = watch.informer.store.get(objectKey);
    if (held === undefined || (observation === undefined && !watch.informer.hasSynced)) return;
    if (observation !== undefined) {
      const settled = held.proof !== undefined && agrees(held.proof, observation);
      if (settled || observation.leftAlone || observation.deleting) {
        this.#metadata.delete(driftKey(tracked));
        return;
      }
    }
    this.#o.onDrift({ owner, id });
  }

  #settled(owner: Owner, id: string, recheck: boolean): void {
    const tracked = this.#owners.get(ownerKey(owner))?.get(id);
    if (tracked === undefined) return;
    if (this.#dirty.delete(driftKey(tracked)) || recheck) this.#evaluate(tracked);
  }
}

function typeKey(type: ResourceType): string {
  return `${apiVersionOf(type)} ${type.plural}`;
}

function kindKey({ id, v }: InventoryEntry): string {
  const { group, kind } = parseId(id);
  return `${group}/${v} ${kind}`;
}

function kindName({ kind, group }: ResourceType): string {
  return group === '' ? kind : `${kind}.${group}`;
}

/** A store that isn't being kept up to date may say that a deleted object is there. */
function isReliable(informer: Informer<Observation>): boolean {
  return informer.hasSynced && informer.failing === undefined;
}

/** Forbidden, or a kind without the watch verb: no retry of ours will change it. */
function isRefused({ informer }: KindWatch): boolean {
  const { failing } = informer;
  return failing instanceof ApiError && (failing.status === 403 || failing.status === 405);
}

/** Resolves when the first list is in the store, or as soon as it shows that it won't come soon. */
async function firstList({ informer }: KindWatch, signal: AbortSignal): Promise<void> {
  const synced = informer.synced(signal);
  while (!informer.hasSynced && informer.failing === undefined) {
    await Promise.race([synced, delay(SYNC_POLL_MS, undefined, { signal })]);
  }
  synced.catch(() => {});
}
