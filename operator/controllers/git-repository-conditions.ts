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

/** True when the pass before ended in one of the conditions that exist only while something is wrong. */
export function hasFailed(status: GitRepositoryStatus | undefined): boolean {
  const negative = Object.keys(GIT_REPOSITORY_POLICY.negative);
  return (status?.conditions ?? []).some((c) => negative.includes(c.type) && c.status === 'True');
}
