/** From a SealedSecret to the Secret that it stands for. All or nothing. */

import type { KubeObject } from '../api/objects.ts';
import type { SealedSecret } from '../api/sealed-secret.gen.ts';
import type { Opened, OpeningKey } from './hybrid.ts';
import { describeFailures, openItems, wipe } from './items.ts';
import { unsealLegacy, WHOLE_SECRET } from './legacy-data.ts';
import { labelOf } from './scope.ts';
import { secretMeta } from './secret-meta.ts';
import { renderTemplates } from './secret-template.ts';
import type { TemplateRenderer } from './template-engine.ts';
import { UnsealError } from './unseal-error.ts';

/** An unsealed SealedSecret. */
export interface Unsealed {
  /** As it would be created: values in base64, nothing of the live Secret in it. */
  secret: KubeObject;
  /** The fingerprint of the key that opened each item, to be given back as `remembered`. */
  openedBy: Map<string, string>;
  /** Keys whose values come out differently each time. */
  generated: ReadonlySet<string>;
}

/** What unsealing needs. */
export interface UnsealRequest {
  sealedSecret: SealedSecret;
  /** Tried in this order. */
  keys: readonly OpeningKey[];
  /** Item → fingerprint of the key to try first. Wrong or stale entries only cost time. */
  remembered?: ReadonlyMap<string, string> | undefined;
  /** Renders `spec.template.data`. */
  templates: TemplateRenderer;
  /** `--accept-deprecated-v1-data`: whether `spec.data` may be used. */
  acceptDeprecatedV1Data: boolean;
  signal?: AbortSignal;
}

/**
 * Decrypts every item, renders the templates and puts the Secret together (sealed-secrets 0.40.0): name and namespace
 * of the SealedSecret; type, immutable and metadata as the template says (see {@link secretMeta}). Throws
 * {@link UnsealError}; nothing decrypted is left behind then.
 */
export async function unseal(request: UnsealRequest): Promise<Unsealed> {
  const { sealedSecret } = request;
  const { spec } = sealedSecret;
  if (spec.data !== undefined && spec.data !== null) return await unsealWhole(request);
  const metadata = secretMeta(sealedSecret, spec.template?.metadata ?? {}, 'spec.template.metadata');
  const { opened, failures } = await openItems({
    ...{ items: spec.encryptedData ?? {}, keys: request.keys, label: labelOf(sealedSecret.metadata) },
    ...{ remembered: request.remembered, signal: request.signal },
  });
  if (failures.length > 0) throw new UnsealError(describeFailures(failures));
  try {
    const { data, generated } = await renderTemplates({ ...request, opened });
    const secret: KubeObject = { apiVersion: 'v1', kind: 'Secret', metadata, data };
    const { type, immutable } = spec.template ?? {};
    if (type !== undefined && type !== '') secret.type = type;
    if (immutable !== undefined && immutable !== null) secret.immutable = immutable;
    return { secret, openedBy: openersOf(opened), generated };
  } finally {
    wipe(opened);
  }
}

async function unsealWhole(request: UnsealRequest): Promise<Unsealed> {
  if (!request.acceptDeprecatedV1Data) {
    throw new UnsealError("using deprecated 'data' field, use 'encryptedData' or flip the feature flag");
  }
  const { secret, fingerprint } = await unsealLegacy(request);
  return { secret, openedBy: new Map([[WHOLE_SECRET, fingerprint]]), generated: new Set() };
}

function openersOf(opened: ReadonlyMap<string, Opened>): Map<string, string> {
  return new Map(Array.from(opened, ([item, { fingerprint }]) => [item, fingerprint]));
}
