/** GitRepository's conditions. */

import { REASON } from '../api/conditions.ts';
import type { GitRepositoryStatus } from '../api/git-repository.gen.ts';
import { type ConditionPolicy, fluxPolicy } from '../runtime/condition-policy.ts';

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
      REASON.invalidProviderConfiguration,
    ],
    IncludeUnavailable: [REASON.notFound, REASON.noArtifact, REASON.copyFailure, REASON.includeCycle],
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

/** The condition that says whether, and by whom, the revision is signed; the reconciler's own to set. */
export const SOURCE_VERIFIED = 'SourceVerified';

/** The condition that says that something newer than the artifact is known; the reconciler's own to set. */
export const ARTIFACT_OUTDATED = 'ArtifactOutdated';

/** True when the pass before found something wrong: by a condition that exists only then, or by no signature. */
export function hasFailed(status: GitRepositoryStatus | undefined): boolean {
  const negative = Object.keys(GIT_REPOSITORY_POLICY.negative);
  return (status?.conditions ?? []).some((c) =>
    c.type === SOURCE_VERIFIED ? c.status === 'False' : negative.includes(c.type) && c.status === 'True',
  );
}
