/** GitRepository: from a repository's head to a published artifact. */

import { REASON } from '../api/conditions.ts';
import type { GitRepository, GitRepositorySpec, GitRepositoryStatus } from '../api/git-repository.gen.ts';
import { objectKey } from '../api/resources.ts';
import { type ReconcileContext, type Reconciler, stalled, step } from '../runtime/reconciler.ts';
import type { GitRequest, ResolvedRevision } from '../source/git.ts';
import { selectRef } from '../source/git-ref.ts';
import type { GitHubAppTokens } from '../source/github-app.ts';
import { parseRepositoryUrl } from '../source/repository-url.ts';
import { readGitCredentials } from './git-credentials.ts';
import { ARTIFACT_OUTDATED } from './git-repository-conditions.ts';
import { type ContentDependencies, publishedContent } from './git-repository-content.ts';
import { collectGarbage, currentArtifact, ownerOf, tell } from './git-repository-storage.ts';
import { type Jitter, specDurationMs } from './intervals.ts';
import { sourceStep } from './source-step.ts';
import { type UnsupportedField, unsupportedMessage } from './unsupported.ts';
import { WebhookRefused, type Webhooks } from './webhooks.ts';

/** What fetching works with. */
export interface GitRepositoryDependencies extends ContentDependencies {
  webhooks: Webhooks;
  gitHubApps: GitHubAppTokens;
  jitter: Jitter;
}

type Context = ReconcileContext<GitRepositoryStatus>;

const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_INTERVAL_MS = 60_000;

const UNSUPPORTED: readonly UnsupportedField<GitRepositorySpec>[] = [
  { field: 'serviceAccountName', used: (spec) => spec.serviceAccountName !== undefined },
  { field: 'provider', used: ({ provider }) => provider === 'aws' || provider === 'azure' },
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
      const published = await publishedContent({ repository, request, head, current, dependencies, context });
      context.claim(ARTIFACT_OUTDATED, undefined);
      tell(repository, published, context);
      await collectGarbage(repository, published.artifact, store, context);
      return {
        message: `stored artifact for revision '${published.artifact.revision}'`,
        requeueAfterMs: jitter(specDurationMs(repository.spec.interval, DEFAULT_INTERVAL_MS)),
      };
    },

    async finalize(repository, context) {
      webhooks.forget(objectKey(repository));
      await step(REASON.archiveOperationFailed, async () => {
        await store.removeAll(ownerOf(repository));
        await git.remove(cacheKey(repository));
      });
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
  { client, gitHubApps }: GitRepositoryDependencies,
  context: Context,
): Promise<GitRequest> {
  const { spec } = repository;
  const refusal = unsupportedMessage(spec, UNSUPPORTED);
  if (refusal !== undefined) stalled(REASON.gitOperationFailed, refusal);
  return sourceStep(async () => {
    parseRepositoryUrl(spec.url);
    const ref = selectRef(spec.ref);
    const { signal } = context;
    const credentials = await readGitCredentials({ repository, client, gitHubApps, signal });
    const timeoutMs = specDurationMs(spec.timeout, DEFAULT_TIMEOUT_MS);
    return { key: cacheKey(repository), url: spec.url, ref, credentials, signal, timeoutMs };
  });
}

function cacheKey({ metadata: { namespace = '', name } }: GitRepository): string {
  return `gitrepository/${namespace}/${name}`;
}
