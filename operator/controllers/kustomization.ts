/** Kustomization: from an artifact to a cluster that equals it, with nothing left behind. */

import { REASON } from '../api/conditions.ts';
import { formatDurationMs } from '../api/duration.ts';
import type { GitRepository, GitRepositoryStatusArtifact } from '../api/git-repository.gen.ts';
import type { Kustomization, KustomizationSpec, KustomizationStatus } from '../api/kustomization.gen.ts';
import { KUSTOMIZATION_REVISION_ANNOTATION } from '../api/names.ts';
import type { KubeObject } from '../api/objects.ts';
import { keyOf } from '../api/resources.ts';
import { applyObjects } from '../apply/apply.ts';
import { ApplyError } from '../apply/apply-error.ts';
import { type ChangeSet, describeChanges } from '../apply/change-set.ts';
import type { Owner } from '../apply/controls.ts';
import type { DriftMonitor } from '../apply/drift.ts';
import {
  difference,
  entryOf,
  type InventoryEntry,
  InventoryError,
  parseInventory,
  union,
} from '../apply/inventory.ts';
import type { ProofBook } from '../apply/proof-book.ts';
import { pruneObjects } from '../apply/prune.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Discovery } from '../kube/discovery.ts';
import type { Store } from '../kube/store.ts';
import { BuildError } from '../kustomize/build-error.ts';
import type { BuildResult, BuildWorkers } from '../kustomize/build-worker.ts';
import { closureUnchanged, type InputClosure } from '../kustomize/input-closure.ts';
import { type ConditionPolicy, fluxPolicy } from '../runtime/condition-policy.ts';
import {
  failed,
  type Outcome,
  type ReconcileContext,
  type Reconciler,
  stalled,
} from '../runtime/reconciler.ts';
import type { ArtifactReader } from '../source/artifact-reader.ts';
import { ArtifactUnavailable } from '../source/errors.ts';
import type { Jitter } from './intervals.ts';
import { publishedArtifact } from './kustomization-source.ts';
import { deletesObjects, intervalMs, refusalOf, retryIntervalMs, timeoutMs } from './kustomization-spec.ts';

/** What building and applying work with. */
export interface KustomizationDependencies {
  client: KubeClient;
  discovery: Discovery;
  repositories: Store<GitRepository>;
  artifacts: ArtifactReader;
  workers: BuildWorkers;
  proofs: ProofBook;
  monitor: DriftMonitor;
  jitter: Jitter;
}

type Context = ReconcileContext<KustomizationStatus>;
type Artifact = GitRepositoryStatusArtifact;

/** What a pass is about. */
interface Run {
  kustomization: Kustomization;
  artifact: Artifact;
  /** As the pass found it. */
  inventory: InventoryEntry[];
  context: Context;
}

interface Pruned {
  entries: InventoryEntry[];
  errors: string[];
}

const NOTHING_PRUNED: Pruned = { entries: [], errors: [] };

/** The last pass that ended well in this process: what it was made from. */
interface Settled {
  uid: string;
  generation: number | undefined;
  digest: string;
  inputs: InputClosure;
  ids: readonly string[];
}

/** Ready, Reconciling and Stalled. */
export const KUSTOMIZATION_POLICY: ConditionPolicy<KustomizationStatus> = fluxPolicy<KustomizationStatus>({
  summary: 'Ready',
  successReason: REASON.reconciliationSucceeded,
  failureReason: REASON.reconciliationFailed,
  progressMessage: 'Reconciliation in progress',
});

/**
 * Builds, applies, prunes. A pass over what hasn't changed (the same spec, an artifact in which nothing that the build
 * reads is different, and objects that agree with their proofs) makes no request beside the status.
 */
export class KustomizationReconciler implements Reconciler<KustomizationSpec, KustomizationStatus> {
  readonly #d: KustomizationDependencies;
  readonly #settled = new Map<string, Settled>();

  constructor(dependencies: KustomizationDependencies) {
    this.#d = dependencies;
  }

  async reconcile(kustomization: Kustomization, context: Context): Promise<Outcome> {
    const { spec } = kustomization;
    const refusal = refusalOf(spec);
    if (refusal !== undefined) stalled(REASON.reconciliationFailed, refusal);
    const inventory = inventoryOf(kustomization);
    const artifact = publishedArtifact(kustomization, this.#d.repositories, retryIntervalMs(spec));
    const run: Run = { kustomization, artifact, inventory, context };
    if (!(await this.#isSettled(run))) await this.#bringAbout(run);
    context.record({ lastAttemptedRevision: artifact.revision, lastAppliedRevision: artifact.revision });
    return {
      message: `Applied revision: ${artifact.revision}`,
      requeueAfterMs: this.#d.jitter(intervalMs(spec)),
    };
  }

  async finalize(kustomization: Kustomization, context: Context): Promise<void> {
    this.#settled.delete(keyOf(kustomization.metadata));
    this.#d.monitor.untrack(ownerOf(kustomization));
    if (!deletesObjects(kustomization)) return;
    const inventory = inventoryOf(kustomization);
    const { entries, errors } = await this.#prune({ kustomization, context }, inventory, undefined);
    if (errors.length === 0) return;
    context.record({ inventory: { entries } });
    failed(REASON.pruneFailed, errors.join('\n'));
  }

  /** True when there is nothing to build, to apply or to prune: see the class. */
  async #isSettled({ kustomization, artifact, context }: Run): Promise<boolean> {
    const { metadata, spec } = kustomization;
    const settled = this.#settled.get(keyOf(metadata));
    const owner = ownerOf(kustomization);
    if (settled?.uid !== metadata.uid || settled.generation !== metadata.generation) return false;
    if (!settled.ids.every((id) => this.#d.monitor.matchesStore(owner, id))) return false;
    if (settled.digest === artifact.digest) return true;
    const opened = await this.#open(artifact, spec, context);
    try {
      if (!(await closureUnchanged(settled.inputs, opened.directory))) return false;
      settled.digest = artifact.digest;
      return true;
    } finally {
      opened.release();
    }
  }

  async #bringAbout(run: Run): Promise<void> {
    const { kustomization, artifact, context } = run;
    const { metadata, spec } = kustomization;
    const key = keyOf(metadata);
    const startedAtMs = performance.now();
    this.#settled.delete(key);
    const { objects, inputs } = await this.#build(run);
    const applied = await this.#apply(run, objects);
    const stale = difference(run.inventory, applied.entries);
    // What is not to be pruned is let go instead, for good, as in Flux.
    const pruned = spec.prune ? await this.#prune(run, stale, applied.uids) : NOTHING_PRUNED;
    const entries = [...applied.entries, ...pruned.entries];
    context.record({ inventory: entries.length === 0 ? null : { entries } });
    await this.#d.monitor.track(ownerOf(kustomization), entries, context.signal);
    if (pruned.errors.length > 0) {
      failed(REASON.pruneFailed, pruned.errors.join('\n'), { retryAfterMs: retryIntervalMs(spec) });
    }
    const { uid, generation } = metadata;
    const ids = applied.changes.filter(({ action }) => action !== 'skipped').map(({ id }) => id);
    this.#settled.set(key, { uid, generation, digest: artifact.digest, inputs, ids });
    if (kustomization.status?.lastAppliedRevision === artifact.revision) return;
    const took = formatDurationMs(performance.now() - startedAtMs);
    const next = formatDurationMs(intervalMs(spec));
    tell(run, REASON.reconciliationSucceeded, `Reconciliation finished in ${took}, next run in ${next}`);
  }

  async #build({ kustomization, artifact, context }: Run): Promise<BuildResult> {
    const { spec } = kustomization;
    const limitMs = timeoutMs(spec);
    const opened = await this.#open(artifact, spec, context);
    context.record({ lastAttemptedRevision: artifact.revision });
    const limit = formatDurationMs(limitMs);
    const doing = `Building manifests for revision ${artifact.revision} with a timeout of ${limit}`;
    context.progress(REASON.progressing, doing);
    try {
      return await this.#d.workers.build({
        root: opened.directory,
        path: spec.path ?? '',
        overlay: spec,
        signal: context.signal,
        timeoutMs: limitMs,
      });
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      return failed(error.reason, error.message, { cause: error, retryAfterMs: retryIntervalMs(spec) });
    } finally {
      opened.release();
    }
  }

  async #open(artifact: Artifact, spec: KustomizationSpec, { signal }: Context) {
    try {
      return await this.#d.artifacts.open(artifact, signal);
    } catch (error) {
      if (!(error instanceof ArtifactUnavailable)) throw error;
      const retryAfterMs = retryIntervalMs(spec);
      return failed(REASON.artifactFailed, error.message, { cause: error, retryAfterMs });
    }
  }

  async #apply(run: Run, objects: KubeObject[]): Promise<ChangeSet> {
    const { kustomization, inventory, context } = run;
    const { client, discovery, proofs, monitor } = this.#d;
    const { spec } = kustomization;
    const owner = ownerOf(kustomization);
    const { signal } = context;
    context.progress(REASON.progressing, `Applying revision ${run.artifact.revision}`);
    try {
      await monitor.track(owner, union(inventory, objects.map(entryOf)), signal);
      const applied = await applyObjects({
        ...{ client, discovery, owner, objects, proofs, signal },
        watched: monitor,
        force: spec.force ?? false,
        beforeStage: writeAhead(inventory, context),
      });
      tell(run, REASON.progressing, describeChanges(applied.changes));
      return applied;
    } catch (error) {
      if (error instanceof ApplyError) tell(run, REASON.progressing, describeChanges(error.changes));
      if (error instanceof ApplyError || error instanceof InventoryError) {
        const retryAfterMs = retryIntervalMs(spec);
        failed(REASON.reconciliationFailed, error.message, { cause: error, retryAfterMs });
      }
      throw error;
    }
  }

  /** `entries` of the answer are those that survived. */
  async #prune(
    run: Pick<Run, 'kustomization' | 'context'> & { artifact?: Artifact },
    entries: readonly InventoryEntry[],
    applied: ReadonlySet<string> | undefined,
  ): Promise<Pruned> {
    if (entries.length === 0) return NOTHING_PRUNED;
    const { client, discovery, proofs } = this.#d;
    const owner = ownerOf(run.kustomization);
    const { changes, survivors, errors } = await pruneObjects({
      ...{ client, discovery, proofs, owner, entries, signal: run.context.signal },
      ...(applied === undefined ? {} : { applied }),
    });
    tell(run, REASON.progressing, describeChanges(changes));
    return { entries: survivors, errors };
  }
}

/** The ids that a stage may create go into the inventory before its first write: see docs/architecture.md. */
function writeAhead(inventory: readonly InventoryEntry[], context: Context) {
  let known = inventory;
  return async (entries: readonly InventoryEntry[]): Promise<void> => {
    const ahead = union(known, entries);
    if (ahead.length === known.length) return;
    context.record({ inventory: { entries: ahead } });
    await context.checkpoint();
    known = ahead;
  };
}

/** The Kustomization as its objects' labels name it. */
export function ownerOf({ metadata }: Kustomization): Owner {
  return { name: metadata.name, namespace: metadata.namespace ?? '' };
}

function inventoryOf(kustomization: Kustomization): InventoryEntry[] {
  try {
    return parseInventory(kustomization.status?.inventory);
  } catch (error) {
    if (!(error instanceof InventoryError)) throw error;
    return stalled(
      REASON.reconciliationFailed,
      `${error.message}: nothing is applied or deleted until status.inventory is mended`,
      { cause: error },
    );
  }
}

/** An event, and a line of the log, about what was done; none when there is nothing to say. */
function tell(
  { context, artifact }: { context: Context; artifact?: Artifact | undefined },
  reason: string,
  message: string,
): void {
  if (message === '') return;
  const annotations =
    artifact === undefined ? {} : { [KUSTOMIZATION_REVISION_ANNOTATION]: artifact.revision };
  context.logger.info(message, { reason });
  context.event({ type: 'Normal', reason, message, annotations });
}
