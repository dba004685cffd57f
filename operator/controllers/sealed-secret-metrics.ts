/** Counts what becomes of SealedSecrets, around the reconciler that does the work. */

import { REASON } from '../api/conditions.ts';
import type { SealedSecret, SealedSecretSpec, SealedSecretStatus } from '../api/sealed-secret.gen.ts';
import { FailedError, type Reconciler } from '../runtime/reconciler.ts';
import type {
  ObservedCondition,
  SealedSecretsMetrics,
  UnsealErrorReason,
} from '../runtime/sealed-secrets-metrics.ts';

const INSTANCE_LABEL = 'app.kubernetes.io/instance';
const UNMANAGED = 'is not managed by SealedSecret';

/** The same reconciler, counted. */
export function measured(
  reconciler: Reconciler<SealedSecretSpec, SealedSecretStatus>,
  metrics: Pick<SealedSecretsMetrics, 'unsealing' | 'failed'>,
): Reconciler<SealedSecretSpec, SealedSecretStatus> {
  return {
    ...reconciler,
    async reconcile(sealedSecret, context) {
      metrics.unsealing();
      try {
        return await reconciler.reconcile(sealedSecret, context);
      } catch (error) {
        if (!context.signal.aborted) metrics.failed(reasonOf(error), sealedSecret.metadata.namespace ?? '');
        throw error;
      }
    },
  };
}

/** The conditions that `condition_info` shows. */
export function* observedConditions(sealedSecrets: Iterable<SealedSecret>): Iterable<ObservedCondition> {
  for (const { metadata, status } of sealedSecrets) {
    const { namespace = '', name, labels } = metadata;
    const instance = labels?.[INSTANCE_LABEL] ?? '';
    for (const condition of status?.conditions ?? []) {
      yield { namespace, name, instance, type: condition.type, status: condition.status };
    }
  }
}

function reasonOf(error: unknown): UnsealErrorReason {
  if (!(error instanceof FailedError)) return 'update';
  if (error.reason === REASON.errUnsealFailed) return 'unseal';
  return error.message.includes(UNMANAGED) ? 'unmanaged' : 'update';
}
