/** GitRepository's parts: the artifact server and the controller. */

import { join } from 'node:path';
import type { GitRepositorySpec, GitRepositoryStatus } from '../api/git-repository.gen.ts';
import { FINALIZER, GIT_REPOSITORY_STATUS_MANAGER } from '../api/names.ts';
import { GIT_REPOSITORY } from '../api/resources.ts';
import { GIT_REPOSITORY_POLICY, gitRepositoryReconciler } from '../controllers/git-repository.ts';
import { jitter } from '../controllers/intervals.ts';
import { Controller } from '../runtime/controller.ts';
import { ownChange } from '../runtime/enqueue-predicate.ts';
import type { Manager } from '../runtime/manager.ts';
import { ArtifactServer } from '../source/artifact-server.ts';
import type { ArtifactStore } from '../source/artifact-store.ts';
import { GitFetcher } from '../source/git.ts';
import { type Composition, controllerBasics } from './platform.ts';

/** Adds them to a manager that hasn't started. */
export function addSourceParts(manager: Manager, composition: Composition, store: ArtifactStore): void {
  const { options, logger, path, platform } = composition;
  const cacheRoot = join(options.storagePath, 'git');
  manager.add(new ArtifactServer({ store, address: options.storageAddr, logger }));
  manager.add(
    new Controller<GitRepositorySpec, GitRepositoryStatus>({
      ...controllerBasics(manager, composition, 'source-controller'),
      name: 'gitrepository',
      type: GIT_REPOSITORY,
      reconciler: gitRepositoryReconciler({
        client: platform.client,
        git: new GitFetcher({ cacheRoot, searchPath: path, logger }),
        store,
        jitter: jitter(options.intervalJitterPercentage),
      }),
      policy: GIT_REPOSITORY_POLICY,
      shouldEnqueue: ownChange(FINALIZER),
      concurrency: options.concurrent.source,
      finalizer: FINALIZER,
      suspended: ({ spec }) => spec.suspend === true,
      fieldManager: GIT_REPOSITORY_STATUS_MANAGER,
      statusWrite: 'merge-patch',
    }),
  );
}
