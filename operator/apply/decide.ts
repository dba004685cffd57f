/** What has to be done with one object of a stage, found out without writing anything. */

import type { StoredObject } from '../api/objects.ts';
import type { NamespacedName, ResourceType } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { applyFailed } from './apply-error.ts';
import { type Desired, heldOf } from './desired.ts';
import {
  acceptedAtFirst,
  agrees,
  needsTakeOver,
  type Observation,
  type Proof,
  proofOf,
  sameFields,
} from './proof.ts';
import type { ProofBook } from './proof-book.ts';
import { applyJson, replaceable, type Target } from './server-side-apply.ts';

/** What a watch knows of live objects; the drift monitor is one. */
export interface Watched {
  /** The object as last seen; `undefined` when it isn't there or its kind isn't (reliably) watched. */
  observed(type: ResourceType, name: NamespacedName): Observation | undefined;
}

/** Nothing to write: it is equal to Git, or somebody said to leave it alone. */
export interface Settled {
  readonly desired: Desired;
  readonly action: 'unchanged' | 'skipped';
  readonly uid: string | undefined;
}

/** To be written. `takeOverFrom`: needs a take-over first; `replace`: to be deleted first. */
export interface Due {
  readonly desired: Desired;
  readonly action: 'created' | 'configured';
  readonly accepted: Proof | undefined;
  readonly takeOverFrom?: StoredObject | undefined;
  readonly replace?: StoredObject | undefined;
  /** No dry-run was made: the apply itself is the question. */
  readonly unasked?: boolean;
}

/** What is to become of an object. */
export type Decision = Settled | Due;

/** What deciding needs beside the object. */
export interface Deciding {
  readonly client: KubeClient;
  readonly proofs: ProofBook;
  readonly watched: Watched | undefined;
  readonly signal: AbortSignal;
}

/** True for a decision that means a write. */
export function isDue(decision: Decision): decision is Due {
  return decision.action === 'created' || decision.action === 'configured';
}

/**
 * Decides without a request where a proof and the watch allow it (or a control says so); `undefined`: the API
 * server has to be asked, see {@link decideByDryRun}.
 */
export function decideByProof(desired: Desired, o: Deciding): Settled | undefined {
  const { owner, id } = desired;
  if (desired.leftAlone) return settleAside(desired, o, undefined);
  const observation = o.watched?.observed(desired.type, desired.name);
  if (observation === undefined) return undefined;
  if (observation.leftAlone || desired.createdOnce) return settleAside(desired, o, observation.uid);
  const held = o.proofs.get(owner, id);
  if (held?.proof === undefined || held.desiredDigest !== desired.desiredDigest) return undefined;
  if (!agrees(held.proof, observation)) return undefined;
  // Same desired state, but perhaps another answer to "force".
  o.proofs.put(heldOf(desired, held.proof), o.proofs.epoch);
  return { desired, action: 'unchanged', uid: observation.uid };
}

/** Left alone: not healed either. */
function settleAside(desired: Desired, o: Deciding, uid: string | undefined): Settled {
  o.proofs.forget(desired.owner, desired.id);
  return { desired, action: 'skipped', uid };
}

/**
 * Asks the API server by a dry-run apply, and where the watch doesn't know the object as it is now, by a GET for
 * what to hold the answer against. Throws ApplyError when the object would be refused.
 */
export async function decideByDryRun(desired: Desired, o: Deciding): Promise<Decision> {
  if (desired.createdOnce) {
    const live = await o.client.get(desired.type, desired.name, { signal: o.signal });
    if (live !== undefined) return settleAside(desired, o, live.metadata.uid);
  }
  const { epoch } = o.proofs;
  const target = targetOf(desired, o);
  let answer: StoredObject;
  try {
    answer = await applyJson(target, true);
  } catch (error) {
    return decideOnRefusal(target, desired, o, error);
  }
  // A dry-run's answer has no resourceVersion where there is no object yet.
  if ((answer.metadata.resourceVersion as string | undefined) === undefined) {
    return { desired, action: 'created', accepted: undefined };
  }
  return decideOnAnswer(desired, o, { answer, epoch });
}

async function decideOnAnswer(
  desired: Desired,
  o: Deciding,
  { answer, epoch }: { answer: StoredObject; epoch: number },
): Promise<Decision> {
  const wanted = o.proofs.observe(answer);
  if (wanted.leftAlone) return settleAside(desired, o, wanted.uid);
  const accepted = o.proofs.get(desired.owner, desired.id)?.proof;
  const takeOver = needsTakeOver(wanted, accepted ?? acceptedAtFirst(desired.merged));
  const seen = o.watched?.observed(desired.type, desired.name);
  let live = seen?.resourceVersion === wanted.resourceVersion ? seen : undefined;
  let takeOverFrom: StoredObject | undefined;
  if (live === undefined || takeOver) {
    const object = await o.client.get(desired.type, desired.name, { signal: o.signal });
    if (object === undefined) return { desired, action: 'created', accepted: undefined };
    live = o.proofs.observe(object);
    if (takeOver) takeOverFrom = object;
  }
  if (takeOver || !sameFields(live, wanted)) return { desired, action: 'configured', accepted, takeOverFrom };
  o.proofs.put(heldOf(desired, proofOf(live, desired.merged)), epoch);
  o.proofs.recheck(desired.owner, desired.id);
  return { desired, action: 'unchanged', uid: live.uid };
}

/** A refused object may be one to leave alone after all, or one to recreate. */
async function decideOnRefusal(
  target: Target,
  desired: Desired,
  o: Deciding,
  error: unknown,
): Promise<Decision> {
  const replace = await replaceable(target, error);
  if (replace !== undefined) return { desired, action: 'created', accepted: undefined, replace };
  const live = await o.client.get(desired.type, desired.name, { signal: o.signal }).catch(() => undefined);
  if (live !== undefined && o.proofs.observe(live).leftAlone)
    return settleAside(desired, o, live.metadata.uid);
  throw applyFailed(desired.object, 'dry-run', error);
}

/** The write side of a desired object. */
export function targetOf(
  desired: Desired,
  o: Pick<Deciding, 'client' | 'proofs' | 'signal'>,
  accepted?: Proof,
): Target {
  const { type, name, json, merged, forced } = desired;
  const { client, proofs, signal } = o;
  return { client, proofs, type, name, json, merged, forced, accepted, signal };
}
