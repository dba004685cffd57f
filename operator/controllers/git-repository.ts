/** GitRepository: from a repository's head to a published artifact. */

import { REASON } from '../api/conditions.ts';
import type {
  GitRepositoryStatusArtifact as Artifact,
  GitRepository,
  GitRepositorySpec,
  GitRepositoryStatus,
} from '../api/git-repository.gen.ts';
import { objectKey } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { failed, type ReconcileContext, type Reconciler, stalled, step } from '../runtime/reconciler.ts';
import type { ArtifactStore } from '../source/artifact-store.ts';
import { SourceError } from '../source/errors.ts';
import type { GitFetcher, GitRequest, ResolvedRevision } from '../source/git.ts';
import { selectRef } from '../source/git-ref.ts';
import { parseRepositoryUrl } from '../source/repository-url.ts';
import { readGitCredentials } from './git-credentials.ts';
import {
  collectGarbage,
  currentArtifact,
  ownerOf,
  type Published,
  shortened,
  tell,
} from './git-repository-storage.ts';
import { type Jitter, specDurationMs } from './intervals.ts';
import { type UnsupportedField, unsupportedMessage } from './unsupported.ts';
import { WebhookRefused, type Webhooks } from './webhooks.ts';

/** What fetching works with. */
export interface GitRepositoryDependencies {
  client: KubeClient;
  git: GitFetcher;
  store: ArtifactStore;
  webhooks: Webhooks;
  jitter: Jitter;
}

type Context = ReconcileContext<GitRepositoryStatus>;

const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_INTERVAL_MS = 60_000;

const UNSUPPORTED: readonly UnsupportedField<GitRepositorySpec>[] = [
  { field: 'verify', used: (spec) => spec.verify !== undefined },
  { field: 'proxySecretRef', used: (spec) => spec.proxySecretRef !== undefined },
  { field: 'recurseSubmodules', used: (spec) => spec.recurseSubmodules === true },
  { field: 'include', used: (spec) => (spec.include ?? []).length > 0 },
  { field: 'sparseCheckout', used: (spec) => (spec.sparseCheckout ?? []).length > 0 },
  { field: 'serviceAccountName', used: (spec) => spec.serviceAccountName !== undefined },
  { field: 'provider', used: (spec) => (spec.provider ?? 'generic') !== 'generic' },
];

/** Resolves the ref, and fetches and publishes only when it means something else than what is published. */
export function gitRepositoryReconciler(
  dependencies: GitRepositoryDependencies,
): Reconciler<GitRepositorySpec, GitRepositoryStatus> {
  const { store, git, webhooks, jitter } = dependencies;
  return {
    async reconcile(repository, context) {
      // Side by side, for speed; what is lost from storage is said even when the server can't be asked.
      const [listening, stored, resolved] = await Promise.allSettled([
        listen(repository, webhooks, context),
        currentArtifact(repository, store, context),
        resolve(repository, dependencies, context),
      ]);
      outcomeOf(listening);
      const current = outcomeOf(stored);
      const { request, head } = outcomeOf(resolved);
      const published =
        current !== undefined && !needsPublishing(repository, head, current)
          ? { artifact: current, subject: current.revision }
          : await publish({ repository, request, head, dependencies, context });
      tell(repository, published, context);
      await collectGarbage(repository, published.artifact, store, context);
      return {
        message: `stored artifact for revision '${published.artifact.revision}'`,
        requeueAfterMs: jitter(specDurationMs(repository.spec.interval, DEFAULT_INTERVAL_MS)),
      };
    },

    async finalize(repository, context) {
      webhooks.forget(objectKey(repository));
      await store.removeAll(ownerOf(repository));
      await git.remove(cacheKey(repository));
      const message = 'garbage collected artifacts for deleted resource';
      context.event({ type: 'Normal', reason: REASON.garbageCollectionSucceeded, message });
    },
  };
}

/** What a promise that has settled would answer or throw. */
function outcomeOf<T>(settled: PromiseSettledResult<T>): T {
  if (settled.status === 'rejected') throw settled.reason;
  return settled.value;
}

/** A webhook that can't be had is said, and costs no more than that: the interval still looks. */
async function listen(repository: GitRepository, webhooks: Webhooks, context: Context): Promise<void> {
  try {
    const path = await webhooks.register(repository, context.signal);
    context.record({ webhookPath: path ?? null });
  } catch (error) {
    context.signal.throwIfAborted();
    context.record({ webhookPath: null });
    const known = error instanceof WebhookRefused;
    if (!known) context.logger.error('the webhook is not ready', { error });
    const message = known ? error.message : 'the webhook is not ready: the next pass tries again';
    context.event({ type: 'Warning', reason: REASON.webhookFailed, message });
  }
}

async function resolve(
  repository: GitRepository,
  dependencies: GitRepositoryDependencies,
  context: Context,
): Promise<{ request: GitRequest; head: ResolvedRevision }> {
  const request = await requestOf(repository, dependencies, context);
  return { request, head: await sourceStep(() => dependencies.git.resolve(request)) };
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
    const credentials = await readGitCredentials(repository, client, context.signal);
    const timeoutMs = specDurationMs(spec.timeout, DEFAULT_TIMEOUT_MS);
    return { key: cacheKey(repository), url: spec.url, ref, credentials, signal: context.signal, timeoutMs };
  });
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
}): Promise<Published> {
  const { repository, request, head, context } = o;
  const { git, store } = o.dependencies;
  const { signal } = context;
  if (repository.status?.artifact?.revision !== head.revision) {
    const message = `building artifact: new upstream revision '${head.revision}'`;
    context.progress(REASON.progressing, message);
  }
  const fetched = await sourceStep(() => git.fetch({ ...request, ...head }));
  const { ignore } = repository.spec;
  const artifact = await sourceStep(async () => {
    const { commit, revision } = fetched;
    const tree = await git.tree({ key: request.key, url: request.url, commit, signal });
    return store.publish({ ...ownerOf(repository), revision, commit, tree, ignore, signal });
  });
  context.record({ artifact, observedIgnore: ignore ?? null });
  return { artifact, subject: shortened(fetched.subject) };
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
