import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { Repository } from '../../hack/cluster/repository.ts';
import type { GitRepository } from '../../operator/api/git-repository.gen.ts';
import { throughout } from '../support/eventually.ts';
import { condition, isReady, type SourceScene, useSource } from '../support/source-scene.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

describe('the content of an artifact', () => {
  const world = useWorld();
  const source = useSource(world, { flags: ['--requeue-dependency=1h'] });
  const directory = useTemporaryDirectory();

  /** The names in the artifact, directories with a slash at their end. */
  function names(repository: GitRepository): string[] {
    return tar('-tzf', source().artifactFile(repository)).trim().split('\n');
  }

  function content(repository: GitRepository, name: string): string {
    return tar('-xOzf', source().artifactFile(repository), '--', name);
  }

  function tar(...args: string[]): string {
    return execFileSync('tar', args, { encoding: 'utf8' });
  }

  /** Another repository on the same server, with a commit on main. */
  async function another(name: string, files: Record<string, string>): Promise<Other> {
    const url = await source().server.createRepository(name);
    const work = await Repository.init(`${directory()}/${name}`);
    const push = async (changes: Record<string, string>): Promise<string> => {
      work.write(changes);
      const commit = await work.commit('Change something');
      await work.push(url);
      return commit;
    };
    return { url, work, commit: await push(files), push };
  }

  interface Other {
    url: string;
    work: Repository;
    commit: string;
    push(files: Record<string, string>): Promise<string>;
  }

  /** Records a commit of another repository at a path, as `git submodule add` does. */
  async function addSubmodule(work: Repository, path: string, commit: string): Promise<void> {
    await work.git('update-index', '--add', '--cacheinfo', `160000,${commit},${path}`);
  }

  /** Commits the index as it is, and pushes. */
  async function pushIndex(scene: SourceScene): Promise<string> {
    await scene.work.git('commit', '--quiet', '-m', 'Change the index');
    await scene.work.push(scene.url);
    return scene.work.head();
  }

  async function failure(pattern: RegExp, name?: string): Promise<GitRepository> {
    return source().until(
      `a failure like ${pattern}`,
      (r) => condition(r, 'Ready')?.status === 'False' && pattern.test(condition(r, 'Ready')?.message ?? ''),
      name === undefined ? {} : { name },
    );
  }

  it('keeps the artifact of a branch that is gone', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a' });
    await scene.work.git('push', '--quiet', scene.url, 'HEAD:refs/heads/other');
    await scene.create({ spec: { ref: { branch: 'other' } } });
    await scene.untilPublished(commit);
    await scene.work.git('push', '--quiet', '--delete', scene.url, 'other');
    await scene.request('now');
    const failing = await failure(/couldn't find remote ref 'refs\/heads\/other'/);
    assert.equal(condition(failing, 'FetchFailed')?.reason, 'GitOperationFailed');
    assert.equal(failing.status?.artifact?.revision, `other@sha1:${commit}`);
  });

  describe('with spec.recurseSubmodules', () => {
    async function withModules(modules: string, entries: Record<string, string>): Promise<string> {
      const scene = source();
      scene.work.write({ '.gitmodules': modules, 'own.yaml': 'own: 1\n' });
      await scene.work.git('add', '.gitmodules', 'own.yaml');
      for (const [path, commit] of Object.entries(entries)) await addSubmodule(scene.work, path, commit);
      return pushIndex(scene);
    }

    it('holds the files of submodules and theirs, but no .git file', async () => {
      const scene = source();
      const inner = await another('inner', { 'inner.yaml': 'inner: 1\n' });
      const outer = await another('outer', { 'outer.yaml': 'outer: 1\n' });
      outer.work.write({ '.gitmodules': '[submodule "x"]\n\tpath = deep/in\n\turl = ../inner.git\n' });
      await outer.work.git('add', '.gitmodules');
      await addSubmodule(outer.work, 'deep/in', inner.commit);
      await outer.work.git('commit', '--quiet', '-m', 'Add it');
      await outer.work.push(outer.url);
      const commit = await withModules(
        `[submodule "../../../tmp/evil"]\n\tpath = lib/outer\n\turl = ${outer.url}\n`,
        { 'lib/outer': await outer.work.head() },
      );
      await scene.create({ spec: { recurseSubmodules: true } });
      const repository = await scene.untilPublished(commit);
      assert.deepEqual(
        names(repository).filter((name) => !name.endsWith('/')),
        ['own.yaml', 'lib/outer/outer.yaml', 'lib/outer/deep/in/inner.yaml'],
      );
      assert.equal(content(repository, 'lib/outer/deep/in/inner.yaml'), 'inner: 1\n');
      assert.equal(repository.status?.observedRecurseSubmodules, true);
      await scene.patch({ spec: { recurseSubmodules: false } });
      const without = await scene.until(
        'an artifact without',
        (r) => isReady(r) && r.status?.observedRecurseSubmodules === undefined,
      );
      assert.equal(without.status?.artifact?.revision, repository.status?.artifact?.revision);
      assert.notEqual(without.status?.artifact?.digest, repository.status?.artifact?.digest);
      assert.equal(names(without).includes('lib/outer/outer.yaml'), false);
    });

    for (const [url, message] of [
      ['file:///etc', /submodule "lib": its url 'file:\/\/\/etc' is not a URL/],
      ['git://127.0.0.1/x', /submodule "lib": its url has scheme 'git'/],
      ['ext::sh -c touch% /tmp/x', /submodule "lib": its url contains a space/],
      ['--upload-pack=touch', /submodule "lib": its url '--upload-pack=touch' is not a URL/],
      ['/etc', /submodule "lib": its url '\/etc' is not a URL/],
    ] as const)
      it(`refuses a submodule whose URL is ${url}`, async () => {
        await withModules(`[submodule "x"]\n\tpath = lib\n\turl = ${url}\n`, { lib: '1'.repeat(40) });
        await source().create({ spec: { recurseSubmodules: true } });
        const repository = await failure(message);
        assert.equal(condition(repository, 'FetchFailed')?.reason, 'GitOperationFailed');
      });

    it('leaves a submodule that .gitmodules does not name an empty directory', async () => {
      const commit = await withModules('[submodule "x"]\n\tpath = ../../lib\n\turl = https://h/x\n', {
        lib: '1'.repeat(40),
      });
      await source().create({ spec: { recurseSubmodules: true } });
      assert.deepEqual(names(await source().untilPublished(commit)), ['lib/', 'own.yaml']);
    });

    it('says that .gitmodules cannot be read', async () => {
      await withModules('[submodule\n', { lib: '1'.repeat(40) });
      await source().create({ spec: { recurseSubmodules: true } });
      await failure(/^\.gitmodules cannot be read/);
    });
  });

  describe('with spec.sparseCheckout', () => {
    it('holds those directories alone, and is built anew when they change', async () => {
      const scene = source();
      const commit = await scene.push({
        'a/b/x.yaml': 'x',
        'a/y.yaml': 'y',
        'ab/z.yaml': 'z',
        'r.yaml': 'r',
      });
      await scene.create({ spec: { sparseCheckout: ['./a/b'] } });
      const first = await scene.untilPublished(commit);
      assert.deepEqual(names(first), ['a/', 'a/b/', 'a/b/x.yaml']);
      assert.deepEqual(first.status?.observedSparseCheckout, ['./a/b']);
      await scene.patch({ spec: { sparseCheckout: ['a/'] } });
      const second = await scene.until('the other directories', (r) => {
        return isReady(r) && r.status?.observedSparseCheckout?.[0] === 'a/';
      });
      assert.deepEqual(names(second), ['a/', 'a/b/', 'a/b/x.yaml', 'a/y.yaml']);
      assert.equal(second.status?.artifact?.revision, first.status?.artifact?.revision);
    });

    it('fails for a directory that is not there, the last artifact staying', async () => {
      const scene = source();
      const commit = await scene.push({ 'a/x.yaml': 'x' });
      await scene.create();
      await scene.untilPublished(commit);
      await scene.patch({ spec: { sparseCheckout: ['a', 'nope'] } });
      const failing = await failure(/spec\.sparseCheckout: there is no directory "nope"/);
      assert.equal(condition(failing, 'FetchFailed')?.reason, 'GitOperationFailed');
      assert.ok(failing.status?.artifact?.revision.endsWith(commit));
    });
  });

  describe('with spec.include', () => {
    const include = (name: string, paths: { fromPath?: string; toPath?: string } = {}) => ({
      repository: { name },
      ...paths,
    });

    it('holds what another artifact has, and follows it at once', async () => {
      const scene = source();
      const commit = await scene.push({ 'own.yaml': 'own: 1\n' });
      const other = await another('other', { 'app/x.yaml': 'x: 1\n', 'top.yaml': 'top' });
      await scene.create({ name: 'other', spec: { url: other.url } });
      await scene.untilPublished(other.commit, 'other');
      const items = [
        include('other'),
        include('other', { fromPath: '../app', toPath: '/deep/../../down/' }),
        include('other', { fromPath: 'top.yaml', toPath: 'one/renamed.yaml' }),
      ];
      await scene.create({ spec: { include: items } });
      const first = await scene.untilPublished(commit);
      assert.deepEqual(
        names(first).filter((name) => !name.endsWith('/')),
        ['own.yaml', 'other/app/x.yaml', 'other/top.yaml', 'down/x.yaml', 'one/renamed.yaml'],
      );
      assert.deepEqual(first.status?.observedInclude, items);
      const included = first.status?.includedArtifacts ?? [];
      assert.deepEqual(
        included.map(({ revision }) => revision),
        Array(3).fill(`main@sha1:${other.commit}`),
      );
      const next = await other.push({ 'app/x.yaml': 'x: 2\n' });
      await scene.request('now', 'other');
      const second = await scene.until('the included change', (r) =>
        (r.status?.includedArtifacts ?? []).every(({ revision }) => revision.endsWith(next)),
      );
      assert.equal(content(second, 'down/x.yaml'), 'x: 2\n');
      assert.equal(second.status?.artifact?.revision, first.status?.artifact?.revision);
      assert.notEqual(second.status?.artifact?.digest, first.status?.artifact?.digest);
      await scene.patch({ spec: { include: null } });
      const alone = await scene.until('nothing included', (r) => isReady(r) && !r.status?.includedArtifacts);
      assert.equal(alone.status?.observedInclude, undefined);
      assert.deepEqual(names(alone), ['own.yaml']);
    });

    it('waits for what is not there, and goes on as soon as it comes', async () => {
      const scene = source();
      const commit = await scene.push({ 'own.yaml': 'own: 1\n' });
      await scene.create({ spec: { include: [include('other')] } });
      const missing = await failure(/could not get resource for include 'other'/);
      assert.equal(condition(missing, 'IncludeUnavailable')?.reason, 'NotFound');
      await scene.create({ name: 'other', spec: { url: scene.server.url('nope') } });
      await scene.request('with an include that has no artifact');
      const empty = await failure(/no artifact available for include 'other'/);
      assert.equal(condition(empty, 'IncludeUnavailable')?.reason, 'NoArtifact');
      await scene.patch({ spec: { url: scene.url } }, 'other');
      const published = await scene.untilPublished(commit);
      assert.equal(condition(published, 'IncludeUnavailable'), undefined);
      assert.ok(names(published).includes('other/own.yaml'));
    });

    it('fails for a path that is not there, and for a place that is taken', async () => {
      const scene = source();
      const commit = await scene.push({ 'own.yaml': 'own: 1\n' });
      await scene.create({ name: 'other' });
      await scene.untilPublished(commit, 'other');
      await scene.create({ spec: { include: [include('other', { fromPath: 'nope' })] } });
      const failing = await failure(/failed to copy 'other' include from nope/);
      assert.equal(condition(failing, 'IncludeUnavailable')?.reason, 'CopyFailure');
      await scene.patch({ spec: { include: [include('other', { toPath: 'own.yaml' })] } });
      await failure(/there is another "own\.yaml" already/);
      await scene.patch({ spec: { include: [include('other', { toPath: './' })] } });
      await failure(/include 'other': there is another "own\.yaml" already/);
    });

    it('says that repositories include each other, and does not spin', async () => {
      const scene = source();
      const commit = await scene.push({ 'own.yaml': 'own: 1\n' });
      await scene.create({ name: 'other' });
      await scene.create({ spec: { include: [include('other')] } });
      await scene.untilPublished(commit);
      await scene.patch({ spec: { include: [include('app')] } }, 'other');
      const failing = await failure(
        /spec\.include leads back to this repository: other -> app -> other/,
        'other',
      );
      assert.equal(condition(failing, 'IncludeUnavailable')?.reason, 'IncludeCycle');
      const digest = (await scene.read())?.status?.artifact?.digest;
      await throughout(async () => assert.equal((await scene.read())?.status?.artifact?.digest, digest), {
        what: 'the artifact stays as it is',
        forMs: 500,
      });
      await scene.patch({ spec: { include: null } }, 'other');
      await scene.until('the end of the cycle', isReady, { name: 'other' });
    });
  });
});
