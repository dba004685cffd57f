/** Condition types, reasons (Flux's and Sealed Secrets' own strings) and the pure rules for merging conditions. */

import type { Condition } from './objects.ts';

/** Condition types: the Flux kinds have all but the last two, which are SealedSecret's. */
export const READY = 'Ready';
export const RECONCILING = 'Reconciling';
export const STALLED = 'Stalled';
export const HEALTHY = 'Healthy';
export const ARTIFACT_IN_STORAGE = 'ArtifactInStorage';
export const FETCH_FAILED = 'FetchFailed';
export const STORAGE_OPERATION_FAILED = 'StorageOperationFailed';
export const SYNCED = 'Synced';
/** There while a SealedSecret adds to a Secret that isn't its own; Sealed Secrets has no such condition. */
export const PATCHING = 'Patching';

/** Reasons of conditions and events. */
export const REASON = {
  succeeded: 'Succeeded',
  progressing: 'Progressing',
  progressingWithRetry: 'ProgressingWithRetry',
  // GitRepository
  urlInvalid: 'URLInvalid',
  gitOperationFailed: 'GitOperationFailed',
  gitOperationSucceeded: 'GitOperationSucceeded',
  authenticationFailed: 'AuthenticationFailed',
  emptyGitRepository: 'EmptyGitRepository',
  invalidProviderConfiguration: 'InvalidProviderConfiguration',
  newArtifact: 'NewArtifact',
  newRevision: 'NewRevision',
  includeChange: 'IncludeChange',
  webhookFailed: 'WebhookFailed',
  garbageCollectionSucceeded: 'GarbageCollectionSucceeded',
  garbageCollectionFailed: 'GarbageCollectionFailed',
  archiveOperationFailed: 'ArchiveOperationFailed',
  artifactVerificationFailed: 'ArtifactVerificationFailed',
  notFound: 'NotFound',
  noArtifact: 'NoArtifact',
  copyFailure: 'CopyFailure',
  includeCycle: 'IncludeCycle',
  verificationError: 'VerificationError',
  invalidVerificationMode: 'InvalidVerificationMode',
  invalidGitObject: 'InvalidGitObject',
  invalidCommitSignature: 'InvalidCommitSignature',
  invalidTagSignature: 'InvalidTagSignature',
  // Kustomization
  reconciliationSucceeded: 'ReconciliationSucceeded',
  reconciliationFailed: 'ReconciliationFailed',
  artifactFailed: 'ArtifactFailed',
  buildFailed: 'BuildFailed',
  pruneFailed: 'PruneFailed',
  healthCheckFailed: 'HealthCheckFailed',
  dependencyNotReady: 'DependencyNotReady',
  accessDenied: 'AccessDenied',
  driftCorrected: 'DriftCorrected',
  // SealedSecret
  unsealed: 'Unsealed',
  errUnsealFailed: 'ErrUnsealFailed',
  errUpdateFailed: 'ErrUpdateFailed',
  notManaged: 'NotManaged',
} as const;

/** The condition of the given type, if there. */
export function findCondition(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/** True when two conditions say the same, whatever their times. */
export function sameCondition(a: Condition | undefined, b: Condition | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.type === b.type &&
    a.status === b.status &&
    a.reason === b.reason &&
    a.message === b.message &&
    a.observedGeneration === b.observedGeneration
  );
}

/**
 * The condition with its `lastTransitionTime`: kept from `previous` unless the status flips
 * (the Kubernetes API convention), else `now` (RFC 3339 with whole seconds).
 */
export function transitioned(next: Condition, previous: Condition | undefined, now: string): Condition {
  const kept =
    previous !== undefined && previous.status === next.status ? previous.lastTransitionTime : undefined;
  return { ...next, lastTransitionTime: kept ?? now };
}
