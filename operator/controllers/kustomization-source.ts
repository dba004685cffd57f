/** Where a Kustomization's manifests come from. */

import { REASON } from '../api/conditions.ts';
import { formatDurationMs } from '../api/duration.ts';
import type { GitRepository, GitRepositoryStatusArtifact } from '../api/git-repository.gen.ts';
import type { Kustomization } from '../api/kustomization.gen.ts';
import { keyOf } from '../api/resources.ts';
import type { Store } from '../kube/store.ts';
import { waiting } from '../runtime/reconciler.ts';

/** How long a source without an artifact is given before it is looked at again; its watch usually comes first. */
const NO_ARTIFACT_RETRY_MS = 30_000;

/** `Kind/namespace/name` of the source that a Kustomization refers to: the key of the index from sources to users. */
export function sourceKeyOf(kustomization: Kustomization): string {
  const { kind, name, namespace } = kustomization.spec.sourceRef;
  return sourceKey(kind, { namespace: namespace ?? kustomization.metadata.namespace, name });
}

/** See {@link sourceKeyOf}. */
export function sourceKey(kind: string, name: { namespace?: string | undefined; name: string }): string {
  return `${kind}/${name.namespace ?? ''}/${name.name}`;
}

/**
 * The artifact that the source has published.
 * @throws WaitingError `ArtifactFailed` when there is no such source, or it has no artifact (yet)
 */
export function publishedArtifact(
  kustomization: Kustomization,
  repositories: Store<GitRepository>,
  retryAfterMs: number,
): GitRepositoryStatusArtifact {
  const { kind, name, namespace = kustomization.metadata.namespace ?? '' } = kustomization.spec.sourceRef;
  const source = repositories.get(keyOf({ namespace, name }));
  if (source === undefined) {
    waiting(REASON.artifactFailed, `source ${kind}/${namespace}/${name} does not exist`, retryAfterMs);
  }
  const artifact = source.status?.artifact;
  if (artifact === undefined) {
    const retry = formatDurationMs(NO_ARTIFACT_RETRY_MS);
    waiting(REASON.artifactFailed, `Source artifact not found, retrying in ${retry}`, NO_ARTIFACT_RETRY_MS);
  }
  return artifact;
}
