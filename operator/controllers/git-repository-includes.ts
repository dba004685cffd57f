/** `spec.include` of a GitRepository: which artifacts of others go into its own, and who is to hear of a new one. */

import { join, posix } from 'node:path';
import { REASON } from '../api/conditions.ts';
import type {
  GitRepositoryStatusArtifact as Artifact,
  GitRepository,
  GitRepositorySpecIncludeItem,
  GitRepositoryStatus,
} from '../api/git-repository.gen.ts';
import { keyOf, objectKey } from '../api/resources.ts';
import type { Informer } from '../kube/informers.ts';
import type { Store } from '../kube/store.ts';
import type { Runnable } from '../runtime/manager.ts';
import { failed, waiting } from '../runtime/reconciler.ts';
import type { ArtifactReader, OpenArtifact } from '../source/artifact-reader.ts';
import { ArtifactUnavailable, messageOf, systemErrorCode } from '../source/errors.ts';
import { fileTree, folderTree } from '../source/folder-tree.ts';
import type { Mount } from '../source/mounted-tree.ts';
import { normalizePath } from '../source/tree-path.ts';

/** What is included, and what it is now. */
export interface Included {
  include: GitRepositorySpecIncludeItem;
  artifact: Artifact;
}

/** Where included artifacts come from. */
export interface IncludeSources {
  repositories: () => Pick<Store<GitRepository>, 'get'>;
  artifacts: ArtifactReader;
  /** How long to wait for an artifact that isn't there; its coming is noticed at once all the same. */
  requeueDependencyMs: number;
}

/**
 * The artifacts that `spec.include` names, in its order. Ends the pass, `IncludeUnavailable`, when one is not there, or
 * when repositories include each other: each new artifact would be the reason for another one.
 */
export function findIncluded(repository: GitRepository, sources: IncludeSources): Included[] {
  const repositories = sources.repositories();
  const { namespace = '' } = repository.metadata;
  const wait = (reason: string, message: string): never =>
    waiting(reason, message, sources.requeueDependencyMs);
  return (repository.spec.include ?? []).map((include) => {
    const { name } = include.repository;
    const other = repositories.get(keyOf({ namespace, name }));
    if (other === undefined)
      return wait(
        REASON.notFound,
        `could not get resource for include '${name}': GitRepository ${namespace}/${name} does not exist`,
      );
    const chain = chainTo(repository.metadata.name, other, repositories);
    if (chain !== undefined)
      return wait(
        REASON.includeCycle,
        `spec.include leads back to this repository: ${[repository.metadata.name, ...chain].join(' -> ')}`,
      );
    const artifact = other.status?.artifact;
    if (artifact === undefined) return wait(REASON.noArtifact, `no artifact available for include '${name}'`);
    return { include, artifact };
  });
}

/** The status fields that say what was included. */
export function includedFacts(included: readonly Included[]): {
  [Field in 'includedArtifacts' | 'observedInclude']: GitRepositoryStatus[Field] | null;
} {
  if (included.length === 0) return { includedArtifacts: null, observedInclude: null };
  return {
    includedArtifacts: included.map(({ artifact }) => artifact),
    observedInclude: included.map(({ include }) => include),
  };
}

/** True when other artifacts, or the same in other places, are included than status says. */
export function includesChanged(
  status: GitRepositoryStatus | undefined,
  included: readonly Included[],
): boolean {
  const before = (status?.observedInclude ?? []).map((include, index) =>
    summary(include, status?.includedArtifacts?.[index]),
  );
  const now = included.map(({ include, artifact }) => summary(include, artifact));
  return JSON.stringify(before) !== JSON.stringify(now);
}

/**
 * Opens the artifacts and hands `work` what to mount. `fromPath` is a directory or a file; neither path leads out of
 * its tree.
 */
export async function withIncluded<T>(
  included: readonly Included[],
  sources: IncludeSources,
  signal: AbortSignal,
  work: (mounts: Mount[]) => Promise<T>,
): Promise<T> {
  const opened: OpenArtifact[] = [];
  try {
    const mounts: Mount[] = [];
    for (const { include, artifact } of included) {
      const open = await openArtifact(include, artifact, sources, signal);
      opened.push(open);
      mounts.push(await mountOf(include, artifact, open.directory));
    }
    return await work(mounts);
  } finally {
    for (const { release } of opened) release();
  }
}

/** Wakes those who include a repository when its artifact is another. */
export function includeWatch(
  repositories: Informer<GitRepository>,
  enqueue: (key: string) => void,
): Runnable {
  const includers = new Map<string, Set<string>>();
  let unsubscribe = (): void => {};
  return {
    name: 'include watch',
    async start() {
      unsubscribe = repositories.subscribe((event) => {
        if (event.type !== 'added') forget(includers, event.key);
        if (event.type === 'deleted') return;
        for (const name of includedKeys(event.kept)) remember(includers, name, event.key);
        if (artifactChanged(event.previous, event.kept))
          for (const includer of includers.get(event.key) ?? []) enqueue(includer);
      });
    },
    async stop() {
      unsubscribe();
    },
  };
}

function artifactChanged(previous: GitRepository | undefined, current: GitRepository): boolean {
  const [before, after] = [previous?.status?.artifact, current.status?.artifact];
  return after !== undefined && (before?.revision !== after.revision || before.digest !== after.digest);
}

function includedKeys({ spec, metadata: { namespace = '' } }: GitRepository): string[] {
  return (spec.include ?? []).map(({ repository: { name } }) => keyOf({ namespace, name }));
}

function remember(includers: Map<string, Set<string>>, included: string, includer: string): void {
  const users = includers.get(included) ?? new Set();
  includers.set(included, users.add(includer));
}

function forget(includers: Map<string, Set<string>>, includer: string): void {
  for (const [included, users] of includers)
    if (users.delete(includer) && users.size === 0) includers.delete(included);
}

/** The names from `from` to the repository called `name`, over what includes what; undefined when there is no way. */
function chainTo(
  name: string,
  from: GitRepository,
  repositories: Pick<Store<GitRepository>, 'get'>,
  seen = new Set<string>(),
): string[] | undefined {
  if (from.metadata.name === name) return [name];
  if (seen.has(objectKey(from))) return undefined;
  seen.add(objectKey(from));
  for (const key of includedKeys(from)) {
    const next = repositories.get(key);
    const rest = next && chainTo(name, next, repositories, seen);
    if (rest !== undefined) return [from.metadata.name, ...rest];
  }
  return undefined;
}

function summary(include: GitRepositorySpecIncludeItem, artifact: Artifact | undefined): unknown[] {
  const { repository, fromPath = '', toPath = '' } = include;
  return [repository.name, fromPath, toPath, artifact?.revision, artifact?.digest];
}

async function openArtifact(
  { repository }: GitRepositorySpecIncludeItem,
  artifact: Artifact,
  { artifacts, requeueDependencyMs }: IncludeSources,
  signal: AbortSignal,
): Promise<OpenArtifact> {
  try {
    return await artifacts.open(artifact, signal);
  } catch (error) {
    if (!(error instanceof ArtifactUnavailable)) throw error;
    const message = `no artifact available for include '${repository.name}': ${error.message}`;
    return waiting(REASON.noArtifact, message, requeueDependencyMs);
  }
}

async function mountOf(
  include: GitRepositorySpecIncludeItem,
  { digest }: Artifact,
  folder: string,
): Promise<Mount> {
  const { name } = include.repository;
  const from = normalizePath(include.fromPath ?? '');
  const to = normalizePath(include.toPath || name);
  const what = `include '${name}'`;
  try {
    return { at: to, what, tree: await folderTree(join(folder, from), `${digest}\0${from}`) };
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOTDIR' && to !== '') {
      const tree = await fileTree(join(folder, from), { id: `${digest}\0${from}`, name: posix.basename(to) });
      return { at: posix.dirname(to).replace(/^\.$/, ''), what, tree };
    }
    const missing = code === 'ENOENT' || code === 'ENOTDIR';
    return failed(
      REASON.copyFailure,
      `failed to copy '${name}' include from ${include.fromPath ?? '.'} to ${to}: ${missing ? 'spec.include names a path that its artifact does not have' : messageOf(error)}`,
    );
  }
}
