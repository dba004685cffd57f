/** What a GitRepository left in storage that went while nothing ran: removed at the start. */

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../api/logger.ts';
import { keyOf } from '../api/resources.ts';
import type { Runnable } from '../runtime/manager.ts';
import { type ArtifactOwner, artifactDirectory } from '../source/artifact.ts';
import type { ArtifactStore } from '../source/artifact-store.ts';
import { messageOf, systemErrorCode } from '../source/errors.ts';
import type { GitFetcher } from '../source/git.ts';

/** What is swept, and who says what exists. */
export interface SweepOptions {
  store: ArtifactStore;
  git: GitFetcher;
  /** Where the git caches are. */
  cacheRoot: string;
  /** True for the key of a GitRepository that exists. */
  exists: (key: string) => boolean;
  /** The only namespace that `exists` knows of; undefined: it knows of all. */
  namespace: string | undefined;
  logger: Logger;
}

const KIND_FOLDER = 'gitrepository';
const OBJECT_NAME = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/;

/**
 * A part to start when the first list is there. It looks at nothing but `gitrepository/<namespace>/<name>` below the
 * artifacts and the git caches. What can't be read or removed costs disk, not the start.
 */
export function storageSweep(o: SweepOptions): Runnable {
  return {
    name: 'storage sweep',
    async start(signal) {
      try {
        const roots = [o.store.root, o.cacheRoot];
        const found = (await Promise.all(roots.map((root) => ownersBelow(root, o.namespace)))).flat();
        const owners = new Map(found.map((owner) => [artifactDirectory(owner), owner]));
        for (const owner of owners.values()) {
          signal.throwIfAborted();
          await removeUnlessThere(owner, o);
        }
      } catch (error) {
        signal.throwIfAborted();
        o.logger.warn('cannot remove what deleted GitRepositories left in storage', {
          error: messageOf(error),
        });
      }
    },
    async stop() {},
  };
}

async function removeUnlessThere(
  owner: ArtifactOwner,
  { store, git, exists, logger }: SweepOptions,
): Promise<void> {
  const { namespace, name } = owner;
  const there = (): boolean => exists(keyOf({ namespace, name }));
  if (there()) return;
  await store.removeAll(owner, there);
  await git.remove(artifactDirectory(owner), there);
  logger.info('removed from storage what a deleted GitRepository had left', { namespace, name });
}

async function ownersBelow(root: string, only: string | undefined): Promise<ArtifactOwner[]> {
  const folder = join(root, KIND_FOLDER);
  const owners: ArtifactOwner[] = [];
  for (const namespace of only === undefined ? await foldersIn(folder) : [only])
    for (const name of await foldersIn(join(folder, namespace)))
      owners.push({ kind: 'GitRepository', namespace, name });
  return owners;
}

/** The folders that can be called after an object; links are none. */
async function foldersIn(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory() && OBJECT_NAME.test(entry.name))
      .map(({ name }) => name);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
