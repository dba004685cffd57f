/** A pass over all objects of a Kustomization: stage by stage, validated before written, and only what changed. */

import type { KubeObject } from '../api/objects.ts';
import { CUSTOM_RESOURCE_DEFINITION, describeObject, gvkOf } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { type Discovery, NoMatchError } from '../kube/discovery.ts';
import { ApplyError, applyFailed, isRefusal } from './apply-error.ts';
import type { Action, Change, ChangeSet } from './change-set.ts';
import type { Owner } from './controls.ts';
import {
  type Deciding,
  type Decision,
  type Due,
  decideByDryRun,
  decideByProof,
  isDue,
  targetOf,
  type Watched,
} from './decide.ts';
import { definedGroup, established, FreshGroups, proofsOverturnedBy } from './definitions.ts';
import { type Desired, desiredOf, heldOf, type Manifest, manifestOf } from './desired.ts';
import { inParallel } from './in-parallel.ts';
import { entryOf, type InventoryEntry } from './inventory.ts';
import { plan } from './order.ts';
import { proofOf } from './proof.ts';
import type { ProofBook } from './proof-book.ts';
import { type Applied, applyAndTakeOver, recreate } from './server-side-apply.ts';

/** What a pass needs. */
export interface ApplyOptions {
  client: KubeClient;
  discovery: Discovery;
  owner: Owner;
  /** In any order; each object once. Namespaced ones must have their namespace. */
  objects: readonly KubeObject[];
  proofs: ProofBook;
  /** The drift monitor, where there is one: what it watches needs no GET, and with a proof no request at all. */
  watched?: Watched | undefined;
  /** `spec.force`. */
  force: boolean;
  signal: AbortSignal;
  /** Requests at once; 12 unless told. */
  concurrency?: number;
  /**
   * The write-ahead: awaited after all of a stage has passed its dry-run and before the stage's first write, with
   * the ids of the whole stage. What it throws stops the pass with nothing of the stage written. Not called for a
   * stage in which nothing is written.
   */
  beforeStage: (entries: InventoryEntry[]) => Promise<void>;
}

const DEFAULT_CONCURRENCY = 12;
const MOST_ERRORS_TOLD = 10;

/**
 * Applies all objects. An object that a proof and the watch show to be equal to Git costs no request; one that a
 * dry-run shows to be equal is not written. Throws {@link ApplyError} naming `Kind/namespace/name`, with what had been
 * done by then; InventoryError; the signal's reason; what `beforeStage` throws.
 */
export async function applyObjects(o: ApplyOptions): Promise<ChangeSet> {
  return new Pass(o).run();
}

class Pass {
  readonly #o: ApplyOptions;
  readonly #deciding: Deciding;
  readonly #limit: number;
  readonly #fresh: FreshGroups;
  readonly #changes: Change[] = [];
  readonly #uids = new Set<string>();

  constructor(o: ApplyOptions) {
    this.#o = o;
    this.#deciding = { client: o.client, proofs: o.proofs, watched: o.watched, signal: o.signal };
    this.#limit = o.concurrency ?? DEFAULT_CONCURRENCY;
    this.#fresh = new FreshGroups(o.discovery);
  }

  async run(): Promise<ChangeSet> {
    const manifests = this.#o.objects.map((object) => manifestOf(object, entryOf(object)));
    refuseDuplicates(manifests);
    const stages = plan(manifests, ({ id }) => id);
    try {
      for (const stage of stages) await this.#runStage(stage);
    } catch (error) {
      throw this.#withChanges(error);
    }
    const entries = stages.flat(2).map(({ entry }) => entry);
    return { changes: this.#changes, entries, uids: this.#uids };
  }

  async #runStage(waves: Manifest[][]): Promise<void> {
    const { beforeStage, signal } = this.#o;
    const stage = waves.flat();
    const decisions = await this.#decideAll(stage);
    const due = new Map(decisions.filter(isDue).map((decision) => [decision.desired.id, decision]));
    signal.throwIfAborted();
    if (due.size > 0) await beforeStage(stage.map(({ entry }) => entry));

    const actions = new Map<string, Action>();
    for (const decision of decisions) {
      if (isDue(decision)) continue;
      actions.set(decision.desired.id, decision.action);
      if (decision.uid !== undefined) this.#uids.add(decision.uid);
    }
    try {
      for (const wave of waves) {
        const writes = wave.flatMap(({ entry }) => due.get(entry.id) ?? []);
        await inParallel(writes, { limit: this.#limit, signal }, async (decision) => {
          actions.set(decision.desired.id, await this.#write(decision));
        });
      }
      await this.#awaitDefinitions([...due.values()]);
    } finally {
      for (const { object, entry } of stage) {
        const action = actions.get(entry.id);
        if (action !== undefined)
          this.#changes.push({ id: entry.id, subject: describeObject(object), action });
      }
    }
  }

  /** All of the stage's decisions, or an error naming every object that would be refused; nothing is written. */
  async #decideAll(stage: readonly Manifest[]): Promise<Decision[]> {
    const { signal } = this.#o;
    const parallel = { limit: this.#limit, signal, goOn: (error: unknown) => error instanceof ApplyError };
    try {
      const asked: Desired[] = [];
      const decisions = await inParallel(stage, parallel, async (manifest) => {
        const desired = await this.#prepare(manifest);
        const settled = decideByProof(desired, this.#deciding);
        if (settled === undefined) asked.push(desired);
        return settled;
      });
      const answers = await this.#ask(asked, parallel);
      return [...decisions.filter((decision) => decision !== undefined), ...answers];
    } catch (error) {
      throw summed(error);
    }
  }

  /**
   * Dry-runs. A stage's only change to an object that is known and watched needs none: its apply is validated as a
   * whole by the API server itself, so that one request does what two would.
   */
  async #ask(asked: Desired[], parallel: Parameters<typeof inParallel>[1]): Promise<Decision[]> {
    const [only] = asked;
    if (asked.length === 1 && only !== undefined && this.#needsNoDryRun(only)) {
      const accepted = this.#o.proofs.get(only.owner, only.id)?.proof;
      return [{ desired: only, action: 'configured', accepted, unasked: true }];
    }
    return inParallel(asked, parallel, (desired) =>
      this.#fresh.call(desired.type, this.#o.signal, () => decideByDryRun(desired, this.#deciding)),
    );
  }

  #needsNoDryRun(desired: Desired): boolean {
    const observation = this.#o.watched?.observed(desired.type, desired.name);
    const held = this.#o.proofs.get(desired.owner, desired.id);
    return (
      held?.proof !== undefined &&
      observation !== undefined &&
      !observation.deleting &&
      observation.absorbable.length === 0 &&
      !observation.obsolete
    );
  }

  async #prepare(manifest: Manifest): Promise<Desired> {
    const { owner, force, proofs, signal } = this.#o;
    try {
      const type = await this.#fresh.resolve(gvkOf(manifest.object), signal);
      return desiredOf(manifest, { owner, type, force, proofs });
    } catch (error) {
      if (error instanceof NoMatchError) throw applyFailed(manifest.object, 'dry-run', error);
      throw error;
    }
  }

  /** One write, alone on its object; see {@link ProofBook} for why the new desired state is put down in here. */
  #write(due: Due): Promise<Action> {
    const { desired } = due;
    const { proofs } = this.#o;
    return proofs.exclusive(desired.owner, desired.id, async () => {
      const before = this.#o.watched?.observed(desired.type, desired.name)?.resourceVersion;
      const { epoch } = proofs;
      const { object, observation } = await this.#send(due);
      if (observation.leftAlone) proofs.forget(desired.owner, desired.id);
      else if (!desired.createdOnce) {
        proofs.put(heldOf(desired, proofOf(observation, desired.merged)), epoch);
      }
      const { uid, resourceVersion } = object.metadata;
      this.#uids.add(uid);
      if (due.action === 'configured' && resourceVersion === before) return 'unchanged';
      this.#letProofsFall(object);
      return due.action;
    });
  }

  async #send(due: Due): Promise<Applied> {
    const { desired } = due;
    const target = targetOf(desired, this.#deciding, due.accepted);
    try {
      if (due.replace !== undefined) return await recreate(target, due.replace);
      return await applyAndTakeOver(target, due.takeOverFrom);
    } catch (error) {
      if (due.unasked && isRefusal(error)) return this.#sendAsked(desired);
      // Without an answer it may have been written all the same: from here on the new state is the one to restore.
      if (!isRefusal(error)) {
        this.#o.proofs.put(heldOf(desired, undefined), this.#o.proofs.epoch);
      }
      throw applyFailed(desired.object, 'apply', error);
    }
  }

  /** The apply that should have done for the dry-run was refused: find out in full why, and what may be done. */
  async #sendAsked(desired: Desired): Promise<Applied> {
    const decision = await decideByDryRun(desired, this.#deciding);
    if (isDue(decision)) return this.#send(decision);
    throw new ApplyError(`${describeObject(desired.object)} changed while it was applied`);
  }

  #letProofsFall(object: KubeObject): void {
    const changed = proofsOverturnedBy(object);
    if (changed !== undefined) this.#o.proofs.fall(changed.group);
  }

  async #awaitDefinitions(written: readonly Due[]): Promise<void> {
    const { client, signal } = this.#o;
    const definitions = written.filter(
      ({ desired }) =>
        desired.type.group === CUSTOM_RESOURCE_DEFINITION.group &&
        desired.type.kind === CUSTOM_RESOURCE_DEFINITION.kind,
    );
    await inParallel(definitions, { limit: this.#limit, signal }, async ({ desired }) => {
      await established(client, desired.name, signal);
      const group = definedGroup(desired.object);
      if (group !== undefined) this.#fresh.add(group);
    });
  }

  #withChanges(error: unknown): unknown {
    if (error instanceof ApplyError) error.changes = this.#changes;
    return error;
  }
}

function refuseDuplicates(manifests: readonly Manifest[]): void {
  const ids = new Set<string>();
  for (const { object, entry } of manifests) {
    if (ids.has(entry.id)) throw new ApplyError(`${describeObject(object)} is built more than once`);
    ids.add(entry.id);
  }
}

/** One error for all objects that were refused, each named. */
function summed(error: unknown): unknown {
  if (!(error instanceof AggregateError)) return error;
  const errors = error.errors as Error[];
  const told = errors.slice(0, MOST_ERRORS_TOLD).map(({ message }) => message);
  const untold = errors.length - told.length;
  if (untold > 0) told.push(`and ${untold} more`);
  return new ApplyError(told.join('\n'), { cause: errors[0] });
}
