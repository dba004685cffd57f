/** `spec.sparseCheckout`: some directories of a tree. */

import { REASON } from '../api/conditions.ts';
import { SourceError } from './errors.ts';
import type { SourceTree } from './source-tree.ts';
import { normalizePath } from './tree-path.ts';

/** Whether a path, or something below it, is within `spec.sparseCheckout`; no directories mean everything. */
export function isWithin(directories: readonly string[], path: string): boolean {
  const wanted = directories.map(normalizePath);
  if (wanted.length === 0 || wanted.includes('')) return true;
  return wanted.some(
    (directory) => path === directory || path.startsWith(`${directory}/`) || directory.startsWith(`${path}/`),
  );
}

/**
 * The directories (`./` in front is usual) with all that is in them, and the directories above; nothing else, not even
 * the files in the root.
 * @throws SourceError `GitOperationFailed` naming a directory that isn't there
 */
export function sparseTree(tree: SourceTree, directories: readonly string[]): SourceTree {
  if (directories.length === 0) return tree;
  const present = new Set(tree.entries.flatMap(({ kind, path }) => (kind === 'directory' ? [path] : [])));
  for (const directory of directories) {
    const path = normalizePath(directory);
    if (path !== '' && !present.has(path))
      throw new SourceError(
        REASON.gitOperationFailed,
        `spec.sparseCheckout: there is no directory ${JSON.stringify(directory)} in the repository`,
      );
  }
  const entries = tree.entries.filter(
    ({ kind, path }) => isWithin(directories, path) && (kind === 'directory' || isBelow(directories, path)),
  );
  return { entries, read: (files, signal) => tree.read(files, signal) };
}

function isBelow(directories: readonly string[], path: string): boolean {
  return directories
    .map(normalizePath)
    .some((directory) => directory === '' || path.startsWith(`${directory}/`));
}
