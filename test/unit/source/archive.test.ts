import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { writeArchive } from '../../../operator/source/archive.ts';
import { digestFile } from '../../../operator/source/artifact.ts';
import { sourceTree } from '../../support/source-tree.ts';
import { useTemporaryDirectory } from '../../support/temporary-directory.ts';

const NEVER = new AbortController().signal;

describe('an archive', () => {
  const directory = useTemporaryDirectory();

  async function write(files: Parameters<typeof sourceTree>[0], name: string, chunkBytes?: number) {
    const tree = sourceTree(files, chunkBytes);
    const file = join(directory(), name);
    const written = await writeArchive({
      tree,
      entries: tree.entries,
      to: createWriteStream(file),
      signal: NEVER,
    });
    return { ...written, file };
  }

  it('has the modes, owner and time that Flux gives', async () => {
    const { file } = await write(
      { 'a/x.yaml': 'x', 'a/run.sh': { kind: 'executable', content: '#!' } },
      'a.tar.gz',
    );
    const listing = execFileSync('tar', ['--utc', '--full-time', '--numeric-owner', '-tvzf', file], {
      encoding: 'utf8',
    });
    assert.deepEqual(
      listing
        .trim()
        .split('\n')
        .map((line) => line.replace(/ +/g, ' ')),
      [
        'drwxr-x--- 0/0 0 1970-01-01 00:00:00 a/',
        '-rwx------ 0/0 2 1970-01-01 00:00:00 a/run.sh',
        '-rw------- 0/0 1 1970-01-01 00:00:00 a/x.yaml',
      ],
    );
  });

  it('of the same files is the same bytes, however they are handed over', async () => {
    const files = { 'big.txt': 'some text '.repeat(200_000), 'sub/small.txt': 'x', 'sub/empty.txt': '' };
    const one = await write(files, 'one.tar.gz', 65_536);
    const other = await write(files, 'other.tar.gz', 777);
    assert.equal(one.digest, other.digest);
    assert.equal(one.digest, await digestFile(one.file, 'sha256'));
    const changed = await write({ ...files, 'sub/small.txt': 'y' }, 'changed.tar.gz');
    assert.notEqual(changed.digest, one.digest);
  });

  it('keeps names as they are: long, with spaces, line breaks and letters from anywhere', async () => {
    const names = [`${'long/'.repeat(60)}x`, 'a b', 'line\nbreak', 'grüße-你好-🚀'];
    const { file } = await write(Object.fromEntries(names.map((name) => [name, name])), 'names.tar.gz');
    for (const name of names)
      assert.equal(execFileSync('tar', ['-xOzf', file, '--', name], { encoding: 'utf8' }), name);
  });

  it('ends with the error of the disk, not with waiting', async () => {
    const full = new Writable({ write: (_chunk, _encoding, done) => done(new Error('no space left')) });
    // Random bytes do not compress, so that every buffer on the way fills up.
    const tree = sourceTree({ a: Array.from({ length: 400_000 }, () => Math.random()).join() });
    await assert.rejects(
      writeArchive({ tree, entries: tree.entries, to: full, signal: NEVER }),
      /no space left/,
    );
  });

  it('ends with the error of the tree, not with a short archive', async () => {
    const { entries } = sourceTree({ a: 'text' });
    const tree = {
      entries,
      read: () => {
        throw new Error('the object is missing');
      },
    };
    await assert.rejects(
      writeArchive({ tree, entries, to: createWriteStream(join(directory(), 'x')), signal: NEVER }),
      /the object is missing/,
    );
  });
});
