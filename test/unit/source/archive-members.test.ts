import assert from 'node:assert/strict';
import { createWriteStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FormerArchive, FormerArchiveLost, writeArchive } from '../../../operator/source/archive.ts';
import { planMembers } from '../../../operator/source/archive-plan.ts';
import { ArtifactStore } from '../../../operator/source/artifact-store.ts';
import type { SourceTree } from '../../../operator/source/source-tree.ts';
import { sourceTree } from '../../support/source-tree.ts';
import { useTemporaryDirectory } from '../../support/temporary-directory.ts';

const { signal } = new AbortController();
const COMMIT = 'a'.repeat(40);

function manyFiles(count: number): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, each) => [`apps/${each % 37}/file-${each}.yaml`, `number: ${each}\n`]),
  );
}

describe('an archive made after another', () => {
  const directory = useTemporaryDirectory();

  async function write(tree: SourceTree, name: string, former?: FormerArchive) {
    const file = join(directory(), name);
    const written = await writeArchive({ ...tree, tree, to: createWriteStream(file), former, signal });
    return { ...written, file };
  }

  /** The tree, and how many of its files were asked for. */
  function counted(tree: SourceTree): { tree: SourceTree; read: () => number } {
    let count = 0;
    const read: SourceTree['read'] = (files, abort) => {
      count += files.length;
      return tree.read(files, abort);
    };
    return { tree: { entries: tree.entries, read }, read: () => count };
  }

  it('is the same bytes as one made from nothing, and reads little more than what changed', async () => {
    const files = manyFiles(2_000);
    const before = await write(sourceTree(files), 'before.tar.gz');
    const changed: Record<string, string> = {
      ...files,
      'apps/5/file-5.yaml': 'changed',
      'apps/7/new.yaml': 'new',
    };
    delete changed['apps/9/file-9.yaml'];
    const { tree, read } = counted(sourceTree(changed));
    const after = await write(tree, 'after.tar.gz', before);
    const fresh = await write(sourceTree(changed), 'fresh.tar.gz');
    assert.equal(after.digest, fresh.digest);
    assert.deepEqual(await readFile(after.file), await readFile(fresh.file));
    assert.ok(read() < 1_000, `${read()} files were read again`);
  });

  it('reads nothing when nothing changed', async () => {
    const files = { ...manyFiles(200), 'big.bin': 'x'.repeat(3 * 1024 * 1024) };
    const before = await write(sourceTree(files), 'before.tar.gz');
    const { tree, read } = counted(sourceTree(files));
    const after = await write(tree, 'after.tar.gz', before);
    assert.deepEqual([after.digest, read()], [before.digest, 0]);
  });

  it('takes nothing over from one that is damaged or gone', async () => {
    const tree = sourceTree(manyFiles(200));
    const before = await write(tree, 'before.tar.gz');
    const bytes = await readFile(before.file);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    await writeFile(before.file, bytes);
    await assert.rejects(write(tree, 'after.tar.gz', before), FormerArchiveLost);
    const gone = { ...before, file: `${before.file}.gone` };
    await assert.rejects(write(tree, 'after.tar.gz', gone), FormerArchiveLost);
  });

  it('is made from nothing by a store whose last artifact was damaged', async () => {
    const tree = sourceTree(manyFiles(200));
    const store = new ArtifactStore({ root: directory(), advertisedAddress: 'source' });
    const owner = { kind: 'GitRepository', namespace: 'team', name: 'app' } as const;
    const publication = { ...owner, revision: `main@sha1:${COMMIT}`, commit: COMMIT, tree, signal };
    const first = await store.publish(publication);
    await writeFile(store.locate(first.path) ?? '', 'not a tar.gz');
    const second = await store.publish(publication);
    assert.equal(second.digest, first.digest);
    assert.equal(await store.verify(second), 'present');
  });
});

describe('the cuts of an archive', () => {
  it('come to lie where they lay, before and after a file that was added', () => {
    const { entries } = sourceTree(manyFiles(3_000));
    const [first, ...rest] = entries;
    assert.ok(first);
    const added = [{ ...first, path: 'aaa', kind: 'file' as const, oid: 'new' }, first, ...rest];
    const before = new Set(planMembers(entries).map(({ key }) => key));
    const after = planMembers(added).map(({ key }) => key);
    assert.ok(before.size > 20, `${before.size} members`);
    assert.ok(after.filter((key) => !before.has(key)).length <= 2);
  });

  it('bound what is held in memory at once', () => {
    const half = 'x'.repeat(700_000);
    const { entries } = sourceTree({ a: half, b: half, c: half, d: half, e: 'x'.repeat(5_000_000) });
    for (const member of planMembers(entries)) {
      const sum = member.entries.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
      assert.ok(member.isLarge || sum < 2 * 1024 * 1024, `${sum} bytes together`);
    }
  });
});
