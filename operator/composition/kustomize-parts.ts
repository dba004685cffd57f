/** Kustomization's parts: building, drift, the controller, and the watch that tells it of new artifacts. */

import { join } from 'node:path';
import { REASON } from '../api/conditions.ts';
import type { GitRepository, GitRepositorySpec, GitRepositoryStatus } from '../api/git-repository.gen.ts';
import type { Kustomization, KustomizationSpec, KustomizationStatus } from '../api/kustomization.gen.ts';
import { FINALIZER, KUSTOMIZATION_STATUS_MANAGER } from '../api/names.ts';
import { GIT_REPOSITORY, KUSTOMIZATION, objectKey } from '../api/resources.ts';
import { ownerKey } from '../apply/controls.ts';
import { parseInventory } from '../apply/inventory.ts';
import { ProofBook } from '../apply/proof-book.ts';
import { DriftHealer, type DriftHealerOptions } from '../controllers/drift-healer.ts';
import { jitter } from '../controllers/intervals.ts';
import { KUSTOMIZATION_POLICY, KustomizationReconciler } from '../controllers/kustomization.ts';
import { sourceKey, sourceKeyOf } from '../controllers/kustomization-source.ts';
import { timeoutMs } from '../controllers/kustomization-spec.ts';
import { type Informer, listReadiness } from '../kube/informers.ts';
import type { Store } from '../kube/store.ts';
import { BuildWorkers } from '../kustomize/build-worker.ts';
import { Controller } from '../runtime/controller.ts';
import { ownChange } from '../runtime/enqueue-predicate.ts';
import type { Manager, Runnable } from '../runtime/manager.ts';
import { ownKind } from '../runtime/own-kind.ts';
import { ArtifactReader } from '../source/artifact-reader.ts';
import type { ArtifactStore } from '../source/artifact-store.ts';
import { type Composition, controllerBasics, executable, part } from './platform.ts';

const PUT_BACK_AT_ONCE = 8;
const INDEXES = { source: (kustomization: Kustomization) => [sourceKeyOf(kustomization)] };

/** Adds them to a manager that hasn't started. Throws when there is no build worker. */
export function addKustomizeParts(manager: Manager, composition: Composition, store: ArtifactStore): void {
  const { options, logger, path, platform } = composition;
  const { client, discovery, informers } = platform;
  const basics = controllerBasics(manager, composition, 'kustomize-controller');
  const { namespace } = basics;
  const labelSelector = options.watchLabelSelector;
  const workers = new BuildWorkers({ binary: buildWorker(options.buildWorker, path), logger });
  const artifacts = new ArtifactReader({ store, cacheRoot: join(options.storagePath, 'extracted'), logger });
  const repositories = informers.acquire(
    ownKind<GitRepositorySpec, GitRepositoryStatus>({ type: GIT_REPOSITORY, namespace }),
  );
  const kustomizations = informers.acquire(
    ownKind<KustomizationSpec, KustomizationStatus>({
      type: KUSTOMIZATION,
      namespace,
      labelSelector,
      indexes: INDEXES,
    }),
  );
  const proofs = new ProofBook();
  const healer = new DriftHealer({
    ...{ client, discovery, informers, proofs, logger },
    concurrency: PUT_BACK_AT_ONCE,
    stateOf: (owner) => stateOf(kustomizations.informer.store.get(ownerKey(owner))),
    isOwnedBy: (owner, id) => inventoryHolds(kustomizations.informer.store.get(ownerKey(owner)), id),
    reconcile: (owner) => controller.enqueue(ownerKey(owner)),
    onHealed: tellHealed(kustomizations.informer.store, basics),
  });
  const controller: Controller<KustomizationSpec, KustomizationStatus> = new Controller({
    ...basics,
    name: 'kustomization',
    type: KUSTOMIZATION,
    reconciler: new KustomizationReconciler({
      ...{ client, discovery, artifacts, workers, proofs, monitor: healer.monitor },
      repositories: repositories.informer.store,
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
    labelSelector,
    indexes: INDEXES,
  });
  manager.add(
    part('stores', {
      start: (signal) => repositories.informer.synced(signal),
      ready: () => listReadiness(repositories.informer, GIT_REPOSITORY.plural),
      stop: async () => {
        repositories.release();
        kustomizations.release();
      },
    }),
  );
  manager.add(part('artifact reader', { stop: () => artifacts.close() }));
  manager.add(part('build workers', { stop: () => workers.close() }));
  manager.add(artifactWatch(repositories.informer, kustomizations.informer.store, controller));
  manager.add(healer);
  manager.add(controller);
}

/** Wakes the users of a source whose artifact is another. */
function artifactWatch(
  repositories: Informer<GitRepository>,
  kustomizations: Store<Kustomization>,
  controller: Pick<Controller<KustomizationSpec, KustomizationStatus>, 'enqueue'>,
): Runnable {
  let unsubscribe = (): void => {};
  return part('artifact watch', {
    start: async () => {
      unsubscribe = repositories.subscribe((event) => {
        if (event.type === 'deleted' || !artifactChanged(event.previous, event.kept)) return;
        const key = sourceKey(GIT_REPOSITORY.kind, event.kept.metadata);
        for (const user of kustomizations.byIndex('source', key)) controller.enqueue(objectKey(user));
      });
    },
    stop: async () => unsubscribe(),
  });
}

/** Says in the log and in an event of its owner what was done to an object, and which field managers did it. */
function tellHealed(
  kustomizations: Store<Kustomization>,
  { logger, recorder }: ReturnType<typeof controllerBasics>,
): DriftHealerOptions['onHealed'] {
  return ({ owner }, { subject, managers, action }) => {
    const by = managers.length === 0 ? '' : ` by ${managers.join(', ')}`;
    const message = `${subject} was ${action === 'created' ? 'deleted' : `changed${by}`} and put back`;
    logger.info(message, { ...owner });
    const object = kustomizations.get(ownerKey(owner));
    if (object !== undefined)
      recorder.record({ object, type: 'Normal', reason: REASON.driftCorrected, message });
  };
}

function stateOf(kustomization: Kustomization | undefined): 'active' | 'suspended' | 'gone' {
  if (kustomization === undefined) return 'gone';
  return kustomization.spec.suspend === true ? 'suspended' : 'active';
}

function inventoryHolds(kustomization: Kustomization | undefined, id: string): boolean {
  return parseInventory(kustomization?.status?.inventory).some((entry) => entry.id === id);
}

function artifactChanged(previous: GitRepository | undefined, current: GitRepository): boolean {
  const [before, after] = [previous?.status?.artifact, current.status?.artifact];
  if (after === undefined) return false;
  // One that was lost and built again is equal but for its time: who failed to open it must hear of it.
  return (
    before?.revision !== after.revision ||
    before.digest !== after.digest ||
    before.lastUpdateTime !== after.lastUpdateTime
  );
}

function buildWorker(program: string, searchPath: string): string {
  const found = executable(program, searchPath);
  if (found !== undefined) return found;
  throw new Error(
    `--build-worker ${program}: there is no such program; build it with "npm run tools" or name its path`,
  );
}
