/** Paths that a spec names, as paths in a tree. */

import { posix } from 'node:path';

/** Without `.`, `..`, and slashes at the ends; what would lead out of the tree stays at its root, which is empty. */
export function normalizePath(path: string): string {
  return posix.normalize(`/${path}`).replace(/^\/+|\/+$/g, '');
}
