/** What a Kustomization's spec asks for, in milliseconds and yes or no. Pure. */

import type { Kustomization, KustomizationSpec } from '../api/kustomization.gen.ts';
import { specDurationMs } from './intervals.ts';
import { type UnsupportedField, unsupportedMessage } from './unsupported.ts';

const DEFAULT_INTERVAL_MS = 600_000;
/** Flux's: a pass ends half a minute before the next is due, and has half a minute in any case. */
const TIMEOUT_MARGIN_MS = 30_000;

const UNSUPPORTED: readonly UnsupportedField<KustomizationSpec>[] = [
  { field: 'sourceRef.kind', used: (spec) => spec.sourceRef.kind !== 'GitRepository' },
  { field: 'dependsOn', used: (spec) => (spec.dependsOn ?? []).length > 0 },
  { field: 'wait', used: (spec) => spec.wait === true },
  { field: 'healthChecks', used: (spec) => (spec.healthChecks ?? []).length > 0 },
  { field: 'healthCheckExprs', used: (spec) => (spec.healthCheckExprs ?? []).length > 0 },
  { field: 'postBuild', used: (spec) => spec.postBuild !== undefined },
  { field: 'decryption', used: (spec) => spec.decryption !== undefined },
  { field: 'kubeConfig', used: (spec) => spec.kubeConfig !== undefined },
  { field: 'serviceAccountName', used: (spec) => (spec.serviceAccountName ?? '') !== '' },
  { field: 'ignore', used: (spec) => (spec.ignore ?? []).length > 0 },
  { field: 'deletionPolicy', used: (spec) => spec.deletionPolicy === 'WaitForTermination' },
];

/** Why this version can't do what the spec asks for; `undefined` when it can. */
export function refusalOf(spec: KustomizationSpec): string | undefined {
  return unsupportedMessage(spec, UNSUPPORTED);
}

/** `spec.interval`. */
export function intervalMs({ interval }: KustomizationSpec): number {
  return specDurationMs(interval, DEFAULT_INTERVAL_MS);
}

/** How long after a failure the next try comes: fixed, no back-off, as in Flux. */
export function retryIntervalMs(spec: KustomizationSpec): number {
  return specDurationMs(spec.retryInterval, intervalMs(spec));
}

/** The limit of a pass. A shorter `spec.timeout` than half a minute is raised to it, as Flux does. */
export function timeoutMs(spec: KustomizationSpec): number {
  const limitMs = specDurationMs(spec.timeout, intervalMs(spec) - TIMEOUT_MARGIN_MS);
  return Math.max(limitMs, TIMEOUT_MARGIN_MS);
}

/** Whether the applied objects go when the Kustomization does. Nothing is deleted for a suspended one. */
export function deletesObjects({ spec }: Kustomization): boolean {
  if (spec.suspend === true) return false;
  return (
    spec.deletionPolicy === 'Delete' ||
    ((spec.deletionPolicy ?? 'MirrorPrune') === 'MirrorPrune' && spec.prune)
  );
}
