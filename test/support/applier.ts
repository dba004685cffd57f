import type { KubeObject } from '../../operator/api/objects.ts';
import { applyObjects } from '../../operator/apply/apply.ts';
import type { ChangeSet } from '../../operator/apply/change-set.ts';
import type { Owner } from '../../operator/apply/controls.ts';
import { type Drift, DriftMonitor, driftKey } from '../../operator/apply/drift.ts';
import type { HealResult } from '../../operator/apply/heal.ts';
import { difference, entryOf, type InventoryEntry, union } from '../../operator/apply/inventory.ts';
import { ProofBook } from '../../operator/apply/proof-book.ts';
import { type PruneResult, pruneObjects } from '../../operator/apply/prune.ts';
import { KubeClient } from '../../operator/kube/client.ts';
import { loadClusterConfig } from '../../operator/kube/config.ts';
import { Discovery } from '../../operator/kube/discovery.ts';
import { Informers } from '../../operator/kube/informers.ts';
import { recordingLogger } from './log.ts';
import type { World } from './world.ts';

/** What a pass may be asked beside its objects. */
export interface PassOptions {
  owner?: Owner;
  force?: boolean;
  prune?: boolean;
  beforeStage?: (entries: InventoryEntry[]) => Promise<void>;
  signal?: AbortSignal;
}

/**
 * The apply room as the Kustomization controller uses it, without the controller: an inventory in memory, and a queue
 * that heals each drift at once unless `healing` is off. Requests are counted as they are answered; watches aside.
 */
export class Applier {
  readonly owner: Owner;
  readonly client: KubeClient;
  readonly discovery: Discovery;
  readonly informers: Informers;
  readonly proofs = new ProofBook();
  readonly monitor: DriftMonitor;
  readonly requests: { verb: string; path: string; status: number }[] = [];
  readonly drifts: Drift[] = [];
  readonly healed: HealResult[] = [];
  readonly healErrors: unknown[] = [];
  readonly logger = recordingLogger();
  /** Inventories by owner name. */
  readonly inventories = new Map<string, InventoryEntry[]>();
  healing = true;
  readonly #abort = new AbortController();
  readonly #queued = new Map<string, Drift>();
  readonly #running = new Map<string, Promise<void>>();

  constructor(world: World, o: { kubeconfig?: string } = {}) {
    this.owner = { name: 'apps', namespace: world.namespace };
    this.client = new KubeClient({
      config: loadClusterConfig({ kubeconfig: o.kubeconfig ?? world.kubeconfig }),
      observe: ({ verb, path, status }) => {
        if (verb !== 'watch') this.requests.push({ verb, path, status });
      },
    });
    this.discovery = new Discovery(this.client);
    this.informers = new Informers({ client: this.client, logger: this.logger });
    this.monitor = new DriftMonitor({
      client: this.client,
      informers: this.informers,
      discovery: this.discovery,
      proofs: this.proofs,
      logger: this.logger,
      onDrift: (drift) => this.#enqueue(drift),
      isOwnedBy: ({ name }, id) => this.inventories.get(name)?.some((entry) => entry.id === id) ?? false,
    });
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** No heal is under way. */
  get idle(): boolean {
    return this.#running.size === 0;
  }

  inventory(owner: Owner = this.owner): InventoryEntry[] {
    return this.inventories.get(owner.name) ?? [];
  }

  /** A pass without a monitor and without an inventory: the bare function. */
  applyOnly(objects: KubeObject[], o: PassOptions = {}): Promise<ChangeSet> {
    const { client, discovery, proofs } = this;
    return applyObjects({
      client,
      discovery,
      proofs,
      objects,
      owner: o.owner ?? this.owner,
      force: o.force ?? false,
      signal: o.signal ?? this.signal,
      beforeStage: o.beforeStage ?? (async () => {}),
    });
  }

  /** A whole pass: track, write ahead, apply, prune, track. */
  async pass(objects: KubeObject[], o: PassOptions = {}): Promise<ChangeSet & { pruned?: PruneResult }> {
    const owner = o.owner ?? this.owner;
    const { client, discovery, proofs, monitor, signal } = this;
    const old = this.inventory(owner);
    await monitor.track(owner, union(old, objects.map(entryOf)), signal);
    const changeSet = await applyObjects({
      client,
      discovery,
      proofs,
      owner,
      objects,
      watched: monitor,
      force: o.force ?? false,
      signal: o.signal ?? signal,
      beforeStage: async (entries) => {
        await o.beforeStage?.(entries);
        this.inventories.set(owner.name, union(this.inventory(owner), entries));
      },
    });
    const entries = difference(old, changeSet.entries);
    if (o.prune === false || entries.length === 0) {
      this.inventories.set(owner.name, changeSet.entries);
      await monitor.track(owner, changeSet.entries, signal);
      return changeSet;
    }
    const applied = changeSet.uids;
    const pruned = await pruneObjects({ client, discovery, owner, entries, proofs, applied, signal });
    this.inventories.set(owner.name, union(changeSet.entries, pruned.survivors));
    await monitor.track(owner, this.inventory(owner), signal);
    return { ...changeSet, pruned };
  }

  /** The requests that `work` makes, as `verb path`. */
  async requestsOf(work: () => Promise<unknown>): Promise<string[]> {
    const from = this.requests.length;
    await work();
    return this.requests.slice(from).map(({ verb, path }) => `${verb} ${path}`);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.allSettled(this.#running.values());
    this.monitor.stop();
    await this.informers.stop();
    await this.client.close();
  }

  #enqueue(drift: Drift): void {
    this.drifts.push(drift);
    if (!this.healing) return;
    const key = driftKey(drift);
    this.#queued.set(key, drift);
    if (!this.#running.has(key)) this.#running.set(key, this.#work(key));
  }

  async #work(key: string): Promise<void> {
    for (let drift = this.#queued.get(key); drift !== undefined; drift = this.#queued.get(key)) {
      this.#queued.delete(key);
      if (this.signal.aborted) break;
      await this.#heal(drift);
    }
    this.#running.delete(key);
  }

  async #heal(drift: Drift): Promise<void> {
    try {
      const result = await this.monitor.heal(drift, this.signal);
      this.healed.push(result);
      if (result.retryAfterMs !== undefined) {
        const again = setTimeout(() => this.#enqueue(drift), result.retryAfterMs);
        this.signal.addEventListener('abort', () => clearTimeout(again), { once: true });
      }
    } catch (error) {
      if (!this.signal.aborted) this.healErrors.push(error);
    }
  }
}

/** A fresh applier for each test. */
export function useApplier(world: () => World): () => Applier {
  let current: Applier | undefined;
  beforeEach('an applier', () => {
    current = new Applier(world());
  });
  afterEach('stop the applier', async () => {
    await current?.stop();
    current = undefined;
  });
  return () => {
    if (current === undefined) throw new Error('there is an applier only while a test runs');
    return current;
  };
}

/** A ConfigMap in the world's namespace. */
export function configMap(
  world: World,
  name: string,
  data: Record<string, string>,
  metadata: KubeObject['metadata'] = {},
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: world.namespace, ...metadata },
    data,
  };
}

/** A Deployment without pods' needs: nothing runs it in tests. */
export function deployment(world: World, name: string, o: { image?: string; app?: string } = {}): KubeObject {
  const labels = { app: o.app ?? name };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: world.namespace },
    spec: {
      replicas: 0,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { containers: [{ name: 'app', image: o.image ?? 'example.com/app:1' }] },
      },
    },
  };
}

/** A Service. */
export function service(world: World, name: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: world.namespace },
    spec: { selector: { app: name }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
  };
}
