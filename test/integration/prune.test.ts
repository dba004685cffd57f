import assert from 'node:assert/strict';
import type { JsonObject } from '../../operator/api/objects.ts';
import { pruneObjects } from '../../operator/apply/prune.ts';
import { KubeClient } from '../../operator/kube/client.ts';
import { loadClusterConfig } from '../../operator/kube/config.ts';
import { configMap, service, useApplier } from '../support/applier.ts';
import { throughout } from '../support/eventually.ts';
import { useWorld } from '../support/world.ts';

const CONTROL = 'kustomize.toolkit.fluxcd.io';

describe('pruning', () => {
  const world = useWorld();
  const applier = useApplier(world);

  const path = (name: string) => world().path('v1', 'configmaps', name);
  const live = (name: string) =>
    world().api.get(path(name)) as Promise<(JsonObject & { metadata: { uid: string } }) | undefined>;
  const three = () => ['a', 'b', 'c'].map((name) => configMap(world(), name, { k: 'v' }));

  it('deletes what left Git, and nothing brings it back', async () => {
    await applier().pass(three());
    const { pruned } = await applier().pass(three().slice(0, 1));
    assert.deepEqual(pruned?.changes.map(({ subject, action }) => `${subject} ${action}`).sort(), [
      `ConfigMap/${world().namespace}/b deleted`,
      `ConfigMap/${world().namespace}/c deleted`,
    ]);
    assert.deepEqual(pruned?.survivors, []);
    await throughout(async () => (await live('b')) === undefined && (await live('c')) === undefined, {
      what: 'pruned objects stay away',
      forMs: 300,
    });
    assert.deepEqual(applier().healErrors, []);
  });

  it('leaves an object that carries another owner, no owner, or a control that keeps it', async () => {
    const objects = ['other', 'nobody', 'kept', 'paused', 'gone'].map((name) => configMap(world(), name, {}));
    applier().healing = false;
    await applier().pass(objects);
    const label = (labels: JsonObject) => ({ metadata: { labels } });
    await world().api.mergePatch(path('other'), label({ [`${CONTROL}/name`]: 'someone-else' }));
    await world().api.mergePatch(path('nobody'), label({ [`${CONTROL}/namespace`]: null }));
    await world().api.mergePatch(path('kept'), {
      metadata: { annotations: { [`${CONTROL}/prune`]: 'Disabled' } },
    });
    await world().api.mergePatch(path('paused'), label({ [`${CONTROL}/reconcile`]: 'disabled' }));
    await world().api.delete(path('gone'));
    const { pruned } = await applier().pass([]);
    const actions = pruned?.changes.map(({ subject, action }) => `${subject.split('/')[2]} ${action}`);
    assert.deepEqual(actions?.sort(), [
      'gone deleted',
      'kept skipped',
      'nobody skipped',
      'other skipped',
      'paused skipped',
    ]);
    for (const name of ['other', 'nobody', 'kept', 'paused']) assert.notEqual(await live(name), undefined);
    assert.deepEqual(applier().inventory(), []);
  });

  it('keeps an object in the inventory when its deletion was refused, and deletes the others', async () => {
    const { namespace, controlPlane, api } = world();
    await applier().pass([...three(), service(world(), 'web')]);
    await api.create(`/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/roles`, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { name: 'pruner' },
      rules: [
        { apiGroups: [''], resources: ['configmaps', 'services'], verbs: ['get'] },
        { apiGroups: [''], resources: ['configmaps'], verbs: ['delete'] },
      ],
    });
    await api.create(`/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/rolebindings`, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'pruner' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'pruner' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'jane' }],
    });
    const kubeconfig = controlPlane.kubeconfigForUser({ name: 'jane', groups: [], namespace });
    const jane = new KubeClient({ config: loadClusterConfig({ kubeconfig }) });
    try {
      const { owner, discovery, proofs, signal } = applier();
      const entries = applier().inventory();
      const result = await pruneObjects({ client: jane, discovery, owner, entries, proofs, signal });
      assert.deepEqual(
        result.survivors.map(({ id }) => id),
        [`${namespace}_web__Service`],
      );
      assert.match(result.errors.join(), new RegExp(`^Service/${namespace}/web delete failed: .*forbidden`));
      assert.equal(await live('a'), undefined);
      assert.equal(result.changes.length, 3);
    } finally {
      await jane.close();
    }
  });

  it('spares an object that was replaced between the look and the deletion', async () => {
    await applier().pass(three());
    applier().healing = false;
    const { client, owner, discovery, proofs, signal } = applier();
    const replacing = new (class extends KubeClient {
      override async delete(...args: Parameters<KubeClient['delete']>) {
        await world().api.delete(path('a'));
        await world().api.create(world().path('v1', 'configmaps'), {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: 'a' },
        });
        return client.delete(...args);
      }
    })({ config: loadClusterConfig({ kubeconfig: world().kubeconfig }) });
    try {
      const entries = [{ id: `${world().namespace}_a__ConfigMap`, v: 'v1' }];
      const result = await pruneObjects({ client: replacing, discovery, owner, entries, proofs, signal });
      assert.deepEqual(
        result.changes.map(({ action }) => action),
        ['skipped'],
      );
      assert.notEqual(await live('a'), undefined);
    } finally {
      await replacing.close();
    }
  });

  it('spares what the pass has just applied under another id, and counts a kind that is gone as deleted', async () => {
    const { client, owner, discovery, proofs, signal } = applier();
    const { uids, entries } = await applier().pass(three());
    const result = await pruneObjects({
      client,
      discovery,
      owner,
      entries: [...entries, { id: `${world().namespace}_x_gone.example.com_Widget`, v: 'v1' }],
      proofs,
      applied: uids,
      signal,
    });
    assert.deepEqual(result.changes.map(({ action }) => action).sort(), [
      'deleted',
      'skipped',
      'skipped',
      'skipped',
    ]);
    assert.notEqual(await live('a'), undefined);
  });

  it('deletes an object whose recorded API version is no longer served', async () => {
    const { client, owner, discovery, proofs, signal } = applier();
    await applier().pass([
      {
        apiVersion: 'policy/v1',
        kind: 'PodDisruptionBudget',
        metadata: { name: 'p', namespace: world().namespace },
        spec: { minAvailable: 1 },
      },
    ]);
    const entries = [{ id: `${world().namespace}_p_policy_PodDisruptionBudget`, v: 'v1beta1' }];
    const result = await pruneObjects({ client, discovery, owner, entries, proofs, signal });
    assert.deepEqual(
      result.changes.map(({ action }) => action),
      ['deleted'],
    );
    assert.equal(await world().api.get(world().path('policy/v1', 'poddisruptionbudgets', 'p')), undefined);
  });

  it('keeps everything that it did not get to when it is cut short', async () => {
    await applier().pass(three());
    const { client, owner, discovery, proofs } = applier();
    const entries = applier().inventory();
    const signal = AbortSignal.abort(new Error('shutting down'));
    const result = await pruneObjects({ client, discovery, owner, entries, proofs, signal });
    assert.deepEqual(result.survivors.map(({ id }) => id).sort(), entries.map(({ id }) => id).sort());
    assert.equal(result.errors.length, 3);
    assert.notEqual(await live('a'), undefined);
  });

  it('leaves an object that moved to another Kustomization, which keeps its uid', async () => {
    await applier().pass(three());
    const uid = (await live('c'))?.metadata.uid;
    const other = { name: 'other', namespace: world().namespace };
    await applier().pass([configMap(world(), 'c', { k: 'v' })], { owner: other });
    const { pruned } = await applier().pass(three().slice(0, 2));
    assert.deepEqual(
      pruned?.changes.map(({ action }) => action),
      ['skipped'],
    );
    assert.equal((await live('c'))?.metadata.uid, uid);
  });
});
