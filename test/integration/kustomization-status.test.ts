import assert from 'node:assert/strict';
import { KUSTOMIZATION_REVISION_ANNOTATION } from '../../operator/api/names.ts';
import type { Condition } from '../../operator/api/objects.ts';
import { eventually } from '../support/eventually.ts';
import { configMap, Fleet, listing, type Seen } from '../support/fleet.ts';
import { ObjectWatch } from '../support/object-watch.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

const FIRST = {
  'app/kustomization.yaml': listing('a.yaml', 'b.yaml'),
  'app/a.yaml': configMap('a', { version: '1' }),
  'app/b.yaml': configMap('b', { version: '1' }),
};
const NOT_SUPPORTED = { substitute: { a: 'b' } };

interface CoreEvent {
  type: string;
  reason: string;
  message: string;
  count: number;
  reportingComponent: string;
  metadata: { annotations?: Record<string, string> };
  involvedObject: { kind: string; name: string; uid: string };
}

/** What `flux reconcile`, `kubectl wait` and Helm make of an object (kstatus, for kinds it has no special rule for). */
function kstatus({ metadata, status }: Seen): 'InProgress' | 'Failed' | 'Current' {
  const is = (type: string, value: string): boolean =>
    status?.conditions?.some((condition) => condition.type === type && condition.status === value) === true;
  if (status?.observedGeneration !== metadata.generation) return 'InProgress';
  if (is('Stalled', 'True')) return 'Failed';
  if (is('Reconciling', 'True')) return 'InProgress';
  return is('Ready', 'True') ? 'Current' : 'InProgress';
}

const shown = ({ type, status, reason }: Condition): string => `${type}=${status} ${reason}`;
const conditions = ({ status }: Seen): string[] => (status?.conditions ?? []).map(shown);

describe('the status of a Kustomization', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  let fleet: Fleet;

  beforeEach(async () => {
    fleet = await Fleet.start(world(), directory(), ['--controllers=source,kustomize']);
  });
  afterEach(() => fleet.stop());

  it('is Current for kstatus exactly where the spec and the revision that it names are applied', async () => {
    const revisions = [await fleet.push(FIRST)];
    await fleet.createSource();
    const collection = world().path('kustomize.toolkit.fluxcd.io/v1', 'kustomizations');
    const watch = await ObjectWatch.open(world().api, collection, 'app');
    const history: Seen[] = [];
    /** Everything that was ever seen, up to the first that `wanted` accepts. */
    const until = async (wanted: (seen: Seen) => boolean): Promise<Seen> => {
      const { object } = await watch.next(({ object }) => {
        history.push(object as object as Seen);
        return wanted(object as object as Seen);
      });
      return object as object as Seen;
    };
    const readyIs = (status: string, reason: string) => (seen: Seen) =>
      seen.status?.conditions?.[0]?.status === status && seen.status.conditions[0].reason === reason;
    try {
      await fleet.createKustomization();
      const applied = await until((seen) => kstatus(seen) === 'Current');
      assert.deepEqual(conditions(applied), ['Ready=True ReconciliationSucceeded']);

      revisions.push(await fleet.push({ 'app/a.yaml': 'no: object' }));
      const failed = await until(readyIs('False', 'BuildFailed'));
      assert.equal(kstatus(failed), 'InProgress', 'what will be tried again is not settled');
      assert.deepEqual(conditions(failed), [
        'Ready=False BuildFailed',
        'Reconciling=True ProgressingWithRetry',
      ]);
      assert.equal(failed.status?.lastAttemptedRevision, revisions[1]);
      assert.equal(failed.status?.lastAppliedRevision, revisions[0]);

      revisions.push(await fleet.push({ 'app/a.yaml': configMap('a', { version: '2' }) }));
      const recovered = await until((seen) => kstatus(seen) === 'Current');
      assert.equal(recovered.status?.lastAppliedRevision, revisions[2]);

      await world().api.mergePatch(fleet.kustomizationPath(), { spec: { postBuild: NOT_SUPPORTED } });
      const refused = await until((seen) => kstatus(seen) === 'Failed');
      assert.deepEqual(conditions(refused), [
        'Ready=False ReconciliationFailed',
        'Stalled=True ReconciliationFailed',
      ]);

      await world().api.mergePatch(fleet.kustomizationPath(), { spec: { postBuild: null } });
      await until((seen) => kstatus(seen) === 'Current');
    } finally {
      await watch.close();
    }
    for (const seen of history) {
      const { status, metadata } = seen;
      if (status?.conditions === undefined) continue;
      assert.equal(status.conditions[0]?.type, 'Ready', 'Ready comes first');
      for (const condition of status.conditions) {
        assert.ok((condition.observedGeneration ?? 0) <= metadata.generation);
        assert.match(String(condition.lastTransitionTime), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      }
      if (kstatus(seen) === 'Current') {
        assert.equal(status.conditions[0].message, `Applied revision: ${status.lastAppliedRevision}`);
      }
      const one = (type: string): number =>
        status.conditions?.filter((each) => each.type === type).length ?? 0;
      assert.ok(one('Reconciling') + one('Stalled') <= 1, conditions(seen).join());
    }
    assert.equal(
      history.some(({ metadata, status }) => (status?.observedGeneration as number) > metadata.generation),
      false,
    );
  });

  it('is told of in events: what was applied, put back, pruned and refused, with the revision', async () => {
    const events = async (): Promise<CoreEvent[]> => {
      const list = await world().api.get(world().path('v1', 'events'));
      const items = (list?.items ?? []) as unknown as CoreEvent[];
      return items.filter(({ involvedObject }) => involvedObject.kind === 'Kustomization');
    };
    const told = (type: string, reason: string, message: RegExp): Promise<CoreEvent> =>
      eventually(
        async () => {
          const seen = await events();
          const found = seen.find(
            (event) => event.type === type && event.reason === reason && message.test(event.message),
          );
          if (found === undefined)
            throw new Error(seen.map((event) => `${event.reason}: ${event.message}`).join());
          return found;
        },
        { what: `the event ${reason}` },
      );
    const revisionOf = ({ metadata }: CoreEvent): string | undefined =>
      metadata.annotations?.[KUSTOMIZATION_REVISION_ANNOTATION];
    const { namespace } = world();
    const first = await fleet.push(FIRST);
    await fleet.createSource();
    await fleet.createKustomization();
    await fleet.applied(first);
    const created = await told('Normal', 'Progressing', /created/);
    assert.equal(created.message, `ConfigMap/${namespace}/a created\nConfigMap/${namespace}/b created`);
    assert.equal(revisionOf(created), first);
    assert.equal(created.reportingComponent, 'kustomize-controller');
    const finished = await told(
      'Normal',
      'ReconciliationSucceeded',
      /^Reconciliation finished in .+, next run in 1h/,
    );
    assert.equal(revisionOf(finished), first);

    await world().api.mergePatch(world().path('v1', 'configmaps', 'a'), { data: { version: 'by hand' } });
    await told(
      'Normal',
      'DriftCorrected',
      new RegExp(`^ConfigMap/${namespace}/a was changed by .+ and put back$`),
    );

    const second = await fleet.push({ 'app/kustomization.yaml': listing('a.yaml') }, ['app/b.yaml']);
    await fleet.applied(second);
    const pruned = await told('Normal', 'Progressing', /deleted$/);
    assert.equal(pruned.message, `ConfigMap/${namespace}/b deleted`);
    assert.equal(revisionOf(pruned), second);

    await fleet.push({ 'app/a.yaml': 'no: object' });
    await told('Warning', 'BuildFailed', /a\.yaml/);
  });

  it('follows a push by the interval of its source, without being told', async () => {
    const first = await fleet.push(FIRST);
    await fleet.createSource({ interval: '1s' });
    await fleet.createKustomization();
    await fleet.applied(first);
    fleet.work.write({ 'app/a.yaml': configMap('a', { version: '2' }) });
    const commit = await fleet.work.commit('Change a');
    await fleet.work.push(fleet.url);
    await fleet.applied(`main@sha1:${commit}`);
    assert.deepEqual(await fleet.configMapData('a'), { version: '2' });
  });

  it('stays as good as the last artifact while the source fails', async () => {
    const first = await fleet.push(FIRST);
    await fleet.createSource();
    await fleet.createKustomization();
    await fleet.applied(first);
    await world().api.mergePatch(fleet.sourcePath(), { spec: { ref: { branch: 'gone' } } });
    await fleet.condition(fleet.sourcePath(), 'FetchFailed', ({ status }) => status === 'True');

    await world().api.delete(world().path('v1', 'configmaps', 'a'));
    await eventually(async () => (await fleet.configMapData('a'))?.version === '1', {
      what: 'a to be put back',
    });
    await fleet.createKustomization({ path: './app', prune: false, namePrefix: 'second-' }, 'second');
    await fleet.applied(first, 'second');
    assert.deepEqual(await fleet.configMapData('second-a'), { version: '1' });
  });
});
