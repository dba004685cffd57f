/** SealedSecret: from the sealed items to the Secret in the cluster, and back again when somebody changes it. */

import { findCondition, PATCHING, REASON, SYNCED } from '../api/conditions.ts';
import { SEALED_SECRETS_FIELD_MANAGER } from '../api/names.ts';
import type { StoredObject } from '../api/objects.ts';
import { keyOf, SECRET } from '../api/resources.ts';
import type { SealedSecret, SealedSecretSpec, SealedSecretStatus } from '../api/sealed-secret.gen.ts';
import type { KubeClient } from '../kube/client.ts';
import { ApiError, isAlreadyExists, isConflict, isNotFound } from '../kube/errors.ts';
import { type ConditionPolicy, syncedPolicy } from '../runtime/condition-policy.ts';
import { failed, postponed, type ReconcileContext, type Reconciler } from '../runtime/reconciler.ts';
import { keepGenerated } from '../sealing/generated.ts';
import type { KeyRing } from '../sealing/key-ring.ts';
import type { OpenerMemory } from '../sealing/opener-memory.ts';
import type { TemplateEngine, TemplateRenderer } from '../sealing/template-engine.ts';
import { type Unsealed, unseal } from '../sealing/unseal.ts';
import { UnsealError } from '../sealing/unseal-error.ts';
import { decideWrite, describeRefusedUpdate, isOnlyPatched, type WriteDecision } from '../sealing/write.ts';
import type { SecretWatch } from './secret-watch.ts';

/** What unsealing works with. */
export interface SealedSecretDependencies {
  client: Pick<KubeClient, 'get' | 'create' | 'replace'>;
  keys: Pick<KeyRing, 'keys'>;
  templates: TemplateRenderer & Pick<TemplateEngine, 'reserve'>;
  openers: OpenerMemory;
  acceptDeprecatedV1Data: boolean;
  /** Told of each write; absent where Secrets aren't watched. */
  secrets?: Pick<SecretWatch, 'during' | 'seemsAbsent'> | undefined;
}

type Context = ReconcileContext<SealedSecretStatus>;

/** Synced alone, as upstream's; its reason and observedGeneration are always written. */
export const SEALED_SECRET_POLICY: ConditionPolicy<SealedSecretStatus> = syncedPolicy<SealedSecretStatus>({
  summary: SYNCED,
  successReason: REASON.unsealed,
  failureReason: REASON.errUnsealFailed,
});

const NO_PLACE_RETRY_MS = 100;

/** Times that somebody else's write may come between our read and our write in one pass. */
const MOST_COLLISIONS = 5;

/**
 * Decrypts every item, renders the templates, then creates, overwrites or merges the Secret by Sealed Secrets'
 * ownership rules; all or nothing, and no write when the Secret is right already. Messages are upstream's and never
 * show a value.
 */
export function sealedSecretReconciler(
  dependencies: SealedSecretDependencies,
): Reconciler<SealedSecretSpec, SealedSecretStatus> {
  return {
    async reconcile(sealedSecret, context) {
      const unsealed = await openInTurn(sealedSecret, dependencies, context);
      const written = await write(sealedSecret, unsealed, dependencies, context);
      if (written || !isSettled(sealedSecret)) {
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

/**
 * Templates that loop may hold every place to render, but never a worker without one: an object with templates that
 * finds no place comes back later, and objects without templates go on.
 */
async function openInTurn(
  sealedSecret: SealedSecret,
  dependencies: SealedSecretDependencies,
  context: Context,
): Promise<Unsealed> {
  const templates = Object.values(sealedSecret.spec.template?.data ?? {});
  if (templates.every((text) => text === null)) return await open(sealedSecret, dependencies, context);
  const giveBack = dependencies.templates.reserve();
  if (giveBack === undefined) return postponed('other templates are being rendered', NO_PLACE_RETRY_MS);
  try {
    return await open(sealedSecret, dependencies, context);
  } finally {
    giveBack();
  }
}

async function open(
  sealedSecret: SealedSecret,
  { keys, openers, templates, acceptDeprecatedV1Data }: SealedSecretDependencies,
  { signal }: Context,
): Promise<Unsealed> {
  const key = keyOf(sealedSecret.metadata);
  try {
    const unsealed = await unseal({
      ...{ sealedSecret, templates, acceptDeprecatedV1Data, signal },
      keys: keys.keys().map(({ privateKey }) => privateKey),
      remembered: openers.recall(key),
    });
    openers.remember(key, unsealed.openedBy);
    return unsealed;
  } catch (error) {
    if (!(error instanceof UnsealError)) throw error;
    const eventMessage = `Failed to unseal: ${error.message}`;
    return failed(REASON.errUnsealFailed, error.message, { eventMessage });
  }
}

/** Brings the Secret in line; whether that took a write. */
async function write(
  sealedSecret: SealedSecret,
  unsealed: Unsealed,
  dependencies: SealedSecretDependencies,
  context: Context,
): Promise<boolean> {
  const { metadata } = sealedSecret;
  const { client, secrets } = dependencies;
  // Spares a read where there is probably nothing to read; a create that collides reads.
  let absent = secrets?.seemsAbsent(keyOf(metadata)) === true;
  for (let collisions = 0; ; collisions += 1) {
    const existing = absent ? undefined : await client.get(SECRET, metadata, { signal: context.signal });
    absent = false;
    try {
      leaveDeleted(sealedSecret, existing, context);
      return await bringInLine({ sealedSecret, unsealed, existing }, dependencies, context);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const collided = isCollision(error) || (existing !== undefined && isNotFound(error));
      if (!collided || collisions >= MOST_COLLISIONS) refuseUpdate(sealedSecret, error);
    }
  }
}

async function bringInLine(
  o: { sealedSecret: SealedSecret; unsealed: Unsealed; existing: StoredObject | undefined },
  dependencies: SealedSecretDependencies,
  context: Context,
): Promise<boolean> {
  const { sealedSecret, existing } = o;
  const { secret, generated } = o.unsealed;
  const settled = isSettled(sealedSecret);
  const desired = keepGenerated({ desired: secret, generated, existing, spec: sealedSecret.spec, settled });
  const ownerUid = sealedSecret.metadata.uid;
  const decision = decideWrite({ desired, existing, ownerUid });
  const written = await carryOut(sealedSecret, decision, dependencies, context);
  if (written === undefined) return false;
  // A Secret made for a template that asks for no owner is nobody's from then on: upstream says so at once.
  const after = decideWrite({ desired, existing: written, ownerUid });
  if (after.action === 'refuse') refuse(after.message);
  return true;
}

/** Somebody else wrote the Secret between our read and our write. */
function isCollision(error: ApiError): boolean {
  return isConflict(error) || isAlreadyExists(error);
}

async function carryOut(
  sealedSecret: SealedSecret,
  decision: WriteDecision,
  { client, secrets }: SealedSecretDependencies,
  context: Context,
): Promise<StoredObject | undefined> {
  if (decision.action === 'none') return undefined;
  if (decision.action === 'refuse') return refuse(decision.message);
  const options = { signal: context.signal, fieldManager: SEALED_SECRETS_FIELD_MANAGER };
  const send = () =>
    decision.action === 'create'
      ? client.create<StoredObject>(SECRET, decision.secret, options)
      : client.replace<StoredObject>(SECRET, decision.secret, options);
  return await (secrets?.during(keyOf(sealedSecret.metadata), send) ?? send());
}

/**
 * A Secret that was somebody else's, with items added to it, stays deleted when it is deleted: the one that Sealed
 * Secrets would make in its place lacks everything that was its owner's. That it was is remembered in status, since the
 * Secret itself can't tell any more.
 */
function leaveDeleted(
  sealedSecret: SealedSecret,
  existing: StoredObject | undefined,
  context: Context,
): void {
  const remembered = findCondition(sealedSecret.status?.conditions, PATCHING);
  if (existing === undefined && remembered !== undefined) {
    const name = JSON.stringify(sealedSecret.metadata.name);
    refuse(
      `Resource ${name} was deleted and is not made again, since it was not managed by SealedSecret but only patched: make it again, or delete and recreate the SealedSecret`,
    );
  }
  const patching = existing !== undefined && isOnlyPatched(existing, sealedSecret.metadata.uid);
  const message = 'the Secret is not managed by SealedSecret: items are added to it';
  context.claim(PATCHING, patching ? { status: 'True', reason: REASON.notManaged, message } : undefined);
}

/** Whether status says that this spec was unsealed before. */
function isSettled({ metadata, status }: SealedSecret): boolean {
  const synced = findCondition(status?.conditions, SYNCED);
  return synced?.status === 'True' && status?.observedGeneration === metadata.generation;
}

function refuse(message: string): never {
  return failed(REASON.errUpdateFailed, `failed update: ${message}`, { eventMessage: message });
}

function refuseUpdate(sealedSecret: SealedSecret, cause: ApiError): never {
  const eventMessage = describeRefusedUpdate(keyOf(sealedSecret.metadata), cause.message);
  return failed(REASON.errUpdateFailed, cause.message, { cause, eventMessage });
}
