/**
 * The inventory: the ids of what a Kustomization has applied, in Flux's own format (issue #5, cli-utils'
 * ObjMetadata), so that Flux's CLI reads ours and we take over Flux's. It decides what may be deleted, hence
 * pure, total where it can be and loud where it can't: what isn't understood is an error, never "nothing".
 */

import type { KubeObject } from '../api/objects.ts';
import { gvkOf } from '../api/resources.ts';

/** One line of `status.inventory.entries`: `id` is `<namespace>_<name>_<group>_<kind>`, `v` the API version without its group. */
export interface InventoryEntry {
  id: string;
  v: string;
}

/** What an id says. `namespace` is empty for a cluster-scoped object, `group` for the core group. */
export interface ObjectId {
  namespace: string;
  name: string;
  group: string;
  kind: string;
}

/** The inventory can't be read or can't carry an object. The controller stalls on it: guessing would delete or leak. */
export class InventoryError extends Error {
  override readonly name = 'InventoryError';
}

const RBAC_GROUP = 'rbac.authorization.k8s.io';
const RBAC_KINDS = new Set(['Role', 'ClusterRole', 'RoleBinding', 'ClusterRoleBinding']);

/** RBAC names may hold colons (`system:x`), which ids spell `__`. */
function spellsColons(id: Pick<ObjectId, 'group' | 'kind'>): boolean {
  return id.group === RBAC_GROUP && RBAC_KINDS.has(id.kind);
}

/** `<namespace>_<name>_<group>_<kind>`. */
export function encodeId(id: ObjectId): string {
  const name = spellsColons(id) ? id.name.replaceAll(':', '__') : id.name;
  return `${id.namespace}_${name}_${id.group}_${id.kind}`;
}

/**
 * Undoes {@link encodeId}: the namespace ends at the first underscore, group and kind begin at the last two
 * (neither can hold one), the rest is the name. Throws InventoryError when there are fewer than three
 * underscores, or when name or kind is empty.
 */
export function parseId(id: string): ObjectId {
  const first = id.indexOf('_');
  const last = id.lastIndexOf('_');
  const beforeGroup = last > 0 ? id.lastIndexOf('_', last - 1) : -1;
  if (first < 0 || beforeGroup <= first) throw malformed(id);
  const parsed: ObjectId = {
    namespace: id.slice(0, first),
    name: id.slice(first + 1, beforeGroup),
    group: id.slice(beforeGroup + 1, last),
    kind: id.slice(last + 1),
  };
  if (parsed.name === '' || parsed.kind === '') throw malformed(id);
  return spellsColons(parsed) ? { ...parsed, name: parsed.name.replaceAll('__', ':') } : parsed;
}

function malformed(id: string): InventoryError {
  return new InventoryError(
    `inventory entry ${JSON.stringify(id)} isn't of the form <namespace>_<name>_<group>_<kind>`,
  );
}

/**
 * The entry of an object. Throws InventoryError for a name that the format can't carry (an RBAC name with two
 * underscores in a row reads back as a colon): applied, it could never be found again to be pruned.
 */
export function entryOf(object: KubeObject): InventoryEntry {
  const { group, version, kind } = gvkOf(object);
  const wanted: ObjectId = {
    namespace: object.metadata.namespace ?? '',
    name: object.metadata.name ?? '',
    group,
    kind,
  };
  const id = encodeId(wanted);
  if (parseId(id).name !== wanted.name) {
    throw new InventoryError(
      `${kind} ${JSON.stringify(wanted.name)} can't be recorded in the inventory: rename it without "__"`,
    );
  }
  return { id, v: version };
}

/**
 * Reads `status.inventory`. `undefined` and `null` (never written) and a list left out (Go omits nothing, but an
 * empty list may come as null) are empty; anything else that isn't a list of well-formed entries throws
 * InventoryError.
 */
export function parseInventory(inventory: unknown): InventoryEntry[] {
  if (inventory === undefined || inventory === null) return [];
  if (typeof inventory !== 'object') throw new InventoryError('status.inventory is not an object');
  const entries: unknown = (inventory as { entries?: unknown }).entries;
  if (entries === undefined || entries === null) return [];
  if (!Array.isArray(entries)) throw new InventoryError('status.inventory.entries is not a list');
  return entries.map(parseEntry);
}

function parseEntry(entry: unknown, index: number): InventoryEntry {
  const { id, v } = (typeof entry === 'object' && entry !== null ? entry : {}) as {
    id?: unknown;
    v?: unknown;
  };
  if (typeof id !== 'string' || typeof v !== 'string' || v === '') {
    throw new InventoryError(`status.inventory.entries[${index}] has no id or no version`);
  }
  parseId(id);
  return { id, v };
}

/** All of `base` in its order, then what only `added` has; where both have an id, `added` says the version. */
export function union(base: readonly InventoryEntry[], added: readonly InventoryEntry[]): InventoryEntry[] {
  const byId = new Map(base.map((entry) => [entry.id, entry]));
  for (const entry of added) byId.set(entry.id, entry);
  return [...byId.values()];
}

/** The entries of `base` whose id isn't in `removed`. A version alone makes no difference: it is the same object. */
export function difference(
  base: readonly InventoryEntry[],
  removed: readonly InventoryEntry[],
): InventoryEntry[] {
  const ids = new Set(removed.map((entry) => entry.id));
  return base.filter((entry) => !ids.has(entry.id));
}
