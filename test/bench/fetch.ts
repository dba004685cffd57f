/**
 * What a push costs on a big repository: 20,000 files, 200 MB of history. One file changes; from the end of the push
 * to the published artifact, as the controller does it (the stored artifact verified beside `ls-remote`, fetch,
 * archive), against what a controller without a cache does: `git clone --depth 1` and the same archive step.
 *
 *     npm run bench -- fetch            both in turns, in one run; fails when the median ratio is above 0.25
 */

import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { git as runGit } from '../../hack/cluster/git-process.ts';
import { GitServer } from '../../hack/cluster/git-server.ts';
import { Repository } from '../../hack/cluster/repository.ts';
import { SILENT } from '../../operator/api/logger.ts';
import type { Artifact } from '../../operator/source/artifact.ts';
import { ArtifactStore } from '../../operator/source/artifact-store.ts';
import { GitFetcher } from '../../operator/source/git.ts';
import { GitCache } from '../../operator/source/git-cache.ts';
import { readTree } from '../../operator/source/git-tree.ts';
import { fillBigRepository, manifest, pathOf } from '../support/big-repository.ts';

const FILES = 20_000;
const HISTORY_BYTES = 200 * 1024 * 1024;
const COMMITS = 50;
const ROUNDS = 7;
const LARGEST_RATIO = 0.25;
const OWNER = { kind: 'GitRepository', namespace: 'bench', name: 'fleet' } as const;
const KEY = 'gitrepository/bench/fleet';

let theirDigest: string | undefined;
const directory = await mkdtemp(join(tmpdir(), 'signet-bench-fetch-'));
const { signal } = new AbortController();

mkdirSync(join(directory, 'repositories'));
const server = await GitServer.start({ directory: join(directory, 'repositories') });
try {
  const url = await server.createRepository('fleet');
  print(`making a repository of ${FILES} files and ${HISTORY_BYTES / 1024 / 1024} MB of history`);
  await fillBigRepository({
    directory: join(directory, 'repositories', 'fleet.git'),
    files: FILES,
    historyBytes: HISTORY_BYTES,
    commits: COMMITS,
  });
  await compare(url);
} finally {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
}

async function compare(url: string): Promise<void> {
  const work = await Repository.clone(url, join(directory, 'work'));
  const signet = await follower(url);
  const firstMs = await timed(() => signet.publish());
  print(`first artifact, from nothing: ${firstMs.toFixed(0)} ms, ${signet.artifact()?.size} bytes`);
  const ratios: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const changed = (round * 2_777) % FILES;
    work.write({ [pathOf(changed)]: manifest(changed, round + 2).toString() });
    const commit = await work.commit(`Change ${round}`);
    await work.push(url);
    const ours = await timed(() => signet.publish());
    const theirs = await timed(() => cloneAndArchive(url, commit, round));
    ratios.push(ours / theirs);
    print(`push to artifact ${ours.toFixed(0)} ms, clone and archive ${theirs.toFixed(0)} ms`);
    if (theirDigest !== signet.artifact()?.digest) throw new Error('the two artifacts differ');
  }
  const median = ratios.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? Number.NaN;
  print(`ratio: median ${median.toFixed(3)} of ${ratios.map((each) => each.toFixed(3)).join(' ')}`);
  if (!(median <= LARGEST_RATIO)) {
    process.exitCode = 1;
    print(`above ${LARGEST_RATIO}`);
  }
}

/** What the controller does in a pass, without its status. */
async function follower(url: string) {
  const git = new GitFetcher({ cacheRoot: join(directory, 'cache'), logger: SILENT });
  const store = new ArtifactStore({ root: join(directory, 'artifacts'), advertisedAddress: 'source' });
  const request = {
    key: KEY,
    url,
    ref: { kind: 'branch', branch: 'main' },
    signal,
    timeoutMs: 600_000,
  } as const;
  let current: Artifact | undefined;
  const verified = async (): Promise<void> => {
    if (current !== undefined && (await store.verify(current, signal)) !== 'present') throw new Error('lost');
  };
  const publish = async (): Promise<void> => {
    const [{ commit: head }] = await Promise.all([git.resolve(request), verified()]);
    const { commit, revision } = await git.fetch({ ...request, commit: head });
    const tree = await git.tree({ ...request, commit });
    current = await store.publish({ ...OWNER, revision, commit, tree, signal });
    await store.collectGarbage({ ...OWNER, keep: current });
  };
  return { publish, artifact: () => current };
}

async function cloneAndArchive(url: string, commit: string, round: number): Promise<void> {
  const clone = join(directory, `clone-${round}`);
  await runGit(directory, ['clone', '--quiet', '--depth=1', '--single-branch', '--branch=main', url, clone]);
  const tool = { binary: 'git', searchPath: process.env.PATH ?? '', extra: {} };
  const cache = new GitCache(join(clone, '.git'), tool);
  const damaged = async (error: unknown): Promise<never> => Promise.reject(error);
  const tree = await readTree({ cache, tool, commit, signal, damaged });
  const store = new ArtifactStore({ root: join(directory, `fresh-${round}`), advertisedAddress: 'source' });
  const artifact = await store.publish({ ...OWNER, revision: `main@sha1:${commit}`, commit, tree, signal });
  theirDigest = artifact.digest;
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedAtMs = performance.now();
  await work();
  return performance.now() - startedAtMs;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
