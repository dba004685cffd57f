/**
 * Condition policies: which conditions a kind has and how a pass's end sums up to them, as data; and the one
 * function that applies them. Pure.
 *
 * The rules are Flux's (its conditions package, and what kstatus and the flux CLI need) and, for a kind without
 * Reconciling and Stalled, Sealed Secrets':
 * - the summary condition comes first, the others by type; types that the policy doesn't name are left alone;
 * - a negative condition exists only while it is True;
 * - each condition says which generation it is about; `lastTransitionTime` moves only when its status flips;
 * - `status.observedGeneration` moves on success and when stalled, not on a failure that will be retried;
 * - the reconcile request is acknowledged at the end of every pass, however it ended.
 */

import { REASON, RECONCILING, STALLED, sameCondition, transitioned } from '../api/conditions.ts';
import type { Condition } from '../api/objects.ts';

/** What a condition says, without its bookkeeping. */
export interface ConditionFact {
  status: 'True' | 'False' | 'Unknown';
  reason: string;
  message: string;
}

/** A kind's conditions. */
export interface ConditionPolicy<Status> {
  /** The condition that sums up the others: `Ready`, or `Synced`. */
  readonly summary: string;
  /** The summary's reason after a success that names none. */
  readonly successReason: string;
  /** The reason of a failure that names none: an API error outside any step, a timeout, a bug. */
  readonly failureReason: string;
  /** Present: the kind has Reconciling and Stalled, as kstatus reads them. */
  readonly lifecycle?: {
    /** Reconciling's message after a failure in a pass that said nothing of its progress. */
    readonly message: string;
    /** A new generation is announced before it is worked on, with this message. */
    readonly announce: (observed: number | undefined, generation: number) => string;
  };
  /** Negative conditions, each with the reasons (of a failure, wait or stall) that make it True. */
  readonly negative: Readonly<Record<string, readonly string[]>>;
  /** Conditions that follow from the rest of the status; `undefined` removes. */
  readonly derived: Readonly<Record<string, (status: Status) => ConditionFact | undefined>>;
  /** `observedGeneration` moves when the pass settled something, or at the end of every pass. */
  readonly observes: 'settled' | 'always';
  /** Conditions carry their own `observedGeneration`. */
  readonly perCondition: 'observedGeneration' | 'lastUpdateTime';
  /** `status.lastHandledReconcileAt` answers the reconcile-request annotation. */
  readonly handshake: boolean;
}

/** The policy of a Flux kind: Ready, Reconciling, Stalled, and what the kind adds. */
export function fluxPolicy<Status>(o: {
  summary: string;
  successReason: string;
  failureReason: string;
  progressMessage: string;
  negative?: Readonly<Record<string, readonly string[]>>;
  derived?: Readonly<Record<string, (status: Status) => ConditionFact | undefined>>;
}): ConditionPolicy<Status> {
  return {
    summary: o.summary,
    successReason: o.successReason,
    failureReason: o.failureReason,
    lifecycle: {
      message: o.progressMessage,
      announce: (observed, generation) =>
        `processing object: new generation ${observed ?? -1} -> ${generation}`,
    },
    negative: o.negative ?? {},
    derived: o.derived ?? {},
    observes: 'settled',
    perCondition: 'observedGeneration',
    handshake: true,
  };
}

/**
 * The policy of SealedSecret: `Synced` alone, with `lastUpdateTime`. Its CRD gives conditions no
 * `observedGeneration` (one written there would be pruned, and so differ for ever); `status.observedGeneration`
 * moves at the end of every pass.
 */
export function syncedPolicy<Status>(o: {
  summary: string;
  successReason: string;
  failureReason: string;
}): ConditionPolicy<Status> {
  return {
    ...o,
    negative: {},
    derived: {},
    observes: 'always',
    perCondition: 'lastUpdateTime',
    handshake: false,
  };
}

/** How a pass stands or ended, as far as status tells it. */
export type Standing =
  | { state: 'ready'; reason?: string | undefined; message: string }
  | { state: 'failed' | 'waiting' | 'stalled'; reason: string; message: string }
  /** Before the first step on a generation that the last settled pass didn't see. */
  | { state: 'announced' }
  /** A checkpoint amid the pass. */
  | { state: 'progressing' }
  | { state: 'suspended' }
  /** Cut short by a shutdown, or postponed: facts are kept, conditions left. */
  | { state: 'interrupted' };

/** What {@link summarize} needs to know. */
export interface SummaryInput<Status> {
  /** The status before, with the recorded facts already in it. */
  status: Status | undefined;
  /** Of the object that was reconciled. */
  generation: number;
  /** The reconcile-request annotation of the object that was reconciled. */
  requestedAt: string | undefined;
  standing: Standing;
  progress: { reason: string; message: string } | undefined;
  /** What the reconciler says of conditions that are its own; `undefined` removes one. */
  claims?: ReadonlyMap<string, ConditionFact | undefined>;
  /** RFC 3339, whole seconds. */
  now: string;
}

/** The fields that every kind's status has. */
interface CommonStatus {
  conditions?: Condition[];
  observedGeneration?: number;
  lastHandledReconcileAt?: string;
}

/** `maxLength` of `metav1.Condition.message`. */
const LONGEST_MESSAGE = 32_768;

/** The status that an object should have when its pass stands so. Changes nothing that it is given. */
export function summarize<Status>(policy: ConditionPolicy<Status>, input: SummaryInput<Status>): Status {
  const before = (input.status ?? {}) as Status & CommonStatus;
  const after = { ...before };
  const conditions = conditionsAfter(policy, input, before);
  if (conditions.length > 0) after.conditions = conditions;
  else delete after.conditions;
  if (observes(policy, input.standing.state)) after.observedGeneration = input.generation;
  if (policy.handshake && input.requestedAt !== undefined && endsPass(input.standing.state)) {
    after.lastHandledReconcileAt = input.requestedAt;
  }
  return after;
}

/** True when this generation has yet to be announced: see `ConditionPolicy.lifecycle`. */
export function needsAnnouncement<Status>(
  policy: ConditionPolicy<Status>,
  status: Status | undefined,
  generation: number,
): boolean {
  if (policy.lifecycle === undefined) return false;
  const { observedGeneration, conditions = [] } = (status ?? {}) as CommonStatus;
  if (observedGeneration === generation) return false;
  // Already said, by an earlier pass over this generation that failed.
  return !conditions.some((c) => c.type === RECONCILING && c.observedGeneration === generation);
}

function conditionsAfter<Status>(
  policy: ConditionPolicy<Status>,
  input: SummaryInput<Status>,
  before: Status & CommonStatus,
): Condition[] {
  const previous = before.conditions ?? [];
  const changes = changesOf(policy, input, before);
  const kept = previous.filter((condition) => !changes.has(condition.type));
  const set = [...changes].flatMap(([type, fact]) =>
    fact === undefined
      ? []
      : [
          stamp(
            policy,
            input,
            { ...fact, type },
            previous.find((c) => c.type === type),
          ),
        ],
  );
  return [...kept, ...set].sort((a, b) => rank(policy, a) - rank(policy, b) || (a.type < b.type ? -1 : 1));
}

function rank<Status>(policy: ConditionPolicy<Status>, condition: Condition): number {
  return condition.type === policy.summary ? 0 : 1;
}

type Changes = Map<string, ConditionFact | undefined>;

/** Type -> what it says from now on; `undefined` removes it; a type that isn't there stays as it is. */
function changesOf<Status>(
  policy: ConditionPolicy<Status>,
  input: SummaryInput<Status>,
  before: Status & CommonStatus,
): Changes {
  const { standing } = input;
  const changes: Changes = new Map();
  if (standing.state === 'suspended' || standing.state === 'interrupted') return changes;
  for (const [type, derive] of Object.entries(policy.derived)) changes.set(type, derive(before));
  for (const [type, fact] of input.claims ?? []) changes.set(type, fact);
  if (standing.state === 'announced' || standing.state === 'progressing') {
    for (const [type, fact] of progressChanges(policy, input, before)) changes.set(type, fact);
    return changes;
  }
  for (const [type, reasons] of Object.entries(policy.negative)) {
    const holds = standing.state !== 'ready' && reasons.includes(standing.reason);
    changes.set(type, holds ? { status: 'True', ...said(standing) } : undefined);
  }
  changes.set(policy.summary, summaryOf(policy, standing));
  for (const [type, fact] of lifecycleChanges(policy, input)) changes.set(type, fact);
  return changes;
}

function summaryOf<Status>(policy: ConditionPolicy<Status>, standing: Ended): ConditionFact {
  if (standing.state !== 'ready') return { status: 'False', ...said(standing) };
  return { status: 'True', reason: standing.reason ?? policy.successReason, message: standing.message };
}

type Ended = Extract<Standing, { message: string }>;

function said(standing: { reason: string; message: string }): { reason: string; message: string } {
  return { reason: standing.reason, message: standing.message };
}

/** Reconciling and Stalled at the end of a pass. */
function lifecycleChanges<Status>(policy: ConditionPolicy<Status>, input: SummaryInput<Status>): Changes {
  const changes: Changes = new Map();
  if (policy.lifecycle === undefined) return changes;
  const { standing, progress } = input;
  changes.set(RECONCILING, undefined);
  changes.set(STALLED, undefined);
  if (standing.state === 'stalled') changes.set(STALLED, { status: 'True', ...said(standing) });
  // A wait in which the work had not begun (a dependency that isn't ready) leaves no Reconciling, as in Flux.
  if (standing.state === 'failed' || (standing.state === 'waiting' && progress !== undefined)) {
    const message = progress?.message ?? policy.lifecycle.message;
    changes.set(RECONCILING, { status: 'True', reason: REASON.progressingWithRetry, message });
  }
  return changes;
}

/** Amid a pass: Reconciling, and the summary Unknown; a mere announcement leaves a summary that is there. */
function progressChanges<Status>(
  policy: ConditionPolicy<Status>,
  input: SummaryInput<Status>,
  before: CommonStatus,
): Changes {
  const { standing, generation } = input;
  const announcement = policy.lifecycle?.announce(before.observedGeneration, generation);
  if (announcement === undefined) return new Map();
  const progress =
    standing.state === 'announced' ? { reason: REASON.progressing, message: announcement } : input.progress;
  if (progress === undefined) return new Map();
  const changes: Changes = new Map([
    [RECONCILING, { status: 'True', ...said(progress) }],
    [STALLED, undefined],
  ]);
  const hasSummary = before.conditions?.some((condition) => condition.type === policy.summary) ?? false;
  if (standing.state === 'progressing' || !hasSummary) {
    changes.set(policy.summary, { status: 'Unknown', ...said(progress) });
  }
  return changes;
}

function stamp<Status>(
  policy: ConditionPolicy<Status>,
  input: SummaryInput<Status>,
  fact: ConditionFact & { type: string },
  previous: Condition | undefined,
): Condition {
  const { type, status, reason } = fact;
  const next: Condition = { type, status, reason, message: cut(fact.message) };
  if (policy.perCondition === 'observedGeneration') next.observedGeneration = input.generation;
  if (previous !== undefined && sameCondition(previous, next)) return previous;
  const timed = transitioned(next, previous, input.now);
  return policy.perCondition === 'lastUpdateTime' ? { ...timed, lastUpdateTime: input.now } : timed;
}

function cut(message: string): string {
  return message.length <= LONGEST_MESSAGE ? message : `${message.slice(0, LONGEST_MESSAGE - 1)}…`;
}

function endsPass(state: Standing['state']): boolean {
  return state !== 'announced' && state !== 'progressing' && state !== 'interrupted';
}

function observes<Status>(policy: ConditionPolicy<Status>, state: Standing['state']): boolean {
  if (policy.observes === 'always') return endsPass(state) && state !== 'suspended';
  return state === 'ready' || state === 'stalled';
}
