import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GitServer } from '../../hack/cluster/git-server.ts';
import { Repository } from '../../hack/cluster/repository.ts';
import { SourceError } from '../../operator/source/errors.ts';
import type { SourceTree } from '../../operator/source/source-tree.ts';
import { withSubmodules } from '../../operator/source/submodules.ts';
import { useGitWorld } from '../support/git-world.ts';
import { condition, useSource } from '../support/source-scene.ts';
import { useWorld } from '../support/world.ts';

const LOGIN = { username: 'ada', password: 'hunter2' };

function isError(reason: string, message: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof SourceError, String(error));
    assert.equal(error.reason, reason);
    assert.match(error.message, message);
    return true;
  };
}

describe('a repository with odd names', () => {
  const world = useGitWorld();

  async function published(): Promise<string[]> {
    const { artifact } = await world().sync();
    const file = join(world().directory, 'data', artifact.path);
    const args = ['--quoting-style=escape', '-tzf', file];
    return execFileSync('tar', args, { encoding: 'utf8' }).trim().split('\n');
  }

  /** Pushes a tree made by hand: `git mktree` lines. */
  async function pushTree(...lines: string[]): Promise<void> {
    const { work, url } = world();
    const args = ['mktree', '--missing', '-z'];
    const input = lines.map((line) => `${line}\0`).join('');
    const tree = execFileSync('git', args, { cwd: work.directory, input, encoding: 'utf8' }).trim();
    const commit = await work.git('commit-tree', '-m', 'By hand', tree);
    await work.git('push', '--quiet', '--force', url, `${commit}:refs/heads/main`);
  }

  it('is packed as it is: control characters, names that differ in case, option-like names', async () => {
    await world().push({
      'a\tb\nc.yaml': '1',
      'Same.yaml': '2',
      'same.yaml': '3',
      '--help': '4',
      'ü 🚀': '5',
    });
    const names = await published();
    assert.deepEqual(
      names.filter((name) => /^(--help|Same|a|same)/.test(name)),
      ['--help', 'Same.yaml', 'a\\tb\\nc.yaml', 'same.yaml'],
    );
    assert.equal(names.length, 5);
  });

  it('loses its symbolic links, wherever they lead', async () => {
    const { directory } = world().work;
    mkdirSync(join(directory, 'sub'));
    symlinkSync('../../../../etc/passwd', join(directory, 'sub/out'));
    symlinkSync('/', join(directory, 'root'));
    writeFileSync(join(directory, 'sub/kept.yaml'), 'kept');
    await world().work.commit('Link');
    await world().work.push(world().url);
    assert.deepEqual(await published(), ['sub/', 'sub/kept.yaml']);
  });

  it('is refused, naming the path, where no checkout could have it', async () => {
    const blob = (await world().push({ a: 'a' })) && (await world().work.git('rev-parse', 'HEAD:a'));
    for (const name of ['..', '.git', '.GIT', '.']) {
      await pushTree(`100644 blob ${blob}\t${name}`);
      await assert.rejects(
        world().sync(),
        isError('GitOperationFailed', /is not a path that a checkout could have: remove it/),
        name,
      );
    }
  });

  it('may have a .sourceignore that makes no sense: the lines that do count', async () => {
    const nonsense = ['[', 'a[z-a]', '\\', '!', '!!', '***', 'x/**y', '\u0000', ' ', '[[:nope:]]', '*.md'];
    await world().push({ '.sourceignore': nonsense.join('\r\n'), 'a.yaml': 'a', 'b.md': 'b' });
    const names = await published();
    assert.equal(names.includes('b.md'), false);
  });

  it('is refused for a .sourceignore that is too large, by name', async () => {
    await world().push({ 'x/.sourceignore': '#'.repeat(1024 * 1024 + 1) });
    await assert.rejects(world().sync(), isError('GitOperationFailed', /^x\/\.sourceignore is larger than/));
  });
});

describe('a file that is too large', () => {
  const world = useWorld();
  const source = useSource(world, { flags: ['--artifact-max-bytes=1000'] });

  it('is named, with what to do; the last good artifact stays, and it may be left out', async () => {
    const scene = source();
    const good = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    await scene.untilPublished(good);
    const large = await scene.push({ 'data/large.bin': 'x'.repeat(2_000) });
    await scene.request('now');
    const failing = await scene.until('the refusal', (r) => condition(r, 'Ready')?.status === 'False');
    assert.equal(condition(failing, 'StorageOperationFailed')?.reason, 'ArchiveOperationFailed');
    assert.match(
      condition(failing, 'Ready')?.message ?? '',
      /larger than 1000 bytes \(at data\/large\.bin\): leave files out by spec\.ignore/,
    );
    assert.ok(failing.status?.artifact?.revision.endsWith(good));
    await scene.patch({ spec: { ignore: '*.bin' } });
    await scene.untilPublished(large);
  });
});

describe('the credentials of a repository with submodules', () => {
  const world = useGitWorld({ credentials: LOGIN });
  let other: GitServer | undefined;

  afterEach('stop the other server', async () => {
    await other?.stop();
    other = undefined;
  });

  /** The repository's tree with the submodule `lib`, from a URL. */
  async function treeWith(url: string, commit: string): Promise<SourceTree> {
    const { work } = world();
    work.write({ '.gitmodules': `[submodule "lib"]\n\tpath = lib\n\turl = ${url}\n` });
    await work.git('add', '.gitmodules');
    await work.git('update-index', '--add', '--cacheinfo', `160000,${commit},lib`);
    await work.git('commit', '--quiet', '-m', 'Add it');
    await work.push(withLogin(world().url));
    const request = world().request({ credentials: { basic: LOGIN } });
    const resolved = await world().git.resolve(request);
    await world().git.fetch({ ...request, ...resolved });
    const tree = await world().git.tree({ ...request, commit: resolved.commit });
    return withSubmodules(world().git, tree, { ...request, wanted: () => true });
  }

  function withLogin(url: string): string {
    return url.replace('://', `://${LOGIN.username}:${LOGIN.password}@`);
  }

  async function library(server: GitServer): Promise<{ url: string; commit: string }> {
    const url = await server.createRepository('lib');
    const work = await Repository.init(join(world().directory, 'lib'));
    work.write({ 'lib.yaml': 'lib' });
    const commit = await work.commit('Begin');
    await work.push(withLogin(url));
    return { url, commit };
  }

  it('open those on the same server', async () => {
    const { commit } = await library(world().server);
    const tree = await treeWith('../lib.git', commit);
    assert.ok(tree.entries.some(({ path }) => path === 'lib/lib.yaml'));
  });

  it('do not go to another server, were it only another port', async () => {
    const directory = join(world().directory, 'elsewhere');
    mkdirSync(directory);
    other = await GitServer.start({ directory, credentials: LOGIN });
    const { url, commit } = await library(other);
    await assert.rejects(
      treeWith(url, commit),
      isError('AuthenticationFailed', /^submodule "lib": .*the server asks for credentials/),
    );
  });
});
