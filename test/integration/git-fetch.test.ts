import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { git as runGit } from '../../hack/cluster/git-process.ts';
import { SourceError } from '../../operator/source/errors.ts';
import type { GitRef } from '../../operator/source/git-ref.ts';
import { eventually } from '../support/eventually.ts';
import { useGitWorld } from '../support/git-world.ts';

const FIRST = { 'app/a.yaml': 'a: 1\n', 'app/b.yaml': 'b: 1\n' };

function failsWith(reason: string, message: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof SourceError, String(error));
    assert.equal(error.reason, reason, error.message);
    assert.match(error.message, message);
    return true;
  };
}

function empty(path: string): void {
  chmodSync(path, 0o600);
  truncateSync(path);
}

function replaceByFile(path: string): void {
  rmSync(path, { recursive: true });
  writeFileSync(path, '');
}

function lock(cache: string): void {
  for (const name of ['shallow', 'config', 'HEAD', 'packed-refs', 'refs/signet/head'])
    writeFileSync(join(cache, `${name}.lock`), '');
}

describe('fetching a repository', () => {
  const world = useGitWorld();

  /** The names in an artifact. */
  function names(path: string): string[] {
    const file = join(world().directory, 'data', path);
    return execFileSync('tar', ['--quoting-style=literal', '--null', '-tzf', file], { encoding: 'utf8' })
      .trim()
      .split('\n');
  }

  function content(path: string, name: string): string {
    return execFileSync('tar', ['-xOzf', join(world().directory, 'data', path), '--', name], {
      encoding: 'utf8',
    });
  }

  it('makes the head of a branch an artifact with the revision that Flux would give it', async () => {
    const commit = await world().push(FIRST);
    const { fetched, artifact } = await world().sync();
    assert.deepEqual(fetched, { revision: `main@sha1:${commit}`, commit, subject: 'Change something' });
    assert.equal(artifact.path, `gitrepository/team/app/${commit}.tar.gz`);
    assert.deepEqual(names(artifact.path), ['app/', 'app/a.yaml', 'app/b.yaml']);
  });

  it('gives the same tree the same digest, in another commit and from another cache', async () => {
    await world().push(FIRST);
    const { artifact } = await world().sync();
    await world().push({ 'app/a.yaml': 'a: 2\n' });
    const other = await world().sync();
    await world().work.git('revert', '--no-edit', 'HEAD');
    await world().work.push(world().url);
    const reverted = await world().sync();
    const elsewhere = world().fetcher({ cacheRoot: join(world().directory, 'other-cache') });
    const fresh = await world().sync({}, elsewhere);
    assert.notEqual(other.artifact.digest, artifact.digest);
    assert.notEqual(reverted.artifact.revision, artifact.revision);
    assert.equal(reverted.artifact.digest, artifact.digest);
    assert.equal(fresh.artifact.digest, artifact.digest);
  });

  it('looks a ref up by one ls-remote, which writes nothing', async () => {
    await world().push(FIRST);
    const gate = await world().gate();
    const request = world().request({ url: `${gate.origin}/fleet.git` });
    await world().git.resolve(request);
    assert.deepEqual(
      gate.requests.map(({ method, url }) => `${method} ${url}`),
      ['GET /fleet.git/info/refs?service=git-upload-pack', 'POST /fleet.git/git-upload-pack'],
    );
    assert.equal(existsSync(world().cacheDirectory), false);
  });

  it('asks nobody for a commit that it has', async () => {
    const commit = await world().push(FIRST);
    await world().sync();
    const before = world().server.requests.length;
    await world().git.fetch({ ...world().request(), commit });
    await world().git.fetch({ ...world().request(), ref: { kind: 'commit', commit }, commit });
    assert.equal(world().server.requests.length, before);
  });

  it('gets of a new commit what is new, and of the history nothing', async () => {
    const sizeBytes = 2_000_000;
    await world().push({ ...FIRST, 'old.bin': randomBytes(sizeBytes).toString('base64') });
    await world().push({ 'old.bin': 'gone', 'big.bin': randomBytes(sizeBytes).toString('base64') });
    const gate = await world().gate();
    const url = `${gate.origin}/fleet.git`;
    await world().sync({ url });
    const firstBytes = gate.sentBytes;
    assert.ok(
      firstBytes > sizeBytes && firstBytes < 2 * sizeBytes,
      `the first fetch got ${firstBytes} bytes`,
    );
    for (const value of ['2', '3', '4']) {
      gate.sentBytes = 0;
      await world().push({ 'app/a.yaml': `a: ${value}\n` });
      await world().sync({ url });
      assert.ok(gate.sentBytes < 10_000, `a small commit cost ${gate.sentBytes} bytes`);
    }
  });

  it('keeps its cache small over many commits', async () => {
    const count = 120;
    for (let round = 0; round < 24; round++) {
      const files = Array.from({ length: count }, (_, index) => [
        `f${index}`,
        randomBytes(64).toString('hex'),
      ]);
      await world().push(Object.fromEntries(files));
      await world().git.fetch({ ...world().request(), commit: await world().work.head() });
    }
    const [cache = ''] = readdirSync(world().cacheDirectory);
    const counts = await runGit(join(world().cacheDirectory, cache), ['count-objects', '-v']);
    const objects = [...counts.matchAll(/^(?:count|in-pack): (\d+)$/gm)].reduce(
      (sum, [, n]) => sum + Number(n),
      0,
    );
    assert.ok(objects < 22 * count, `${objects} objects are kept for ${count} files: ${counts}`);
  });

  it('follows tags, full names and commits', async () => {
    const first = await world().push(FIRST);
    const { work, url } = world();
    await work.git('tag', 'light');
    await work.git('tag', '--annotate', '--message', 'One', 'v1.0.0');
    const second = await world().push({ 'app/a.yaml': 'a: 2\n' });
    await work.git(
      'push',
      '--quiet',
      url,
      'light',
      'v1.0.0',
      'HEAD:refs/pull/1/head',
      `${first}:refs/heads/feature/x`,
    );
    const table: Array<[GitRef, string, string]> = [
      [{ kind: 'tag', tag: 'light' }, `light@sha1:${first}`, 'a: 1\n'],
      [{ kind: 'tag', tag: 'v1.0.0' }, `v1.0.0@sha1:${first}`, 'a: 1\n'],
      [{ kind: 'branch', branch: 'feature/x' }, `feature/x@sha1:${first}`, 'a: 1\n'],
      [{ kind: 'name', name: 'refs/pull/1/head' }, `refs/pull/1/head@sha1:${second}`, 'a: 2\n'],
      [{ kind: 'name', name: 'refs/tags/v1.0.0' }, `refs/tags/v1.0.0@sha1:${first}`, 'a: 1\n'],
      [{ kind: 'commit', commit: first }, `sha1:${first}`, 'a: 1\n'],
      [{ kind: 'commit', commit: first, branch: 'main' }, `main@sha1:${first}`, 'a: 1\n'],
    ];
    for (const [ref, revision, text] of table) {
      for (const git of [world().git, world().fetcher({ cacheRoot: join(world().directory, revision) })]) {
        const { artifact } = await world().sync({ ref }, git);
        assert.equal(artifact.revision, revision);
        assert.equal(content(artifact.path, 'app/a.yaml'), text, revision);
      }
    }
  });

  it('refuses a commit that is not on its branch, or nowhere', async () => {
    await world().push(FIRST);
    await world().work.git('checkout', '--quiet', '-b', 'other');
    world().work.write({ x: 'x' });
    const commit = await world().work.commit('Elsewhere');
    await world().work.push(world().url, { branch: 'other' });
    await assert.rejects(
      world().sync({ ref: { kind: 'commit', commit, branch: 'main' } }),
      failsWith('GitOperationFailed', /not in the history of branch 'main' \(spec\.ref\.branch\)/),
    );
    await assert.rejects(
      world().sync({ ref: { kind: 'commit', commit: '1'.repeat(40) } }),
      failsWith('GitOperationFailed', /not our ref/),
    );
  });

  it('follows a branch that was forced back, and a tag that was moved', async () => {
    const first = await world().push(FIRST);
    await world().push({ 'app/a.yaml': 'a: 2\n' });
    await world().sync();
    await world().work.git(
      'push',
      '--quiet',
      '--force',
      world().url,
      `${first}:refs/heads/main`,
      `${first}:refs/tags/t`,
    );
    assert.equal((await world().sync()).artifact.revision, `main@sha1:${first}`);
    await world().work.git('reset', '--quiet', '--hard', first);
    world().work.write({ 'app/a.yaml': 'a: 3\n' });
    const third = await world().work.commit('Another way');
    await world().work.git(
      'push',
      '--quiet',
      '--force',
      world().url,
      'HEAD:refs/heads/main',
      'HEAD:refs/tags/t',
    );
    const { artifact } = await world().sync();
    assert.equal(content(artifact.path, 'app/a.yaml'), 'a: 3\n');
    assert.equal(
      (await world().sync({ ref: { kind: 'tag', tag: 't' } })).artifact.revision,
      `t@sha1:${third}`,
    );
  });

  it('takes the newer commit when somebody pushes in between', async () => {
    await world().push(FIRST);
    const request = world().request();
    const resolved = await world().git.resolve(request);
    const second = await world().push({ 'app/a.yaml': 'a: 2\n' });
    const fetched = await world().git.fetch({ ...request, commit: resolved.commit });
    assert.equal(fetched.revision, `main@sha1:${second}`);
  });

  it('says that a repository is empty, a branch missing, a repository missing', async () => {
    const request = world().request();
    await assert.rejects(
      world().git.resolve(request),
      failsWith('EmptyGitRepository', /fleet\.git' is empty/),
    );
    await world().push(FIRST);
    await assert.rejects(
      world().git.resolve(world().request({ ref: { kind: 'branch', branch: 'nope' } })),
      failsWith('GitOperationFailed', /couldn't find remote ref 'refs\/heads\/nope'/),
    );
    await assert.rejects(
      world().git.resolve(world().request({ url: world().server.url('nope') })),
      failsWith('GitOperationFailed', /not found/),
    );
    await assert.rejects(
      world().git.resolve(world().request({ url: 'http://127.0.0.1:1/x' })),
      failsWith('GitOperationFailed', /Failed to connect/),
    );
  });

  it('does not mix the caches of two URLs, and drops the former', async () => {
    await world().push(FIRST);
    await world().sync();
    const other = await world().server.createRepository('other');
    await world().work.git('push', '--quiet', other, 'HEAD:refs/heads/main');
    const before = readdirSync(world().cacheDirectory);
    await world().sync({ url: other });
    const after = readdirSync(world().cacheDirectory);
    assert.equal(after.length, 1);
    assert.notDeepEqual(after, before);
    await world().git.remove('gitrepository/team/app');
    assert.equal(existsSync(world().cacheDirectory), false);
  });

  it('packs the committed bytes, whatever .gitattributes asks for', async () => {
    const files = {
      '.gitattributes':
        'secret.txt export-ignore\nversion.txt export-subst\n*.crlf text eol=crlf\n*.lfs filter=lfs\n*.u16 working-tree-encoding=UTF-16\n',
      'secret.txt': 'kept\n',
      'version.txt': '$Format:%H$\n',
      'a.crlf': 'one\ntwo\n',
      'b.lfs': 'version https://git-lfs.github.com/spec/v1\n',
      'run.sh': '#!/bin/sh\n',
      'with space.yaml': 'a\n',
      'grüße-你好.yaml': 'b\n',
      'line\nbreak.yaml': 'c\n',
      '-dash.yaml': 'd\n',
      '"quoted".yaml': 'e\n',
    };
    world().work.write(files);
    chmodSync(join(world().work.directory, 'run.sh'), 0o755);
    symlinkSync('/etc/passwd', join(world().work.directory, 'outside'));
    symlinkSync('run.sh', join(world().work.directory, 'inside'));
    await world().push({});
    const { artifact } = await world().sync();
    const tarball = join(world().directory, 'data', artifact.path);
    const modes = execFileSync('tar', ['-tvzf', tarball, 'run.sh', 'a.crlf'], { encoding: 'utf8' });
    assert.match(modes, /^-rwx------.* run\.sh$/m);
    assert.match(modes, /^-rw-------.* a\.crlf$/m);
    for (const [name, text] of Object.entries(files))
      if (name !== '.gitattributes') assert.equal(content(artifact.path, name), text, name);
    const listing = names(artifact.path);
    for (const absent of ['.gitattributes', 'outside', 'inside'])
      assert.equal(listing.includes(absent), false, absent);
  });

  it('is not disturbed by a tag that is named like an option', async () => {
    await world().push(FIRST);
    const bare = join(world().directory, 'repositories/fleet.git');
    for (const name of ['--upload-pack=touch', '--end-of-options', '-x'])
      await runGit(bare, ['update-ref', `refs/tags/${name}`, 'refs/heads/main']);
    await world().sync();
    const { artifact } = await world().sync({ ref: { kind: 'tag', tag: '--upload-pack=touch' } });
    assert.equal(artifact.revision, `--upload-pack=touch@sha1:${await world().work.head()}`);
  });

  it('ends at its timeout with a message, and at an abort with its reason', async () => {
    await world().push(FIRST);
    const gate = await world().gate({ rule: () => true });
    const url = `${gate.origin}/fleet.git`;
    await assert.rejects(
      world().git.resolve(world().request({ url, timeoutMs: 300 })),
      failsWith('GitOperationFailed', /no end within 300ms \(spec\.timeout\)/),
    );
    const abort = new AbortController();
    const resolving = world().git.resolve(world().request({ url, signal: abort.signal }));
    await eventually(() => gate.requests.length > 1, { what: 'the request to arrive' });
    abort.abort(new Error('shutting down'));
    await assert.rejects(resolving, /^Error: shutting down$/);
    assert.deepEqual(readdirSync(join(world().directory, 'cache/.tmp')), []);
  });
});

describe('the cache of a repository', () => {
  const world = useGitWorld();

  /** Files and folders of the cache. */
  function find(pattern: RegExp): string[] {
    const paths = readdirSync(world().cacheDirectory, { recursive: true, encoding: 'utf8' });
    const found = paths.filter((path) => pattern.test(path));
    assert.ok(found.length > 0, `nothing like ${pattern} in ${paths.join(' ')}`);
    return found.map((path) => join(world().cacheDirectory, path));
  }

  /** What happens to a cache, and to which of its files. */
  const damages: Record<string, [RegExp, (path: string) => void]> = {
    'objects that are gone': [/objects\/(..|pack)$/, (path) => rmSync(path, { recursive: true })],
    'objects that are empty': [/objects\/..\/[0-9a-f]{38}$/, empty],
    'a configuration that makes no sense': [/\.git\/config$/, (path) => writeFileSync(path, '[core\n')],
    'no HEAD': [/\.git\/HEAD$/, (path) => rmSync(path)],
    'a ref that makes no sense': [/refs\/signet\/head$/, (path) => writeFileSync(path, 'x')],
    'a shallow file that makes no sense': [/\.git\/shallow$/, (path) => writeFileSync(path, 'x')],
    'a file in its place': [/\.git$/, replaceByFile],
    'lock files': [/\.git$/, lock],
  };

  for (const [what, [pattern, spoil]] of Object.entries(damages)) {
    it(`heals itself from ${what}, for a new commit and for the one it had`, async () => {
      await world().push(FIRST);
      const { artifact } = await world().sync();
      find(pattern).forEach(spoil);
      const again = await world().sync();
      assert.equal(again.artifact.digest, artifact.digest);
      find(pattern).forEach(spoil);
      const commit = await world().push({ 'app/a.yaml': 'a: 2\n' });
      assert.equal((await world().sync()).artifact.revision, `main@sha1:${commit}`);
      assert.equal(readdirSync(world().cacheDirectory).length, 1);
    });
  }

  it('heals itself after a fetch that was cut off, and one that was killed', async () => {
    await world().push({ 'big.bin': randomBytes(3_000_000).toString('base64') });
    const gate = await world().gate({ cutAfterBytes: 500_000 });
    const url = `${gate.origin}/fleet.git`;
    await assert.rejects(world().sync({ url }), (error: unknown) => error instanceof SourceError);
    const abort = new AbortController();
    gate.cutAfterBytes = Number.POSITIVE_INFINITY;
    gate.rule = (request) => {
      // Let the refs through and hang at the objects.
      if (request.method === 'POST' && gate.requests.filter(({ method }) => method === 'POST').length > 4)
        abort.abort();
      return abort.signal.aborted;
    };
    await assert.rejects(world().sync({ url, signal: abort.signal }));
    assert.equal(abort.signal.aborted, true);
    gate.rule = () => false;
    assert.equal((await world().sync({ url })).fetched.commit, await world().work.head());
  });

  it('that loses an object unnoticed fails one reading and is whole for the next', async () => {
    await world().push(FIRST);
    await world().sync();
    const blob = await world().work.git('rev-parse', 'HEAD:app/a.yaml');
    const commit = await world().push({ 'app/b.yaml': 'b: 2\n' });
    await world().git.fetch({ ...world().request(), commit });
    rmSync(find(new RegExp(`objects/${blob.slice(0, 2)}/${blob.slice(2)}$`))[0] ?? '');
    const tree = await world().git.tree({ ...world().request(), commit });
    const owner = { kind: 'GitRepository', namespace: 'team', name: 'app', revision: '', commit } as const;
    await assert.rejects(
      world().store.publish({ ...owner, tree, signal: new AbortController().signal }),
      failsWith('GitOperationFailed', /fetched anew/),
    );
    assert.equal((await world().sync()).fetched.commit, commit);
  });
});
