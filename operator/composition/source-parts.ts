/** GitRepository's parts: the artifact server and the controller. */

import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { GitRepositorySpec, GitRepositoryStatus } from '../api/git-repository.gen.ts';
import { FINALIZER, GIT_REPOSITORY_STATUS_MANAGER } from '../api/names.ts';
import { GIT_REPOSITORY } from '../api/resources.ts';
import { gitRepositoryReconciler } from '../controllers/git-repository.ts';
import { GIT_REPOSITORY_POLICY } from '../controllers/git-repository-conditions.ts';
import { includeWatch } from '../controllers/git-repository-includes.ts';
import { storageSweep } from '../controllers/git-repository-sweep.ts';
import { jitter } from '../controllers/intervals.ts';
import { SourceSecrets } from '../controllers/source-secrets.ts';
import { WebhookRefused, Webhooks, webhookChanged } from '../controllers/webhooks.ts';
import { Controller } from '../runtime/controller.ts';
import { anyOf, ownChange } from '../runtime/enqueue-predicate.ts';
import { HttpServer, parseBindAddress } from '../runtime/http.ts';
import type { Manager } from '../runtime/manager.ts';
import { ownKind } from '../runtime/own-kind.ts';
import { ArtifactReader } from '../source/artifact-reader.ts';
import { ArtifactServer } from '../source/artifact-server.ts';
import type { ArtifactStore } from '../source/artifact-store.ts';
import { messageOf } from '../source/errors.ts';
import { GitFetcher } from '../source/git.ts';
import { GitHubAppTokens } from '../source/github-app.ts';
import { proxyEnvironment } from '../source/proxy.ts';
import { type WebhookFaceOptions, webhookRoutes } from '../source/webhook-face.ts';
import { type Composition, controllerBasics, part } from './platform.ts';

/** Adds them to a manager that hasn't started. */
export function addSourceParts(manager: Manager, composition: Composition, store: ArtifactStore): void {
  const { options, logger, path, environment, platform } = composition;
  const { client, informers } = platform;
  const cacheRoot = join(options.storagePath, 'git');
  const basics = controllerBasics(manager, composition, 'source-controller');
  const artifacts = new ArtifactReader({ store, cacheRoot: join(options.storagePath, 'included'), logger });
  const repositories = informers.acquire(
    ownKind<GitRepositorySpec, GitRepositoryStatus>({
      ...{ type: GIT_REPOSITORY, namespace: basics.namespace, labelSelector: options.watchLabelSelector },
    }),
  );
  const git = new GitFetcher({
    ...{ cacheRoot, searchPath: path, logger },
    environment: proxyEnvironment(environment ?? {}),
    ssh: { kex: options.sshKexAlgorithms, hostKey: options.sshHostKeyAlgorithms },
  });
  const onPush = (key: string): void => controller.enqueue(key);
  const webhooks: Webhooks = new Webhooks({
    client,
    listen: webhookListener(manager, composition, { find: (path) => webhooks.find(path), trigger: onPush }),
  });
  const controller: Controller<GitRepositorySpec, GitRepositoryStatus> = new Controller({
    ...basics,
    name: 'gitrepository',
    type: GIT_REPOSITORY,
    reconciler: gitRepositoryReconciler({
      ...{ client, store, webhooks, git },
      gitHubApps: new GitHubAppTokens(),
      includes: {
        artifacts,
        repositories: () => controller.store,
        requeueDependencyMs: options.requeueDependencyMs,
      },
      jitter: jitter(options.intervalJitterPercentage),
    }),
    policy: GIT_REPOSITORY_POLICY,
    shouldEnqueue: anyOf(ownChange(FINALIZER), webhookChanged),
    concurrency: options.concurrent.source,
    backOff: { minMs: options.minRetryDelayMs, maxMs: options.maxRetryDelayMs },
    finalizer: FINALIZER,
    suspended: ({ spec }) => spec.suspend === true,
    fieldManager: GIT_REPOSITORY_STATUS_MANAGER,
    statusWrite: 'merge-patch',
    labelSelector: options.watchLabelSelector,
  });
  const secrets = new SourceSecrets({
    ...{ informers, namespace: basics.namespace },
    repositories: () => controller.store,
    onChanged: (key) => controller.enqueue(key),
  });
  manager.add(
    part('included artifacts', {
      stop: async () => {
        repositories.release();
        await artifacts.close();
      },
    }),
  );
  manager.add(new ArtifactServer({ store, address: options.storageAddr, logger }));
  manager.add(controller);
  // Who sees only some of the objects can't tell whose storage is nobody's.
  if (options.watchLabelSelector === undefined) {
    const exists = (key: string): boolean => controller.store.get(key) !== undefined;
    manager.add(storageSweep({ store, git, cacheRoot, exists, namespace: basics.namespace, logger }));
  }
  manager.add(secrets);
  manager.add(includeWatch(repositories.informer, (key) => controller.enqueue(key)));
}

/** What binds the webhook address when the first GitRepository asks for it; undefined when that is turned off. */
function webhookListener(
  manager: Manager,
  { options, logger }: Composition,
  hooks: Omit<WebhookFaceOptions, 'logger'>,
): (() => Promise<void>) | undefined {
  const bind = parseBindAddress(options.webhookAddr);
  if (bind === undefined) return undefined;
  let listening: Promise<HttpServer> | undefined;
  const listen = async (): Promise<HttpServer> => {
    const routes = (app: FastifyInstance): void => webhookRoutes(app, { ...hooks, logger });
    const server = new HttpServer({ name: 'webhook server', bind, routes });
    await server.start();
    logger.info('listening for webhooks', { address: options.webhookAddr });
    return server;
  };
  const stop = async (): Promise<void> => (await listening?.catch(() => undefined))?.stop();
  manager.add(part('webhooks', { stop }));
  return async () => {
    listening ??= listen();
    try {
      await listening;
    } catch (error) {
      // The next pass tries again.
      listening = undefined;
      throw new WebhookRefused(
        `--webhook-addr ${options.webhookAddr} cannot be listened on: ${messageOf(error)}`,
      );
    }
  };
}
