/** SealedSecret: from the sealed items to the Secret in the cluster, and back again when somebody changes it. */

import { REASON, SYNCED } from '../api/conditions.ts';
import { SEALED_SECRETS_FIELD_MANAGER } from '../api/names.ts';
import type { KubeObject, StoredObject } from '../api/objects.ts';
import { keyOf, SECRET } from '../api/resources.ts';
import type { SealedSecret, SealedSecretSpec, SealedSecretStatus } from '../api/sealed-secret.gen.ts';
import type { KubeClient } from '../kube/client.ts';
import { ApiError } from '../kube/errors.ts';
import { type ConditionPolicy, syncedPolicy } from '../runtime/condition-policy.ts';
import { failed, type ReconcileContext, type Reconciler } from '../runtime/reconciler.ts';
import type { KeyRing } from '../sealing/key-ring.ts';
import { UnsealError, unseal } from '../sealing/unseal.ts';
import { decideWrite, describeRefusedUpdate, type WriteDecision } from '../sealing/write.ts';

/** What unsealing works with. `onWritten` hears of each Secret written, as the API server returned it. */
export interface SealedSecretDependencies {
  client: KubeClient;
  keys: Pick<KeyRing, 'keys'>;
  onWritten?: (key: string, secret: StoredObject) => void;
}

type Context = ReconcileContext<SealedSecretStatus>;

/** Synced alone, as upstream's; its reason and observedGeneration are always written. */
export const SEALED_SECRET_POLICY: ConditionPolicy<SealedSecretStatus> = syncedPolicy<SealedSecretStatus>({
  summary: SYNCED,
  successReason: REASON.unsealed,
  failureReason: REASON.errUnsealFailed,
});

/**
 * Decrypts every item, then creates, overwrites or merges the Secret by Sealed Secrets' ownership rules; all or
 * nothing, and no write when the Secret is right already. Messages are upstream's and never show a value.
 */
export function sealedSecretReconciler(
  dependencies: SealedSecretDependencies,
): Reconciler<SealedSecretSpec, SealedSecretStatus> {
  return {
    async reconcile(sealedSecret, context) {
      const desired = await open(sealedSecret, dependencies, context);
      const existing = await dependencies.client.get(SECRET, sealedSecret.metadata, {
        signal: context.signal,
      });
      const decision = decideWrite({ desired, existing, ownerUid: sealedSecret.metadata.uid });
      const written = await carryOut(sealedSecret, decision, dependencies, context);
      if (written !== undefined) {
        dependencies.onWritten?.(keyOf(sealedSecret.metadata), written);
        refuseUnowned(sealedSecret, desired, written);
        context.event({
          type: 'Normal',
          reason: REASON.unsealed,
          message: 'SealedSecret unsealed successfully',
        });
      }
      return { message: '', reason: REASON.unsealed };
    },
  };
}

async function open(
  sealedSecret: SealedSecret,
  { keys }: SealedSecretDependencies,
  context: Context,
): Promise<KubeObject> {
  try {
    const request = { sealedSecret, keys: keys.keys().map((key) => key.privateKey), signal: context.signal };
    return (await unseal(request)).secret;
  } catch (error) {
    if (!(error instanceof UnsealError)) throw error;
    return failed(REASON.errUnsealFailed, error.message);
  }
}

async function carryOut(
  sealedSecret: SealedSecret,
  decision: WriteDecision,
  { client }: SealedSecretDependencies,
  context: Context,
): Promise<StoredObject | undefined> {
  if (decision.action === 'none') return undefined;
  if (decision.action === 'refuse') return refuse(decision.message);
  const options = { signal: context.signal, fieldManager: SEALED_SECRETS_FIELD_MANAGER };
  try {
    return decision.action === 'create'
      ? await client.create<StoredObject>(SECRET, decision.secret, options)
      : await client.replace<StoredObject>(SECRET, decision.secret, options);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const message = describeRefusedUpdate(keyOf(sealedSecret.metadata), error.message);
    return failed(REASON.errUpdateFailed, `failed update: ${message}`, { cause: error });
  }
}

/** A Secret made for a template that asks for no owner is nobody's from then on: upstream says so at once. */
function refuseUnowned(sealedSecret: SealedSecret, desired: KubeObject, written: StoredObject): void {
  const after = decideWrite({ desired, existing: written, ownerUid: sealedSecret.metadata.uid });
  if (after.action === 'refuse') refuse(after.message);
}

function refuse(message: string): never {
  return failed(REASON.errUpdateFailed, `failed update: ${message}`);
}
