/** Who needs whom: everything that the options ask for, in the order in which it starts. */

import { join } from 'node:path';
import { healthServer, metricsServer, parseBindAddress } from '../runtime/http.ts';
import type { Manager } from '../runtime/manager.ts';
import { ArtifactStore } from '../source/artifact-store.ts';
import { addKustomizeParts } from './kustomize-parts.ts';
import { type Composition, derivedAddress, part } from './platform.ts';
import { addSealingParts, type SealingControls } from './sealing-parts.ts';
import { addSourceParts } from './source-parts.ts';

/** Adds the parts to a manager that hasn't started. Throws when an option names what isn't there. */
export function addParts(manager: Manager, composition: Composition): Partial<SealingControls> {
  const { options, platform } = composition;
  const { controllers } = options;
  manager.add(part('api client', { stop: () => platform.client.close() }));
  const metricsBind = parseBindAddress(options.metricsAddr);
  if (metricsBind !== undefined) {
    manager.add(metricsServer({ bind: metricsBind, registry: platform.metrics.registry }));
  }
  const healthBind = parseBindAddress(options.healthAddr);
  if (healthBind !== undefined) {
    manager.add(healthServer({ bind: healthBind, readiness: () => manager.readiness() }));
  }
  manager.add(part('informers', { stop: () => platform.informers.stop() }));
  // Sources and Kustomizations share the store: what one publishes the other reads from disk.
  const store = new ArtifactStore({
    root: join(options.storagePath, 'artifacts'),
    advertisedAddress: options.storageAdvAddr ?? derivedAddress(options.storageAddr),
    retentionTtlMs: options.artifactRetentionTtlMs,
    retentionRecords: options.artifactRetentionRecords,
    digestAlgorithm: options.artifactDigestAlgorithm,
    limits: { maxEntries: options.artifactMaxFiles, maxBytes: options.artifactMaxBytes },
  });
  if (controllers.has('source')) addSourceParts(manager, composition, store);
  if (controllers.has('kustomize')) addKustomizeParts(manager, composition, store);
  return controllers.has('sealed-secrets') ? addSealingParts(manager, composition) : {};
}
