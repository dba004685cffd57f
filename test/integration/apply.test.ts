import assert from 'node:assert/strict';
import type { JsonObject, KubeObject } from '../../operator/api/objects.ts';
import { ApplyError } from '../../operator/apply/apply-error.ts';
import type { ChangeSet } from '../../operator/apply/change-set.ts';
import { configMap, deployment, service, useApplier } from '../support/applier.ts';
import { useWorld } from '../support/world.ts';

interface Meta extends JsonObject {
  uid: string;
  resourceVersion: string;
  labels: { [key: string]: string };
  annotations: { [key: string]: string };
}

function actions({ changes }: ChangeSet): Record<string, string> {
  return Object.fromEntries(changes.map(({ id, action }) => [id.split('_').slice(1).join('_'), action]));
}

const CONTROL = 'kustomize.toolkit.fluxcd.io';

describe('applying', () => {
  const world = useWorld();
  const applier = useApplier(world);

  async function live(plural: string, name: string, apiVersion = 'v1') {
    return (await world().api.get(world().path(apiVersion, plural, name))) as
      | (JsonObject & { metadata: Meta; data: { [key: string]: string }; spec: JsonObject })
      | undefined;
  }

  async function versions(): Promise<string[]> {
    const objects = [await live('configmaps', 'a'), await live('services', 'web')];
    return objects.map((object) => object?.metadata.resourceVersion ?? 'missing');
  }

  it('creates what is missing, with the owner labels, in inventory order', async () => {
    const objects = [
      deployment(world(), 'web'),
      service(world(), 'web'),
      configMap(world(), 'a', { k: 'v' }),
    ];
    const result = await applier().pass(objects);
    assert.deepEqual(actions(result), {
      a__ConfigMap: 'created',
      web__Service: 'created',
      web_apps_Deployment: 'created',
    });
    const ns = world().namespace;
    assert.deepEqual(result.entries, [
      { id: `${ns}_a__ConfigMap`, v: 'v1' },
      { id: `${ns}_web__Service`, v: 'v1' },
      { id: `${ns}_web_apps_Deployment`, v: 'v1' },
    ]);
    assert.deepEqual((await live('services', 'web'))?.metadata.labels, {
      [`${CONTROL}/name`]: 'apps',
      [`${CONTROL}/namespace`]: ns,
    });
  });

  it('writes nothing and sends nothing in a second pass, and what changed in a third', async () => {
    const objects = [
      configMap(world(), 'a', { k: 'v' }),
      configMap(world(), 'b', { k: 'v' }),
      service(world(), 'web'),
    ];
    await applier().pass(objects);
    const before = await versions();
    let second: ChangeSet | undefined;
    const requests = await applier().requestsOf(async () => {
      second = await applier().pass(objects);
    });
    assert.deepEqual(requests, []);
    assert.deepEqual([...new Set(second?.changes.map(({ action }) => action))], ['unchanged']);
    assert.deepEqual(await versions(), before);

    objects[1] = configMap(world(), 'b', { k: 'changed' });
    let third: ChangeSet | undefined;
    const asked = await applier().requestsOf(async () => {
      third = await applier().pass(objects);
    });
    assert.deepEqual(asked, [`patch ${world().path('v1', 'configmaps', 'b')}`]);
    assert.equal(actions(third as ChangeSet).b__ConfigMap, 'configured');
    assert.equal((await live('configmaps', 'b'))?.data.k, 'changed');
    assert.deepEqual(await versions(), before);
  });

  it('writes nothing on first contact with objects that are as Git wants them', async () => {
    const objects = [configMap(world(), 'a', { k: 'v' }), service(world(), 'web')];
    await applier().applyOnly(objects);
    const before = await versions();
    applier().proofs.forget(applier().owner);
    assert.deepEqual(
      [...new Set((await applier().pass(objects)).changes.map((c) => c.action))],
      ['unchanged'],
    );
    assert.deepEqual(await versions(), before);
    assert.deepEqual(await applier().requestsOf(() => applier().pass(objects)), []);
  });

  it('removes a field that left Git and keeps what another controller set', async () => {
    const path = world().path('v1', 'configmaps', 'a');
    await applier().pass([configMap(world(), 'a', { k: 'v', gone: 'soon' })]);
    await world().api.apply(
      path,
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { theirs: 'kept' } },
      'some-controller',
    );
    await applier().pass([configMap(world(), 'a', { k: 'v' })]);
    assert.deepEqual((await live('configmaps', 'a'))?.data, { k: 'v', theirs: 'kept' });
  });

  it('takes over what kubectl applied client-side: its extra fields and its annotation go', async () => {
    const path = world().path('v1', 'configmaps');
    await world().api.create(`${path}?fieldManager=kubectl-client-side-apply`, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name: 'a',
        annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}', note: 'x' },
      },
      data: { k: 'old', extra: 'x' },
    });
    const result = await applier().pass([configMap(world(), 'a', { k: 'v' })]);
    assert.equal(actions(result).a__ConfigMap, 'configured');
    const taken = await live('configmaps', 'a');
    assert.deepEqual(taken?.data, { k: 'v' });
    assert.equal(taken?.metadata.annotations, undefined);
    assert.deepEqual(
      await applier().requestsOf(() => applier().pass([configMap(world(), 'a', { k: 'v' })])),
      [],
    );
  });

  it('removes the leftovers of client-side apply and of Flux v1, whoever wrote them', async () => {
    await world().api.create(`${world().path('v1', 'configmaps')}?fieldManager=some-tool`, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name: 'a',
        annotations: { 'fluxcd.io/sync-checksum': 'x', theirs: 'kept' },
        labels: { 'fluxcd.io/sync-gc-mark': 'x' },
      },
    });
    await applier().pass([configMap(world(), 'a', { k: 'v' })]);
    const { annotations, labels } = (await live('configmaps', 'a'))?.metadata ?? {};
    assert.deepEqual(annotations, { theirs: 'kept' });
    assert.equal(labels?.['fluxcd.io/sync-gc-mark'], undefined);
  });

  it("keeps kubectl's extra fields where Git says ssa: Merge", async () => {
    const path = world().path('v1', 'configmaps');
    await world().api.create(`${path}?fieldManager=kubectl-create`, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'a' },
      data: { k: 'old', extra: 'x' },
    });
    const merged = [configMap(world(), 'a', { k: 'v' }, { annotations: { [`${CONTROL}/ssa`]: 'merge' } })];
    await applier().pass(merged);
    assert.deepEqual((await live('configmaps', 'a'))?.data, { k: 'v', extra: 'x' });
    assert.deepEqual(await applier().requestsOf(() => applier().pass(merged)), []);
  });

  it('writes nothing of a stage in which one object is refused, and names every refused one', async () => {
    const invalid = (name: string): KubeObject => ({
      ...configMap(world(), name, {}),
      data: { 'not valid': 'x' },
    });
    let announced = 0;
    const pass = applier().pass([configMap(world(), 'a', { k: 'v' }), invalid('bad'), invalid('worse')], {
      beforeStage: async () => {
        announced += 1;
      },
    });
    await assert.rejects(pass, (error: Error) => {
      assert.ok(error instanceof ApplyError);
      const ns = world().namespace;
      assert.match(
        error.message,
        new RegExp(`ConfigMap/${ns}/bad dry-run failed \\(Invalid\\): .*not valid`),
      );
      assert.match(error.message, new RegExp(`ConfigMap/${ns}/worse dry-run failed`));
      return true;
    });
    assert.equal(await live('configmaps', 'a'), undefined);
    assert.equal(announced, 0);
    assert.deepEqual(applier().inventory(), []);
  });

  it('announces all ids of a stage before its first write, and writes nothing when that fails', async () => {
    const objects = [configMap(world(), 'a', { k: 'v' }), service(world(), 'web')];
    const pass = applier().pass(objects, {
      beforeStage: async (entries) => {
        assert.deepEqual(
          entries.map(({ id }) => id.split('_')[1]),
          ['a', 'web'],
        );
        assert.equal(await live('configmaps', 'a'), undefined);
        throw new Error('the inventory could not be written');
      },
    });
    await assert.rejects(pass, /could not be written/);
    assert.deepEqual(await versions(), ['missing', 'missing']);
  });

  it('applies a CRD, its resources and a namespace with its contents in one pass', async () => {
    const group = `${world().namespace}.example.com`;
    const namespace = `${world().namespace}-inner`;
    const definition: KubeObject = {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `widgets.${group}` },
      spec: {
        group,
        scope: 'Namespaced',
        names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: {
              openAPIV3Schema: {
                type: 'object',
                properties: { spec: { type: 'object', properties: { size: { type: 'integer' } } } },
              },
            },
          },
        ],
      },
    };
    const objects: KubeObject[] = [
      { apiVersion: `${group}/v1`, kind: 'Widget', metadata: { name: 'w', namespace }, spec: { size: 3 } },
      { ...configMap(world(), 'inner', { k: 'v' }), metadata: { name: 'inner', namespace } },
      definition,
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
    ];
    try {
      const result = await applier().pass(objects);
      assert.deepEqual([...new Set(result.changes.map(({ action }) => action))], ['created']);
      const widget = `/apis/${group}/v1/namespaces/${namespace}/widgets/w`;
      assert.deepEqual((await world().api.get(widget))?.spec, { size: 3 });
      assert.deepEqual(await applier().requestsOf(() => applier().pass(objects)), []);

      // A changed definition may change what an apply of its resources does: they are asked again, once.
      Object.assign(definition.metadata, { annotations: { note: 'changed' } });
      const asked = await applier().requestsOf(() => applier().pass(objects));
      assert.ok(asked.includes(`patch ${widget}`), asked.join());
      assert.ok(!asked.some((request) => request.endsWith('/configmaps/inner')), asked.join());
      assert.deepEqual(await applier().requestsOf(() => applier().pass(objects)), []);
    } finally {
      await world().api.delete(`/api/v1/namespaces/${namespace}`);
      await world().api.delete(`/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.${group}`);
    }
  });

  it('names an unknown kind, and an object whose namespace is missing', async () => {
    const unknown: KubeObject = { apiVersion: 'example.com/v9', kind: 'Nonsense', metadata: { name: 'x' } };
    await assert.rejects(applier().pass([unknown]), /Nonsense\/x .*no matches for kind "Nonsense"/);
    const homeless: KubeObject = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' } };
    await assert.rejects(applier().pass([homeless]), /^ApplyError: ConfigMap\/x namespace not specified/);
  });

  it('refuses to change an immutable field unless forced, and then recreates the object', async () => {
    await applier().pass([deployment(world(), 'web')]);
    const before = await live('deployments', 'web', 'apps/v1');
    const moved = [deployment(world(), 'web', { app: 'other' })];
    const ns = world().namespace;
    await assert.rejects(
      applier().pass(moved),
      (error: Error) =>
        error.message.startsWith(`Deployment/${ns}/web dry-run failed (Invalid): `) &&
        error.message.includes('immutable'),
    );
    const kept = await live('deployments', 'web', 'apps/v1');
    assert.equal(kept?.metadata.uid, before?.metadata.uid);
    assert.deepEqual(kept?.spec, before?.spec);

    await applier().pass(moved, { force: true });
    const after = await live('deployments', 'web', 'apps/v1');
    assert.notEqual(after?.metadata.uid, before?.metadata.uid);
    assert.deepEqual(after?.spec.selector, { matchLabels: { app: 'other' } });
  });

  it('recreates where the live object asks for it, and never deletes for a plain validation error', async () => {
    await applier().pass([deployment(world(), 'web')]);
    const path = world().path('apps/v1', 'deployments', 'web');
    await world().api.mergePatch(`${path}?fieldManager=somebody`, {
      metadata: { annotations: { [`${CONTROL}/force`]: 'enabled' } },
    });
    const { uid } = (await live('deployments', 'web', 'apps/v1'))?.metadata ?? { uid: '' };
    const invalid = deployment(world(), 'web', { app: 'other', image: '' });
    await assert.rejects(applier().pass([invalid], { force: true }), /dry-run failed \(Invalid\)/);
    assert.equal((await live('deployments', 'web', 'apps/v1'))?.metadata.uid, uid);
    await applier().pass([deployment(world(), 'web', { app: 'other' })]);
    assert.notEqual((await live('deployments', 'web', 'apps/v1'))?.metadata.uid, uid);
  });

  it('leaves alone what Git or the live object says to leave alone, and lists it all the same', async () => {
    const path = world().path('v1', 'configmaps');
    for (const name of ['paused', 'ignored', 'once']) {
      await world().api.create(`${path}?fieldManager=somebody`, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: {
          name,
          ...(name === 'paused' ? { annotations: { [`${CONTROL}/reconcile`]: 'Disabled' } } : {}),
        },
        data: { k: 'theirs' },
      });
    }
    const objects = [
      configMap(world(), 'paused', { k: 'ours' }),
      configMap(world(), 'ignored', { k: 'ours' }, { labels: { [`${CONTROL}/ssa`]: 'Ignore' } }),
      configMap(world(), 'once', { k: 'ours' }, { annotations: { [`${CONTROL}/ssa`]: 'IfNotPresent' } }),
      configMap(world(), 'never', { k: 'ours' }, { annotations: { [`${CONTROL}/reconcile`]: 'disabled' } }),
      configMap(world(), 'first', { k: 'ours' }, { annotations: { [`${CONTROL}/ssa`]: 'ifnotpresent' } }),
    ];
    const result = await applier().pass(objects);
    assert.deepEqual(actions(result), {
      paused__ConfigMap: 'skipped',
      ignored__ConfigMap: 'skipped',
      once__ConfigMap: 'skipped',
      never__ConfigMap: 'skipped',
      first__ConfigMap: 'created',
    });
    assert.equal(result.entries.length, 5);
    for (const name of ['paused', 'ignored', 'once']) {
      assert.equal((await live('configmaps', name))?.data.k, 'theirs');
    }
    assert.equal(await live('configmaps', 'never'), undefined);
    await world().api.mergePatch(`${path}/first`, { data: { k: 'edited' } });
    assert.equal(actions(await applier().pass(objects)).first__ConfigMap, 'skipped');
    assert.equal((await live('configmaps', 'first'))?.data.k, 'edited');
  });

  it("never shows a Secret's value in an error", async () => {
    const secret: KubeObject = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 's', namespace: world().namespace },
      data: { pin: 987654321 },
    };
    await assert.rejects(applier().pass([secret]), (error: Error) => {
      assert.match(error.message, /Secret\/.*\/s dry-run failed/);
      assert.doesNotMatch(error.message, /987654321/);
      return true;
    });
  });

  it('sends integers beyond 2^53 exactly as they were built', async () => {
    const exact = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON('9007199254740993');
    const object = deployment(world(), 'web');
    const { template } = object.spec as { template: { spec: object } };
    Object.assign(template.spec, { terminationGracePeriodSeconds: exact });
    await applier().pass([object]);
    const { text } = await world().api.call('GET', world().path('apps/v1', 'deployments', 'web'));
    assert.match(text, /"terminationGracePeriodSeconds":9007199254740993\b/);
  });

  it('stops at the signal, with the reason', async () => {
    const abort = new AbortController();
    const objects = Array.from({ length: 30 }, (_, index) => configMap(world(), `c${index}`, { k: 'v' }));
    const pass = applier().pass(objects, {
      signal: abort.signal,
      beforeStage: async () => abort.abort(new Error('enough')),
    });
    await assert.rejects(pass, /enough/);
    assert.equal(await live('configmaps', 'c0'), undefined);
  });
});
