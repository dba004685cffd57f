/** The sealing keys as the options ask for them, and their renewal. */

import type { Manager } from '../runtime/manager.ts';
import { KeyRenewal } from '../sealing/key-renewal.ts';
import { KeyRing } from '../sealing/key-ring.ts';
import { byCertificateNotBefore, bySecretCreation } from '../sealing/key-secret.ts';
import type { Composition } from './platform.ts';

/** The ring; nothing is loaded before it is started. */
export function sealingKeys({ options, logger, platform }: Composition): KeyRing {
  const { client, informers } = platform;
  return new KeyRing({
    ...{ client, informers, logger },
    namespace: options.namespace,
    keyPrefix: options.keyPrefix,
    keySize: options.keySize,
    keyTtlMs: options.keyTtlMs,
    commonName: options.myCn,
    labels: options.privateKeyLabels,
    annotations: options.privateKeyAnnotations,
    order: options.keyOrderPriority === 'CertNotBefore' ? byCertificateNotBefore : bySecretCreation,
    createFirstKey: options.createFirstKey,
  });
}

/** Adds the ring and its renewal, in the order in which they start. */
export function addSealingKeys(
  manager: Manager,
  ring: KeyRing,
  { options, logger }: Composition,
): KeyRenewal {
  const renewal = new KeyRenewal({
    ring,
    periodMs: options.keyRenewPeriodMs,
    cutoffTimeMs: options.keyCutoffTimeMs,
    createFirstKey: options.createFirstKey,
    logger,
  });
  manager.add(ring);
  manager.add(renewal);
  return renewal;
}
