/** From a kind to its place in the API (REST mapping), remembered. */

import { apiVersionOf, type GroupVersionKind, type ResourceType } from '../api/resources.ts';
import { abortable } from './backoff.ts';
import type { KubeClient } from './client.ts';
import { isNotFound } from './errors.ts';
import { groupVersionPath } from './paths.ts';
import type { CallOptions } from './time-limit.ts';

/** The API server has no such kind: its CRD isn't installed, or the version isn't served. */
export class NoMatchError extends Error {
  override readonly name = 'NoMatchError';
  readonly gvk: GroupVersionKind;

  constructor(gvk: GroupVersionKind) {
    super(`no matches for kind "${gvk.kind}" in version "${apiVersionOf(gvk)}"`);
    this.gvk = gvk;
  }
}

/** `APIResourceList`, as far as it is read. */
interface ResourceList {
  resources: { name: string; kind: string; namespaced: boolean }[];
}

interface GroupVersionEntry {
  types: ReadonlyMap<string, ResourceType>;
  readAtMs: number;
}

/** A kind that a CRD just brought should be found at once; a kind that doesn't exist should cost little. */
const MISS_REMEMBERED_MS = 1_000;

/**
 * Asks `GET /apis/<group>/<version>` once for each group version that somebody uses, never for all of them: one
 * unavailable aggregated API must not stop the rest. A miss is looked up again at most once a second.
 */
export class Discovery {
  readonly #client: KubeClient;
  readonly #entries = new Map<string, GroupVersionEntry>();
  readonly #reading = new Map<string, Promise<GroupVersionEntry>>();

  constructor(client: KubeClient) {
    this.#client = client;
  }

  /** Throws {@link NoMatchError} naming the kind, and what the client throws. */
  async resolve(gvk: GroupVersionKind, o: CallOptions = {}): Promise<ResourceType> {
    const found = await this.#find(gvk, (types) => types.get(gvk.kind), o);
    if (found === undefined) throw new NoMatchError(gvk);
    return found;
  }

  /** The kind whose collection has this name, `deployments`. Throws as {@link resolve}. */
  async resolvePlural(
    o: { group: string; version: string; plural: string },
    options: CallOptions = {},
  ): Promise<ResourceType> {
    const byPlural = (types: ReadonlyMap<string, ResourceType>): ResourceType | undefined =>
      Array.from(types.values()).find(({ plural }) => plural === o.plural);
    const found = await this.#find(o, byPlural, options);
    if (found === undefined) throw new NoMatchError({ ...o, kind: o.plural });
    return found;
  }

  async #find(
    gv: { group: string; version: string },
    pick: (types: ReadonlyMap<string, ResourceType>) => ResourceType | undefined,
    o: CallOptions,
  ): Promise<ResourceType | undefined> {
    const entry = this.#entries.get(apiVersionOf(gv));
    const known = entry && pick(entry.types);
    if (known !== undefined) return known;
    if (entry !== undefined && performance.now() - entry.readAtMs < MISS_REMEMBERED_MS) return undefined;
    return pick((await this.#read(gv, o)).types);
  }

  /** Drops what is remembered of a group: its CRDs changed, or a remembered place answered 404. */
  forget(group: string): void {
    for (const apiVersion of this.#entries.keys()) {
      const slash = apiVersion.indexOf('/');
      if ((slash < 0 ? '' : apiVersion.slice(0, slash)) === group) this.#entries.delete(apiVersion);
    }
  }

  /** Callers at the same moment share one request, so it mustn't end with one caller's signal. */
  async #read(gvk: { group: string; version: string }, o: CallOptions): Promise<GroupVersionEntry> {
    const apiVersion = apiVersionOf(gvk);
    let reading = this.#reading.get(apiVersion);
    if (reading === undefined) {
      reading = this.#fetch(gvk, o.timeoutMs).finally(() => this.#reading.delete(apiVersion));
      this.#reading.set(apiVersion, reading);
    }
    return abortable(reading, o.signal);
  }

  async #fetch(
    gvk: { group: string; version: string },
    timeoutMs: number | undefined,
  ): Promise<GroupVersionEntry> {
    const entry = { types: await this.#fetchTypes(gvk, timeoutMs), readAtMs: performance.now() };
    this.#entries.set(apiVersionOf(gvk), entry);
    return entry;
  }

  async #fetchTypes(
    { group, version }: { group: string; version: string },
    timeoutMs: number | undefined,
  ): Promise<Map<string, ResourceType>> {
    const types = new Map<string, ResourceType>();
    try {
      const path = groupVersionPath({ group, version });
      const list = await this.#client.request<ResourceList>({ method: 'GET', path, timeoutMs });
      for (const { name, kind, namespaced } of list.resources) {
        // A subresource (`deployments/scale`) may carry the kind of something else.
        if (!name.includes('/')) types.set(kind, { group, version, kind, plural: name, namespaced });
      }
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    return types;
  }
}
