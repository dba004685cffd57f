/** SealedSecret's parts: the keys, the face that kubeseal calls, the controller, and what wakes it. */

import type { Logger } from '../api/logger.ts';
import { SEALED_SECRETS_FIELD_MANAGER } from '../api/names.ts';
import { objectKey, SEALED_SECRET } from '../api/resources.ts';
import type { SealedSecretSpec, SealedSecretStatus } from '../api/sealed-secret.gen.ts';
import { deleteSecretOf } from '../controllers/old-gc.ts';
import { SEALED_SECRET_POLICY, sealedSecretReconciler } from '../controllers/sealed-secret.ts';
import { measured, observedConditions } from '../controllers/sealed-secret-metrics.ts';
import { SecretWatch } from '../controllers/secret-watch.ts';
import { Controller } from '../runtime/controller.ts';
import { anyOf, metadataChanged, ownChange } from '../runtime/enqueue-predicate.ts';
import type { Manager, Runnable } from '../runtime/manager.ts';
import { ownKind } from '../runtime/own-kind.ts';
import { SealedSecretsMetrics } from '../runtime/sealed-secrets-metrics.ts';
import { SealingServer } from '../sealing/http.ts';
import type { KeyRing } from '../sealing/key-ring.ts';
import { OpenerMemory } from '../sealing/opener-memory.ts';
import { TemplateEngine } from '../sealing/template-engine.ts';
import { type Composition, controllerBasics, executable, part } from './platform.ts';
import { addSealingKeys, sealingKeys } from './sealing-keys.ts';

/** What the process may ask of the parts. */
export interface SealingControls {
  /** Makes a new sealing key now. */
  newSealingKey(): void;
}

/** What the controllers of all namespaces share. */
/**
 * A pass spends half of its time at the keys, which take so many operations at once whatever the passes, and half
 * waiting for the API server: with two for each worker neither waits for the other.
 */
const PASSES_PER_WORKER = 2;
const MOST_ENGINES = 4;

interface Shared {
  basics: ReturnType<typeof controllerBasics>;
  keys: KeyRing;
  templates: TemplateEngine;
  metrics: SealedSecretsMetrics;
}

type SealedSecrets = ReturnType<typeof followed>;
type SealedSecretController = Controller<SealedSecretSpec, SealedSecretStatus>;

/** Adds them to a manager that hasn't started. */
export function addSealingParts(manager: Manager, composition: Composition): SealingControls {
  const { options, logger, path, platform } = composition;
  const basics = controllerBasics(manager, composition, 'sealed-secrets');
  const keys = sealingKeys(composition);
  const places = namespacesOf(composition).map((namespace) => followed(composition, namespace));
  const metrics = new SealedSecretsMetrics({
    registry: platform.metrics.registry,
    revision: composition.version ?? '',
    ...(options.metricsOmitSecretLabels
      ? {}
      : {
          conditions: () =>
            observedConditions(places.flatMap(({ sealedSecrets }) => sealedSecrets.informer.store.list())),
        }),
  });
  // No more than half of the passes can be rendering.
  const templates = new TemplateEngine({
    binary: templateEngine(options.templateEngine, path, logger),
    size: Math.min(MOST_ENGINES, options.concurrent['sealed-secrets']),
  });
  const controllers: SealedSecretController[] = [];
  // First of all: kubelets ask it whether the process is alive while the first key is made.
  manager.add(
    new SealingServer({
      ...{ keys, logger, acceptDeprecatedV1Data: options.acceptDeprecatedV1Data },
      address: options.sealedSecretsAddr,
      rate: { perSecond: options.rateLimit, burst: options.rateLimitBurst },
      readTimeoutMs: options.readTimeoutMs,
      writeTimeoutMs: options.writeTimeoutMs,
      ready: () =>
        controllers.length > 0 && [keys, ...controllers].every((needed) => needed.ready() === true),
      observe: (request) => metrics.answered(request),
    }),
  );
  const renewal = addSealingKeys(manager, keys, composition);
  manager.add(part('template engine', { stop: () => templates.close() }));
  for (const place of places) {
    controllers.push(addController(manager, composition, place, { basics, keys, templates, metrics }));
  }
  return { newSealingKey: () => renewal.renewNow() };
}

/** `undefined` stands for all of them. */
function namespacesOf({ options }: Composition): Array<string | undefined> {
  if (options.additionalNamespaces.length > 0) {
    return [...new Set([options.namespace, ...options.additionalNamespaces])];
  }
  return [options.watchAllNamespaces ? undefined : options.namespace];
}

/** Joins the informer of the SealedSecrets in a namespace. */
function followed({ options, platform }: Composition, namespace: string | undefined) {
  const { labelSelector } = options;
  const sealedSecrets = platform.informers.acquire(
    ownKind<SealedSecretSpec, SealedSecretStatus>({ type: SEALED_SECRET, namespace, labelSelector }),
  );
  return { namespace, sealedSecrets };
}

function addController(
  manager: Manager,
  composition: Composition,
  { namespace, sealedSecrets }: SealedSecrets,
  { basics, keys, templates, metrics }: Shared,
): SealedSecretController {
  const { options, platform } = composition;
  const { client, informers } = platform;
  const secrets = new SecretWatch({
    ...{ informers, namespace },
    onChanged: (key) => {
      if (sealedSecrets.informer.store.get(key) !== undefined) controller.enqueue(key);
    },
  });
  const openers = new OpenerMemory();
  const reconciler = sealedSecretReconciler({
    ...{ client, keys, templates, openers },
    acceptDeprecatedV1Data: options.acceptDeprecatedV1Data,
    secrets: options.skipRecreate ? undefined : secrets,
  });
  const controller: SealedSecretController = new Controller({
    ...basics,
    ...{ namespace, labelSelector: options.labelSelector },
    name: options.additionalNamespaces.length > 0 ? `sealedsecret/${namespace}` : 'sealedsecret',
    type: SEALED_SECRET,
    reconciler: measured(reconciler, metrics),
    policy: SEALED_SECRET_POLICY,
    shouldEnqueue: anyOf(ownChange(), metadataChanged),
    concurrency: PASSES_PER_WORKER * options.concurrent['sealed-secrets'],
    fieldManager: SEALED_SECRETS_FIELD_MANAGER,
    statusWrite: options.updateStatus ? 'put' : 'none',
    onStatusFailed: ({ metadata }) => metrics.failed('status', metadata.namespace ?? ''),
  });
  manager.add(
    keyWatch(composition, { keys, sealedSecrets, openers, enqueue: (key) => controller.enqueue(key) }),
  );
  if (!options.skipRecreate) manager.add(secrets);
  manager.add(controller);
  return controller;
}

/** Tries everything again when the keys changed, and clears up after SealedSecrets that are gone. */
function keyWatch(
  { options, logger, platform }: Composition,
  o: Pick<SealedSecrets, 'sealedSecrets'> & {
    keys: KeyRing;
    openers: OpenerMemory;
    enqueue: (key: string) => void;
  },
): Runnable {
  const { client } = platform;
  const { informer, release } = o.sealedSecrets;
  const stopping = new AbortController();
  const unsubscribes: Array<() => void> = [release];
  return part('sealing key watch', {
    start: async () => {
      const retryAll = o.keys.onChange(() => {
        for (const each of informer.store.list()) o.enqueue(objectKey(each));
      });
      const clearUp = informer.subscribe(({ type, key }) => {
        if (type !== 'deleted') return;
        o.openers.forget(key);
        if (options.oldGcBehavior) void deleteSecretOf({ client, key, logger, signal: stopping.signal });
      });
      unsubscribes.unshift(retryAll, clearUp);
    },
    stop: async () => {
      stopping.abort(new DOMException('the operator is shutting down', 'AbortError'));
      for (const unsubscribe of unsubscribes) unsubscribe();
    },
  });
}

/** Not there, it fails the SealedSecrets that have templates, and those alone. */
function templateEngine(program: string, searchPath: string, logger: Logger): string {
  const found = executable(program, searchPath);
  if (found !== undefined) return found;
  logger.error(
    `--template-engine ${program}: there is no such program, so spec.template.data can't be rendered; build it with "npm run tools" or name its path`,
  );
  return program;
}
