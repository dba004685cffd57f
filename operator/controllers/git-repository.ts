/** GitRepository: from a repository's head to a published artifact. */

import { REASON } from '../api/conditions.ts';
import type {
  GitRepositoryStatusArtifact as Artifact,
  GitRepository,
  GitRepositorySpec,
  GitRepositoryStatus,
} from '../api/git-repository.gen.ts';
import { SOURCE_DIGEST_ANNOTATION, SOURCE_REVISION_ANNOTATION } from '../api/names.ts';
import { SECRET } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { type ConditionPolicy, fluxPolicy } from '../runtime/condition-policy.ts';
import {
  failed,
  type Outcome,
  type ReconcileContext,
  type Reconciler,
  stalled,
  step,
} from '../runtime/reconciler.ts';
import type { ArtifactStore } from '../source/artifact-store.ts';
import { credentialsFromSecret, type GitCredentials, type SecretData } from '../source/credentials.ts';
import { SourceError } from '../source/errors.ts';
import type { FetchedCommit, GitFetcher, GitRequest, ResolvedRevision } from '../source/git.ts';
import { selectRef } from '../source/git-ref.ts';
import { parseRepositoryUrl } from '../source/repository-url.ts';
import { type Jitter, specDurationMs } from './intervals.ts';
import { type UnsupportedField, unsupportedMessage } from './unsupported.ts';

/** What fetching works with. */
export interface GitRepositoryDependencies {
  client: KubeClient;
  git: GitFetcher;
  store: ArtifactStore;
  jitter: Jitter;
}

type Context = ReconcileContext<GitRepositoryStatus>;

const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_INTERVAL_MS = 60_000;
const SUBJECT_LENGTH = 50;

const UNSUPPORTED: readonly UnsupportedField<GitRepositorySpec>[] = [
  { field: 'verify', used: (spec) => spec.verify !== undefined },
  { field: 'proxySecretRef', used: (spec) => spec.proxySecretRef !== undefined },
  { field: 'recurseSubmodules', used: (spec) => spec.recurseSubmodules === true },
  { field: 'include', used: (spec) => (spec.include ?? []).length > 0 },
  { field: 'sparseCheckout', used: (spec) => (spec.sparseCheckout ?? []).length > 0 },
  { field: 'serviceAccountName', used: (spec) => spec.serviceAccountName !== undefined },
  { field: 'provider', used: (spec) => (spec.provider ?? 'generic') !== 'generic' },
];

/** Conditions of a GitRepository: what is True only while something is wrong, and what follows from the artifact. */
export const GIT_REPOSITORY_POLICY: ConditionPolicy<GitRepositoryStatus> = fluxPolicy<GitRepositoryStatus>({
  summary: 'Ready',
  successReason: REASON.succeeded,
  failureReason: REASON.gitOperationFailed,
  progressMessage: 'reconciliation in progress',
  negative: {
    FetchFailed: [
      REASON.urlInvalid,
      REASON.gitOperationFailed,
      REASON.authenticationFailed,
      REASON.emptyGitRepository,
    ],
    StorageOperationFailed: [REASON.archiveOperationFailed],
  },
  derived: {
    ArtifactInStorage: ({ artifact }) =>
      artifact === undefined
        ? undefined
        : {
            status: 'True',
            reason: REASON.succeeded,
            message: `stored artifact for revision '${artifact.revision}'`,
          },
  },
});

/** Resolves the ref, and fetches and publishes only when it means something else than what is published. */
export function gitRepositoryReconciler(
  dependencies: GitRepositoryDependencies,
): Reconciler<GitRepositorySpec, GitRepositoryStatus> {
  const { store, git, jitter } = dependencies;
  return {
    async reconcile(repository, context) {
      const request = await requestOf(repository, dependencies, context);
      const head = await sourceStep(() => git.resolve(request));
      const requeueAfterMs = jitter(specDurationMs(repository.spec.interval, DEFAULT_INTERVAL_MS));
      const current = await currentArtifact(repository, dependencies, context);
      if (current !== undefined && !needsPublishing(repository, head, current)) {
        return { message: storedMessage(current), requeueAfterMs };
      }
      context.progress(REASON.progressing, `building artifact: new revision '${head.revision}'`);
      const published = await publish({ repository, request, head, dependencies, context });
      return { ...published, requeueAfterMs };
    },

    async finalize(repository) {
      const { namespace = '', name } = repository.metadata;
      await store.removeAll({ kind: 'GitRepository', namespace, name });
      await git.remove(cacheKey(repository));
    },
  };
}

async function requestOf(
  repository: GitRepository,
  { client }: GitRepositoryDependencies,
  context: Context,
): Promise<GitRequest> {
  const { spec } = repository;
  const refusal = unsupportedMessage(spec, UNSUPPORTED);
  if (refusal !== undefined) stalled(REASON.gitOperationFailed, refusal);
  return sourceStep(async () => {
    parseRepositoryUrl(spec.url);
    const ref = selectRef(spec.ref);
    const credentials = await readCredentials(repository, client, context);
    const timeoutMs = specDurationMs(spec.timeout, DEFAULT_TIMEOUT_MS);
    return { key: cacheKey(repository), url: spec.url, ref, credentials, signal: context.signal, timeoutMs };
  });
}

async function readCredentials(
  repository: GitRepository,
  client: KubeClient,
  context: Context,
): Promise<GitCredentials | undefined> {
  const name = repository.spec.secretRef?.name;
  if (name === undefined) return undefined;
  const { namespace = '' } = repository.metadata;
  const secret = await client.get<SecretObject>(SECRET, { namespace, name }, { signal: context.signal });
  if (secret === undefined) {
    failed(
      REASON.authenticationFailed,
      `Secret ${namespace}/${name}, which spec.secretRef names, does not exist`,
    );
  }
  return credentialsFromSecret(secret.data, `Secret ${namespace}/${name}`);
}

type SecretObject = NonNullable<Awaited<ReturnType<KubeClient['get']>>> & { data?: SecretData };

/** The artifact in status if it can still be served; else it is taken out of status and what was lost is said. */
async function currentArtifact(
  repository: GitRepository,
  { store }: GitRepositoryDependencies,
  context: Context,
): Promise<Artifact | undefined> {
  const artifact = repository.status?.artifact;
  if (artifact === undefined) return undefined;
  const state = await store.verify(artifact, context.signal);
  if (state !== 'present') {
    context.record({ artifact: null });
    const message = `artifact for revision '${artifact.revision}' is ${state} in storage: building it again`;
    context.event({ type: 'Warning', reason: REASON.artifactVerificationFailed, message });
    return undefined;
  }
  const current = store.readvertise(artifact);
  if (current.url !== artifact.url) context.record({ artifact: current });
  return current;
}

function needsPublishing(repository: GitRepository, head: ResolvedRevision, current: Artifact): boolean {
  const { spec, status } = repository;
  return head.revision !== current.revision || (spec.ignore ?? '') !== (status?.observedIgnore ?? '');
}

async function publish(o: {
  repository: GitRepository;
  request: GitRequest;
  head: ResolvedRevision;
  dependencies: GitRepositoryDependencies;
  context: Context;
}): Promise<Outcome> {
  const { repository, request, head, context } = o;
  const { git, store } = o.dependencies;
  const { namespace = '', name } = repository.metadata;
  const fetched = await sourceStep(() => git.fetch({ ...request, commit: head.commit }));
  const artifact = await sourceStep(async () => {
    const { commit, revision } = fetched;
    const tree = await git.tree({ key: request.key, url: request.url, commit, signal: context.signal });
    return store.publish({
      kind: 'GitRepository',
      namespace,
      name,
      revision,
      commit,
      tree,
      ignore: repository.spec.ignore,
      signal: context.signal,
    });
  });
  context.record({ artifact, observedIgnore: repository.spec.ignore ?? null });
  context.event(newArtifactEvent(artifact, fetched));
  await store.collectGarbage({ kind: 'GitRepository', namespace, name, keep: artifact });
  return { message: storedMessage(artifact) };
}

function newArtifactEvent(artifact: Artifact, { subject }: FetchedCommit): Parameters<Context['event']>[0] {
  const shown = subject.length > SUBJECT_LENGTH ? `${subject.slice(0, SUBJECT_LENGTH)}...` : subject;
  return {
    type: 'Normal',
    reason: REASON.newArtifact,
    message: `stored artifact for commit '${shown}'`,
    annotations: {
      [SOURCE_REVISION_ANNOTATION]: artifact.revision,
      [SOURCE_DIGEST_ANNOTATION]: artifact.digest,
    },
  };
}

function storedMessage(artifact: Artifact): string {
  return `stored artifact for revision '${artifact.revision}'`;
}

function cacheKey({ metadata: { namespace = '', name } }: GitRepository): string {
  return `gitrepository/${namespace}/${name}`;
}

/** A step of the source room: its errors bring their own reason, and say when only a new spec can help. */
function sourceStep<T>(work: () => Promise<T>): Promise<T> {
  return step(REASON.gitOperationFailed, async () => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      const { reason, message } = error;
      return error.stalled
        ? stalled(reason, message, { cause: error })
        : failed(reason, message, { cause: error });
    }
  });
}
