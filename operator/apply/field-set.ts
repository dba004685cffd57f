/**
 * Field sets in the API server's notation (`managedFields[].fieldsV1`, KEP-555), as trees of keys:
 * `f:name` a field, `k:{"name":"x"}` the list item with that key, `v:"x"` a member of a set, `i:0` an index,
 * `.` the item itself. A key with an empty tree is owned as a whole.
 */

import type { Json, JsonObject } from '../api/objects.ts';

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** JSON with sorted keys: equal values give equal text. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value) ?? 'null';
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`);
  return `{${members.join(',')}}`;
}

/** Every field of both. Neither argument is changed. */
export function unionFieldSets(a: JsonObject, b: JsonObject): JsonObject {
  const merged: JsonObject = { ...a };
  for (const [key, fields] of Object.entries(b)) {
    const own = merged[key];
    merged[key] = isObject(own) && isObject(fields) ? unionFieldSets(own, fields) : fields;
  }
  return merged;
}

/** True when some field is in both, or one owns as a whole what the other owns a part of. Mere parents don't count. */
export function fieldSetsOverlap(a: JsonObject, b: JsonObject): boolean {
  return Object.entries(a).some(([key, inA]) => {
    const inB = b[key];
    if (key === '.' || !isObject(inA) || !isObject(inB)) return false;
    const aWhole = Object.keys(inA).length === 0;
    const bWhole = Object.keys(inB).length === 0;
    return aWhole || bWhole || fieldSetsOverlap(inA, inB);
  });
}

/**
 * Describes a live value at exactly the fields of a set, as text that differs whenever one of them differs, is
 * missing, or (in a list) stands in another order among the owned ones. What the set doesn't name plays no part.
 */
export function describeValues(fields: JsonObject, value: unknown): string {
  const parts: string[] = [];
  describeInto(parts, fields, value);
  return parts.join('');
}

function describeInto(parts: string[], fields: JsonObject, value: unknown): void {
  for (const { key, child } of Array.isArray(value)
    ? ownedItems(fields, value)
    : ownedFields(fields, value)) {
    parts.push(JSON.stringify(key));
    if (child === undefined) {
      parts.push('-;');
      continue;
    }
    const below = fields[key];
    if (isObject(below) && Object.keys(below).length > 0) {
      parts.push('{');
      describeInto(parts, below, child);
      parts.push('}');
    } else {
      parts.push(`=${canonicalJson(child)};`);
    }
  }
}

interface Owned {
  key: string;
  child: unknown;
}

/** The owned fields of an object (or of nothing: then all are missing). `.` says only that the object is there. */
function ownedFields(fields: JsonObject, value: unknown): Owned[] {
  return Object.keys(fields).map((key) => {
    if (key === '.') return { key, child: value === undefined ? undefined : true };
    return { key, child: isObject(value) && key.startsWith('f:') ? value[key.slice(2)] : undefined };
  });
}

/** The owned items of a list in the list's own order, the missing ones first. */
function ownedItems(fields: JsonObject, list: readonly unknown[]): Owned[] {
  const finders = new Map<string, (wanted: string) => number>();
  const located = Object.keys(fields).map((key) => ({ key, index: locate(key, list, finders) }));
  located.sort((a, b) => a.index - b.index);
  return located.map(({ key, index }) => ({ key, child: key === '.' ? true : list[index] }));
}

function locate(
  key: string,
  list: readonly unknown[],
  finders: Map<string, (wanted: string) => number>,
): number {
  if (key.startsWith('i:')) return Number(key.slice(2));
  if (!key.startsWith('k:') && !key.startsWith('v:')) return -1;
  const wanted: unknown = JSON.parse(key.slice(2));
  const names = key.startsWith('k:') && isObject(wanted) ? Object.keys(wanted).sort() : undefined;
  const finderName = names === undefined ? 'v' : JSON.stringify(names);
  let find = finders.get(finderName);
  if (find === undefined) {
    find = indexOfItems(list, names);
    finders.set(finderName, find);
  }
  return find(canonicalJson(wanted));
}

/** One index for a whole list, so that long keyed lists cost their length and not its square. */
function indexOfItems(
  list: readonly unknown[],
  names: readonly string[] | undefined,
): (wanted: string) => number {
  const index = new Map<string, number>();
  list.forEach((item, position) => {
    const key = canonicalJson(names === undefined ? item : pick(item, names));
    if (!index.has(key)) index.set(key, position);
  });
  return (wanted) => index.get(wanted) ?? -1;
}

function pick(item: unknown, names: readonly string[]): JsonObject {
  const picked: JsonObject = {};
  if (!isObject(item)) return picked;
  for (const name of names) {
    const value: Json | undefined = item[name];
    if (value !== undefined) picked[name] = value;
  }
  return picked;
}
