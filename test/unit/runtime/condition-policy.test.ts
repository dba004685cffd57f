import assert from 'node:assert/strict';
import type { Condition } from '../../../operator/api/objects.ts';
import {
  type ConditionPolicy,
  fluxPolicy,
  needsAnnouncement,
  type Standing,
  type SummaryInput,
  summarize,
  syncedPolicy,
} from '../../../operator/runtime/condition-policy.ts';

interface Status {
  conditions?: Condition[];
  observedGeneration?: number;
  lastHandledReconcileAt?: string;
  artifact?: { revision: string };
}

const THEN = '2026-11-21T00:00:00Z';
const NOW = '2026-11-21T01:00:00Z';

const SOURCE: ConditionPolicy<Status> = fluxPolicy<Status>({
  summary: 'Ready',
  successReason: 'Succeeded',
  failureReason: 'Failed',
  progressMessage: 'reconciliation in progress',
  negative: { FetchFailed: ['GitOperationFailed', 'URLInvalid'], StorageOperationFailed: ['CopyFailure'] },
  derived: {
    ArtifactInStorage: ({ artifact }) =>
      artifact && { status: 'True', reason: 'Succeeded', message: `stored ${artifact.revision}` },
  },
});

const SYNCED: ConditionPolicy<Status> = syncedPolicy<Status>({
  summary: 'Synced',
  successReason: 'Unsealed',
  failureReason: 'ErrUpdateFailed',
});

function input(o: Partial<SummaryInput<Status>> & { standing: Standing }): SummaryInput<Status> {
  return { status: undefined, generation: 2, requestedAt: undefined, progress: undefined, now: NOW, ...o };
}

/** `Type=Status/Reason`, in order. */
function brief(status: Status): string[] {
  return (status.conditions ?? []).map((c) => `${c.type}=${c.status}/${c.reason}`);
}

function was(type: string, status: Condition['status'], reason: string): Condition {
  return { type, status, reason, message: reason, observedGeneration: 1, lastTransitionTime: THEN };
}

const READY: Standing = { state: 'ready', message: 'stored' };
const FETCH: Standing = { state: 'failed', reason: 'GitOperationFailed', message: 'no route' };
const WAIT: Standing = { state: 'waiting', reason: 'DependencyNotReady', message: 'dependency' };
const STALLED: Standing = { state: 'stalled', reason: 'URLInvalid', message: 'bad url' };
const PROGRESS = { reason: 'Progressing', message: 'building' };

const TABLE: {
  title: string;
  before?: Condition[];
  standing: Standing;
  progress?: typeof PROGRESS;
  conditions: string[];
  observed: number | undefined;
}[] = [
  { title: 'success', standing: READY, conditions: ['Ready=True/Succeeded'], observed: 2 },
  {
    title: 'success after a failure',
    before: [was('Ready', 'False', 'x'), was('FetchFailed', 'True', 'x'), was('Reconciling', 'True', 'x')],
    standing: READY,
    conditions: ['Ready=True/Succeeded'],
    observed: 2,
  },
  {
    title: 'a failure that will be retried',
    standing: FETCH,
    conditions: [
      'Ready=False/GitOperationFailed',
      'FetchFailed=True/GitOperationFailed',
      'Reconciling=True/ProgressingWithRetry',
    ],
    observed: undefined,
  },
  {
    title: 'a failure of another step than before',
    before: [was('FetchFailed', 'True', 'GitOperationFailed')],
    standing: { state: 'failed', reason: 'CopyFailure', message: 'disk full' },
    conditions: [
      'Ready=False/CopyFailure',
      'Reconciling=True/ProgressingWithRetry',
      'StorageOperationFailed=True/CopyFailure',
    ],
    observed: undefined,
  },
  {
    title: 'a failure after being stalled',
    before: [was('Stalled', 'True', 'URLInvalid')],
    standing: { state: 'failed', reason: 'Other', message: '' },
    conditions: ['Ready=False/Other', 'Reconciling=True/ProgressingWithRetry'],
    observed: undefined,
  },
  {
    title: 'stalled',
    before: [was('Reconciling', 'True', 'Progressing')],
    standing: STALLED,
    conditions: ['Ready=False/URLInvalid', 'FetchFailed=True/URLInvalid', 'Stalled=True/URLInvalid'],
    observed: 2,
  },
  {
    title: 'a wait before the work began',
    before: [was('Reconciling', 'True', 'ProgressingWithRetry')],
    standing: WAIT,
    conditions: ['Ready=False/DependencyNotReady'],
    observed: undefined,
  },
  {
    title: 'a wait amid the work',
    standing: WAIT,
    progress: PROGRESS,
    conditions: ['Ready=False/DependencyNotReady', 'Reconciling=True/ProgressingWithRetry'],
    observed: undefined,
  },
  {
    title: 'the announcement of a first generation',
    standing: { state: 'announced' },
    conditions: ['Ready=Unknown/Progressing', 'Reconciling=True/Progressing'],
    observed: undefined,
  },
  {
    title: 'the announcement of a new generation of what is ready',
    before: [was('Ready', 'True', 'Succeeded'), was('Stalled', 'True', 'x')],
    standing: { state: 'announced' },
    conditions: ['Ready=True/Succeeded', 'Reconciling=True/Progressing'],
    observed: undefined,
  },
  {
    title: 'a checkpoint with progress',
    before: [was('Ready', 'True', 'Succeeded')],
    standing: { state: 'progressing' },
    progress: PROGRESS,
    conditions: ['Ready=Unknown/Progressing', 'Reconciling=True/Progressing'],
    observed: undefined,
  },
  {
    title: 'a checkpoint of facts alone',
    before: [was('Ready', 'True', 'Succeeded')],
    standing: { state: 'progressing' },
    conditions: ['Ready=True/Succeeded'],
    observed: undefined,
  },
  {
    title: 'a suspended object',
    before: [was('Ready', 'False', 'x')],
    standing: { state: 'suspended' },
    conditions: ['Ready=False/x'],
    observed: undefined,
  },
  {
    title: 'a shutdown amid the pass',
    before: [was('Ready', 'True', 'x')],
    standing: { state: 'interrupted' },
    progress: PROGRESS,
    conditions: ['Ready=True/x'],
    observed: undefined,
  },
];

describe("conditions of Flux's kinds", () => {
  for (const { title, before, standing, progress, conditions, observed } of TABLE) {
    it(`after ${title}: ${conditions.join(', ')}`, () => {
      const status = before && { conditions: before };
      const after = summarize(SOURCE, input({ status, standing, progress }));
      assert.deepEqual(brief(after), conditions);
      assert.equal(after.observedGeneration, observed);
      for (const condition of after.conditions ?? []) {
        if (condition.lastTransitionTime === NOW) assert.equal(condition.observedGeneration, 2);
      }
    });
  }

  it('says in Reconciling what the pass was doing when it failed', () => {
    const message = (progress: typeof PROGRESS | undefined): string | undefined =>
      summarize(SOURCE, input({ standing: FETCH, progress })).conditions?.find(
        (c) => c.type === 'Reconciling',
      )?.message;
    assert.equal(message(PROGRESS), 'building');
    assert.equal(message(undefined), 'reconciliation in progress');
  });

  it('keeps the transition time unless the status flips, and the whole condition when nothing changed', () => {
    const first = summarize(SOURCE, input({ standing: READY, now: THEN }));
    const again = summarize(SOURCE, input({ status: first, standing: READY }));
    assert.deepEqual(again, first);
    const reworded = summarize(SOURCE, input({ status: first, standing: { ...READY, message: 'other' } }));
    assert.equal(reworded.conditions?.[0]?.lastTransitionTime, THEN);
    assert.equal(reworded.conditions?.[0]?.message, 'other');
    const flipped = summarize(SOURCE, input({ status: first, standing: FETCH }));
    assert.equal(flipped.conditions?.[0]?.lastTransitionTime, NOW);
  });

  it('keeps the observed generation of the last success through failures', () => {
    const status = { observedGeneration: 1 };
    assert.equal(summarize(SOURCE, input({ status, standing: FETCH })).observedGeneration, 1);
  });

  it('derives conditions from the rest of the status, and removes them with their cause', () => {
    const stored = summarize(SOURCE, input({ status: { artifact: { revision: 'r' } }, standing: FETCH }));
    assert.ok(brief(stored).includes('ArtifactInStorage=True/Succeeded'));
    const { artifact: _, ...without } = stored;
    const gone = summarize(SOURCE, input({ status: without, standing: FETCH }));
    assert.ok(!brief(gone).some((text) => text.startsWith('ArtifactInStorage')));
  });

  it("leaves another writer's conditions where they are", () => {
    const foreign = was('Foreign', 'Unknown', 'x');
    const after = summarize(SOURCE, input({ status: { conditions: [foreign] }, standing: READY }));
    assert.deepEqual(after.conditions?.[1], foreign);
  });

  it('cuts a message to what a condition may hold', () => {
    const after = summarize(SOURCE, input({ standing: { ...READY, message: 'x'.repeat(40_000) } }));
    assert.equal(after.conditions?.[0]?.message?.length, 32_768);
  });

  it('changes nothing of the status that it was given', () => {
    const before = Object.freeze({ conditions: Object.freeze([Object.freeze(was('Ready', 'True', 'x'))]) });
    summarize(SOURCE, input({ status: before as unknown as Status, standing: FETCH }));
    assert.deepEqual(before.conditions, [was('Ready', 'True', 'x')]);
  });

  it('announces a generation once, however often its passes fail', () => {
    assert.equal(needsAnnouncement(SOURCE, undefined, 1), true);
    assert.equal(needsAnnouncement(SOURCE, { observedGeneration: 1 }, 1), false);
    const announced = summarize(SOURCE, input({ standing: { state: 'announced' } }));
    assert.equal(needsAnnouncement(SOURCE, announced, 2), false);
    const failed = summarize(SOURCE, input({ status: announced, standing: FETCH }));
    assert.equal(needsAnnouncement(SOURCE, failed, 2), false);
    assert.equal(needsAnnouncement(SOURCE, failed, 3), true);
    assert.equal(needsAnnouncement(SYNCED, undefined, 1), false);
  });

  it('acknowledges a reconcile request at the end of every pass, and only there', () => {
    const ends: Standing[] = [READY, FETCH, WAIT, STALLED, { state: 'suspended' }];
    const amid: Standing[] = [{ state: 'announced' }, { state: 'progressing' }, { state: 'interrupted' }];
    const handled = (standing: Standing): string | undefined =>
      summarize(SOURCE, input({ standing, requestedAt: 'any' })).lastHandledReconcileAt;
    assert.deepEqual(
      ends.map(handled),
      ends.map(() => 'any'),
    );
    assert.deepEqual(
      amid.map(handled),
      amid.map(() => undefined),
    );
  });
});

describe('conditions of SealedSecret', () => {
  it('is Synced alone, with a reason, a message and the time of its last change', () => {
    const after = summarize(SYNCED, input({ standing: READY }));
    assert.deepEqual(after, {
      observedGeneration: 2,
      conditions: [
        {
          type: 'Synced',
          status: 'True',
          reason: 'Unsealed',
          message: 'stored',
          lastTransitionTime: NOW,
          lastUpdateTime: NOW,
        },
      ],
    });
  });

  it('observes the generation whatever came of it', () => {
    for (const standing of [FETCH, WAIT, STALLED, READY]) {
      const after = summarize(SYNCED, input({ standing, progress: PROGRESS, requestedAt: 'any' }));
      assert.equal(after.observedGeneration, 2);
      assert.equal(after.conditions?.length, 1);
      assert.equal(after.lastHandledReconcileAt, undefined);
    }
  });

  it('shows a different error of the same generation', () => {
    const first = summarize(SYNCED, input({ standing: FETCH, now: THEN }));
    const second = summarize(SYNCED, input({ status: first, standing: { ...FETCH, message: 'other' } }));
    assert.equal(second.conditions?.[0]?.message, 'other');
    assert.equal(second.conditions?.[0]?.lastUpdateTime, NOW);
    assert.equal(second.conditions?.[0]?.lastTransitionTime, THEN);
  });
});
