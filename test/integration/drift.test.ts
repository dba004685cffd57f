import assert from 'node:assert/strict';
import type { JsonObject, KubeObject } from '../../operator/api/objects.ts';
import { Applier, configMap, deployment, service, useApplier } from '../support/applier.ts';
import { eventually, throughout } from '../support/eventually.ts';
import { useWorld } from '../support/world.ts';

const CONTROL = 'kustomize.toolkit.fluxcd.io';

type Live = JsonObject & {
  metadata: { uid: string; resourceVersion: string; labels: JsonObject; annotations?: JsonObject };
  data: { [key: string]: string };
  spec: { replicas: number };
};

describe('drift', () => {
  const world = useWorld();
  const applier = useApplier(world);

  const path = (name: string) => world().path('v1', 'configmaps', name);
  const webPath = () => world().path('apps/v1', 'deployments', 'web');
  const read = async (at: string) => (await world().api.get(at)) as Live | undefined;
  const isBack = (at: string, check: (object: Live) => void) =>
    eventually(
      async () => {
        const object = await read(at);
        assert.ok(object, 'the object is missing');
        check(object);
        return true;
      },
      { what: `${at} to be put back`, timeoutMs: 30_000, pollMs: 5 },
    );
  const pass = () =>
    applier().pass([
      configMap(world(), 'a', { k: 'v' }, { labels: { tier: 'x' } }),
      deployment(world(), 'web'),
      service(world(), 'web'),
    ]);

  /** Waits until nothing is under way, then asserts that the monitor sees everything as proven. */
  const settled = () =>
    eventually(
      () => {
        assert.deepEqual(applier().healErrors, []);
        if (!applier().idle) return false;
        return applier()
          .inventory()
          .every(({ id }) => applier().monitor.matchesStore(applier().owner, id));
      },
      { what: 'everything to agree with its proof', timeoutMs: 10_000, pollMs: 5 },
    );

  it('undoes an edit of our fields by one apply, and says who made it', async () => {
    await pass();
    const requests = await applier().requestsOf(async () => {
      await world().api.mergePatch(`${path('a')}?fieldManager=kubectl-edit`, { data: { k: 'edited' } });
      await isBack(path('a'), ({ data }) => assert.deepEqual(data, { k: 'v' }));
      await settled();
    });
    assert.deepEqual(requests, [`patch ${path('a')}`]);
    const healed = applier().healed.filter(({ action }) => action === 'configured');
    assert.deepEqual(
      healed.map(({ subject, managers }) => ({ subject, managers })),
      [{ subject: `ConfigMap/${world().namespace}/a`, managers: ['kubectl-edit'] }],
    );
  });

  it("removes what kubectl added, keeps what another controller added, and doesn't mind the latter", async () => {
    await pass();
    await world().api.mergePatch(`${path('a')}?fieldManager=some-controller`, { data: { theirs: 'x' } });
    await world().api.mergePatch(`${path('a')}?fieldManager=kubectl-edit`, {
      data: { extra: 'x' },
      metadata: { labels: { extra: 'x' } },
    });
    await isBack(path('a'), ({ data, metadata }) => {
      assert.deepEqual(data, { k: 'v', theirs: 'x' });
      assert.equal(metadata.labels.extra, undefined);
    });
    await settled();
    const quiet = await applier().requestsOf(async () => {
      const { metadata } = await world().api.mergePatch(`${path('a')}?fieldManager=some-controller`, {
        data: { theirs: 'y' },
      });
      const { resourceVersion } = metadata as Live['metadata'];
      const { monitor, owner } = applier();
      const type = await applier().discovery.resolve({ group: '', version: 'v1', kind: 'ConfigMap' });
      await eventually(
        () =>
          monitor.observed(type, { namespace: world().namespace, name: 'a' })?.resourceVersion ===
          resourceVersion,
        { what: 'the edit to be seen' },
      );
      assert.equal(monitor.matchesStore(owner, `${world().namespace}_a__ConfigMap`), true);
    });
    assert.deepEqual(quiet, []);
  });

  it('undoes a scaling through the scale subresource', async () => {
    await pass();
    await world().api.mergePatch(`${webPath()}/scale?fieldManager=kubectl`, { spec: { replicas: 7 } });
    await isBack(webPath(), ({ spec }) => assert.equal(spec.replicas, 0));
    await settled();
    assert.ok(applier().healed.some(({ managers }) => managers.includes('kubectl')));
  });

  it('undoes a removed label of Git and a removed owner label', async () => {
    await pass();
    await world().api.mergePatch(path('a'), { metadata: { labels: { tier: null } } });
    await isBack(path('a'), ({ metadata }) => assert.equal(metadata.labels.tier, 'x'));
    for (const label of [`${CONTROL}/name`, `${CONTROL}/namespace`]) {
      await world().api.mergePatch(path('a'), { metadata: { labels: { [label]: null } } });
      await isBack(path('a'), ({ metadata }) => assert.ok(metadata.labels[label]));
    }
    await settled();
  });

  it('brings back what was deleted', async () => {
    await pass();
    const before = await read(path('a'));
    await world().api.delete(path('a'));
    await isBack(path('a'), ({ data, metadata }) => {
      assert.deepEqual(data, { k: 'v' });
      assert.notEqual(metadata.uid, before?.metadata.uid);
    });
    await settled();
    assert.deepEqual(
      applier()
        .healed.filter(({ action }) => action !== 'none')
        .map(({ action }) => action),
      ['created'],
    );
  });

  it('waits for a deletion that has begun, then brings the object back', async () => {
    await pass();
    const { uid } = (await read(path('a')))?.metadata ?? { uid: '' };
    await world().api.mergePatch(path('a'), { metadata: { finalizers: ['example.com/hold'] } });
    await settled();
    const quiet = await applier().requestsOf(async () => {
      await world().api.delete(path('a'));
      await throughout(async () => (await read(path('a')))?.metadata.uid === uid, {
        what: 'the object goes on terminating',
        forMs: 200,
      });
    });
    assert.deepEqual(quiet, []);
    await world().api.mergePatch(path('a'), { metadata: { finalizers: null } });
    await isBack(path('a'), ({ metadata }) => assert.notEqual(metadata.uid, uid));
  });

  it('brings back a namespace deleted by hand, with everything in it', async () => {
    const namespace = `${world().namespace}-gone`;
    const inner: KubeObject[] = [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
      ...['x', 'y'].map((name) => ({
        ...configMap(world(), name, { k: 'v' }),
        metadata: { name, namespace },
      })),
    ];
    try {
      await applier().pass(inner);
      const { uid } = (await read(`/api/v1/namespaces/${namespace}`))?.metadata ?? { uid: '' };
      await world().api.delete(`/api/v1/namespaces/${namespace}`);
      for (const name of ['x', 'y']) {
        await eventually(
          async () => {
            const back = await read(`/api/v1/namespaces/${namespace}`);
            assert.notEqual(back?.metadata.uid, uid);
            assert.ok(await read(`/api/v1/namespaces/${namespace}/configmaps/${name}`));
            return true;
          },
          { what: `${name} to be back`, timeoutMs: 40_000 },
        );
      }
      await settled();
    } finally {
      await applier().stop();
      await world().api.delete(`/api/v1/namespaces/${namespace}`);
    }
  }).timeout(90_000);

  it('finds what was changed or deleted between the apply and the first look of the watch', async () => {
    const objects = [configMap(world(), 'a', { k: 'v' }), configMap(world(), 'b', { k: 'v' })];
    const { entries } = await applier().applyOnly(objects);
    applier().inventories.set('apps', entries);
    await world().api.delete(path('a'));
    await world().api.mergePatch(path('b'), { data: { k: 'edited' } });
    await applier().monitor.track(applier().owner, entries, applier().signal);
    await isBack(path('a'), ({ data }) => assert.deepEqual(data, { k: 'v' }));
    await isBack(path('b'), ({ data }) => assert.deepEqual(data, { k: 'v' }));
  });

  it('drops events of objects that merely carry our labels', async () => {
    await pass();
    const requests = await applier().requestsOf(async () => {
      await world().api.create(world().path('v1', 'configmaps'), {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: {
          name: 'stranger',
          labels: { [`${CONTROL}/name`]: 'apps', [`${CONTROL}/namespace`]: world().namespace },
        },
        data: { k: '1' },
      });
      await world().api.mergePatch(path('stranger'), { data: { k: '2' } });
      await world().api.mergePatch(path('a'), { data: { k: 'edited' } });
      await isBack(path('a'), ({ data }) => assert.deepEqual(data, { k: 'v' }));
      await settled();
    });
    assert.deepEqual(requests, [`patch ${path('a')}`]);
    assert.equal((await read(path('stranger')))?.data.k, '2');
  });

  it('asks for a reconcile of the owner where a Secret drifts, whose values it keeps nowhere', async () => {
    const secret = (value: string): KubeObject => ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 's', namespace: world().namespace },
      data: { k: Buffer.from(value).toString('base64') },
    });
    const at = world().path('v1', 'secrets', 's');
    await applier().pass([secret('right')]);
    await world().api.mergePatch(at, { data: { k: Buffer.from('wrong').toString('base64') } });
    await eventually(() => applier().healed.some(({ action }) => action === 'reconcile'), {
      what: 'the drift of the Secret',
    });
    const result = await applier().pass([secret('right')]);
    assert.deepEqual(
      result.changes.map(({ action }) => action),
      ['configured'],
    );
    assert.equal((await read(at))?.data.k, Buffer.from('right').toString('base64'));
    assert.doesNotMatch(
      JSON.stringify(applier().proofs.get(applier().owner, `${world().namespace}_s__Secret`)),
      /right|cmlnaHQ/,
    );
  });

  it('stops healing an object that a live annotation pauses, and goes on when it is removed', async () => {
    await pass();
    await world().api.mergePatch(`${path('a')}?fieldManager=kubectl-annotate`, {
      metadata: { annotations: { [`${CONTROL}/reconcile`]: 'disabled' } },
    });
    await world().api.mergePatch(`${path('a')}?fieldManager=kubectl-edit`, { data: { k: 'mine' } });
    await throughout(async () => (await read(path('a')))?.data.k === 'mine', {
      what: 'the paused object keeps its edit',
      forMs: 300,
    });
    await world().api.mergePatch(`${path('a')}?fieldManager=kubectl-annotate`, {
      metadata: { annotations: { [`${CONTROL}/reconcile`]: null } },
    });
    await isBack(path('a'), ({ data }) => assert.deepEqual(data, { k: 'v' }));
  });

  it('lets an object go to another Kustomization that lists it, and takes it back from one that does not', async () => {
    await pass();
    const relabel = (name: string) =>
      world().api.mergePatch(path('a'), { metadata: { labels: { [`${CONTROL}/name`]: name } } });
    await relabel('impostor');
    await isBack(path('a'), ({ metadata }) => assert.equal(metadata.labels[`${CONTROL}/name`], 'apps'));

    const id = `${world().namespace}_a__ConfigMap`;
    applier().inventories.set('heir', [{ id, v: 'v1' }]);
    await relabel('heir');
    await eventually(() => applier().healed.some(({ action }) => action === 'transferred'), {
      what: 'the transfer to be seen',
    });
    assert.equal((await read(path('a')))?.metadata.labels[`${CONTROL}/name`], 'heir');
    assert.equal(applier().proofs.get(applier().owner, id), undefined);
  });

  it('never brings back an older state or a pruned object, however passes and edits interleave', async () => {
    const names = Array.from({ length: 8 }, (_, index) => `n${index}`);
    const objects = (round: number) =>
      names
        .filter((_, index) => (index + round) % 3 !== 0)
        .map((name) => configMap(world(), name, { round: `${round}` }));
    const vandal = async () => {
      for (let turn = 0; turn < 60; turn += 1) {
        const name = names[turn % names.length] ?? '';
        if (turn % 4 === 0) await world().api.call('DELETE', path(name));
        else {
          await world().api.call('PATCH', path(name), {
            body: { data: { round: `edited ${turn}` } },
            contentType: 'application/merge-patch+json',
          });
        }
      }
    };
    await applier().pass(objects(0));
    const vandalism = vandal();
    let round = 0;
    while (round < 12) {
      round += 1;
      await applier().pass(objects(round));
    }
    await vandalism;
    const expected = objects(round).map(({ metadata }) => [metadata.name, `${round}`]);
    const list = async () => {
      const { items } = (await read(world().path('v1', 'configmaps'))) as unknown as { items: Live[] };
      return items
        .filter(({ metadata }) => (metadata as unknown as { name: string }).name.startsWith('n'))
        .map(({ metadata, data }) => [(metadata as unknown as { name: string }).name, data.round]);
    };
    await eventually(
      async () => {
        assert.deepEqual(await list(), expected);
        return true;
      },
      { what: 'the last state', timeoutMs: 10_000 },
    );
    await throughout(async () => assert.deepEqual(await list(), expected), {
      what: 'the last state stays',
      forMs: 300,
    });
  });

  it('puts back 300 random edits, deletions and scalings', async () => {
    const maps = Array.from({ length: 15 }, (_, index) => `m${index}`);
    const webs = Array.from({ length: 5 }, (_, index) => `w${index}`);
    await applier().pass([
      ...maps.map((name) => configMap(world(), name, { k: 'v' })),
      ...webs.map((name) => deployment(world(), name)),
      ...webs.map((name) => service(world(), name)),
    ]);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;
    const drifts: (() => Promise<unknown>)[] = [
      () =>
        world().api.call('PATCH', `${path(pick(maps))}?fieldManager=kubectl-edit`, {
          body: { data: { k: `${Math.random()}`, extra: 'x' } },
          contentType: 'application/merge-patch+json',
        }),
      () => world().api.call('DELETE', world().path('v1', 'services', pick(webs))),
      () =>
        world().api.call('PATCH', `${world().path('apps/v1', 'deployments', pick(webs))}/scale`, {
          body: { spec: { replicas: 1 + Math.floor(Math.random() * 5) } },
          contentType: 'application/merge-patch+json',
        }),
      () =>
        world().api.call('PATCH', path(pick(maps)), {
          body: { metadata: { labels: { [`${CONTROL}/name`]: null } } },
          contentType: 'application/merge-patch+json',
        }),
    ];
    for (let batch = 0; batch < 30; batch += 1) {
      await Promise.all(Array.from({ length: 10 }, () => pick(drifts)()));
    }
    for (const name of maps) {
      await isBack(path(name), ({ data, metadata }) => {
        assert.deepEqual(data, { k: 'v' });
        assert.equal(metadata.labels[`${CONTROL}/name`], 'apps');
      });
    }
    for (const name of webs) {
      await isBack(world().path('v1', 'services', name), ({ metadata }) => assert.ok(metadata.uid));
      await isBack(world().path('apps/v1', 'deployments', name), ({ spec }) =>
        assert.equal(spec.replicas, 0),
      );
    }
    await settled();
  });

  describe('of a kind that may not be watched', () => {
    const rbac = 'rbac.authorization.k8s.io';
    const rule = (verbs: string[]) => ({ apiGroups: [''], resources: ['configmaps'], verbs });
    const subjects = [{ apiGroup: rbac, kind: 'User', name: 'jane' }];
    let jane: Applier | undefined;

    beforeEach(async () => {
      const { namespace, controlPlane, api } = world();
      await api.create(`/apis/${rbac}/v1/namespaces/${namespace}/roles`, {
        apiVersion: `${rbac}/v1`,
        kind: 'Role',
        metadata: { name: 'writer' },
        rules: [rule(['get', 'create', 'patch'])],
      });
      await api.create(`/apis/${rbac}/v1/namespaces/${namespace}/rolebindings`, {
        apiVersion: `${rbac}/v1`,
        kind: 'RoleBinding',
        metadata: { name: 'writer' },
        roleRef: { apiGroup: rbac, kind: 'Role', name: 'writer' },
        subjects,
      });
      const kubeconfig = controlPlane.kubeconfigForUser({ name: 'jane', groups: [], namespace });
      jane = new Applier(world(), { kubeconfig });
    });

    afterEach(async () => {
      await jane?.stop();
      for (const plural of ['clusterroles', 'clusterrolebindings']) {
        await world().api.delete(`/apis/${rbac}/v1/${plural}/${world().namespace}`);
      }
    });

    it('is named, healed when its owner is reconciled, and at once as soon as it may be watched', async () => {
      assert.ok(jane);
      const objects = ['a', 'b'].map((name) => configMap(world(), name, { k: 'v' }));
      const actions = async () => (await jane?.pass(objects))?.changes.map(({ action }) => action);
      assert.deepEqual(await actions(), ['created', 'created']);
      const { unwatched } = await jane.monitor.track(jane.owner, jane.inventory(), jane.signal);
      assert.deepEqual(unwatched, ['ConfigMap']);
      await world().api.mergePatch(path('a'), { data: { k: 'edited' } });
      assert.deepEqual(await actions(), ['configured', 'unchanged']);
      assert.deepEqual(await actions(), ['unchanged', 'unchanged']);

      await world().api.mergePatch(path('a'), { data: { k: 'edited' } });
      await world().api.delete(path('b'));
      const name = world().namespace;
      await world().api.create(`/apis/${rbac}/v1/clusterroles`, {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRole',
        metadata: { name },
        rules: [rule(['list', 'watch'])],
      });
      await world().api.create(`/apis/${rbac}/v1/clusterrolebindings`, {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRoleBinding',
        metadata: { name },
        roleRef: { apiGroup: rbac, kind: 'ClusterRole', name },
        subjects,
      });
      await isBack(path('a'), ({ data }) => assert.deepEqual(data, { k: 'v' }));
      await isBack(path('b'), ({ data }) => assert.deepEqual(data, { k: 'v' }));
    });
  });
});
