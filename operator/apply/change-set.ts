/** What a pass did, in one small type that feeds events, logs, status and the inventory. */

import { describeObject } from '../api/resources.ts';
import type { InventoryEntry } from './inventory.ts';

/** `skipped`: a control (`reconcile: disabled`, `ssa: …`, `prune: disabled`) or another owner said so. */
export type Action = 'created' | 'configured' | 'unchanged' | 'skipped' | 'deleted';

/** What happened to one object. `subject` is `Kind/namespace/name`, as events and messages name it. */
export interface Change {
  id: string;
  subject: string;
  action: Action;
}

/** The result of a pass over all objects of a Kustomization. */
export interface ChangeSet {
  /** In apply order. */
  changes: Change[];
  /** What the inventory holds after the pass, in apply order; skipped objects too. */
  entries: InventoryEntry[];
  /** Identities of the objects that were applied or found equal: prune spares them under whatever id they are listed. */
  uids: ReadonlySet<string>;
}

/** `Kind/namespace/name` of an id's parts. */
export function subjectOf(o: { kind: string; namespace?: string | undefined; name: string }): string {
  const metadata =
    o.namespace === undefined || o.namespace === ''
      ? { name: o.name }
      : { name: o.name, namespace: o.namespace };
  return describeObject({ kind: o.kind, metadata });
}

/** The lines of an event: `Kind/namespace/name created`, one for each object that was changed. */
export function describeChanges(changes: readonly Change[]): string {
  return changes
    .filter(({ action }) => action === 'created' || action === 'configured' || action === 'deleted')
    .map(({ subject, action }) => `${subject} ${action}`)
    .join('\n');
}
