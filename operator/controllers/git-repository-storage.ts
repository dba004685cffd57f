/** What a GitRepository has in storage: what is checked at the start of a pass and told of at its end. */

import { REASON } from '../api/conditions.ts';
import type {
  GitRepositoryStatusArtifact as Artifact,
  GitRepository,
  GitRepositoryStatus,
} from '../api/git-repository.gen.ts';
import { SOURCE_DIGEST_ANNOTATION, SOURCE_REVISION_ANNOTATION } from '../api/names.ts';
import type { ReconcileContext } from '../runtime/reconciler.ts';
import type { ArtifactOwner } from '../source/artifact.ts';
import type { ArtifactStore } from '../source/artifact-store.ts';
import { messageOf } from '../source/errors.ts';
import { hasFailed } from './git-repository-conditions.ts';
import { sourceStep } from './source-step.ts';

type Context = ReconcileContext<GitRepositoryStatus>;

const SUBJECT_LENGTH = 50;

/** An artifact, and how people call what it was made from. */
export interface Published {
  artifact: Artifact;
  subject: string;
}

/** The artifact in status if it can still be served; else it is taken out of status and what was lost is said. */
export async function currentArtifact(
  repository: GitRepository,
  store: ArtifactStore,
  context: Context,
): Promise<Artifact | undefined> {
  const artifact = repository.status?.artifact;
  if (artifact === undefined) {
    context.progress(REASON.progressing, 'building artifact');
    return undefined;
  }
  const state = await sourceStep(() => store.verify(artifact, context.signal));
  if (state === 'present') {
    const current = store.readvertise(artifact);
    if (current.url !== artifact.url) context.record({ artifact: current });
    return current;
  }
  if (state === 'corrupt') {
    const message = `failed to verify integrity of artifact: the file of revision '${artifact.revision}' does not have the digest ${artifact.digest}`;
    context.event({ type: 'Warning', reason: REASON.artifactVerificationFailed, message });
  }
  context.record({ artifact: null });
  context.progress(REASON.progressing, 'building artifact: disappeared from storage');
  await context.checkpoint();
  return undefined;
}

/** An event for new content, or for the end of a trouble; none for a pass that found everything as it was. */
export function tell(repository: GitRepository, { artifact, subject }: Published, context: Context): void {
  const before = repository.status;
  const isNew = before?.artifact?.digest !== artifact.digest;
  if (!isNew && !hasFailed(before)) return;
  context.event({
    type: 'Normal',
    reason: isNew ? REASON.newArtifact : REASON.succeeded,
    message: `stored artifact for commit '${subject}'`,
    annotations: {
      [SOURCE_REVISION_ANNOTATION]: artifact.revision,
      [SOURCE_DIGEST_ANNOTATION]: artifact.digest,
    },
  });
}

/** The subject of a commit as events show it: its first 50 characters. */
export function shortened(subject: string): string {
  const characters = [...subject];
  return characters.length > SUBJECT_LENGTH ? `${characters.slice(0, SUBJECT_LENGTH).join('')}...` : subject;
}

/** What can't be removed costs disk, not the pass. */
export async function collectGarbage(
  repository: GitRepository,
  keep: Artifact,
  store: ArtifactStore,
  context: Context,
): Promise<void> {
  try {
    const removed = await store.collectGarbage({ ...ownerOf(repository), keep });
    if (removed.length === 0) return;
    const message = `garbage collected ${removed.length} artifact${removed.length === 1 ? '' : 's'}`;
    context.event({ type: 'Normal', reason: REASON.garbageCollectionSucceeded, message });
  } catch (error) {
    const message = `old artifacts could not be removed from the storage folder: ${messageOf(error)}`;
    context.event({ type: 'Warning', reason: REASON.garbageCollectionFailed, message });
  }
}

/** How the store calls a GitRepository. */
export function ownerOf({ metadata: { namespace = '', name } }: GitRepository): ArtifactOwner {
  return { kind: 'GitRepository', namespace, name };
}
