/** Bringing one commit into a cache, whatever state the cache is in. */

import { REASON } from '../api/conditions.ts';
import type { Logger } from '../api/logger.ts';
import { messageOf, SourceError } from './errors.ts';
import { type GitCache, HEAD_REF } from './git-cache.ts';
import { classify } from './git-failure.ts';
import type { GitNetwork, Remote } from './git-network.ts';
import { GitExit } from './git-process.ts';
import { fullRefName, type GitRef } from './git-ref.ts';

/** What is to be brought from where to where. */
export interface Errand {
  network: GitNetwork;
  remote: Remote;
  cache: GitCache;
  ref: GitRef;
  /** The commit that the ref was resolved to. */
  commit: string;
  /** An annotated tag that must come with it. */
  tagObject?: string | undefined;
  logger: Logger;
}

type CommitRef = Extract<GitRef, { kind: 'commit' }>;

/** As a depth: all of the history, whether the cache is shallow or not (git-fetch(1), --depth). */
const ALL_HISTORY = 2147483647;

/**
 * Makes `HEAD_REF` of the cache the wanted commit, or the newer one that the ref names by now; answers with it. What is
 * there already costs no request; else only what is missing is sent. A cache that git can't work with is replaced, once.
 * @throws GitExit, SourceError, the deadline's reason.
 */
export async function bringCommit(errand: Errand): Promise<string> {
  const made = await prepare(errand);
  try {
    if (made === 'existing' && (await isThere(errand))) return errand.commit;
    return await fetchInto(errand.cache, errand);
  } catch (error) {
    if (made === 'created' || !(error instanceof GitExit) || classify(error) !== 'other') throw error;
    errand.logger.info('the git cache is unusable: fetching anew', { cache: errand.cache.directory });
    return fetchAnew(errand);
  }
}

/** True when nothing needs to be asked; `HEAD_REF` then keeps the commit. */
async function isThere({ cache, commit, tagObject, ref, remote }: Errand): Promise<boolean> {
  const needsHistory = ref.kind === 'commit' && ref.branch !== undefined;
  if (needsHistory || !(await cache.hasWhole(commit, remote.deadline))) return false;
  if (tagObject !== undefined && !(await cache.hasTag(tagObject, commit, remote.deadline))) return false;
  await cache.pointHeadAt(tagObject ?? commit, remote.deadline);
  return true;
}

/** A folder that can't even be looked at is of no use. */
async function prepare({ cache, remote, logger }: Errand): Promise<'created' | 'existing'> {
  try {
    return await cache.prepare(remote.deadline);
  } catch (error) {
    remote.deadline.throwIfAborted();
    logger.info('the git cache is unusable: removing it', {
      cache: cache.directory,
      error: messageOf(error),
    });
    await cache.remove();
    return cache.prepare(remote.deadline);
  }
}

/** Into a fresh cache, which takes the old one's place only when the fetch worked: the fault may be the server's. */
async function fetchAnew(errand: Errand): Promise<string> {
  const fresh = errand.cache.sibling('fresh');
  await fresh.remove();
  try {
    await fresh.prepare(errand.remote.deadline);
    const commit = await fetchInto(fresh, errand);
    await fresh.replace(errand.cache);
    return commit;
  } finally {
    await fresh.remove();
  }
}

async function fetchInto(cache: GitCache, errand: Errand): Promise<string> {
  const { ref, network, remote } = errand;
  if (ref.kind === 'commit') return fetchCommit(cache, errand, ref);
  const name = fullRefName(ref);
  await network.fetch(remote, cache, { depth: 1, refspecs: [`+${name}:${HEAD_REF}`] });
  const commit = await cache.head(remote.deadline);
  if (commit === undefined)
    throw new SourceError(REASON.gitOperationFailed, `${name} does not name a commit`);
  return commit;
}

async function fetchCommit(cache: GitCache, errand: Errand, { commit, branch }: CommitRef): Promise<string> {
  const { network, remote } = errand;
  if (branch !== undefined) {
    await network.fetch(remote, cache, {
      depth: ALL_HISTORY,
      refspecs: [`+refs/heads/${branch}:${HEAD_REF}`],
    });
    if (await cache.inHistory(commit, remote.deadline)) return commit;
    throw new SourceError(
      REASON.gitOperationFailed,
      `commit ${commit} (spec.ref.commit) is not in the history of branch '${branch}' (spec.ref.branch)`,
    );
  }
  try {
    await network.fetch(remote, cache, { depth: 1, refspecs: [`+${commit}:${HEAD_REF}`] });
  } catch (error) {
    // A server that only serves what its refs name: the commit may still be in their history.
    if (!(error instanceof GitExit) || !error.stderr.includes('unadvertised object')) throw error;
    const refspecs = ['+refs/heads/*:refs/signet/heads/*', '+refs/tags/*:refs/signet/tags/*'];
    await network.fetch(remote, cache, { depth: ALL_HISTORY, refspecs });
    if (!(await cache.hasWhole(commit, remote.deadline)))
      throw new SourceError(
        REASON.gitOperationFailed,
        `commit ${commit} (spec.ref.commit) is in no branch or tag`,
      );
    await cache.pointHeadAt(commit, remote.deadline);
  }
  return commit;
}
