/** Trees put together: one tree with others below some of its paths. */

import { REASON } from '../api/conditions.ts';
import { SourceError } from './errors.ts';
import type { FileContent, SourceTree, TreeEntry } from './source-tree.ts';

/** A tree and the directory that it appears at, which is made if need be; empty for the root. */
export interface Mount {
  at: string;
  tree: SourceTree;
  /** How messages call it. */
  what: string;
}

interface Origin {
  tree: SourceTree;
  entry: TreeEntry;
}

/**
 * `base` with the mounts below it. Directories of the same name become one; a submodule gives way to what is mounted
 * there.
 * @throws SourceError `CopyFailure` when a file, a link or a directory would take another's place
 */
export function mountTrees(base: SourceTree, mounts: readonly Mount[]): SourceTree {
  const replaced = new Set(mounts.map(({ at }) => at));
  const kept = base.entries.filter(({ kind, path }) => kind !== 'submodule' || !replaced.has(path));
  const origins = new Map<TreeEntry, Origin>(kept.map((entry) => [entry, { tree: base, entry }]));
  const byPath = new Map<string, TreeEntry>(kept.map((entry) => [entry.path, entry]));
  for (const { at, tree, what } of mounts) {
    for (const entry of [...directoriesDownTo(at), ...tree.entries.map((entry) => below(at, entry))]) {
      const there = byPath.get(entry.path);
      if (there === undefined) byPath.set(entry.path, entry);
      else if (there.kind !== 'directory' || entry.kind !== 'directory')
        throw new SourceError(
          REASON.copyFailure,
          `${what}: there is another ${JSON.stringify(entry.path)} already: remove one of the two`,
        );
    }
    for (const entry of tree.entries) {
      const mounted = byPath.get(pathBelow(at, entry.path));
      if (mounted !== undefined && !origins.has(mounted)) origins.set(mounted, { tree, entry });
    }
  }
  return { entries: [...byPath.values()], read: (files, signal) => readEach(origins, files, signal) };
}

/** Asks each tree for as many files in a row as are its own. */
async function* readEach(
  origins: ReadonlyMap<TreeEntry, Origin>,
  files: readonly TreeEntry[],
  signal: AbortSignal,
): AsyncGenerator<FileContent> {
  for (let start = 0; start < files.length; ) {
    const tree = originOf(origins, files[start]).tree;
    const originals: TreeEntry[] = [];
    while (start + originals.length < files.length) {
      const origin = originOf(origins, files[start + originals.length]);
      if (origin.tree !== tree) break;
      originals.push(origin.entry);
    }
    let index = start;
    start += originals.length;
    for await (const { content } of tree.read(originals, signal)) {
      const entry = files[index++];
      if (entry !== undefined) yield { entry, content };
    }
  }
}

function originOf(origins: ReadonlyMap<TreeEntry, Origin>, entry: TreeEntry | undefined): Origin {
  const origin = entry === undefined ? undefined : origins.get(entry);
  if (origin === undefined) throw new TypeError(`not an entry of this tree: ${entry?.path}`);
  return origin;
}

function below(at: string, entry: TreeEntry): TreeEntry {
  return { ...entry, path: pathBelow(at, entry.path) };
}

function pathBelow(at: string, path: string): string {
  return at === '' ? path : `${at}/${path}`;
}

function directoriesDownTo(path: string): TreeEntry[] {
  const parts = path === '' ? [] : path.split('/');
  return parts.map((_, index) => ({
    path: parts.slice(0, index + 1).join('/'),
    kind: 'directory',
    oid: '',
    sizeBytes: 0,
  }));
}
