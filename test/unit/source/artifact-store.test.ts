import assert from 'node:assert/strict';
import { readdirSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Artifact } from '../../../operator/source/artifact.ts';
import { ArtifactStore } from '../../../operator/source/artifact-store.ts';
import { SourceError } from '../../../operator/source/errors.ts';
import { type HandMade, sourceTree } from '../../support/source-tree.ts';
import { useTemporaryDirectory } from '../../support/temporary-directory.ts';

const OWNER = { kind: 'GitRepository', namespace: 'team', name: 'app' } as const;
const NOW = Date.parse('2026-01-02T03:04:05.678Z');

describe('the artifact store', () => {
  const directory = useTemporaryDirectory();

  function storeWith(options: Partial<ConstructorParameters<typeof ArtifactStore>[0]> = {}): ArtifactStore {
    return new ArtifactStore({
      root: directory(),
      advertisedAddress: 'source:9090',
      now: () => NOW,
      ...options,
    });
  }

  function publish(
    store: ArtifactStore,
    digit: string,
    files: Record<string, HandMade> = { a: digit },
  ): Promise<Artifact> {
    const commit = digit.repeat(40);
    const signal = new AbortController().signal;
    return store.publish({
      ...OWNER,
      revision: `main@sha1:${commit}`,
      commit,
      tree: sourceTree(files),
      signal,
    });
  }

  function stored(): string[] {
    return readdirSync(join(directory(), 'gitrepository/team/app')).sort();
  }

  /** As if the artifact had been published that long ago. */
  function age(store: ArtifactStore, artifact: Artifact, seconds: number): void {
    const time = NOW / 1000 - seconds;
    utimesSync(store.locate(artifact.path) ?? '', time, time);
  }

  it('publishes what status.artifact says', async () => {
    const store = storeWith();
    const artifact = await publish(store, 'a');
    const path = `gitrepository/team/app/${'a'.repeat(40)}.tar.gz`;
    assert.deepEqual(
      { ...artifact, digest: '', size: 0 },
      {
        path,
        url: `http://source:9090/${path}`,
        revision: `main@sha1:${'a'.repeat(40)}`,
        digest: '',
        lastUpdateTime: '2026-01-02T03:04:05Z',
        size: 0,
      },
    );
    assert.ok(artifact.size > 0);
    assert.equal(await store.verify(artifact), 'present');
    assert.deepEqual(stored(), [`${'a'.repeat(40)}.tar.gz`]);
  });

  it('tells a lost and a damaged file from a good one', async () => {
    const store = storeWith();
    const artifact = await publish(store, 'a');
    writeFileSync(store.locate(artifact.path) ?? '', 'x');
    assert.equal(await store.verify(artifact), 'corrupt');
    truncateSync(store.locate(artifact.path) ?? '', 0);
    assert.equal(await store.verify(artifact), 'corrupt');
    await store.removeAll(OWNER);
    assert.equal(await store.verify(artifact), 'missing');
    assert.equal(await store.verify({ ...artifact, path: '../../etc/passwd' }), 'missing');
    const again = await publish(store, 'a');
    assert.equal(again.digest, artifact.digest);
    assert.equal(await store.verify(artifact), 'present');
  });

  it('leaves the old artifact whole and nothing else when publishing fails', async () => {
    const store = storeWith();
    const artifact = await publish(store, 'a');
    const { entries } = sourceTree({ b: 'b' });
    const tree = { entries, read: () => assert.fail('the object is missing') };
    const commit = 'a'.repeat(40);
    const signal = new AbortController().signal;
    await assert.rejects(
      store.publish({ ...OWNER, revision: '', commit, tree, signal }),
      (error: unknown) => error instanceof SourceError && error.reason === 'ArchiveOperationFailed',
    );
    assert.equal(await store.verify(artifact), 'present');
    assert.deepEqual(stored(), [`${commit}.tar.gz`]);
  });

  it('removes what a killed writer left when it next writes', async () => {
    const store = storeWith();
    await publish(store, 'a');
    writeFileSync(join(directory(), 'gitrepository/team/app/.tmp-1'), 'half');
    await publish(store, 'b');
    assert.deepEqual(stored(), [`${'a'.repeat(40)}.tar.gz`, `${'b'.repeat(40)}.tar.gz`]);
  });

  it('retains the current artifact and, for a minute, one more', async () => {
    const store = storeWith();
    const [a, b, c, d] = [
      await publish(store, 'a'),
      await publish(store, 'b'),
      await publish(store, 'c'),
      await publish(store, 'd'),
    ];
    age(store, a, 30);
    age(store, b, 20);
    age(store, c, 10);
    age(store, d, 0);
    assert.deepEqual((await store.collectGarbage({ ...OWNER, keep: d })).sort(), [a.path, b.path]);
    assert.deepEqual(await store.collectGarbage({ ...OWNER, keep: d }), []);
    age(store, c, 61);
    age(store, d, 3600);
    assert.deepEqual(await store.collectGarbage({ ...OWNER, keep: d }), [c.path]);
    assert.equal(await store.verify(d), 'present');
  });

  it('gives an artifact the address that is advertised today', async () => {
    const artifact = await publish(storeWith(), 'a');
    const moved = storeWith({ advertisedAddress: 'elsewhere' }).readvertise(artifact);
    assert.equal(moved.url, `http://elsewhere/${artifact.path}`);
  });

  it('refuses more than its limits, and names that no tar should carry, saying what to do', async () => {
    const store = storeWith({ limits: { maxEntries: 2, maxBytes: 10 } });
    await assert.rejects(
      publish(store, 'a', { a: '', b: '', c: '' }),
      /3 files .* more than 2: .*spec\.ignore/,
    );
    await assert.rejects(
      publish(store, 'a', { 'big.bin': 'x'.repeat(11) }),
      /larger than 10 bytes \(at big\.bin\)/,
    );
    await assert.rejects(publish(store, 'a', { 'bad\uFFFD': '' }), /not UTF-8/);
    await publish(store, 'a', { 'photo.png': 'x'.repeat(100), b: '' });
  });

  it('keeps to its folder whatever an object is called', async () => {
    const store = storeWith();
    for (const name of ['..', '../x', 'a/b', '', '.', 'A'])
      await assert.rejects(store.removeAll({ ...OWNER, name }), TypeError);
    assert.equal(store.locate('gitrepository/team/../x/y.tar.gz'), undefined);
    assert.ok(
      store
        .locate(`gitrepository/team/app/${'a'.repeat(40)}.tar.gz`)
        ?.startsWith(dirname(join(directory(), 'x'))),
    );
  });
});
