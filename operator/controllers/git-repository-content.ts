/** From what a ref means now to the artifact: verified, put together from all that the spec asks for, published. */

import { REASON } from '../api/conditions.ts';
import type {
  GitRepositoryStatusArtifact as Artifact,
  GitRepository,
  GitRepositoryStatus,
} from '../api/git-repository.gen.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Facts, ReconcileContext } from '../runtime/reconciler.ts';
import type { ArtifactStore } from '../source/artifact-store.ts';
import type { FetchedCommit, GitFetcher, GitRequest, ResolvedRevision } from '../source/git.ts';
import { mountTrees } from '../source/mounted-tree.ts';
import type { SourceTree } from '../source/source-tree.ts';
import { isWithin, sparseTree } from '../source/sparse-tree.ts';
import { withSubmodules } from '../source/submodules.ts';
import { ARTIFACT_OUTDATED } from './git-repository-conditions.ts';
import {
  findIncluded,
  type Included,
  type IncludeSources,
  includedFacts,
  includesChanged,
  withIncluded,
} from './git-repository-includes.ts';
import { ownerOf, type Published, shortened } from './git-repository-storage.ts';
import { verificationOf, verify } from './git-repository-verification.ts';
import { sourceStep } from './source-step.ts';

/** A pass that knows what the ref means. */
export interface ContentRequest {
  repository: GitRepository;
  request: GitRequest;
  head: ResolvedRevision;
  /** What is published and still there. */
  current: Artifact | undefined;
  dependencies: ContentDependencies;
  context: ReconcileContext<GitRepositoryStatus>;
}

/** What the content comes from and goes to. */
export interface ContentDependencies {
  client: KubeClient;
  git: GitFetcher;
  store: ArtifactStore;
  includes: IncludeSources;
}

/**
 * The artifact of what the ref means, with the spec's content options: the current one when neither has changed, else
 * a new one. A revision that fails its verification is not published.
 */
export async function publishedContent(o: ContentRequest): Promise<Published> {
  const { repository, request, head, current, dependencies, context } = o;
  const { client, git, includes } = dependencies;
  const verification = await verificationOf(repository, head, client, context);
  const included = findIncluded(repository, includes);
  const stays = optionsChanged(repository, included) ? undefined : current;
  if (stays?.revision === head.revision && verification?.isDue !== true)
    return { artifact: stays, subject: stays.revision };
  if (repository.status?.artifact?.revision !== head.revision) {
    const message = `building artifact: new upstream revision '${head.revision}'`;
    context.progress(REASON.progressing, message);
  }
  const fetched = await sourceStep(() => git.fetch({ ...request, ...head }));
  if (verification !== undefined) {
    const { commit } = fetched;
    const objects = await sourceStep(() => git.rawObjects({ ...request, commit }));
    await verify(verification, { ...objects, id: commit }, context);
  }
  if (stays?.revision === fetched.revision) return { artifact: stays, subject: shortened(fetched.subject) };
  claimOutdated(repository, fetched, included, context);
  const artifact = await publish(o, fetched, included);
  context.record({ artifact, ...optionFacts(repository, included) });
  return { artifact, subject: shortened(fetched.subject) };
}

/** Seen where publishing then fails: the artifact that is served is not what is known. */
function claimOutdated(
  { status }: GitRepository,
  { revision }: FetchedCommit,
  included: readonly Included[],
  context: ContentRequest['context'],
): void {
  if (status?.artifact === undefined) return;
  if (status.artifact.revision !== revision) {
    const message = `new upstream revision '${revision}'`;
    context.claim(ARTIFACT_OUTDATED, { status: 'True', reason: REASON.newRevision, message });
  } else if (includesChanged(status, included)) {
    const message = 'an included artifact has changed';
    context.claim(ARTIFACT_OUTDATED, { status: 'True', reason: REASON.includeChange, message });
  }
}

async function publish(
  { repository, request, dependencies, context: { signal } }: ContentRequest,
  { commit, revision }: FetchedCommit,
  included: readonly Included[],
): Promise<Artifact> {
  const { git, store, includes } = dependencies;
  const { ignore, recurseSubmodules, sparseCheckout = [] } = repository.spec;
  return sourceStep(() =>
    withIncluded(included, includes, signal, async (mounts) => {
      const { key, url } = request;
      let tree: SourceTree = await git.tree({ key, url, commit, signal });
      const wanted = (path: string): boolean => isWithin(sparseCheckout, path);
      if (recurseSubmodules === true) tree = await withSubmodules(git, tree, { ...request, wanted });
      else await git.keepSubmodules(key, new Set());
      tree = mountTrees(sparseTree(tree, sparseCheckout), mounts);
      return store.publish({ ...ownerOf(repository), revision, commit, tree, ignore, signal });
    }),
  );
}

function optionsChanged({ spec, status }: GitRepository, included: readonly Included[]): boolean {
  return (
    (spec.ignore ?? '') !== (status?.observedIgnore ?? '') ||
    (spec.recurseSubmodules ?? false) !== (status?.observedRecurseSubmodules ?? false) ||
    JSON.stringify(spec.sparseCheckout ?? []) !== JSON.stringify(status?.observedSparseCheckout ?? []) ||
    includesChanged(status, included)
  );
}

/** What the artifact was made with. */
function optionFacts({ spec }: GitRepository, included: readonly Included[]): Facts<GitRepositoryStatus> {
  const sparse = spec.sparseCheckout ?? [];
  return {
    observedIgnore: spec.ignore ?? null,
    observedRecurseSubmodules: spec.recurseSubmodules === true ? true : null,
    observedSparseCheckout: sparse.length === 0 ? null : sparse,
    ...includedFacts(included),
  };
}
