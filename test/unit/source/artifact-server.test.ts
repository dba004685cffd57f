import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { SILENT } from '../../../operator/api/logger.ts';
import { ArtifactServer } from '../../../operator/source/artifact-server.ts';
import { ArtifactStore } from '../../../operator/source/artifact-store.ts';
import { useTemporaryDirectory } from '../../support/temporary-directory.ts';

const PATH = `gitrepository/team/app/${'a'.repeat(40)}.tar.gz`;

describe('the artifact server', () => {
  const directory = useTemporaryDirectory();
  let server: ArtifactServer;

  beforeEach(async () => {
    const store = new ArtifactStore({ root: join(directory(), 'data'), advertisedAddress: 'x' });
    const file = store.locate(PATH) ?? '';
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, 'the bytes');
    writeFileSync(join(directory(), 'secret'), 'secret');
    server = new ArtifactServer({ store, address: '127.0.0.1:0', logger: SILENT });
    await server.start();
  });

  afterEach(() => server.stop());

  function url(path: string): string {
    return `http://127.0.0.1:${server.port}/${path}`;
  }

  /** The status of a request whose target is sent as it is: fetch would tidy it up. */
  async function statusOf(target: string, method = 'GET'): Promise<number> {
    const socket = connect(server.port ?? 0, '127.0.0.1');
    socket.end(`${method} ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    const answer = await text(socket);
    assert.doesNotMatch(answer, /secret|the bytes/);
    return Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);
  }

  it('serves an artifact with what a client needs to know', async () => {
    const answer = await fetch(url(PATH));
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'application/gzip');
    assert.equal(answer.headers.get('content-length'), '9');
    assert.ok(Date.parse(answer.headers.get('last-modified') ?? '') > 0);
    assert.equal(await answer.text(), 'the bytes');

    const head = await fetch(url(PATH), { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers.get('content-length'), await head.text()], [200, '9', '']);

    const etag = answer.headers.get('etag') ?? '';
    assert.equal((await fetch(url(PATH), { headers: { 'if-none-match': etag } })).status, 304);
    assert.equal((await fetch(url(PATH), { headers: { 'if-none-match': '"other"' } })).status, 200);
  });

  it('answers 404 for what is no artifact, directories included', async () => {
    for (const path of [
      '',
      'gitrepository',
      'gitrepository/team/app/',
      `gitrepository/team/app/${'b'.repeat(40)}.tar.gz`,
      `${PATH}/`,
    ])
      assert.equal((await fetch(url(path))).status, 404, path);
  });

  it('leads nowhere else, however a path is written', async () => {
    const targets = [
      '/../secret',
      '/gitrepository/team/app/../../../../secret',
      '/gitrepository/team/app/..%2f..%2f..%2f..%2fsecret',
      '/%2e%2e/secret',
      '/gitrepository/%2e%2e/%2e%2e/secret',
      '/gitrepository/team/app/..%5c..%5csecret',
      '//etc/passwd',
      '/gitrepository/../../secret',
      `/gitrepository/team/app/${'a'.repeat(40)}.tar.gz%00`,
      `/gitrepository/team%2fapp/${'a'.repeat(40)}.tar.gz`,
      `http://x/${PATH}/../secret`,
      '*',
    ];
    for (const target of targets) assert.ok([400, 404].includes(await statusOf(target)), target);
  });

  it('does not follow a symbolic link', async () => {
    const linked = `gitrepository/team/app/${'c'.repeat(40)}.tar.gz`;
    symlinkSync(join(directory(), 'secret'), join(directory(), 'data', linked));
    assert.equal((await fetch(url(linked))).status, 404);
  });

  it('only reads', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      const answer = await fetch(url(PATH), { method });
      assert.deepEqual([answer.status, answer.headers.get('allow')], [405, 'GET, HEAD'], method);
    }
  });
});
