/** The artifact's bytes: a tar.gz that depends on nothing but the files in it. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Readable, Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { type Header, type Pack, pack } from 'tar-stream';
import type { DigestAlgorithm } from './artifact.ts';
import { isFile, type SourceTree, type TreeEntry } from './source-tree.ts';

/** What was written. `digest` is `<algorithm>:<hex>` of the compressed bytes. */
export interface WrittenArchive {
  digest: string;
  sizeBytes: number;
}

const EPOCH = new Date(0);
const NOBODY = { uid: 0, gid: 0, uname: '', gname: '', mtime: EPOCH };
const MODE = { file: 0o600, executable: 0o700, directory: 0o750 } as const;
/** Artifacts are read once, near by: speed counts for more than the last tenth of size. */
const GZIP_LEVEL = 1;
/** zlib does each write on another thread: a tar's many small pieces go there together. */
const BLOCK_BYTES = 256 * 1024;

/**
 * Writes the entries (of `tree`, in their order) as a tar.gz, as Flux lays it out: files, executables and directories
 * with modes 0600, 0700 and 0750, owner 0, time 0, no links. The same entries give the same bytes. `to` is ended.
 */
export async function writeArchive(o: {
  tree: SourceTree;
  entries: readonly TreeEntry[];
  to: Writable;
  /** Default: sha256. */
  digestAlgorithm?: DigestAlgorithm;
  signal: AbortSignal;
}): Promise<WrittenArchive> {
  const algorithm = o.digestAlgorithm ?? 'sha256';
  const tar = pack();
  const stop = new AbortController();
  const signal = AbortSignal.any([o.signal, stop.signal]);
  const hash = createHash(algorithm);
  let sizeBytes = 0;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done): void {
      hash.update(chunk);
      sizeBytes += chunk.length;
      done(null, chunk);
    },
  });
  const gzip = createGzip({ level: GZIP_LEVEL, chunkSize: BLOCK_BYTES });
  const written = pipeline(Readable.from(inBlocks(Readable.from(tar))), gzip, meter, o.to, { signal });
  // Whichever side fails first, the other must not wait for it.
  written.catch((error: unknown) => stop.abort(error));
  try {
    await packEntries(tar, o, signal);
  } catch (error) {
    stop.abort(error);
    tar.destroy();
    const outcome = await written.catch((reason: unknown) => reason);
    o.signal.throwIfAborted();
    // A pipeline that failed by itself knows why; one that only gave up after us doesn't.
    throw outcome instanceof Error && outcome.name !== 'AbortError' ? outcome : error;
  }
  await written;
  return { digest: `${algorithm}:${hash.digest('hex')}`, sizeBytes };
}

async function packEntries(
  tar: Pack,
  o: { tree: SourceTree; entries: readonly TreeEntry[] },
  signal: AbortSignal,
): Promise<void> {
  const contents = o.tree.read(o.entries.filter(isFile), signal)[Symbol.asyncIterator]();
  try {
    for (const entry of o.entries) {
      if (!isFile(entry)) {
        tar.entry({ ...NOBODY, name: `${entry.path}/`, type: 'directory', mode: MODE.directory });
        continue;
      }
      const next = await contents.next();
      if (next.done === true) throw new Error(`the tree ended before ${entry.path}`);
      const mode = entry.kind === 'executable' ? MODE.executable : MODE.file;
      const header = { ...NOBODY, name: entry.path, type: 'file' as const, mode, size: entry.sizeBytes };
      await packFile(tar, header, next.value.content);
    }
    // Lets the reader notice an end that isn't one.
    await contents.next();
  } finally {
    await contents.return?.();
  }
  tar.finalize();
}

async function* inBlocks(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let block: Buffer[] = [];
  let blockBytes = 0;
  for await (const piece of pieces) {
    block.push(piece);
    blockBytes += piece.length;
    if (blockBytes < BLOCK_BYTES) continue;
    yield Buffer.concat(block);
    block = [];
    blockBytes = 0;
  }
  yield Buffer.concat(block);
}

/** Resolves when the pack has taken the whole file: the next one may follow. */
async function packFile(
  tar: Pack,
  header: Partial<Header> & { name: string },
  content: AsyncIterable<Buffer>,
): Promise<void> {
  const { promise: taken, resolve, reject } = Promise.withResolvers<void>();
  const sink = tar.entry(header, (error) => (error ? reject(error) : resolve()));
  // The callback reports it.
  sink.on('error', () => {});
  taken.catch(() => {});
  for await (const chunk of content) if (!sink.write(chunk)) await Promise.race([once(sink, 'drain'), taken]);
  sink.end(undefined);
  await taken;
}
