import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import { SILENT } from '../../../operator/api/logger.ts';
import { ArtifactReader } from '../../../operator/source/artifact-reader.ts';
import { ArtifactStore } from '../../../operator/source/artifact-store.ts';
import { type ArtifactProblem, ArtifactUnavailable } from '../../../operator/source/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { sourceTree } from '../../support/source-tree.ts';
import { useTemporaryDirectory } from '../../support/temporary-directory.ts';

const NEVER = new AbortController().signal;
const PATH = `gitrepository/team/app/${'a'.repeat(40)}.tar.gz`;

type Entry = Partial<Header> & { name: string; content?: string };

async function tarGz(entries: Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const { content, ...header } of entries) tar.entry(header, content ?? '');
  tar.finalize();
  return gzipSync(await buffer(Readable.from(tar)));
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

describe('the artifact reader', () => {
  const directory = useTemporaryDirectory();
  const readers: ArtifactReader[] = [];
  const servers: Server[] = [];

  afterEach(async () => {
    for (const reader of readers.splice(0)) await reader.close();
    for (const server of servers.splice(0)) {
      server.close();
      server.closeAllConnections();
    }
  });

  function readerWith(o: Partial<ConstructorParameters<typeof ArtifactReader>[0]> = {}): ArtifactReader {
    const reader = new ArtifactReader({ cacheRoot: join(directory(), 'extracted'), logger: SILENT, ...o });
    readers.push(reader);
    return reader;
  }

  async function serve(listener: RequestListener): Promise<string> {
    const server = createServer(listener);
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/${PATH}`;
  }

  async function served(bytes: Buffer): Promise<{ url: string; path: string; digest: string }> {
    return {
      url: await serve((_request, response) => response.end(bytes)),
      path: PATH,
      digest: sha256(bytes),
    };
  }

  function extracted(): string[] {
    const root = join(directory(), 'extracted');
    return existsSync(root) ? readdirSync(root) : [];
  }

  async function refused(
    reader: ArtifactReader,
    artifact: Parameters<ArtifactReader['open']>[0],
    problem: ArtifactProblem,
  ): Promise<string> {
    const error = await reader.open(artifact, NEVER).then(
      () => assert.fail('it was opened'),
      (e: unknown) => e,
    );
    assert.ok(error instanceof ArtifactUnavailable, String(error));
    assert.equal(error.problem, problem, error.message);
    assert.deepEqual(extracted(), [], 'nothing may stay behind');
    return error.message;
  }

  it('opens an artifact of our own store without asking anybody', async () => {
    const store = new ArtifactStore({ root: join(directory(), 'data'), advertisedAddress: '127.0.0.1:1' });
    const tree = sourceTree({ 'a/x.yaml': 'x: 1\n', 'run.sh': { kind: 'executable', content: '#!' } });
    const artifact = await store.publish({
      ...{ kind: 'GitRepository', namespace: 'team', name: 'app', revision: 'main@sha1:a' },
      ...{ commit: 'a'.repeat(40), tree, signal: NEVER },
    });
    const opened = await readerWith({ store }).open(artifact, NEVER);
    assert.equal(readFileSync(join(opened.directory, 'a/x.yaml'), 'utf8'), 'x: 1\n');
    assert.deepEqual(readdirSync(opened.directory).sort(), ['a', 'run.sh']);
  });

  it('downloads what is not in the store, and what the store holds other bytes of', async () => {
    const artifact = await served(await tarGz([{ name: 'x', content: 'right' }]));
    const store = new ArtifactStore({ root: join(directory(), 'data'), advertisedAddress: 'x' });
    const local = store.locate(PATH) ?? '';
    mkdirSync(dirname(local), { recursive: true });
    writeFileSync(local, await tarGz([{ name: 'x', content: 'wrong' }]));
    for (const reader of [readerWith(), readerWith({ store, cacheRoot: join(directory(), 'other') })]) {
      const opened = await reader.open(artifact, NEVER);
      assert.equal(readFileSync(join(opened.directory, 'x'), 'utf8'), 'right');
    }
  });

  it('extracts once however many open it, and again after the folder was given up', async () => {
    let requests = 0;
    const bytes = await tarGz([{ name: 'x', content: 'x' }]);
    const url = await serve((_request, response) => {
      requests++;
      response.end(bytes);
    });
    const artifact = { url, path: PATH, digest: sha256(bytes) };
    const reader = readerWith({ maxIdle: 0 });
    const [one, two] = await Promise.all([reader.open(artifact, NEVER), reader.open(artifact, NEVER)]);
    assert.equal(one.directory, two.directory);
    assert.equal(requests, 1);
    one.release();
    one.release();
    assert.ok(existsSync(two.directory), 'it was removed while in use');
    two.release();
    await eventually(() => !existsSync(two.directory), { what: 'the folder to go' });
    await reader.open(artifact, NEVER);
    assert.equal(requests, 2);
  });

  it('keeps only the folders last used', async () => {
    const reader = readerWith({ maxIdle: 2 });
    const directories: string[] = [];
    for (const content of ['1', '2', '3', '4']) {
      const opened = await reader.open(await served(await tarGz([{ name: 'x', content }])), NEVER);
      directories.push(opened.directory);
      opened.release();
    }
    await eventually(() => extracted().length === 2, { what: 'the older folders to go' });
    assert.deepEqual(
      directories.map((path) => existsSync(path)),
      [false, false, true, true],
    );
  });

  it('lets one caller give up while another waits for the same artifact', async () => {
    const bytes = await tarGz([{ name: 'x', content: 'x' }]);
    const { promise: gate, resolve: openGate } = Promise.withResolvers<void>();
    const url = await serve((_request, response) => void gate.then(() => response.end(bytes)));
    const artifact = { url, path: PATH, digest: sha256(bytes) };
    const reader = readerWith();
    const abort = new AbortController();
    const impatient = reader.open(artifact, abort.signal);
    const patient = reader.open(artifact, NEVER);
    abort.abort(new Error('no time'));
    await assert.rejects(impatient, /no time/);
    openGate();
    assert.ok(existsSync(join((await patient).directory, 'x')));
  });

  it('refuses other bytes than the digest says, in whichever way', async () => {
    const artifact = await served(await tarGz([{ name: 'x', content: 'x' }]));
    const message = await refused(
      readerWith(),
      { ...artifact, digest: `sha256:${'0'.repeat(64)}` },
      'verify',
    );
    assert.match(message, /computed digest doesn't match/);
    for (const digest of ['', 'md5:abc', 'sha256:abc'])
      await refused(readerWith(), { ...artifact, digest }, 'verify');
  });

  it('refuses an archive that leads out of its folder, links, or names a file twice', async () => {
    const bad: Entry[][] = [
      [{ name: '../out', content: 'x' }],
      [{ name: 'a/../../out', content: 'x' }],
      [{ name: join(directory(), 'out'), content: 'x' }],
      [{ name: '../out/', type: 'directory' }],
      [{ name: 'link', type: 'symlink', linkname: '/etc/passwd' }],
      [
        { name: 'link', type: 'symlink', linkname: '..' },
        { name: 'link/out', content: 'x' },
      ],
      [{ name: 'hard', type: 'link', linkname: '/etc/passwd' }],
      [{ name: 'fifo', type: 'fifo' }],
      [{ name: 'dev', type: 'character-device' }],
      [
        { name: 'x', content: '1' },
        { name: './x', content: '2' },
      ],
      [
        { name: 'x', content: '1' },
        { name: 'x/y', content: '2' },
      ],
    ];
    for (const entries of bad) await refused(readerWith(), await served(await tarGz(entries)), 'unsafe');
    assert.equal(existsSync(join(directory(), 'out')), false);
  });

  it('refuses what is not a whole tar.gz', async () => {
    const whole = await tarGz([{ name: 'x', content: 'x'.repeat(5000) }]);
    for (const bytes of [
      Buffer.from('plain'),
      whole.subarray(0, whole.length - 10),
      gzipSync('not a tar'.repeat(100)),
    ])
      await refused(readerWith(), await served(bytes), 'unsafe');
  });

  it('refuses an archive beyond its limits', async () => {
    const bomb = await tarGz([{ name: 'zeros', content: '\0'.repeat(1_000_000) }]);
    await refused(readerWith({ limits: { maxBytes: 999_999 } }), await served(bomb), 'too large');
    await refused(readerWith({ maxDownloadBytes: 100 }), await served(bomb), 'too large');
    const many = await tarGz(['1', '2', '3'].map((name) => ({ name })));
    await refused(readerWith({ limits: { maxEntries: 2 } }), await served(many), 'too large');
  });

  it('says not found at once, and asks a server in trouble again', async () => {
    const bytes = await tarGz([{ name: 'x', content: 'x' }]);
    const digest = sha256(bytes);
    let requests = 0;
    const url = await serve((_request, response) => {
      requests++;
      if (requests < 3) response.writeHead(503).end();
      else response.end(bytes);
    });
    await readerWith().open({ url, path: PATH, digest }, NEVER);
    assert.equal(requests, 3);
    const gone = await serve((_request, response) => response.writeHead(404).end());
    const other = readerWith({ cacheRoot: join(directory(), 'other') });
    await assert.rejects(other.open({ url: gone, path: PATH, digest }, NEVER), /artifact not found/);
  });

  it('removes what an earlier process left', async () => {
    mkdirSync(join(directory(), 'extracted/old'), { recursive: true });
    await readerWith().open(await served(await tarGz([{ name: 'x' }])), NEVER);
    assert.equal(extracted().includes('old'), false);
  });
});
