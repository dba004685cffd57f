/** Which tag a version range stands for. */

import { REASON } from '../api/conditions.ts';
import { SourceError } from './errors.ts';
import type { GitCache } from './git-cache.ts';
import type { GitNetwork, Remote } from './git-network.ts';
import { newestTags, type VersionRange } from './semver.ts';

const TAGS = 'refs/tags/';

/**
 * The tag of the newest version within the range. Of tags that differ only in `v` or build metadata, the one whose
 * commit was made last counts (Flux's rule), then the last by name: their commits are looked at in `scratch`, which
 * is removed.
 * @throws SourceError `GitOperationFailed` when no tag is within the range
 */
export async function tagOfRange(o: {
  text: string;
  range: VersionRange;
  /** The server's tags, annotated ones also peeled (`<name>^{}`). */
  refs: ReadonlyMap<string, string>;
  remote: Remote;
  network: GitNetwork;
  scratch: GitCache;
}): Promise<string> {
  const names = [...o.refs.keys()].filter((name) => name.startsWith(TAGS) && !name.endsWith('^{}'));
  const tags = newestTags(
    o.range,
    names.map((name) => name.slice(TAGS.length)),
  ).sort();
  const [first] = tags;
  if (first === undefined)
    throw new SourceError(REASON.gitOperationFailed, `no match found for semver: ${o.text}`);
  const commits = tags.map((tag) => o.refs.get(`${TAGS}${tag}^{}`) ?? o.refs.get(TAGS + tag));
  if (new Set(commits).size === 1) return tags.at(-1) ?? first;
  const times = await commitTimes(tags, o);
  return tags.reduce((best, tag) => ((times.get(tag) ?? 0) >= (times.get(best) ?? 0) ? tag : best), first);
}

/** Seconds since 1970 at which each tag's commit was committed. */
async function commitTimes(
  tags: readonly string[],
  { remote, network, scratch }: { remote: Remote; network: GitNetwork; scratch: GitCache },
): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  try {
    await scratch.prepare(remote.deadline);
    const refspecs = tags.map((tag, index) => `+${TAGS}${tag}:refs/signet/${index}`);
    await network.fetch(remote, scratch, { depth: 1, refspecs, commitsOnly: true });
    for (const [index, tag] of tags.entries()) {
      const args = ['log', '-1', '--format=%ct', `refs/signet/${index}`];
      times.set(tag, Number(await scratch.run(args, remote.deadline)));
    }
    return times;
  } finally {
    await scratch.remove();
  }
}
