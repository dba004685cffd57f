/**
 * How an archive is cut into members that can be taken over from the archive before it. Pure.
 *
 * A gzip file is a series of members (RFC 1952, 2.2), each compressed by itself; whoever unpacks it sees one stream.
 * Where the cuts lie follows from the entries' names and sizes near them alone, so that a file that comes, goes or
 * changes touches its own member and at most its neighbours, and the same entries are always cut alike.
 */

import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { isFile, type TreeEntry } from './source-tree.ts';

/** Consecutive entries that are compressed together. */
export interface PlannedMember {
  /** Equal keys, equal bytes. */
  key: string;
  entries: readonly TreeEntry[];
  /** A single file too big to be held in memory. */
  isLarge: boolean;
}

/** A file of this size or more is a member by itself, and never whole in memory. */
export const LARGE_BYTES = 1024 * 1024;
/** Cuts come after one name in so many, on average. */
const CUT_EVERY = 48;

/** The members of an archive of these entries, in their order. */
export function planMembers(entries: readonly TreeEntry[]): PlannedMember[] {
  const members: PlannedMember[] = [];
  let run: TreeEntry[] = [];
  let runBytes = 0;
  const cut = (): void => {
    if (run.length > 0) members.push({ key: keyOf(run), entries: run, isLarge: false });
    run = [];
    runBytes = 0;
  };
  for (const entry of entries) {
    if (isFile(entry) && entry.sizeBytes >= LARGE_BYTES) {
      cut();
      members.push({ key: keyOf([entry]), entries: [entry], isLarge: true });
      continue;
    }
    run.push(entry);
    runBytes += entry.sizeBytes;
    if (runBytes >= LARGE_BYTES || crc32(entry.path) % CUT_EVERY === 0) cut();
  }
  cut();
  return members;
}

/** All that an entry's bytes in the archive depend on. No path holds a NUL. */
function keyOf(entries: readonly TreeEntry[]): string {
  const facts = entries.map(({ path, kind, oid }) => `${kind} ${isFile({ kind }) ? oid : ''} ${path}\0`);
  return hash('sha256', facts.join(''));
}
