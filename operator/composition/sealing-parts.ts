/** SealedSecret's parts: the keys, the face that kubeseal calls, the controller, and what wakes it. */

import type { Logger } from '../api/logger.ts';
import { SEALED_SECRETS_FIELD_MANAGER } from '../api/names.ts';
import { objectKey, SEALED_SECRET } from '../api/resources.ts';
import type { SealedSecretSpec, SealedSecretStatus } from '../api/sealed-secret.gen.ts';
import { SEALED_SECRET_POLICY, sealedSecretReconciler } from '../controllers/sealed-secret.ts';
import { SecretWatch } from '../controllers/secret-watch.ts';
import { Controller } from '../runtime/controller.ts';
import { anyOf, metadataChanged, ownChange } from '../runtime/enqueue-predicate.ts';
import type { Manager } from '../runtime/manager.ts';
import { ownKind } from '../runtime/own-kind.ts';
import { SealingServer } from '../sealing/http.ts';
import { KeyRing } from '../sealing/key-ring.ts';
import { OpenerMemory } from '../sealing/opener-memory.ts';
import { TemplateEngine } from '../sealing/template-engine.ts';
import { type Composition, controllerBasics, executable, part } from './platform.ts';

/** Adds them to a manager that hasn't started. */
export function addSealingParts(manager: Manager, composition: Composition): void {
  const { options, logger, path, platform } = composition;
  const { client, informers } = platform;
  const basics = controllerBasics(manager, composition, 'sealed-secrets');
  const { namespace } = basics;
  const sealedSecrets = informers.acquire(
    ownKind<SealedSecretSpec, SealedSecretStatus>({ type: SEALED_SECRET, namespace }),
  );
  const keys = new KeyRing({
    ...{ client, informers, logger },
    namespace: options.namespace,
    keyPrefix: options.keyPrefix,
    keySize: options.keySize,
    keyTtlMs: options.keyTtlMs,
    commonName: options.myCn,
  });
  const secrets = new SecretWatch({
    ...{ informers, namespace },
    onChanged: (key) => {
      if (sealedSecrets.informer.store.get(key) !== undefined) controller.enqueue(key);
    },
  });
  const templates = new TemplateEngine({ binary: templateEngine(options.templateEngine, path, logger) });
  const openers = new OpenerMemory();
  const controller: Controller<SealedSecretSpec, SealedSecretStatus> = new Controller({
    ...basics,
    name: 'sealedsecret',
    type: SEALED_SECRET,
    reconciler: sealedSecretReconciler({
      ...{ client, keys, templates, openers },
      acceptDeprecatedV1Data: options.acceptDeprecatedV1Data,
      secrets: options.skipRecreate ? undefined : secrets,
    }),
    policy: SEALED_SECRET_POLICY,
    shouldEnqueue: anyOf(ownChange(), metadataChanged),
    concurrency: options.concurrent['sealed-secrets'],
    fieldManager: SEALED_SECRETS_FIELD_MANAGER,
    statusWrite: 'put',
  });
  let unsubscribe = (): void => {};
  let forget = (): void => {};
  const keyWatch = part('sealing key watch', {
    start: async () => {
      unsubscribe = keys.onChange(() => {
        for (const each of sealedSecrets.informer.store.list()) controller.enqueue(objectKey(each));
      });
      forget = sealedSecrets.informer.subscribe(({ type, key }) => {
        if (type === 'deleted') openers.forget(key);
      });
    },
    stop: async () => {
      unsubscribe();
      forget();
      sealedSecrets.release();
    },
  });
  manager.add(keys);
  manager.add(new SealingServer({ keys, logger, address: options.sealedSecretsAddr }));
  manager.add(keyWatch);
  if (!options.skipRecreate) manager.add(secrets);
  manager.add(part('template engine', { stop: () => templates.close() }));
  manager.add(controller);
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
