import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { git } from '../../hack/cluster/git-process.ts';
import { GitServer, type GitServerOptions } from '../../hack/cluster/git-server.ts';
import { Repository } from '../../hack/cluster/repository.ts';
import { eventually } from '../support/eventually.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';

describe('the local git server', () => {
  const directory = useTemporaryDirectory();
  const servers: GitServer[] = [];

  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop();
  });

  async function start(options: Omit<GitServerOptions, 'directory'> = {}): Promise<GitServer> {
    const repositories = join(directory(), 'repositories');
    mkdirSync(repositories, { recursive: true });
    const server = await GitServer.start({ directory: repositories, ...options });
    servers.push(server);
    return server;
  }

  it('takes a push and hands it out again, files and history', async () => {
    const server = await start();
    const url = await server.createRepository('fleet');
    const work = await Repository.init(join(directory(), 'work'));
    work.write({ 'apps/podinfo/base/kustomization.yaml': 'resources: []\n', 'gone.txt': 'soon\n' });
    await work.commit('Add podinfo');
    await work.remove('gone.txt');
    const head = await work.commit('Remove what is not needed');
    await work.push(url);

    const clone = await Repository.clone(url, join(directory(), 'clone'));

    assert.equal(await clone.head(), head);
    assert.equal(await clone.git('log', '--format=%s'), 'Remove what is not needed\nAdd podinfo');
    assert.equal(
      readFileSync(join(clone.directory, 'apps/podinfo/base/kustomization.yaml'), 'utf8'),
      'resources: []\n',
    );
    assert.match(await git(directory(), ['ls-remote', url, 'refs/heads/main']), new RegExp(`^${head}\t`));
  });

  it('takes a push larger than git sends in one piece', async () => {
    const server = await start();
    const url = await server.createRepository('large');
    const work = await Repository.init(join(directory(), 'work'));
    const noise = randomBytes(3 * 1024 * 1024).toString('base64');
    work.write({ 'noise.txt': noise });
    await work.commit('Add noise');
    await work.push(url);
    const clone = await Repository.clone(url, join(directory(), 'clone'));
    assert.equal(readFileSync(join(clone.directory, 'noise.txt'), 'utf8'), noise);
  });

  it('refuses a push that would lose commits, and takes it when forced', async () => {
    const server = await start();
    const url = await server.createRepository('fleet');
    const [first, second] = [
      await Repository.init(join(directory(), 'first')),
      await Repository.init(join(directory(), 'second')),
    ];
    first.write({ file: 'first\n' });
    await first.commit('First');
    await first.push(url);
    second.write({ file: 'second\n' });
    const head = await second.commit('Second');

    await assert.rejects(second.push(url), /git push failed: .*rejected/s);
    await second.push(url, { force: true });

    assert.match(await git(directory(), ['ls-remote', url, 'refs/heads/main']), new RegExp(`^${head}\t`));
  });

  it('tells of a push once it is acknowledged, and of nothing else', async () => {
    let pushes = 0;
    const server = await start({
      onPush: () => {
        pushes += 1;
      },
    });
    const url = await server.createRepository('hooked');
    const work = await Repository.init(join(directory(), 'work'));
    work.write({ a: '1' });
    await work.commit('One');
    await work.push(url);
    await eventually(() => pushes === 1, { what: 'the push to be told of' });
    await Repository.clone(url, join(directory(), 'clone'));
    assert.equal(pushes, 1);
  });

  it('lets a reverted commit put the files back', async () => {
    const work = await Repository.init(join(directory(), 'work'));
    work.write({ file: 'old\n' });
    await work.commit('Old');
    work.write({ file: 'new\n' });
    await work.commit('New');
    await work.revert();
    assert.equal(readFileSync(join(work.directory, 'file'), 'utf8'), 'old\n');
  });

  it('asks for credentials when it has some, and lets nobody else read or push', async () => {
    const server = await start({ credentials: { username: 'git', password: 'correct horse' } });
    const url = await server.createRepository('private');
    const withPassword = (password: string) =>
      url.replace('http://', `http://git:${encodeURIComponent(password)}@`);
    const work = await Repository.init(join(directory(), 'work'));
    work.write({ file: 'secret\n' });
    await work.commit('Secret');

    await assert.rejects(work.push(url), /could not read Username/);
    await assert.rejects(work.push(withPassword('wrong')), /Authentication failed/);
    await work.push(withPassword('correct horse'));
    await assert.rejects(git(directory(), ['ls-remote', url]), /could not read Username/);
    assert.match(await git(directory(), ['ls-remote', withPassword('correct horse')]), /refs\/heads\/main/);
  });

  it('serves nothing outside of its folder', async () => {
    const server = await start();
    const outside = await Repository.init(join(directory(), 'outside'));
    outside.write({ file: 'x\n' });
    await outside.commit('Outside');
    for (const path of ['../outside/.git', '%2e%2e/outside/.git', '..%2foutside/.git']) {
      const answer = await fetch(`http://127.0.0.1:${server.port}/${path}/info/refs?service=git-upload-pack`);
      assert.ok(answer.status >= 400, `${path}: ${answer.status}`);
    }
  });

  it('comes back on the same port with the same repositories, and lists what it was asked', async () => {
    const server = await start();
    const url = await server.createRepository('fleet');
    await git(directory(), ['ls-remote', url]);
    // Protocol version 2: capabilities first, then the refs.
    await eventually(() => server.requests.length === 2, { what: 'two requests to be listed' });
    assert.deepEqual(server.requests, [
      { method: 'GET', url: '/fleet.git/info/refs?service=git-upload-pack', status: 200 },
      { method: 'POST', url: '/fleet.git/git-upload-pack', status: 200 },
    ]);
    await server.stop();
    await assert.rejects(
      git(directory(), ['ls-remote', url]),
      /Failed to connect|Could not connect|Couldn't connect/,
    );
    await start({ port: server.port });
    await git(directory(), ['ls-remote', url]);
  });
});
