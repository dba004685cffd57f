/**
 * In which order objects are applied: Flux's stages and sort (fluxcd/pkg ssa, kind by kind), and the waves
 * inside a stage that may be written in parallel because nothing in a wave needs another of it to exist.
 */

import type { InventoryEntry } from './inventory.ts';
import { type ObjectId, parseId } from './inventory.ts';

/** What everything else may need to exist: applied first, and waited for. */
const DEFINITIONS = new Set(['CustomResourceDefinition', 'Namespace', 'ClusterRole']);

/** Kinds with a place of their own; others follow by group and kind; the webhook configurations come last. */
const FIRST_KINDS = [
  'CustomResourceDefinition',
  'Namespace',
  'ClusterRole',
  'ClusterClass',
  'RuntimeClass',
  'PriorityClass',
  'StorageClass',
  'VolumeSnapshotClass',
  'IngressClass',
  'GatewayClass',
  'ClusterRoleBinding',
  'ResourceQuota',
  'ServiceAccount',
  'Role',
  'RoleBinding',
  'ConfigMap',
  'Secret',
  'Service',
  'LimitRange',
  'Deployment',
  'StatefulSet',
  'CronJob',
  'PodDisruptionBudget',
];
const LAST_KINDS = ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'];

const RANK = new Map([
  ...FIRST_KINDS.map((kind, index) => [kind, index] as const),
  ...LAST_KINDS.map((kind, index) => [kind, FIRST_KINDS.length + 1 + index] as const),
]);

function rankOf(kind: string): number {
  return RANK.get(kind) ?? FIRST_KINDS.length;
}

/** 0: definitions (CRD, Namespace, ClusterRole); 1: kinds ending in `Class`; 2: the rest. */
export function stageOf(kind: string): 0 | 1 | 2 {
  if (DEFINITIONS.has(kind)) return 0;
  return kind.toLowerCase().endsWith('class') ? 1 : 2;
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Apply order inside a stage; across stages, {@link stageOf} comes first. Prune goes the other way round. */
export function compareIds(a: ObjectId, b: ObjectId): number {
  return (
    stageOf(a.kind) - stageOf(b.kind) ||
    rankOf(a.kind) - rankOf(b.kind) ||
    compareText(a.group, b.group) ||
    compareText(a.kind, b.kind) ||
    compareText(a.namespace, b.namespace) ||
    compareText(a.name, b.name)
  );
}

const CONFIG_RANK = rankOf('RoleBinding');
const WORKLOAD_RANK = rankOf('Deployment');
const WEBHOOK_RANK = rankOf('MutatingWebhookConfiguration');

/**
 * The wave of a kind inside its stage. In the last stage: identities, roles and quotas; then what refers to them
 * and what workloads mount; then workloads and everything else; then webhooks, which may refuse what comes
 * after them.
 */
export function waveOf(kind: string): number {
  const rank = rankOf(kind);
  if (stageOf(kind) < 2 || rank < CONFIG_RANK) return 0;
  if (rank < WORKLOAD_RANK) return 1;
  return rank < WEBHOOK_RANK ? 2 : 3;
}

/**
 * Sorts and splits into stages, each into its waves. No stage and no wave is empty; all waves of a stage, one
 * after the other, are in Flux's order.
 */
export function plan<T>(items: readonly T[], idOf: (item: T) => ObjectId): T[][][] {
  const sorted = items.map((item) => ({ item, id: idOf(item) })).sort((a, b) => compareIds(a.id, b.id));
  const stages: T[][][] = [];
  let stage = -1;
  let wave = -1;
  for (const { item, id } of sorted) {
    if (stageOf(id.kind) !== stage) {
      stage = stageOf(id.kind);
      wave = -1;
      stages.push([]);
    }
    if (waveOf(id.kind) !== wave) {
      wave = waveOf(id.kind);
      stages.at(-1)?.push([]);
    }
    stages.at(-1)?.at(-1)?.push(item);
  }
  return stages;
}

/** Inventory entries in the order of their deletion, in waves: the reverse of the order in which they were applied. */
export function deletionWaves(entries: readonly InventoryEntry[]): InventoryEntry[][] {
  return plan(entries, (entry) => parseId(entry.id))
    .flat()
    .map((wave) => wave.toReversed())
    .toReversed();
}
