import assert from 'node:assert/strict';
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { GitRepository } from '../../operator/api/git-repository.gen.ts';
import { eventually, throughout } from '../support/eventually.ts';
import { condition, isReady, useSource } from '../support/source-scene.ts';
import { useWorld } from '../support/world.ts';

function shownConditions(repository: GitRepository): string[] {
  return (repository.status?.conditions ?? []).map(
    ({ type, status, reason }) => `${type}=${status}/${reason}`,
  );
}

describe('the status of a GitRepository', () => {
  const world = useWorld();
  const source = useSource(world);

  it('says of a published revision what Flux says, and nothing of what is not wrong', async () => {
    const scene = source();
    const subject = 'Say in more than fifty characters 🚀 what was changed and why';
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' }, `${subject}\n\nAnd a body.`);
    await scene.create();
    const repository = await scene.untilPublished(commit);
    const revision = `main@sha1:${commit}`;
    assert.deepEqual(shownConditions(repository), [
      'Ready=True/Succeeded',
      'ArtifactInStorage=True/Succeeded',
    ]);
    const message = `stored artifact for revision '${revision}'`;
    assert.deepEqual(
      repository.status?.conditions?.map((each) => each.message),
      [message, message],
    );
    assert.deepEqual(
      repository.status?.conditions?.map((each) => each.observedGeneration),
      [1, 1],
    );
    const { artifact } = repository.status ?? {};
    assert.equal(artifact?.path, `gitrepository/${world().namespace}/app/${commit}.tar.gz`);
    assert.match(artifact?.digest ?? '', /^sha256:[0-9a-f]{64}$/);
    const written = world().auditedWrites(
      (e) => e.objectRef?.subresource === 'status' && e.objectRef.namespace === world().namespace,
    );
    assert.ok(written.length > 0);
    for (const { requestURI } of written) assert.match(requestURI, /fieldManager=source-controller/);
    const event = await scene.untilEvent('NewArtifact');
    assert.equal(event.message, `stored artifact for commit '${[...subject].slice(0, 50).join('')}...'`);
    assert.equal(event.metadata.annotations?.['source.toolkit.fluxcd.io/revision'], revision);
    assert.equal(event.metadata.annotations?.['source.toolkit.fluxcd.io/digest'], artifact?.digest);
  });

  it('keeps the artifact and the observed generation through a failure, and tells of the recovery', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    await scene.untilPublished(commit);
    const restart = await scene.cutGit();
    await scene.patch({ spec: { interval: '2h' } });
    await scene.request('while it fails');
    const failing = await scene.until(
      'the failure',
      (r) =>
        condition(r, 'FetchFailed') !== undefined && r.status?.lastHandledReconcileAt === 'while it fails',
    );
    assert.deepEqual(shownConditions(failing), [
      'Ready=False/GitOperationFailed',
      'ArtifactInStorage=True/Succeeded',
      'FetchFailed=True/GitOperationFailed',
      'Reconciling=True/ProgressingWithRetry',
    ]);
    assert.equal(failing.status?.observedGeneration, 1);
    assert.equal(failing.metadata.generation, 2);
    assert.ok(failing.status?.artifact?.revision.endsWith(commit));
    assert.equal((await scene.untilEvent('GitOperationFailed')).type, 'Warning');
    await restart();
    const mended = await scene.until('the recovery, by itself', isReady);
    assert.deepEqual(shownConditions(mended), ['Ready=True/Succeeded', 'ArtifactInStorage=True/Succeeded']);
    const event = await scene.untilEvent('Succeeded');
    assert.equal(event.message, `stored artifact for commit 'main@sha1:${commit}'`);
  });

  it('is stalled by what only another spec can mend, and answers a request all the same', async () => {
    const scene = source();
    await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create({ spec: { ref: { branch: '--upload-pack=touch' } } });
    const stalled = await scene.until('Stalled', (r) => condition(r, 'Stalled')?.status === 'True');
    assert.equal(condition(stalled, 'Reconciling'), undefined);
    assert.equal(stalled.status?.observedGeneration, 1);
    assert.match(condition(stalled, 'Ready')?.message ?? '', /spec\.ref\.branch/);
    await scene.request('while stalled');
    await scene.until('the answer', (r) => r.status?.lastHandledReconcileAt === 'while stalled');
  });

  it('answers a request while suspended, and looks at nothing', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    await scene.untilPublished(commit);
    await scene.patch({ spec: { suspend: true } });
    const before = scene.lookUps();
    await scene.push({ 'a.yaml': 'a: 2\n' });
    const pushed = scene.lookUps() - before;
    await scene.request('while suspended');
    const asleep = await scene.until(
      'the answer',
      (r) => r.status?.lastHandledReconcileAt === 'while suspended',
    );
    assert.ok(asleep.status?.artifact?.revision.endsWith(commit));
    assert.equal(scene.lookUps() - before, pushed);
  });

  it('is not written, nor told of, by a pass that finds nothing new', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create({ spec: { interval: '100ms' } });
    const { metadata } = await scene.untilPublished(commit);
    const before = scene.lookUps();
    await eventually(() => scene.lookUps() > before + 3, { what: 'more passes' });
    assert.equal((await scene.read())?.metadata.resourceVersion, metadata.resourceVersion);
    assert.deepEqual(
      (await scene.events()).map(({ reason }) => reason),
      ['NewArtifact'],
    );
  });

  it('tells of no new artifact when a commit changes nothing that is published', async () => {
    const scene = source();
    await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    await scene.untilEvent('NewArtifact');
    const next = await scene.push({ 'picture.png': 'left out by default' });
    await scene.request('now');
    await scene.untilPublished(next);
    await throughout(
      async () => (await scene.events()).filter(({ reason }) => reason === 'NewArtifact').length === 1,
      { what: 'one event', forMs: 300 },
    );
  });

  it('is looked at again when a Secret that it refers to changes, and only then', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.createSecret('login', { username: 'ada', password: 'one' });
    await scene.createSecret('other', { key: 'value' });
    await scene.create({ spec: { secretRef: { name: 'login' } } });
    await scene.untilPublished(commit);
    const before = scene.lookUps();
    const change = (name: string) =>
      world().api.mergePatch(world().path('v1', 'secrets', name), { stringData: { password: 'two' } });
    await change('other');
    await throughout(() => scene.lookUps() === before, { what: 'no look', forMs: 300 });
    await change('login');
    await eventually(() => scene.lookUps() > before, { what: 'another look' });
  });

  it('waits for a Secret that is missing, and goes on when it comes', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create({ spec: { secretRef: { name: 'login' } } });
    const waiting = await scene.until('the failure', (r) => condition(r, 'FetchFailed') !== undefined);
    assert.equal(condition(waiting, 'FetchFailed')?.reason, 'AuthenticationFailed');
    await scene.createSecret('login', { username: 'ada', password: 'one' });
    await scene.untilPublished(commit);
  });
});

describe('the artifact of a GitRepository', () => {
  const world = useWorld();
  const source = useSource(world, {
    flags: ['--artifact-retention-records=1', '--artifact-digest-algo=sha512', '--artifact-max-files=3'],
  });

  it('is built again when it was lost while nothing ran', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    const published = await scene.untilPublished(commit);
    assert.match(published.status?.artifact?.digest ?? '', /^sha512:[0-9a-f]{128}$/);
    await scene.stopOperator();
    await rm(scene.artifactFile(published));
    const restart = await scene.cutGit();
    await scene.startOperator();
    const lost = await scene.until(
      'the loss to be said',
      (r) => r.status?.artifact === undefined && condition(r, 'FetchFailed') !== undefined,
    );
    assert.equal(condition(lost, 'Reconciling')?.message, 'building artifact: disappeared from storage');
    assert.equal(condition(lost, 'ArtifactInStorage'), undefined);
    await restart();
    const rebuilt = await scene.untilPublished(commit);
    assert.equal(rebuilt.status?.artifact?.digest, published.status?.artifact?.digest);
  });

  it('is built again when its file was changed, with a warning', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    const published = await scene.untilPublished(commit);
    await writeFile(scene.artifactFile(published), 'not what was published');
    await scene.request('now');
    const event = await scene.untilEvent('ArtifactVerificationFailed');
    assert.match(event.message, /^failed to verify integrity of artifact: /);
    const rebuilt = await scene.untilPublished(commit);
    assert.equal(rebuilt.status?.artifact?.digest, published.status?.artifact?.digest);
  });

  it('that cannot be read fails by the name of the storage, not as an internal error, and recovers', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    const published = await scene.untilPublished(commit);
    const file = scene.artifactFile(published);
    await rm(file);
    await mkdir(file);
    await scene.request('now');
    await scene.until('the failure', ({ status }) =>
      (status?.conditions ?? []).some(
        ({ type, status: state, reason }) =>
          type === 'StorageOperationFailed' && state === 'True' && reason === 'ArchiveOperationFailed',
      ),
    );
    await rm(file, { recursive: true });
    await scene.request('again');
    await scene.untilPublished(commit);
    assert.ok((await stat(file)).isFile());
  });

  it('gets another address with the server, without being built again', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    const published = await scene.untilPublished(commit);
    await scene.stopOperator();
    await scene.startOperator(['--storage-adv-addr=source.example']);
    const moved = await scene.until(
      'the address',
      (r) => r.status?.artifact?.url !== published.status?.artifact?.url,
    );
    assert.equal(moved.status?.artifact?.url, `http://source.example/${moved.status?.artifact?.path}`);
    assert.equal(moved.status?.artifact?.lastUpdateTime, published.status?.artifact?.lastUpdateTime);
  });

  it('is the only one kept where that is asked for, and the end of the others is told', async () => {
    const scene = source();
    const first = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    const published = await scene.untilPublished(first);
    const second = await scene.push({ 'a.yaml': 'a: 2\n' });
    await scene.request('now');
    await scene.untilPublished(second);
    const event = await scene.untilEvent('GarbageCollectionSucceeded');
    assert.equal(event.message, 'garbage collected 1 artifact');
    assert.deepEqual(await readdir(dirname(scene.artifactFile(published))), [`${second}.tar.gz`]);
  });

  it('is refused beyond the limit of files, with the last good one still there', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    await scene.untilPublished(commit);
    await scene.push({ 'b.yaml': 'b', 'c.yaml': 'c', 'd.yaml': 'd' });
    await scene.request('now');
    const refused = await scene.until(
      'the refusal',
      (r) => condition(r, 'StorageOperationFailed') !== undefined,
    );
    assert.equal(condition(refused, 'Ready')?.reason, 'ArchiveOperationFailed');
    assert.equal(condition(refused, 'ArtifactOutdated')?.reason, 'NewRevision');
    assert.match(condition(refused, 'Ready')?.message ?? '', /4 files and directories, more than 3/);
    assert.ok(refused.status?.artifact?.revision.endsWith(commit));
    await scene.work.remove('c.yaml');
    await scene.work.remove('d.yaml');
    const fewer = await scene.push({ 'b.yaml': 'fewer' });
    await scene.request('again');
    const mended = await scene.untilPublished(fewer);
    assert.deepEqual(shownConditions(mended), ['Ready=True/Succeeded', 'ArtifactInStorage=True/Succeeded']);
  });

  it('goes with its GitRepository', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    const published = await scene.untilPublished(commit);
    await world().api.delete(scene.path());
    await eventually(async () => (await scene.read()) === undefined, {
      what: 'the GitRepository to be gone',
    });
    await assert.rejects(readdir(dirname(scene.artifactFile(published))), /ENOENT/);
  });

  it('goes at the next start when its GitRepository went while nothing ran, and nothing else does', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    await scene.create({ name: 'stays' });
    const gone = await scene.untilPublished(commit);
    const stays = await scene.untilPublished(commit, 'stays');
    await scene.stopOperator();
    await scene.patch({ metadata: { finalizers: null } });
    await world().api.delete(scene.path());
    const storage = join(scene.directory, 'storage');
    const { namespace } = world();
    const kept = [
      join(storage, 'artifacts', 'gitrepository', 'another-namespace', 'app'),
      join(storage, 'artifacts', 'gitrepository', namespace, 'No-Object'),
      join(storage, 'artifacts', 'helmchart', namespace, 'app'),
      join(storage, 'git', 'gitrepository', 'another-namespace', 'app'),
      join(storage, 'git', 'gitrepository', namespace, 'stays'),
      dirname(scene.artifactFile(stays)),
    ];
    for (const folder of kept) await mkdir(folder, { recursive: true });
    const cacheOnly = join(storage, 'git', 'gitrepository', namespace, 'of-an-earlier-life');
    await mkdir(cacheOnly);
    await scene.startOperator();
    const swept = [
      dirname(scene.artifactFile(gone)),
      join(storage, 'git', 'gitrepository', namespace, 'app'),
      cacheOnly,
    ];
    for (const folder of swept) await assert.rejects(readdir(folder), /ENOENT/);
    for (const folder of kept) await readdir(folder);
    assert.deepEqual(await readdir(dirname(scene.artifactFile(stays))), [`${commit}.tar.gz`]);
    const lines = scene.operator.log().filter(({ msg }) => String(msg).startsWith('removed from storage'));
    assert.deepEqual(lines.map(({ name }) => name).sort(), ['app', 'of-an-earlier-life']);
  });
});

describe('a source controller with a label selector', () => {
  const world = useWorld();
  const source = useSource(world, { flags: ['--watch-label-selector=sharding.fluxcd.io/key=one'] });

  it('looks only at GitRepositories with the labels', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create({ name: 'other' });
    await scene.create();
    await scene.patch({ metadata: { labels: { 'sharding.fluxcd.io/key': 'one' } } });
    await scene.untilPublished(commit);
    assert.equal((await scene.read('other'))?.status?.conditions, undefined);
    const another = join(
      scene.directory,
      'storage',
      'artifacts',
      'gitrepository',
      world().namespace,
      'other',
    );
    await mkdir(another);
    await scene.stopOperator();
    await scene.startOperator();
    await readdir(another);
  });
});
