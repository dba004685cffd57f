import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { GitServer, type GitServerOptions } from '../../hack/cluster/git-server.ts';
import { Repository } from '../../hack/cluster/repository.ts';
import { SILENT } from '../../operator/api/logger.ts';
import type { Artifact } from '../../operator/source/artifact.ts';
import { ArtifactStore } from '../../operator/source/artifact-store.ts';
import { type FetchedCommit, GitFetcher, type GitRequest } from '../../operator/source/git.ts';
import type { GitRef } from '../../operator/source/git-ref.ts';
import { type GateOptions, GitGate } from './git-gate.ts';
import { useTemporaryDirectory } from './temporary-directory.ts';

/** A git server with one empty repository, a work copy to push from, and what the operator fetches with. */
export interface GitWorld {
  directory: string;
  server: GitServer;
  url: string;
  work: Repository;
  git: GitFetcher;
  store: ArtifactStore;
  /** A request about the repository's main branch. */
  request(o?: Partial<PlainRequest>): PlainRequest;
  /** Another fetcher, with a cache of its own unless told otherwise. */
  fetcher(o?: Partial<ConstructorParameters<typeof GitFetcher>[0]>): GitFetcher;
  /** Writes, commits and pushes to main; answers with the commit. */
  push(files: Record<string, string>): Promise<string>;
  /** Resolve, fetch and publish, as the controller does. */
  sync(o?: Partial<GitRequest>, git?: GitFetcher): Promise<{ fetched: FetchedCommit; artifact: Artifact }>;
  gate(o?: Omit<GateOptions, 'port'>): Promise<GitGate>;
  /** The folder of the only cache there is. */
  cacheDirectory: string;
}

/** About a ref that is no range: good for resolving and for fetching. */
type PlainRequest = Omit<GitRequest, 'ref'> & { ref: GitRef };

export const KEY = 'gitrepository/team/app';

/** Gives each test a {@link GitWorld} of its own. */
export function useGitWorld(options: Omit<GitServerOptions, 'directory'> = {}): () => GitWorld {
  const directory = useTemporaryDirectory();
  const gates: GitGate[] = [];
  let current: GitWorld | undefined;

  beforeEach('a git world', async () => {
    current = await makeWorld(directory(), options, gates);
  });

  afterEach('stop the git world', async () => {
    for (const gate of gates.splice(0)) await gate.stop();
    await current?.server.stop();
    current = undefined;
  });

  return () => {
    if (current === undefined) throw new Error('there is a git world only while a test runs');
    return current;
  };
}

async function makeWorld(
  directory: string,
  options: Omit<GitServerOptions, 'directory'>,
  gates: GitGate[],
): Promise<GitWorld> {
  mkdirSync(join(directory, 'repositories'));
  const server = await GitServer.start({ directory: join(directory, 'repositories'), ...options });
  const url = await server.createRepository('fleet');
  const login = options.credentials;
  const userinfo = login === undefined ? '' : `${login.username}:${encodeURIComponent(login.password)}@`;
  const pushUrl = url.replace('://', `://${userinfo}`);
  const work = await Repository.init(join(directory, 'work'));
  const cacheRoot = join(directory, 'cache');
  const fetcher: GitWorld['fetcher'] = (o) => new GitFetcher({ cacheRoot, logger: SILENT, ...o });
  const git = fetcher();
  const store = new ArtifactStore({ root: join(directory, 'data'), advertisedAddress: 'source' });
  const request: GitWorld['request'] = (o) => ({
    ...{ key: KEY, url, ref: { kind: 'branch', branch: 'main' }, timeoutMs: 30_000 },
    ...{ signal: new AbortController().signal, ...o },
  });
  return {
    ...{ directory, server, url, work, git, store, request, fetcher },
    async push(files) {
      work.write(files);
      const commit = await work.commit('Change something');
      await work.push(pushUrl);
      return commit;
    },
    async sync(o, by = git) {
      const wanted: GitRequest = { ...request(), ...o };
      const fetched = await by.fetch({ ...wanted, ...(await by.resolve(wanted)) });
      const tree = await by.tree({ ...wanted, commit: fetched.commit });
      const owner = { kind: 'GitRepository', namespace: 'team', name: 'app' } as const;
      const artifact = await store.publish({ ...owner, ...fetched, tree, signal: wanted.signal });
      return { fetched, artifact };
    },
    async gate(o) {
      const gate = await GitGate.start({ port: server.port, ...o });
      gates.push(gate);
      return gate;
    },
    cacheDirectory: join(cacheRoot, KEY),
  };
}
