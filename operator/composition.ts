/** Who needs whom: the one place where everything is put together, in the order in which it starts. */

import { statSync } from 'node:fs';
import { hostname } from 'node:os';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { REASON } from './api/conditions.ts';
import type { GitRepository, GitRepositorySpec, GitRepositoryStatus } from './api/git-repository.gen.ts';
import type { KustomizationSpec, KustomizationStatus } from './api/kustomization.gen.ts';
import type { Logger } from './api/logger.ts';
import {
  CLUSTER_WIDE_ANNOTATION,
  FINALIZER,
  GIT_REPOSITORY_STATUS_MANAGER,
  KUSTOMIZATION_STATUS_MANAGER,
  NAMESPACE_WIDE_ANNOTATION,
  SEALED_SECRETS_FIELD_MANAGER,
} from './api/names.ts';
import { GIT_REPOSITORY, KUSTOMIZATION, objectKey, SEALED_SECRET } from './api/resources.ts';
import type { SealedSecretSpec, SealedSecretStatus } from './api/sealed-secret.gen.ts';
import { ownerKey } from './apply/controls.ts';
import { parseInventory } from './apply/inventory.ts';
import { ProofBook } from './apply/proof-book.ts';
import { DriftHealer } from './controllers/drift-healer.ts';
import { GIT_REPOSITORY_POLICY, gitRepositoryReconciler } from './controllers/git-repository.ts';
import { jitter } from './controllers/intervals.ts';
import { KUSTOMIZATION_POLICY, KustomizationReconciler } from './controllers/kustomization.ts';
import { sourceKey, sourceKeyOf } from './controllers/kustomization-source.ts';
import { timeoutMs } from './controllers/kustomization-spec.ts';
import { SEALED_SECRET_POLICY, sealedSecretReconciler } from './controllers/sealed-secret.ts';
import { SecretWatch } from './controllers/secret-watch.ts';
import { KubeClient } from './kube/client.ts';
import { type ClusterConfig, loadClusterConfig } from './kube/config.ts';
import { Discovery } from './kube/discovery.ts';
import { EventRecorder } from './kube/events.ts';
import { Informers } from './kube/informers.ts';
import { BuildWorkers } from './kustomize/build-worker.ts';
import type { Options } from './options.ts';
import { Controller } from './runtime/controller.ts';
import { anyOf, metadataChanged, ownChange } from './runtime/enqueue-predicate.ts';
import { healthServer, metricsServer, parseBindAddress } from './runtime/http.ts';
import type { Manager, Runnable } from './runtime/manager.ts';
import { Metrics } from './runtime/metrics.ts';
import { ownKind } from './runtime/own-kind.ts';
import { SealingServer } from './sealing/http.ts';
import { KeyRing } from './sealing/key-ring.ts';
import { ArtifactReader } from './source/artifact-reader.ts';
import { ArtifactServer } from './source/artifact-server.ts';
import { ArtifactStore } from './source/artifact-store.ts';
import { GitFetcher } from './source/git.ts';

/** What every part shares. */
export interface Platform {
  config: ClusterConfig;
  client: KubeClient;
  discovery: Discovery;
  informers: Informers;
  metrics: Metrics;
}

/** What the parts are made from. `path` is the search path for the programs that are run. */
export interface Composition {
  options: Options;
  logger: Logger;
  path: string;
  platform: Platform;
}

const PUT_BACK_AT_ONCE = 8;

/** Reads the kubeconfig and makes what every part shares; nothing is connected or started yet. Throws without one. */
export function createPlatform({ options, logger }: Pick<Composition, 'options' | 'logger'>): Platform {
  const { kubeconfig } = options;
  const config = loadClusterConfig(kubeconfig === undefined ? {} : { kubeconfig });
  const metrics = new Metrics();
  const client = new KubeClient({ config, observe: metrics.requestObserver(config.server.host) });
  return {
    config,
    client,
    discovery: new Discovery(client),
    informers: new Informers({ client, logger }),
    metrics,
  };
}

/** Adds every part that the options ask for, in the order in which they start. */
export function addParts(manager: Manager, composition: Composition): void {
  const { options, platform } = composition;
  manager.add(part('api client', { stop: () => platform.client.close() }));
  const metricsBind = parseBindAddress(options.metricsAddr);
  if (metricsBind !== undefined) {
    manager.add(metricsServer({ bind: metricsBind, registry: platform.metrics.registry }));
  }
  const healthBind = parseBindAddress(options.healthAddr);
  if (healthBind !== undefined) {
    manager.add(healthServer({ bind: healthBind, readiness: () => manager.readiness() }));
  }
  manager.add(part('informers', { stop: () => platform.informers.stop() }));
  if (options.controllers.has('source') || options.controllers.has('kustomize'))
    addFluxParts(manager, composition);
  if (options.controllers.has('sealed-secrets')) addSealingParts(manager, composition);
}

/** Sources and Kustomizations share the artifact store: what one publishes the other reads from disk. */
function addFluxParts(manager: Manager, composition: Composition): void {
  const { options, logger } = composition;
  const store = new ArtifactStore({
    root: join(options.storagePath, 'artifacts'),
    advertisedAddress: options.storageAdvAddr ?? derivedAddress(options.storageAddr),
  });
  if (options.controllers.has('source')) {
    manager.add(new ArtifactServer({ store, address: options.storageAddr, logger }));
    addSourceParts(manager, composition, store);
  }
  if (options.controllers.has('kustomize')) addKustomizeParts(manager, composition, store);
}

function addSourceParts(manager: Manager, composition: Composition, store: ArtifactStore): void {
  const { options, logger, path, platform } = composition;
  const cacheRoot = join(options.storagePath, 'git');
  manager.add(
    new Controller<GitRepositorySpec, GitRepositoryStatus>({
      ...shared(manager, composition, 'source-controller'),
      name: 'gitrepository',
      type: GIT_REPOSITORY,
      reconciler: gitRepositoryReconciler({
        client: platform.client,
        git: new GitFetcher({ cacheRoot, searchPath: path, logger }),
        store,
        jitter: jitter(options.intervalJitterPercentage),
      }),
      policy: GIT_REPOSITORY_POLICY,
      shouldEnqueue: ownChange(FINALIZER),
      concurrency: options.concurrent.source,
      finalizer: FINALIZER,
      suspended: ({ spec }) => spec.suspend === true,
      fieldManager: GIT_REPOSITORY_STATUS_MANAGER,
      statusWrite: 'merge-patch',
    }),
  );
}

function addKustomizeParts(manager: Manager, composition: Composition, store: ArtifactStore): void {
  const { options, logger, path, platform } = composition;
  const { client, discovery, informers } = platform;
  const common = shared(manager, composition, 'kustomize-controller');
  const workers = new BuildWorkers({ binary: executable(options.buildWorker, path), logger });
  const artifacts = new ArtifactReader({ store, cacheRoot: join(options.storagePath, 'extracted'), logger });
  const repositories = informers.acquire(
    ownKind<GitRepositorySpec, GitRepositoryStatus>({ type: GIT_REPOSITORY, namespace: common.namespace }),
  );
  const proofs = new ProofBook();
  const healer = new DriftHealer({
    ...{ client, discovery, informers, proofs, logger },
    concurrency: PUT_BACK_AT_ONCE,
    isOwnedBy: (owner, id) => inventoryHolds(controller.store.get(ownerKey(owner))?.status, id),
    reconcile: (owner) => controller.enqueue(ownerKey(owner)),
    onHealed: ({ owner }, { subject, managers, action }) => {
      const by = managers.length === 0 ? '' : ` by ${managers.join(', ')}`;
      const message = `${subject} was ${action === 'created' ? 'deleted' : `changed${by}`} and put back`;
      logger.info(message, { ...owner });
      const object = controller.store.get(ownerKey(owner));
      if (object !== undefined) {
        common.recorder.record({ object, type: 'Normal', reason: REASON.driftCorrected, message });
      }
    },
  });
  const controller = new Controller<KustomizationSpec, KustomizationStatus>({
    ...common,
    name: 'kustomization',
    type: KUSTOMIZATION,
    reconciler: new KustomizationReconciler({
      ...{ client, discovery, artifacts, workers, proofs, monitor: healer.monitor },
      repositories: () => repositories.informer.store,
      jitter: jitter(options.intervalJitterPercentage),
    }),
    policy: KUSTOMIZATION_POLICY,
    shouldEnqueue: ownChange(FINALIZER),
    concurrency: options.concurrent.kustomize,
    finalizer: FINALIZER,
    suspended: ({ spec }) => spec.suspend === true,
    timeoutMs: ({ spec }) => timeoutMs(spec),
    fieldManager: KUSTOMIZATION_STATUS_MANAGER,
    statusWrite: 'merge-patch',
    indexes: { source: (kustomization) => [sourceKeyOf(kustomization)] },
  });
  const wake = (repository: GitRepository): void => {
    const users = controller.store.byIndex('source', sourceKey('GitRepository', repository.metadata));
    for (const user of users) controller.enqueue(objectKey(user));
  };
  manager.add(
    part('sources', {
      start: (signal) => repositories.informer.synced(signal),
      stop: async () => repositories.release(),
    }),
  );
  manager.add(part('artifact reader', { stop: () => artifacts.close() }));
  manager.add(part('build workers', { stop: () => workers.close() }));
  manager.add(healer);
  manager.add(controller);
  let unsubscribe = (): void => {};
  manager.add(
    part('artifact watch', {
      start: async () => {
        unsubscribe = repositories.informer.subscribe((event) => {
          if (event.type === 'modified' && artifactChanged(event.previous, event.kept)) wake(event.kept);
        });
      },
      stop: async () => unsubscribe(),
    }),
  );
}

function addSealingParts(manager: Manager, composition: Composition): void {
  const { options, logger, platform } = composition;
  const { client, informers } = platform;
  const common = shared(manager, composition, 'sealed-secrets');
  const keys = new KeyRing({
    ...{ client, informers, logger },
    namespace: options.namespace,
    keyPrefix: options.keyPrefix,
    keySize: options.keySize,
    keyTtlMs: options.keyTtlMs,
    commonName: options.myCn,
  });
  const secrets = new SecretWatch({
    informers,
    namespace: common.namespace,
    onChanged: (key) => {
      if (controller.store.get(key) !== undefined) controller.enqueue(key);
    },
  });
  const controller = new Controller<SealedSecretSpec, SealedSecretStatus>({
    ...common,
    name: 'sealedsecret',
    type: SEALED_SECRET,
    reconciler: sealedSecretReconciler({
      ...{ client, keys },
      onWritten: (key, secret) => secrets.expect(key, secret),
    }),
    policy: SEALED_SECRET_POLICY,
    shouldEnqueue: anyOf(ownChange(), metadataChanged([NAMESPACE_WIDE_ANNOTATION, CLUSTER_WIDE_ANNOTATION])),
    concurrency: options.concurrent['sealed-secrets'],
    fieldManager: SEALED_SECRETS_FIELD_MANAGER,
    statusWrite: 'put',
  });
  const retryAll = (): void => {
    for (const sealedSecret of controller.store.list()) controller.enqueue(objectKey(sealedSecret));
  };
  let unsubscribe = (): void => {};
  manager.add(keys);
  manager.add(new SealingServer({ keys, logger, address: options.sealedSecretsAddr }));
  manager.add(controller);
  manager.add(secrets);
  manager.add(
    part('sealing key watch', {
      start: async () => {
        unsubscribe = keys.onChange(retryAll);
      },
      stop: async () => unsubscribe(),
    }),
  );
}

/** What the controllers have in common; `component` is what their events say they come from. */
function shared(manager: Manager, { options, logger, platform }: Composition, component: string) {
  const { client, informers, metrics } = platform;
  const recorder = new EventRecorder({ client, component, logger });
  manager.add(
    part(`${component} events`, {
      stop: () => recorder.flush(AbortSignal.timeout(options.gracefulShutdownTimeoutMs)),
    }),
  );
  const namespace = options.watchAllNamespaces ? undefined : options.namespace;
  return { client, informers, metrics, recorder, logger, namespace };
}

/** A part of the process made of two functions. */
function part(name: string, life: Partial<Pick<Runnable, 'start' | 'stop'>>): Runnable {
  return { name, start: life.start ?? (async () => {}), stop: life.stop ?? (async () => {}) };
}

function inventoryHolds(status: KustomizationStatus | undefined, id: string): boolean {
  return parseInventory(status?.inventory).some((entry) => entry.id === id);
}

function artifactChanged(previous: GitRepository | undefined, current: GitRepository): boolean {
  const [before, after] = [previous?.status?.artifact, current.status?.artifact];
  return after !== undefined && (before?.revision !== after.revision || before.digest !== after.digest);
}

/** How artifact URLs name this process when nobody says: the bound host, or this machine's name. */
function derivedAddress(bind: string): string {
  const { host, port } = parseBindAddress(bind) ?? { port: 0 };
  const named = host === undefined || host === '0.0.0.0' || host === '::' ? hostname() : host;
  return `${named.includes(':') ? `[${named}]` : named}:${port}`;
}

/** The program's path, looked up in `searchPath` as a shell would. Throws naming it when it isn't there. */
function executable(program: string, searchPath: string): string {
  if (isAbsolute(program) || program.includes('/')) {
    if (isFile(resolve(program))) return resolve(program);
  } else {
    const found = searchPath
      .split(delimiter)
      .map((folder) => join(folder, program))
      .find(isFile);
    if (found !== undefined) return found;
  }
  throw new Error(
    `--build-worker ${program}: there is no such program; build it with "npm run tools" or name its path`,
  );
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
