/** CRDs and admission configurations: what changing them means for the other objects. */

import { setTimeout as delay } from 'node:timers/promises';
import type { KubeObject } from '../api/objects.ts';
import {
  CUSTOM_RESOURCE_DEFINITION,
  type GroupVersionKind,
  gvkOf,
  type NamespacedName,
  type ResourceType,
} from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { type Discovery, NoMatchError } from '../kube/discovery.ts';
import { ApiError } from '../kube/errors.ts';
import { ApplyError } from './apply-error.ts';

const ESTABLISHED_WITHIN_MS = 60_000;
/** Once Established, discovery and the endpoint follow within moments; a kind that doesn't come isn't defined at all. */
const SERVED_WITHIN_MS = 10_000;
const FIRST_POLL_MS = 20;
const LONGEST_POLL_MS = 500;

interface Definition {
  status?: { conditions?: { type: string; status: string; message?: string }[] };
}

/** Polls `probe` until it answers something, in growing steps; after `withinMs` throws what `late` makes of it. */
async function poll<T>(
  o: { withinMs: number; signal: AbortSignal; late: () => Error },
  probe: () => Promise<T | undefined>,
): Promise<T> {
  const deadlineMs = performance.now() + o.withinMs;
  for (let waitMs = FIRST_POLL_MS; ; waitMs = Math.min(waitMs * 1.5, LONGEST_POLL_MS)) {
    const found = await probe();
    if (found !== undefined) return found;
    if (performance.now() > deadlineMs) throw o.late();
    await delay(waitMs, undefined, { signal: o.signal });
  }
}

/** Resolves when the CRD is Established. Throws ApplyError after a minute, or at once when its names are taken. */
export async function established(
  client: KubeClient,
  name: NamespacedName,
  signal: AbortSignal,
): Promise<void> {
  const subject = `CustomResourceDefinition/${name.name}`;
  const late = () => new ApplyError(`${subject} is not Established a minute after it was applied`);
  await poll({ withinMs: ESTABLISHED_WITHIN_MS, signal, late }, async () => {
    const definition = await client.get(CUSTOM_RESOURCE_DEFINITION, name, { signal });
    const conditions = (definition as Definition | undefined)?.status?.conditions ?? [];
    const refused = conditions.find(({ type, status }) => type === 'NamesAccepted' && status === 'False');
    if (refused !== undefined) throw new ApplyError(`${subject} is not accepted: ${refused.message ?? ''}`);
    return conditions.some(({ type, status }) => type === 'Established' && status === 'True') || undefined;
  });
}

/** Groups whose CRDs this pass has written: what they define may take a moment to be served. */
export class FreshGroups {
  readonly #groups = new Set<string>();
  readonly #discovery: Discovery;

  constructor(discovery: Discovery) {
    this.#discovery = discovery;
  }

  add(group: string): void {
    this.#groups.add(group);
    this.#discovery.forget(group);
  }

  /** Discovery's answer, with patience for kinds of fresh groups. Throws NoMatchError. */
  resolve(gvk: GroupVersionKind, signal: AbortSignal): Promise<ResourceType> {
    return this.#patiently(gvk, signal, () => this.#discovery.resolve(gvk, { signal }));
  }

  /** A call on a kind; where the kind is fresh, a 404 of the whole kind means that it isn't served yet. */
  call<T>(gvk: GroupVersionKind, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return this.#patiently(gvk, signal, work);
  }

  async #patiently<T>(gvk: GroupVersionKind, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    let last: unknown;
    const late = () => last as Error;
    const { value } = await poll({ withinMs: SERVED_WITHIN_MS, signal, late }, async () => {
      try {
        return { value: await work() };
      } catch (error) {
        if (isKindMissing(error)) this.#discovery.forget(gvk.group);
        if (!isKindMissing(error) || !this.#groups.has(gvk.group)) throw error;
        last = error;
        return undefined;
      }
    });
    return value;
  }
}

/** The kind as a whole isn't served: a 404 that names no object. */
export function isKindMissing(error: unknown): boolean {
  if (error instanceof NoMatchError) return true;
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof ApiError && cause.status === 404 && cause.details?.name === undefined;
}

/** The group that a CRD defines kinds of. */
export function definedGroup(definition: KubeObject): string | undefined {
  const spec: unknown = definition.spec;
  const group: unknown =
    typeof spec === 'object' && spec !== null && 'group' in spec ? spec.group : undefined;
  return typeof group === 'string' ? group : undefined;
}

const ADMISSION_GROUP = 'admissionregistration.k8s.io';

/**
 * What a change of this object does to proofs: a CRD changes what applies to its group's objects do, an admission
 * configuration to anybody's (no `group`); anything else nothing (`undefined`).
 */
export function proofsOverturnedBy(object: KubeObject): { group?: string } | undefined {
  const { group, kind } = gvkOf(object);
  if (group === ADMISSION_GROUP) return {};
  if (group !== CUSTOM_RESOURCE_DEFINITION.group || kind !== CUSTOM_RESOURCE_DEFINITION.kind) {
    return undefined;
  }
  const defined = definedGroup(object);
  return defined === undefined ? {} : { group: defined };
}
