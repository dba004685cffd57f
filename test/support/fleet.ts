/** A small fleet under test: a git server with one repository, an operator, and the objects that join them. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { GitServer } from '../../hack/cluster/git-server.ts';
import { Repository } from '../../hack/cluster/repository.ts';
import { toolPath } from '../../hack/tools.mjs';
import type { Condition, JsonObject } from '../../operator/api/objects.ts';
import { eventually } from './eventually.ts';
import { type OperatorProcess, startOperator } from './operator-process.ts';
import type { World } from './world.ts';

const SOURCE_API = 'source.toolkit.fluxcd.io/v1';
const KUSTOMIZE_API = 'kustomize.toolkit.fluxcd.io/v1';
const SEALED_API = 'bitnami.com/v1alpha1';

/** What a test of the fleet reads of a custom resource. */
export interface Seen {
  metadata: { name: string; resourceVersion: string; generation: number };
  status?: JsonObject & { conditions?: Condition[] };
}

/** See the head of this file. {@link Fleet.stop} after the test. */
export class Fleet {
  readonly world: World;
  readonly work: Repository;
  readonly url: string;
  readonly operator: OperatorProcess;
  readonly #server: GitServer;

  private constructor(o: {
    world: World;
    work: Repository;
    url: string;
    operator: OperatorProcess;
    server: GitServer;
  }) {
    this.world = o.world;
    this.work = o.work;
    this.url = o.url;
    this.operator = o.operator;
    this.#server = o.server;
  }

  /** `directory` is an empty folder for the test's files. The repository has no commit yet. */
  static async start(world: World, directory: string, flags: readonly string[] = []): Promise<Fleet> {
    const served = join(directory, 'served');
    mkdirSync(served);
    const server = await GitServer.start({ directory: served });
    try {
      const url = await server.createRepository('fleet');
      const work = await Repository.init(join(directory, 'work'));
      const operator = await startOperator({
        kubeconfig: world.kubeconfig,
        namespace: world.namespace,
        onlyNamespace: true,
        buildWorker: await toolPath('kustomize-build-worker'),
        flags,
      });
      return new Fleet({ world, work, url, operator, server });
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.operator.stop();
    await this.#server.stop();
  }

  /** Commits the files, pushes, and pokes the GitRepository if there is one. Answers the revision. */
  async push(files: Record<string, string>, removed: readonly string[] = []): Promise<string> {
    this.work.write(files);
    for (const path of removed) await this.work.remove(path);
    const commit = await this.work.commit('Change the fleet');
    await this.work.push(this.url);
    await this.poke();
    return `main@sha1:${commit}`;
  }

  /** Asks for a pass over the GitRepository `fleet`, as `flux reconcile` does. */
  async poke(): Promise<void> {
    const path = this.world.path(SOURCE_API, 'gitrepositories', 'fleet');
    if ((await this.world.api.get(path)) === undefined) return;
    await this.annotate(path, 'reconcile.fluxcd.io/requestedAt', new Date().toISOString());
  }

  async annotate(path: string, name: string, value: string): Promise<void> {
    await this.world.api.mergePatch(path, { metadata: { annotations: { [name]: value } } });
  }

  /** Creates the GitRepository `fleet`. */
  async createSource(spec: JsonObject = {}): Promise<void> {
    await this.world.api.create(this.world.path(SOURCE_API, 'gitrepositories'), {
      apiVersion: SOURCE_API,
      kind: 'GitRepository',
      metadata: { name: 'fleet' },
      spec: { url: this.url, interval: '1h', ref: { branch: 'main' }, ...spec },
    });
  }

  /** Creates the Kustomization `app` of the folder `app`, into the test's namespace. */
  async createKustomization(spec: JsonObject = {}, name = 'app'): Promise<void> {
    await this.world.api.create(this.world.path(KUSTOMIZE_API, 'kustomizations'), {
      apiVersion: KUSTOMIZE_API,
      kind: 'Kustomization',
      metadata: { name },
      spec: {
        interval: '1h',
        retryInterval: '1s',
        prune: true,
        path: './app',
        targetNamespace: this.world.namespace,
        sourceRef: { kind: 'GitRepository', name: 'fleet' },
        ...spec,
      },
    });
  }

  sourcePath(): string {
    return this.world.path(SOURCE_API, 'gitrepositories', 'fleet');
  }

  kustomizationPath(name = 'app'): string {
    return this.world.path(KUSTOMIZE_API, 'kustomizations', name);
  }

  sealedSecretPath(name: string): string {
    return this.world.path(SEALED_API, 'sealedsecrets', name);
  }

  /** Waits until the custom resource's condition of the type is as `wanted` says; answers the object. */
  async condition(path: string, type: string, wanted: (condition: Condition) => boolean): Promise<Seen> {
    return eventually(
      async () => {
        const seen = (await this.world.api.get(path)) as Seen | undefined;
        const condition = seen?.status?.conditions?.find((each) => each.type === type);
        if (condition !== undefined && wanted(condition)) return seen;
        throw new Error(`${type} is ${JSON.stringify(condition)}`);
      },
      { what: `${type} of ${path}` },
    );
  }

  /** The custom resource's status; empty when there is none. */
  async status(path: string): Promise<JsonObject> {
    const seen = (await this.world.api.get(path)) as Seen | undefined;
    return seen?.status ?? {};
  }

  /** Waits until the Kustomization has applied the revision. */
  async applied(revision: string, name = 'app'): Promise<Seen> {
    const message = `Applied revision: ${revision}`;
    return this.condition(this.kustomizationPath(name), 'Ready', (ready) => {
      return ready.status === 'True' && ready.message === message;
    });
  }

  /** Names of the ConfigMaps in the namespace that carry owner labels. */
  async ownedConfigMaps(): Promise<string[]> {
    const selector = encodeURIComponent('kustomize.toolkit.fluxcd.io/name');
    const list = await this.world.api.get(`${this.world.path('v1', 'configmaps')}?labelSelector=${selector}`);
    const items = (list?.items ?? []) as { metadata: { name: string } }[];
    return items.map(({ metadata }) => metadata.name).sort();
  }

  /** The data of a ConfigMap; undefined when there is none. */
  async configMapData(name: string): Promise<JsonObject | undefined> {
    return (await this.world.api.get(this.world.path('v1', 'configmaps', name)))?.data as
      | JsonObject
      | undefined;
  }
}

/** A ConfigMap's manifest. */
export function configMap(name: string, data: Record<string, string>): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data });
}

/** A kustomization.yaml that lists the files. */
export function listing(...resources: string[]): string {
  return `resources: [${resources.join(', ')}]\n`;
}
