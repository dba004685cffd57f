/**
 * The composition root's face: the one subclass of the framework's `Operator`. What the framework would do by
 * itself (a watch without list or resume that ends the process, status writes whose errors become null) goes
 * through our client, informers and queues instead. `composition/` says what runs, and in which order.
 */

import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import framework, {
  type OperatorLogger,
  type ResourceEvent,
  ResourceEventType,
  type ResourceMeta,
  ResourceMetaImpl,
} from '@dot-i/k8s-operator';
import { parse } from 'yaml';
import type { Logger } from './api/logger.ts';
import type { KubeObject, StoredObject } from './api/objects.ts';
import {
  apiVersionOf,
  CUSTOM_RESOURCE_DEFINITION,
  type NamespacedName,
  type ResourceType,
} from './api/resources.ts';
import { established } from './apply/definitions.ts';
import { addParts } from './composition/parts.ts';
import { createPlatform, type Platform } from './composition/platform.ts';
import { isNotFound } from './kube/errors.ts';
import { addFinalizer, removeFinalizer } from './kube/finalizers.ts';
import { collectionPath } from './kube/paths.ts';
import type { Options } from './options.ts';
import { Follower } from './runtime/follower.ts';
import { Manager } from './runtime/manager.ts';

/**
 * What the operator is made from. `path` is the search path for the programs it runs (git, the build worker);
 * `environment` names the proxies of git.
 */
export interface SignetOperatorOptions {
  options: Options;
  logger: Logger;
  path: string;
  environment?: Readonly<Record<string, string | undefined>>;
  version?: string;
}

const CRD_FIELD_MANAGER = 'signet';
const FOLLOWER_WORKERS = 4;
const EVENT_TYPE = {
  added: ResourceEventType.Added,
  modified: ResourceEventType.Modified,
  deleted: ResourceEventType.Deleted,
} as const;

/** The operator: {@link start}, then {@link shutDown}. Constructing it reads the kubeconfig and may throw. */
export class SignetOperator extends framework.default {
  protected readonly platform: Platform;
  readonly #o: SignetOperatorOptions;
  readonly #manager: Manager;
  readonly #stopping = new AbortController();
  readonly #followed = new Map<string, ResourceType>();
  readonly #followers: Follower[] = [];
  #newSealingKey: () => void = () => {};
  #stopped: Promise<void> | undefined;

  constructor(o: SignetOperatorOptions) {
    // Before the framework reads the kubeconfig, whose errors don't name it.
    const platform = createPlatform(o);
    super(frameworkLogger(o.logger));
    this.#o = o;
    this.platform = platform;
    this.#manager = new Manager({ logger: o.logger });
  }

  /** Resolves when every part does its work; rejects, naming the part, when one can't. */
  override async start(): Promise<void> {
    await this.init();
    await this.#manager.start(this.#stopping.signal);
  }

  /** {@link shutDown} for the framework's callers, who don't wait. */
  override stop(): void {
    void this.shutDown();
  }

  /** Stops every part in the reverse order of its start, within the option's deadline. */
  shutDown(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** Makes a new sealing key now; nothing, where SealedSecrets aren't looked after or before the start. */
  newSealingKey(): void {
    this.#newSealingKey();
  }

  /** Puts the parts together; the framework's own `start` would call it too. */
  protected override async init(): Promise<void> {
    const controls = addParts(this.#manager, { ...this.#o, platform: this.platform });
    this.#newSealingKey = controls.newSealingKey ?? (() => {});
  }

  async #stop(): Promise<void> {
    this.#stopping.abort(new DOMException('the operator is shutting down', 'AbortError'));
    const limitMs = this.#o.options.gracefulShutdownTimeoutMs;
    const endsAtMs = performance.now() + limitMs;
    const ended = Promise.all(this.#followers.splice(0).map((follower) => follower.stop()));
    // A handler that hangs doesn't cost the parts their turn.
    await Promise.race([ended, sleep(limitMs / 2, undefined, { ref: false })]);
    await this.#manager.stop(endsAtMs - performance.now());
  }

  /**
   * Applies a CustomResourceDefinition from a YAML file, new or changed, and waits until it is established.
   * @throws when the file holds none, or the API server refuses it
   */
  protected override async registerCustomResourceDefinition(
    crdFile: string,
  ): ReturnType<InstanceType<typeof framework.default>['registerCustomResourceDefinition']> {
    const definition = await readYaml(crdFile);
    if (!isDefinition(definition)) throw new Error(`${crdFile} is no CustomResourceDefinition`);
    const { client } = this.platform;
    const { signal } = this.#stopping;
    const name = { name: definition.metadata.name ?? '' };
    await client.apply(CUSTOM_RESOURCE_DEFINITION, definition, {
      fieldManager: CRD_FIELD_MANAGER,
      force: true,
      signal,
    });
    await established(client, name, signal);
    const { group, versions, names } = definition.spec;
    return { group, versions, plural: names.plural };
  }

  /** The address of a kind's collection, for those who must call it by hand. */
  protected override getCustomResourceApiUri(
    group: string,
    version: string,
    plural: string,
    namespace?: string,
  ): string {
    const { server } = this.platform.config;
    const type: ResourceType = { group, version, plural, kind: '', namespaced: true };
    return `${server.href.replace(/\/$/, '')}${collectionPath(type, namespace)}`;
  }

  /**
   * Follows a kind: list, then watch, resumed and relisted as needed. `onEvent` hears of the latest change of each
   * object, one at a time for one object, again after a back-off when it throws. Resolves with the first list; throws when
   * there is no such kind.
   */
  protected override async watchResource(
    group: string,
    version: string,
    plural: string,
    onEvent: (event: ResourceEvent) => Promise<void>,
    namespace?: string,
  ): Promise<void> {
    const { discovery, informers } = this.platform;
    const { signal } = this.#stopping;
    const type = await discovery.resolvePlural({ group, version, plural }, { signal });
    const id = `${plural}.${apiVersionOf(type)}`;
    this.#followed.set(id, type);
    const follower = new Follower({
      name: `watch of ${id}`,
      spec: { type, namespace },
      concurrency: FOLLOWER_WORKERS,
      informers,
      logger: this.#o.logger,
      handle: ({ type: change, object: received }) => {
        const object = asFrameworkObject(received);
        return onEvent({
          meta: ResourceMetaImpl.createWithPlural(plural, object),
          object,
          type: EVENT_TYPE[change],
        });
      },
    });
    this.#followers.push(follower);
    await follower.start(signal);
  }

  /** Replaces the status of an object as read; null when it is gone. Throws what the API server refuses. */
  protected override setResourceStatus(meta: ResourceMeta, status: unknown): Promise<ResourceMeta | null> {
    const { client } = this.platform;
    return this.#writeStatus(meta, (type, object) =>
      client.replace(type, { ...object, status }, { subresource: 'status', signal: this.#stopping.signal }),
    );
  }

  /** Merges into the status of an object as read; null when it is gone. Throws what the API server refuses. */
  protected override patchResourceStatus(meta: ResourceMeta, status: unknown): Promise<ResourceMeta | null> {
    const { client } = this.platform;
    return this.#writeStatus(meta, (type, { metadata }) => {
      const patch = {
        metadata: { resourceVersion: metadata.resourceVersion ?? '' },
        status: status as object,
      };
      const options = { as: 'merge', subresource: 'status', signal: this.#stopping.signal } as const;
      return client.patch(type, nameOf(meta), patch as Parameters<typeof client.patch>[2], options);
    });
  }

  /**
   * Adds the finalizer to a live object, or runs `deleteAction` for a deleted one and then, only if that succeeded,
   * takes the finalizer off. True when there is nothing more to do.
   */
  protected override async handleResourceFinalizer(
    event: ResourceEvent,
    finalizer: string,
    deleteAction: (event: ResourceEvent) => Promise<void>,
  ): Promise<boolean> {
    const object = event.object as object as StoredObject;
    if (event.type === ResourceEventType.Deleted) return false;
    const { client } = this.platform;
    const type = this.#typeOf(event.meta);
    const { signal } = this.#stopping;
    const held = object.metadata.finalizers?.includes(finalizer) === true;
    if (object.metadata.deletionTimestamp === undefined) {
      if (!held) await addFinalizer(client, type, object, finalizer, signal);
      return !held;
    }
    if (held) {
      await deleteAction(event);
      await removeFinalizer(client, type, object, finalizer, signal);
    }
    return true;
  }

  /** Sets the finalizers of an object as read. Throws what the API server refuses: a conflict, above all. */
  protected override async setResourceFinalizers(meta: ResourceMeta, finalizers: string[]): Promise<void> {
    const { resourceVersion } = meta;
    const patch = { metadata: { resourceVersion, finalizers } };
    const { signal } = this.#stopping;
    await this.platform.client.patch(this.#typeOf(meta), nameOf(meta), patch, { as: 'merge', signal });
  }

  async #writeStatus(
    meta: ResourceMeta,
    write: (type: ResourceType, object: KubeObject) => Promise<StoredObject>,
  ): Promise<ResourceMeta | null> {
    const { apiVersion, kind, name, namespace, resourceVersion } = meta;
    const metadata = { name, resourceVersion, ...(namespace === undefined ? {} : { namespace }) };
    try {
      const written = await write(this.#typeOf(meta), { apiVersion, kind, metadata });
      return ResourceMetaImpl.createWithId(meta.id, asFrameworkObject(written));
    } catch (error) {
      if (isNotFound(error)) return null;
      throw error;
    }
  }

  #typeOf(meta: ResourceMeta): ResourceType {
    const type = this.#followed.get(meta.id);
    if (type === undefined) throw new Error(`${meta.id} is not watched: call watchResource first`);
    return type;
  }
}

interface Definition extends KubeObject {
  spec: { group: string; versions: []; names: { plural: string } };
}

async function readYaml(file: string): Promise<unknown> {
  const text = await readFile(file, 'utf8');
  try {
    return parse(text);
  } catch (cause) {
    throw new Error(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function isDefinition(value: unknown): value is Definition {
  const { apiVersion, kind } = (value ?? {}) as Partial<KubeObject>;
  return kind === CUSTOM_RESOURCE_DEFINITION.kind && apiVersion?.startsWith('apiextensions.k8s.io/') === true;
}

function nameOf({ name, namespace }: ResourceMeta): NamespacedName {
  return namespace === undefined ? { name } : { name, namespace };
}

/** The framework's type says that times are `Date`s; objects are what they were on the wire all the same. */
function asFrameworkObject(object: StoredObject): ResourceEvent['object'] {
  return object as object as ResourceEvent['object'];
}

function frameworkLogger(logger: Logger): OperatorLogger {
  return {
    debug: (message) => logger.debug(message),
    info: (message) => logger.info(message),
    warn: (message) => logger.warn(message),
    error: (message) => logger.error(message),
  };
}
