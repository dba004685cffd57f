import assert from 'node:assert/strict';
import { eventually, throughout } from '../support/eventually.ts';
import { configMap, Fleet, listing } from '../support/fleet.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

const FIRST = {
  'app/kustomization.yaml': listing('a.yaml', 'b.yaml'),
  'app/a.yaml': configMap('a', { version: '1' }),
  'app/b.yaml': configMap('b', { version: '1' }),
};

describe('a Kustomization', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  let fleet: Fleet;

  beforeEach(async () => {
    fleet = await Fleet.start(world(), directory(), ['--controllers=source,kustomize']);
  });

  afterEach(async () => {
    await fleet.stop();
  });

  /** The first commit, applied. */
  async function firstSync(spec = {}): Promise<string> {
    const revision = await fleet.push(FIRST);
    await fleet.createSource();
    await fleet.createKustomization(spec);
    await fleet.applied(revision);
    return revision;
  }

  /** Applies and dry-runs of objects in the test's namespace so far. */
  function applies(): number {
    const { namespace } = world();
    return world().auditedWrites(
      ({ verb, objectRef, requestURI }) =>
        verb === 'patch' &&
        objectRef?.namespace === namespace &&
        objectRef.subresource === undefined &&
        requestURI.includes('fieldManager=kustomize-controller'),
    ).length;
  }

  it('makes the cluster equal to Git: what is pushed, changed, removed and reverted', async () => {
    await firstSync();
    assert.deepEqual(await fleet.ownedConfigMaps(), ['a', 'b']);
    await fleet.applied(
      await fleet.push(
        {
          'app/kustomization.yaml': listing('a.yaml', 'c.yaml'),
          'app/a.yaml': configMap('a', { version: '2' }),
          'app/c.yaml': configMap('c', {}),
        },
        ['app/b.yaml'],
      ),
    );
    assert.deepEqual(await fleet.ownedConfigMaps(), ['a', 'c']);
    assert.deepEqual(await fleet.configMapData('a'), { version: '2' });
    await fleet.work.revert();
    await fleet.work.push(fleet.url);
    await fleet.poke();
    const { status } = await fleet.applied(`main@sha1:${await fleet.work.head()}`);
    assert.deepEqual(await fleet.ownedConfigMaps(), ['a', 'b']);
    assert.deepEqual(await fleet.configMapData('a'), { version: '1' });
    const { namespace } = world();
    assert.deepEqual(status?.inventory, {
      entries: ['a', 'b'].map((name) => ({ id: `${namespace}_${name}__ConfigMap`, v: 'v1' })),
    });
  });

  it('is left alone while suspended, and catches up when resumed', async () => {
    await firstSync();
    await world().api.mergePatch(fleet.kustomizationPath(), { spec: { suspend: true } });
    const revision = await fleet.push({ 'app/a.yaml': configMap('a', { version: '2' }) });
    await fleet.condition(fleet.sourcePath(), 'Ready', ({ message }) => message?.includes(revision) === true);
    await throughout(async () => (await fleet.configMapData('a'))?.version === '1', {
      what: 'nothing is applied',
      forMs: 500,
    });
    await world().api.mergePatch(fleet.kustomizationPath(), { spec: { suspend: false } });
    await fleet.applied(revision);
    assert.deepEqual(await fleet.configMapData('a'), { version: '2' });
  });

  it('puts nothing back while suspended, and all of it when resumed', async () => {
    const revision = await firstSync();
    await world().api.mergePatch(fleet.kustomizationPath(), { spec: { suspend: true } });
    // A suspended one answers as well: from here on the operator knows.
    await fleet.annotate(fleet.kustomizationPath(), 'reconcile.fluxcd.io/requestedAt', 'suspended');
    await eventually(
      async () => (await fleet.status(fleet.kustomizationPath())).lastHandledReconcileAt === 'suspended',
      { what: 'the suspension to be seen' },
    );
    await world().api.mergePatch(world().path('v1', 'configmaps', 'a'), { data: { version: 'by hand' } });
    await world().api.delete(world().path('v1', 'configmaps', 'b'));
    await throughout(
      async () => {
        assert.deepEqual(await fleet.ownedConfigMaps(), ['a']);
        assert.deepEqual(await fleet.configMapData('a'), { version: 'by hand' });
      },
      { what: 'what was done by hand stays', forMs: 500 },
    );
    await world().api.mergePatch(fleet.kustomizationPath(), { spec: { suspend: false } });
    await fleet.applied(revision);
    await eventually(async () => (await fleet.ownedConfigMaps()).length === 2, { what: 'b to be back' });
    assert.deepEqual(await fleet.configMapData('a'), { version: '1' });
  });

  it('puts nothing back once it is gone, also when its finalizer was taken off first', async () => {
    await firstSync({ deletionPolicy: 'Orphan' });
    // Most often the operator hasn't taken hold of it again when the second call comes.
    await world().api.mergePatch(fleet.kustomizationPath(), { metadata: { finalizers: null } });
    await world().api.delete(fleet.kustomizationPath());
    await eventually(async () => (await world().api.get(fleet.kustomizationPath())) === undefined, {
      what: 'the Kustomization to be gone',
    });
    await world().api.delete(world().path('v1', 'configmaps', 'b'));
    await throughout(async () => assert.deepEqual(await fleet.ownedConfigMaps(), ['a']), {
      what: 'b stays deleted',
      forMs: 500,
    });
  });

  it('takes its objects along when it is deleted', async () => {
    await firstSync();
    await world().api.delete(fleet.kustomizationPath());
    await eventually(async () => (await world().api.get(fleet.kustomizationPath())) === undefined, {
      what: 'the Kustomization to be gone',
    });
    assert.deepEqual(await fleet.ownedConfigMaps(), []);
  });

  it('leaves its objects behind when its deletion policy is Orphan', async () => {
    await firstSync({ deletionPolicy: 'Orphan' });
    await world().api.delete(fleet.kustomizationPath());
    await eventually(async () => (await world().api.get(fleet.kustomizationPath())) === undefined, {
      what: 'the Kustomization to be gone',
    });
    assert.deepEqual(await fleet.ownedConfigMaps(), ['a', 'b']);
  });

  it('lets go of what left Git without deleting it when it does not prune', async () => {
    await firstSync({ prune: false });
    const revision = await fleet.push({ 'app/kustomization.yaml': listing('a.yaml') });
    await fleet.applied(revision);
    assert.deepEqual(await fleet.ownedConfigMaps(), ['a', 'b']);
  });

  it('keeps what was applied when a build fails, names the file, and recovers with the next commit', async () => {
    await firstSync();
    await fleet.push({ 'app/a.yaml': 'kind: [' });
    await fleet.condition(fleet.kustomizationPath(), 'Ready', ({ status, reason, message }) => {
      return status === 'False' && reason === 'BuildFailed' && message?.includes('a.yaml') === true;
    });
    assert.deepEqual(await fleet.ownedConfigMaps(), ['a', 'b']);
    await fleet.applied(await fleet.push({ 'app/a.yaml': configMap('a', { version: '3' }) }));
    assert.deepEqual(await fleet.configMapData('a'), { version: '3' });
  });

  it('says which object was refused, writes nothing of its stage and prunes nothing', async () => {
    await firstSync();
    const invalid = JSON.stringify({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'broken' },
      spec: { ports: [{ port: 99_999 }] },
    });
    await fleet.push({
      'app/kustomization.yaml': listing('a.yaml', 'broken.yaml'),
      'app/a.yaml': configMap('a', { version: '2' }),
      'app/broken.yaml': invalid,
    });
    const named = `Service/${world().namespace}/broken dry-run failed (Invalid)`;
    await fleet.condition(fleet.kustomizationPath(), 'Ready', ({ status, reason, message }) => {
      return status === 'False' && reason === 'ReconciliationFailed' && message?.startsWith(named) === true;
    });
    assert.deepEqual(await fleet.ownedConfigMaps(), ['a', 'b']);
    assert.deepEqual(await fleet.configMapData('a'), { version: '1' });
  });

  it('refuses a field that it cannot act on, by name, and goes on when the field is gone', async () => {
    const revision = await fleet.push(FIRST);
    await fleet.createSource();
    await fleet.createKustomization({ postBuild: { substitute: { a: 'b' } } });
    await fleet.condition(fleet.kustomizationPath(), 'Stalled', ({ status, message }) => {
      return status === 'True' && message?.startsWith("spec.postBuild isn't supported") === true;
    });
    assert.deepEqual(await fleet.ownedConfigMaps(), []);
    await world().api.mergePatch(fleet.kustomizationPath(), { spec: { postBuild: null } });
    const { status } = await fleet.applied(revision);
    assert.equal(
      status?.conditions?.find(({ type }) => type === 'Stalled'),
      undefined,
    );
  });

  it('names a path that is not in the artifact, and waits for a source that is not there yet', async () => {
    await fleet.createKustomization({ path: './nowhere' });
    await fleet.condition(fleet.kustomizationPath(), 'Ready', ({ status, reason, message }) => {
      return (
        status === 'False' && reason === 'ArtifactFailed' && message?.includes('does not exist') === true
      );
    });
    const revision = await fleet.push(FIRST);
    await fleet.createSource();
    await fleet.condition(fleet.kustomizationPath(), 'Ready', ({ reason, message }) => {
      return reason === 'ArtifactFailed' && message?.includes('nowhere') === true;
    });
    await world().api.mergePatch(fleet.kustomizationPath(), { spec: { path: './app' } });
    await fleet.applied(revision);
  });

  it('makes no apply and no dry-run for a commit that changes nothing it builds', async () => {
    await firstSync();
    await fleet.applied(await fleet.push({ 'app/a.yaml': configMap('a', { version: '2' }) }));
    const before = applies();
    assert.ok(before > 0, 'the applies are counted');
    await fleet.applied(await fleet.push({ 'README.md': 'unrelated\n' }));
    assert.equal(applies(), before);
  });

  it('answers a reconcile request in every state', async () => {
    await firstSync();
    const answered = async (value: string): Promise<void> => {
      await fleet.annotate(fleet.kustomizationPath(), 'reconcile.fluxcd.io/requestedAt', value);
      await eventually(
        async () => (await fleet.status(fleet.kustomizationPath())).lastHandledReconcileAt === value,
        { what: `the request ${value} to be answered` },
      );
    };
    await answered('while ready');
    await world().api.mergePatch(fleet.kustomizationPath(), { spec: { path: './nowhere' } });
    await answered('while failing');
    await world().api.mergePatch(fleet.kustomizationPath(), { spec: { suspend: true } });
    await answered('while suspended');
    await world().api.mergePatch(fleet.kustomizationPath(), {
      spec: { suspend: false, postBuild: { substitute: { a: 'b' } } },
    });
    await answered('while stalled');
  });
});
