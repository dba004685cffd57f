/** A repository whose commits add, change and remove objects of many kinds and stages, and what its head holds. */

import type { Repository } from '../../hack/cluster/repository.ts';
import type { JsonObject } from '../../operator/api/objects.ts';
import type { Random } from './random.ts';

/** On every object: the number of the commit that wrote it last. */
export const VERSION_ANNOTATION = 'test.signet.dev/version';
const FILE = 'app/objects.yaml';
const ANCHOR = 'anchor';
/** Immutable and changed by every full set, so that it has to be deleted and created anew. */
export const RECREATED = 'recreated';

/** A kind that fleets are made of. */
export interface FleetKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
}

const CORE = { group: '', version: 'v1' } as const;
const FIXED_KINDS: readonly FleetKind[] = [
  { ...CORE, kind: 'Namespace', plural: 'namespaces' },
  { ...CORE, kind: 'ConfigMap', plural: 'configmaps' },
  { ...CORE, kind: 'Secret', plural: 'secrets' },
  { ...CORE, kind: 'Service', plural: 'services' },
  { ...CORE, kind: 'ServiceAccount', plural: 'serviceaccounts' },
  { group: 'apps', version: 'v1', kind: 'Deployment', plural: 'deployments' },
  {
    group: 'apiextensions.k8s.io',
    version: 'v1',
    kind: 'CustomResourceDefinition',
    plural: 'customresourcedefinitions',
  },
  { group: 'rbac.authorization.k8s.io', version: 'v1', kind: 'ClusterRole', plural: 'clusterroles' },
  { group: 'scheduling.k8s.io', version: 'v1', kind: 'PriorityClass', plural: 'priorityclasses' },
];

/** Makes the manifests of one bundle: objects that come and go together. `version` is for what shall change each time. */
type Bundle = (name: string, version: string) => JsonObject[];

/**
 * The objects of the head commit. Bundles of namespaced objects come back under the same few names; definitions and
 * namespaces, whose deletion takes its time, under a new name each time.
 */
export class ChangingFleet {
  readonly #repository: Repository;
  readonly #url: string;
  readonly #namespace: string;
  readonly #bundles: Readonly<Record<string, Bundle>>;
  readonly #groups = new Set<string>();
  #present = new Map<string, JsonObject[]>();
  #before = new Map<string, JsonObject[]>();
  #commits = 0;

  /** `url`: of the bare repository that commits are pushed to. `namespace`: of the namespaced objects. */
  constructor(o: { repository: Repository; url: string; namespace: string }) {
    this.#repository = o.repository;
    this.#url = o.url;
    this.#namespace = o.namespace;
    this.#bundles = bundles(o.namespace, this.#groups);
    this.#put('configMap', ANCHOR);
  }

  /** Every kind that was ever in it. */
  get kinds(): readonly FleetKind[] {
    const gizmos = [...this.#groups].map((group) => ({
      group,
      version: 'v1',
      kind: 'Gizmo',
      plural: 'gizmos',
    }));
    return [...FIXED_KINDS, ...gizmos];
  }

  /** Version by inventory id, of what the head commit holds. */
  expected(): Map<string, string> {
    return new Map(this.#objects().map((object) => [idOf(object), versionOf(object)]));
  }

  /** Replaces all bundles by a full set of the given name: everything of the set before it goes. */
  async commitSet(name: string): Promise<void> {
    await this.#commit(() => {
      for (const key of this.#present.keys())
        if (key !== keyOf('configMap', ANCHOR)) this.#present.delete(key);
      for (const kind of ['configMap', 'secret', 'service', 'serviceAccount', 'deployment'])
        this.#put(kind, name);
      for (const kind of ['clusterRole', 'priorityClass']) this.#put(kind, name);
      this.#put('recreated', RECREATED);
    });
  }

  /** Undoes the last commit by another one. */
  async commitRevert(): Promise<void> {
    const before = this.#before;
    await this.#commit(() => {
      this.#present = new Map(before);
    });
  }

  /** One to five bundles come, change or go. */
  async commitRandom(random: Random): Promise<void> {
    await this.#commit(() => {
      for (let n = 1 + random.below(5); n > 0; n -= 1) this.#changeRandomly(random);
      this.#put('configMap', ANCHOR);
    });
  }

  /** Only the anchor stays. */
  async commitNothing(): Promise<void> {
    await this.#commit(() => {
      this.#present.clear();
      this.#put('configMap', ANCHOR);
    });
  }

  /** Any other files beside the objects. */
  async commitFiles(files: Record<string, string>): Promise<void> {
    await this.#commit(() => this.#repository.write(files));
  }

  async head(): Promise<string> {
    return this.#repository.head();
  }

  #changeRandomly(random: Random): void {
    const dice = random.next();
    const removable = [...this.#present.keys()].filter((key) => key !== keyOf('configMap', ANCHOR));
    if (dice < 0.4 && removable.length > 0) {
      this.#present.delete(random.pick(removable));
      return;
    }
    if (dice < 0.48) this.#put('definition', `d${this.#commits}`);
    else if (dice < 0.56) this.#put('namespace', `n${this.#commits}`);
    else {
      if (random.next() < 0.1) this.#put('recreated', RECREATED);
      const kinds = ['configMap', 'secret', 'service', 'serviceAccount', 'deployment', 'clusterRole'];
      this.#put(random.pick([...kinds, 'priorityClass']), `r${random.below(3)}`);
    }
  }

  #put(kind: string, name: string): void {
    const version = `${this.#commits}`;
    const objects = this.#bundles[kind]?.(name, version) ?? [];
    for (const object of objects) {
      const metadata = object.metadata as JsonObject;
      const annotations = metadata.annotations as JsonObject | undefined;
      object.metadata = { ...metadata, annotations: { ...annotations, [VERSION_ANNOTATION]: version } };
    }
    this.#present.set(keyOf(kind, name), objects);
  }

  async #commit(change: () => void): Promise<void> {
    this.#before = new Map(this.#present);
    this.#commits += 1;
    change();
    const documents = this.#objects().map((object) => JSON.stringify(object));
    this.#repository.write({ [FILE]: `${documents.join('\n---\n')}\n`, count: `${this.#commits}\n` });
    await this.#repository.commit(`Commit ${this.#commits} in ${this.#namespace}`);
    await this.#repository.push(this.#url);
  }

  #objects(): JsonObject[] {
    return [...this.#present.values()].flat();
  }
}

function keyOf(kind: string, name: string): string {
  return `${kind}/${name}`;
}

/** The id that Flux's inventory has for an object. */
export function idOf(object: JsonObject): string {
  const { name, namespace = '' } = object.metadata as { name: string; namespace?: string };
  const apiVersion = String(object.apiVersion);
  const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
  return `${namespace}_${name}_${group}_${String(object.kind)}`;
}

/** What {@link VERSION_ANNOTATION} says on an object. */
export function versionOf(object: JsonObject): string {
  const { annotations } = object.metadata as { annotations?: Record<string, string> };
  return annotations?.[VERSION_ANNOTATION] ?? 'none';
}

function bundles(namespace: string, groups: Set<string>): Record<string, Bundle> {
  const here = (name: string): JsonObject => ({ name, namespace });
  const unique = (name: string): string => `${namespace}-${name}`;
  const core = (kind: string, metadata: JsonObject, rest: JsonObject = {}): JsonObject => ({
    apiVersion: 'v1',
    kind,
    metadata,
    ...rest,
  });
  const policy = (name: string) => ({ metadata: { name: unique(name) } });
  return {
    configMap: (name) => [core('ConfigMap', here(name), { data: { name } })],
    secret: (name) => [core('Secret', here(name), { stringData: { name } })],
    recreated: (name, version) => [
      core(
        'ConfigMap',
        { ...here(name), annotations: { 'kustomize.toolkit.fluxcd.io/force': 'enabled' } },
        { immutable: true, data: { version } },
      ),
    ],
    service: (name) => [core('Service', here(name), { spec: { clusterIP: 'None', ports: [{ port: 80 }] } })],
    serviceAccount: (name) => [core('ServiceAccount', here(name))],
    deployment: (name) => [{ ...deployment(name), metadata: here(name) }],
    clusterRole: (name) => [
      { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', ...policy(name), rules: [] },
    ],
    priorityClass: (name) => [
      { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', ...policy(name), value: 1 },
    ],
    namespace: (name) => [
      core('Namespace', { name: unique(name) }),
      core('ConfigMap', { name, namespace: unique(name) }, { data: { name } }),
    ],
    definition: (name) => {
      const group = `${name}.${namespace}.example.com`;
      groups.add(group);
      const gizmo = { apiVersion: `${group}/v1`, kind: 'Gizmo', metadata: here(name), spec: { name } };
      return [definition(group), gizmo];
    },
  };
}

function deployment(name: string): JsonObject {
  const labels = { app: name };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    spec: {
      replicas: 0,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { containers: [{ name: 'web', image: 'example/web:1.0.0' }] },
      },
    },
  };
}

function definition(group: string): JsonObject {
  const schema = {
    openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
  };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `gizmos.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { kind: 'Gizmo', plural: 'gizmos', singular: 'gizmo' },
      versions: [{ name: 'v1', served: true, storage: true, schema }],
    },
  };
}
