/** SealedSecret's parts: the keys, the face that kubeseal calls, the controller, and what wakes it. */

import {
  CLUSTER_WIDE_ANNOTATION,
  NAMESPACE_WIDE_ANNOTATION,
  SEALED_SECRETS_FIELD_MANAGER,
} from '../api/names.ts';
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
import { type Composition, controllerBasics, part } from './platform.ts';

/** Adds them to a manager that hasn't started. */
export function addSealingParts(manager: Manager, composition: Composition): void {
  const { options, logger, platform } = composition;
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
  const controller: Controller<SealedSecretSpec, SealedSecretStatus> = new Controller({
    ...basics,
    name: 'sealedsecret',
    type: SEALED_SECRET,
    reconciler: sealedSecretReconciler({
      ...{ client, keys },
      onWritten: (key, secret) => secrets.expect(key, secret),
    }),
    policy: SEALED_SECRET_POLICY,
    shouldEnqueue: anyOf(ownChange(), metadataChanged([NAMESPACE_WIDE_ANNOTATION, CLUSTER_WIDE_ANNOTATION])),
    concurrency: options.concurrent['sealed-secrets'],
    fieldManager: SEALED_SECRETS_FIELD_MANAGER,
    statusWrite: 'put',
  });
  let unsubscribe = (): void => {};
  const keyWatch = part('sealing key watch', {
    start: async () => {
      unsubscribe = keys.onChange(() => {
        for (const each of sealedSecrets.informer.store.list()) controller.enqueue(objectKey(each));
      });
    },
    stop: async () => {
      unsubscribe();
      sealedSecrets.release();
    },
  });
  manager.add(keys);
  manager.add(new SealingServer({ keys, logger, address: options.sealedSecretsAddr }));
  manager.add(keyWatch);
  manager.add(secrets);
  manager.add(controller);
}
