/** The raw JSON client: Kubernetes' verbs on objects exactly as written. */

import type { JsonObject, KubeList, KubeObject, StoredObject } from '../api/objects.ts';
import { apiVersionOf, type NamespacedName, type ResourceType } from '../api/resources.ts';
import type { ClusterConfig } from './config.ts';
import { ApiError, isNotFound } from './errors.ts';
import { collectionPath, objectPath } from './paths.ts';
import type { CallOptions } from './time-limit.ts';
import { type HttpRequest, type Observation, Transport, type Verb } from './transport.ts';
import { type WatchEvent, watchEvents } from './watch-stream.ts';

/** Which objects of a kind. Absent namespace: all of them. */
export interface Selection {
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
}

/** One page, or the whole list. `metadataOnly`: objects carry no more than their metadata. */
export interface ListOptions extends Selection, CallOptions {
  limit?: number | undefined;
  continue?: string | undefined;
  resourceVersion?: string | undefined;
  resourceVersionMatch?: 'Exact' | 'NotOlderThan' | undefined;
  metadataOnly?: boolean | undefined;
}

/** A watch. `timeoutSeconds` is the server's own limit; `idleTimeoutMs` is when silence means a dead connection. */
export interface WatchOptions extends Selection {
  resourceVersion?: string | undefined;
  metadataOnly?: boolean | undefined;
  timeoutSeconds: number;
  idleTimeoutMs: number;
  /** A streaming list: ADDED for all there is, then a bookmark annotated `k8s.io/initial-events-end`, then changes. */
  sendInitialEvents?: boolean | undefined;
  /** Called when the server has accepted the watch. */
  onOpen?: (() => void) | undefined;
  signal: AbortSignal;
}

/** Options of writes. */
export interface WriteOptions extends CallOptions {
  fieldManager?: string | undefined;
  subresource?: string | undefined;
  dryRun?: boolean | undefined;
}

/** Options of a {@link KubeClient}. `connections` bounds requests (12); watches have connections of their own. */
export interface KubeClientOptions {
  config: ClusterConfig;
  userAgent?: string;
  connections?: number;
  observe?: (observation: Observation) => void;
  /** Make every call in this user's name (`system:serviceaccount:<namespace>:<name>`). */
  impersonate?: string;
}

const PATCH_TYPE = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

const ACCEPT_METADATA = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';
const ACCEPT_METADATA_LIST = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1';

const VERBS: Readonly<Record<'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', Verb>> = {
  GET: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

/**
 * Every method throws `ApiError` (the server refused; its own message), `TransportError` (no usable answer),
 * `RequestTimeout` (30 s unless told) or the signal's reason. 429 and 503 answers that say when are retried within
 * that time; so are reads whose connection broke. Other writes are sent once: the caller knows what a repetition means.
 * Objects of lists, watches and metadata-only answers get the `apiVersion` and `kind` that the server leaves out.
 */
export class KubeClient {
  readonly #transport: Transport;
  readonly #impersonate: string | undefined;

  constructor(o: KubeClientOptions | { transport: Transport; impersonate: string }) {
    this.#impersonate = o.impersonate;
    this.#transport =
      'transport' in o ? o.transport : new Transport({ ...o, userAgent: o.userAgent ?? 'signet' });
  }

  /** Any call: what the other methods don't cover. `path` is absolute. */
  request<T>(
    o: {
      method: keyof typeof VERBS;
      path: string;
      query?: Record<string, string | undefined>;
      body?: JsonObject | string;
      contentType?: string;
    } & CallOptions,
  ): Promise<T> {
    const { method, path, query, contentType, body } = o;
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    return this.#send({ verb: VERBS[method], method, path, query, contentType, body: text }, o);
  }

  /** The object, or `undefined` if it isn't there. A kind that isn't there is an error. */
  async get<T extends StoredObject<object> = StoredObject>(
    type: ResourceType,
    name: NamespacedName,
    o: CallOptions & { subresource?: string; metadataOnly?: boolean } = {},
  ): Promise<T | undefined> {
    const path = objectPath(type, name, o.subresource);
    const accept = o.metadataOnly ? ACCEPT_METADATA : undefined;
    try {
      const object = await this.#send<T>({ verb: 'get', method: 'GET', path, accept }, o);
      return o.metadataOnly ? identified(type, object) : object;
    } catch (error) {
      if (isMissingObject(error)) return undefined;
      throw error;
    }
  }

  /** A list, or with `limit` a page of one (`metadata.continue` leads to the next). */
  async list<T extends StoredObject<object> = StoredObject>(
    type: ResourceType,
    o: ListOptions = {},
  ): Promise<KubeList<T>> {
    const query = {
      ...selectors(o),
      limit: o.limit === undefined ? undefined : String(o.limit),
      continue: o.continue,
      resourceVersion: o.resourceVersion,
      resourceVersionMatch: o.resourceVersionMatch,
    };
    const path = collectionPath(type, o.namespace);
    const accept = o.metadataOnly ? ACCEPT_METADATA_LIST : undefined;
    const list = await this.#send<KubeList<T>>({ verb: 'list', method: 'GET', path, query, accept }, o);
    // An empty list of a built-in kind may come as null.
    list.items ??= [];
    for (const item of list.items) identified(type, item);
    return list;
  }

  /** Creates the object under its name (or `generateName`). */
  create<T extends StoredObject<object> = StoredObject>(
    type: ResourceType,
    object: KubeObject,
    o: Omit<WriteOptions, 'subresource'> = {},
  ): Promise<T> {
    const path = collectionPath(type, object.metadata.namespace);
    return this.#write({ verb: 'create', method: 'POST', path, body: JSON.stringify(object) }, o);
  }

  /** Replaces the object, or its status; `metadata.resourceVersion`, when there, is a precondition. */
  replace<T extends StoredObject<object> = StoredObject>(
    type: ResourceType,
    object: KubeObject,
    o: WriteOptions = {},
  ): Promise<T> {
    const path = objectPath(type, nameOf(object), o.subresource);
    return this.#write({ verb: 'update', method: 'PUT', path, body: JSON.stringify(object) }, o);
  }

  /** A JSON merge patch (RFC 7396) or a JSON patch (RFC 6902; a failed `test` is a 422). */
  patch<T extends StoredObject<object> = StoredObject>(
    type: ResourceType,
    name: NamespacedName,
    patch: JsonObject | JsonObject[],
    o: WriteOptions & { as: 'merge' | 'json' },
  ): Promise<T> {
    const path = objectPath(type, name, o.subresource);
    const body = JSON.stringify(patch);
    return this.#write({ verb: 'patch', method: 'PATCH', path, body, contentType: PATCH_TYPE[o.as] }, o);
  }

  /** Server-side apply of the object exactly as given. Without `force`, fields of other managers are a conflict (409). */
  apply<T extends StoredObject<object> = StoredObject>(
    type: ResourceType,
    object: KubeObject,
    o: WriteOptions & {
      fieldManager: string;
      force?: boolean;
      fieldValidation?: 'Strict' | 'Warn' | 'Ignore';
    },
  ): Promise<T> {
    const path = objectPath(type, nameOf(object), o.subresource);
    const query = { force: o.force ? 'true' : undefined, fieldValidation: o.fieldValidation };
    // JSON is YAML; the media type with "yaml" is the one that every supported server knows.
    const contentType = PATCH_TYPE.apply;
    const body = JSON.stringify(object);
    return this.#write({ verb: 'patch', method: 'PATCH', path, query, body, contentType }, o);
  }

  /** Asks for deletion; finalizers and foreground deletion may take longer. A `uid` or version that differs is a conflict. */
  async delete(
    type: ResourceType,
    name: NamespacedName,
    o: CallOptions & {
      propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
      uid?: string;
      resourceVersion?: string;
    } = {},
  ): Promise<'deleted' | 'not found'> {
    const { propagationPolicy, uid, resourceVersion } = o;
    const preconditions =
      uid === undefined && resourceVersion === undefined ? undefined : { uid, resourceVersion };
    const body = JSON.stringify({
      kind: 'DeleteOptions',
      apiVersion: 'v1',
      propagationPolicy,
      preconditions,
    });
    try {
      await this.#send({ verb: 'delete', method: 'DELETE', path: objectPath(type, name), body }, o);
      return 'deleted';
    } catch (error) {
      if (isMissingObject(error)) return 'not found';
      throw error;
    }
  }

  /**
   * Changes since `resourceVersion`, with bookmarks. Ends when the server closes cleanly (its `timeoutSeconds`);
   * throws `ApiError` (410: list again) and `IdleTimeout` too. Leaving the loop closes the connection.
   */
  async *watch(type: ResourceType, o: WatchOptions): AsyncGenerator<WatchEvent, void, undefined> {
    const path = collectionPath(type, o.namespace);
    const query = {
      ...selectors(o),
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: o.resourceVersion,
      timeoutSeconds: String(o.timeoutSeconds),
      ...(o.sendInitialEvents ? { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' } : {}),
    };
    const accept = o.metadataOnly ? ACCEPT_METADATA : undefined;
    const request: HttpRequest = {
      verb: 'watch',
      method: 'GET',
      path,
      query,
      accept,
      impersonate: this.#impersonate,
    };
    const stream = await this.#transport.open(request, { signal: o.signal });
    o.onOpen?.();
    const { idleTimeoutMs, signal } = o;
    for await (const event of watchEvents({ stream, idleTimeoutMs, signal, call: `watch ${path}` })) {
      identified(type, event.object);
      yield event;
    }
  }

  /** A client that acts in `user`'s name over the same connections. */
  impersonating(user: string): KubeClient {
    return new KubeClient({ transport: this.#transport, impersonate: user });
  }

  /** Closes all connections, those of clients that {@link impersonating} made too. Calls under way fail. */
  close(): Promise<void> {
    return this.#transport.close();
  }

  #write<T>(request: HttpRequest, o: WriteOptions): Promise<T> {
    const query = {
      ...request.query,
      fieldManager: o.fieldManager,
      dryRun: o.dryRun ? 'All' : undefined,
    };
    return this.#send({ ...request, query }, o);
  }

  #send<T>(request: HttpRequest, o: CallOptions): Promise<T> {
    return this.#transport.send({ ...request, impersonate: this.#impersonate }, o);
  }
}

function selectors(o: Selection): Record<string, string | undefined> {
  return { labelSelector: o.labelSelector, fieldSelector: o.fieldSelector };
}

function nameOf(object: KubeObject): NamespacedName {
  const { name = '', namespace } = object.metadata;
  return namespace === undefined ? { name } : { name, namespace };
}

function identified<T extends StoredObject<object>>(type: ResourceType, object: T): T {
  object.apiVersion = apiVersionOf(type);
  object.kind = type.kind;
  return object;
}

/** A 404 that names an object; one that doesn't means that the kind itself is unknown. */
function isMissingObject(error: unknown): boolean {
  return isNotFound(error) && error instanceof ApiError && error.details?.name !== undefined;
}
