/**
 * The artifact's bytes: a tar.gz that depends on nothing but the files in it. It is made of gzip members
 * (`archive-plan.ts`), so that what hasn't changed is copied from the archive before instead of read and compressed.
 */

import { createHash, hash } from 'node:crypto';
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGzip, gzip } from 'node:zlib';
import { type Header, type Pack, pack } from 'tar-stream';
import { LARGE_BYTES, type PlannedMember, planMembers } from './archive-plan.ts';
import type { DigestAlgorithm } from './artifact.ts';
import { type FileContent, isFile, type SourceTree, type TreeEntry } from './source-tree.ts';

/** Where a member lies in an archive. */
export interface ArchiveMember {
  offsetBytes: number;
  sizeBytes: number;
  sha256: string;
}

/** An archive whose members may be taken over, by their keys. */
export interface FormerArchive {
  file: string;
  members: ReadonlyMap<string, ArchiveMember>;
}

/** What was written. `digest` is `<algorithm>:<hex>` of the compressed bytes. */
export interface WrittenArchive {
  digest: string;
  sizeBytes: number;
  members: ReadonlyMap<string, ArchiveMember>;
}

/** What is written, and from what. */
export interface ArchiveRequest {
  tree: SourceTree;
  entries: readonly TreeEntry[];
  to: Writable;
  /** Default: sha256. */
  digestAlgorithm?: DigestAlgorithm;
  former?: FormerArchive | undefined;
  signal: AbortSignal;
}

/** The former archive isn't there, or isn't what it was: write without it. */
export class FormerArchiveLost extends Error {
  override readonly name = 'FormerArchiveLost';
}

const EPOCH = new Date(0);
const NOBODY = { uid: 0, gid: 0, uname: '', gname: '', mtime: EPOCH };
const MODE = { file: 0o600, executable: 0o700, directory: 0o750 } as const;
/** Artifacts are read once, near by: speed counts for more than the last tenth of size. */
const GZIP_LEVEL = 1;
const COMPRESSED_AT_ONCE = 4;
const END_OF_TAR_BYTES = 1024;
const compress = promisify(gzip);

/**
 * Writes the entries (of `tree`, in their order) as a tar.gz, as Flux lays it out: files, executables and directories
 * with modes 0600, 0700 and 0750, owner 0, time 0, no links. The same entries give the same bytes, whatever was taken
 * over. `to` is ended.
 * @throws FormerArchiveLost; what reading and writing throw
 */
export async function writeArchive(o: ArchiveRequest): Promise<WrittenArchive> {
  const algorithm = o.digestAlgorithm ?? 'sha256';
  const digest = createHash(algorithm);
  const members = new Map<string, ArchiveMember>();
  let sizeBytes = 0;
  const bytes = async function* (): AsyncGenerator<Buffer> {
    for await (const { key, pieces, sha256 } of archived(o)) {
      const offsetBytes = sizeBytes;
      const sum = createHash('sha256');
      for await (const piece of pieces) {
        digest.update(piece);
        if (sha256 === undefined) sum.update(piece);
        sizeBytes += piece.length;
        yield piece;
      }
      members.set(key, {
        offsetBytes,
        sizeBytes: sizeBytes - offsetBytes,
        sha256: sha256 ?? sum.digest('hex'),
      });
    }
  };
  await pipeline(bytes, o.to, { signal: o.signal });
  return { digest: `${algorithm}:${digest.digest('hex')}`, sizeBytes, members };
}

interface ReadyMember {
  key: string;
  pieces: Iterable<Buffer> | AsyncIterable<Buffer>;
  /** Where it is known already. */
  sha256?: string;
}

/** The compressed members in their order; some of them are in the making ahead of their turn. */
async function* archived(o: ArchiveRequest): AsyncGenerator<ReadyMember> {
  const plan = planMembers(o.entries);
  const isKept = ({ key }: PlannedMember): boolean => o.former?.members.has(key) === true;
  const files = plan.filter((member) => !isKept(member)).flatMap(({ entries }) => entries.filter(isFile));
  const contents = o.tree.read(files, o.signal)[Symbol.asyncIterator]();
  const former = plan.some(isKept) ? await openFormer(o.former) : undefined;
  const ahead: Array<Promise<ReadyMember>> = [];
  try {
    for (const member of plan) {
      const { key, entries } = member;
      while (ahead.length > (member.isLarge ? 0 : COMPRESSED_AT_ONCE - 1)) yield* one(ahead);
      if (former !== undefined && isKept(member)) ahead.push(former.take(key));
      else if (member.isLarge) yield { key, pieces: compressed(tarOf(entries, contents)) };
      else ahead.push(compressedAtOnce(key, await collected(tarOf(entries, contents))));
      // Whoever awaits it reports it.
      ahead.at(-1)?.catch(() => {});
    }
    ahead.push(compressedAtOnce('', Buffer.alloc(END_OF_TAR_BYTES)));
    while (ahead.length > 0) yield* one(ahead);
    // Lets the reader notice an end that isn't one.
    await contents.next();
  } finally {
    await contents.return?.();
    await former?.close();
  }
}

async function* one(ahead: Array<Promise<ReadyMember>>): AsyncGenerator<ReadyMember> {
  const next = await ahead.shift();
  if (next !== undefined) yield next;
}

async function compressedAtOnce(key: string, tar: Buffer): Promise<ReadyMember> {
  return { key, pieces: [await compress(tar, { level: GZIP_LEVEL })] };
}

function compressed(tar: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  return Readable.from(tar).compose(createGzip({ level: GZIP_LEVEL }));
}

async function collected(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

/** The entries as tar has them, without the two empty blocks at its end. `contents` are those of the files among them. */
async function* tarOf(
  entries: readonly TreeEntry[],
  contents: AsyncIterator<FileContent>,
): AsyncGenerator<Buffer> {
  const tar = pack();
  const packed = packEntries(tar, entries, contents);
  packed.catch((error: unknown) => tar.destroy(error instanceof Error ? error : new Error(String(error))));
  let held: Buffer = Buffer.alloc(0);
  try {
    for await (const piece of tar as AsyncIterable<Buffer>) {
      held = held.length === 0 ? piece : Buffer.concat([held, piece]);
      if (held.length <= END_OF_TAR_BYTES) continue;
      yield held.subarray(0, -END_OF_TAR_BYTES);
      held = held.subarray(-END_OF_TAR_BYTES);
    }
    await packed;
  } finally {
    tar.destroy();
  }
}

async function packEntries(
  tar: Pack,
  entries: readonly TreeEntry[],
  contents: AsyncIterator<FileContent>,
): Promise<void> {
  for (const entry of entries) {
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
  tar.finalize();
}

/** Resolves when the pack has taken the whole file: the next one may follow. */
async function packFile(
  tar: Pack,
  header: Partial<Header> & { name: string; size: number },
  content: AsyncIterable<Buffer>,
): Promise<void> {
  const { promise: taken, resolve, reject } = Promise.withResolvers<void>();
  const settle = (error?: Error | null): void => (error ? reject(error) : resolve());
  taken.catch(() => {});
  if (header.size < LARGE_BYTES) {
    tar.entry(header, await collected(content), settle);
    return taken;
  }
  const sink = tar.entry(header, settle);
  // The callback reports it.
  sink.on('error', () => {});
  for await (const chunk of content) if (!sink.write(chunk)) await Promise.race([once(sink, 'drain'), taken]);
  sink.end(undefined);
  await taken;
}

/** The archive before, held open: it may be removed meanwhile. */
async function openFormer(
  former: FormerArchive | undefined,
): Promise<{ take(key: string): Promise<ReadyMember>; close(): Promise<void> } | undefined> {
  if (former === undefined) return undefined;
  const file = await open(former.file).catch((cause: unknown) => {
    throw new FormerArchiveLost(`${former.file} cannot be opened`, { cause });
  });
  return { take: (key) => readMember(file, former, key), close: () => file.close() };
}

async function readMember(file: FileHandle, former: FormerArchive, key: string): Promise<ReadyMember> {
  const member = former.members.get(key);
  if (member === undefined) throw new FormerArchiveLost(`${former.file} has no member ${key}`);
  const bytes = Buffer.alloc(member.sizeBytes);
  await file.read(bytes, 0, member.sizeBytes, member.offsetBytes);
  if (hash('sha256', bytes) !== member.sha256) throw new FormerArchiveLost(`${former.file} is damaged`);
  return { key, pieces: [bytes], sha256: member.sha256 };
}
