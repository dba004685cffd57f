/** An operator that is killed and started again on the same storage, and whether it then left anything behind. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GitServer } from '../../hack/cluster/git-server.ts';
import { Repository } from '../../hack/cluster/repository.ts';
import { toolPath } from '../../hack/tools.mjs';
import {
  OWNER_NAME_LABEL,
  OWNER_NAMESPACE_LABEL,
  RECONCILE_REQUEST_ANNOTATION,
} from '../../operator/api/names.ts';
import type { JsonObject } from '../../operator/api/objects.ts';
import { type ApiProxy, type ProxiedRequest, startApiProxy } from './api-proxy.ts';
import { ChangingFleet, type FleetKind, idOf, versionOf } from './changing-fleet.ts';
import { eventually } from './eventually.ts';
import { launchOperator, type OperatorProcess } from './operator-process.ts';
import type { World } from './world.ts';

const NAME = 'app';
const SOURCE = 'fleet';
const WAIT_MS = 20_000;

/**
 * Where a request is when the operator is killed for it: `unsent` to the API server, carried out but `unanswered`, or
 * `answered`.
 */
export type Phase = 'unsent' | 'unanswered' | 'answered';

/** A request of the operator, as it is seen between it and the API server. */
export type Matcher = (request: ProxiedRequest) => boolean;

/** See the head of this file. One Kustomization, one GitRepository, one storage folder, one operator at a time. */
export class CrashScene {
  readonly fleet: ChangingFleet;
  readonly gitUrl: string;
  readonly storagePath: string;
  readonly #world: World;
  readonly #proxy: ApiProxy;
  readonly #git: GitServer;
  readonly #kubeconfig: string;
  #operator: OperatorProcess | undefined;
  #running = false;
  #asked = 0;

  private constructor(o: {
    world: World;
    proxy: ApiProxy;
    git: GitServer;
    gitUrl: string;
    repository: Repository;
    directory: string;
  }) {
    this.#world = o.world;
    this.#proxy = o.proxy;
    this.#git = o.git;
    this.gitUrl = o.gitUrl;
    this.storagePath = join(o.directory, 'storage');
    this.#kubeconfig = join(o.directory, 'kubeconfig');
    writeFileSync(this.#kubeconfig, o.proxy.kubeconfig, { mode: 0o600 });
    this.fleet = new ChangingFleet({ repository: o.repository, url: o.gitUrl, namespace: o.world.namespace });
  }

  /** A git server with one commit, and a proxy; nothing in the cluster yet and no operator. */
  static async create(world: World, directory: string): Promise<CrashScene> {
    const proxy = await startApiProxy(world.kubeconfig);
    const git = await GitServer.start({ directory });
    const gitUrl = await git.createRepository(SOURCE);
    const repository = await Repository.init(join(directory, 'work'));
    const scene = new CrashScene({ world, proxy, git, gitUrl, repository, directory });
    await scene.fleet.commitNothing();
    return scene;
  }

  /** The running operator. */
  get operator(): OperatorProcess {
    if (this.#operator === undefined) throw new Error('no operator runs');
    return this.#operator;
  }

  /** Whether the operator that was launched last hasn't ended. */
  get running(): boolean {
    return this.#running;
  }

  /** Path of an object in the scene's namespace. */
  path(kind: 'gitrepositories' | 'kustomizations', name: string): string {
    const group = kind === 'gitrepositories' ? 'source' : 'kustomize';
    return this.#world.path(`${group}.toolkit.fluxcd.io/v1`, kind, name);
  }

  /** Creates the GitRepository and the Kustomization, and waits until an operator has brought them about. */
  async install(retryInterval = '1s'): Promise<void> {
    const { api } = this.#world;
    await api.create(this.path('gitrepositories', ''), {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: { name: SOURCE },
      spec: { url: this.gitUrl, interval: '1h', ref: { branch: 'main' } },
    });
    await api.create(this.path('kustomizations', ''), {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: { name: NAME },
      spec: {
        interval: '1h',
        retryInterval,
        prune: true,
        path: './app',
        sourceRef: { kind: 'GitRepository', name: SOURCE },
      },
    });
    await this.agreement();
  }

  /** Starts the operator; doesn't wait for it. */
  async launch(controllers = 'source,kustomize'): Promise<OperatorProcess> {
    if (this.#running) throw new Error('an operator runs already');
    this.#running = true;
    this.#operator = await launchOperator({
      kubeconfig: this.#kubeconfig,
      namespace: this.#world.namespace,
      onlyNamespace: true,
      buildWorker: await toolPath('kustomize-build-worker'),
      storagePath: this.storagePath,
      flags: [`--controllers=${controllers}`],
    });
    const ended = (): void => {
      this.#running = false;
    };
    this.#operator.exited.then(ended, ended);
    return this.#operator;
  }

  /** `kill -9`; what was written ahead must then cover what is there. */
  async kill(): Promise<void> {
    await this.operator.kill();
    await this.assertWrittenAhead();
  }

  /** Resolves when the operator was killed at the `nth` request that matches. */
  async killAt(o: { matches: Matcher; phase: Phase; nth?: number }): Promise<void> {
    const reached = this.meet(o, () => void this.operator.kill());
    const what = 'the operator to come to where it is to be killed';
    await this.#explained(within(WAIT_MS, reached, what));
    await this.operator.exited;
    this.#proxy.intervene(() => undefined);
    await this.assertWrittenAhead();
  }

  /** Calls `act` at the `nth` request that matches, and resolves. The request's fate is as `phase` says. */
  meet(o: { matches: Matcher; phase: Phase; nth?: number }, act: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    let left = o.nth ?? 1;
    const happen = (): void => {
      act();
      resolve();
    };
    this.#proxy.intervene((request) => {
      if (left === 0 || !o.matches(request)) return undefined;
      left -= 1;
      if (left > 0) return undefined;
      if (o.phase === 'unsent') {
        happen();
        return 'drop';
      }
      if (o.phase === 'unanswered') return { answered: happen, withhold: true };
      return { answered: () => void setImmediate(happen), withhold: false };
    });
    return promise;
  }

  /** Answers every request that matches with a 500, until {@link killAt} or {@link meet} asks for something else. */
  refuse(matches: Matcher): void {
    this.#proxy.intervene((request) => {
      if (!matches(request)) return undefined;
      const message = 'refused by the test';
      return {
        status: 500,
        body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, code: 500 },
      };
    });
  }

  /** Pushes are followed and the operator brings them about, from a head with something to prune. */
  async begin(o: { retryInterval?: string } = {}): Promise<void> {
    await this.fleet.commitSet('set0');
    await this.launch();
    await this.install(o.retryInterval);
  }

  /** A restart, and what must come of it. */
  async recover(): Promise<void> {
    await this.launch();
    await this.announcePush();
    await this.agreement();
  }

  /** Has the source looked at again, as a webhook after a push would. */
  async announcePush(): Promise<void> {
    this.#asked += 1;
    const annotations = { [RECONCILE_REQUEST_ANNOTATION]: `${this.#asked}` };
    await this.#world.api.mergePatch(this.path('gitrepositories', SOURCE), { metadata: { annotations } });
  }

  /** Waits until the head is said to be applied, and then at once holds it, the cluster and the inventory together. */
  async agreement(): Promise<void> {
    const revision = `main@sha1:${await this.fleet.head()}`;
    const applied = eventually(
      async () => {
        const status = await this.kustomizationStatus();
        assert.equal(status.lastAppliedRevision, revision, JSON.stringify(status.conditions));
        assert.deepEqual(
          (status.conditions as JsonObject[]).map(({ type, status }) => `${type}=${status}`),
          ['Ready=True'],
        );
        return true;
      },
      { what: 'the head to be applied', timeoutMs: WAIT_MS },
    );
    const ended = this.operator.exited.then((code) => {
      throw new Error(`the operator ended by itself with exit code ${code}`);
    });
    await this.#explained(Promise.race([applied, ended]));
    ended.catch(() => {});
    await this.#explained(this.assertAgreement());
  }

  /** Git's head, the live objects and the inventory are the same. */
  async assertAgreement(): Promise<void> {
    const expected = this.fleet.expected();
    assert.deepEqual(
      sorted((await this.live()).entries()),
      sorted(expected.entries()),
      'live objects and Git',
    );
    assert.deepEqual(sorted(await this.inventory()), sorted(expected.keys()), 'inventory and Git');
  }

  /** Everything live is in the inventory. To be asked when no operator runs. */
  async assertWrittenAhead(): Promise<void> {
    const inventory = new Set(await this.inventory());
    const orphans = [...(await this.live()).keys()].filter((id) => !inventory.has(id));
    assert.deepEqual(orphans, [], 'live objects that the inventory does not list');
  }

  /** Version by id of the live objects with the owner's labels, without those whose deletion is under way. */
  async live(): Promise<Map<string, string>> {
    const objects = await this.#list();
    const staying = objects.filter(
      ({ metadata }) => (metadata as JsonObject).deletionTimestamp === undefined,
    );
    return new Map(staying.map((object) => [idOf(object), versionOf(object)]));
  }

  async inventory(): Promise<string[]> {
    const { inventory } = await this.kustomizationStatus();
    return ((inventory as { entries?: { id: string }[] } | undefined)?.entries ?? []).map(({ id }) => id);
  }

  async kustomizationStatus(): Promise<JsonObject> {
    const object = await this.#world.api.get(this.path('kustomizations', NAME));
    return (object?.status ?? {}) as JsonObject;
  }

  /** Ends whatever runs and takes out of the cluster what a namespace's deletion wouldn't. */
  async end(): Promise<void> {
    this.#proxy.intervene(() => undefined);
    await this.#operator?.kill();
    const { api } = this.#world;
    for (const kind of this.fleet.kinds) {
      for (const { metadata } of await this.#listKind(kind)) {
        const { name, namespace } = metadata as { name: string; namespace?: string };
        if (namespace === undefined) await api.delete(`${collection(kind)}/${name}`);
      }
    }
    for (const [kind, name] of [['kustomizations', NAME] as const, ['gitrepositories', SOURCE] as const]) {
      const path = this.path(kind, name);
      if ((await api.get(path)) !== undefined) await api.mergePatch(path, { metadata: { finalizers: null } });
    }
    await this.#git.stop();
    await this.#proxy.close();
  }

  async #list(): Promise<JsonObject[]> {
    return (await Promise.all(this.fleet.kinds.map((kind) => this.#listKind(kind)))).flat();
  }

  async #listKind(kind: FleetKind): Promise<JsonObject[]> {
    const selector = `${OWNER_NAME_LABEL}=${NAME},${OWNER_NAMESPACE_LABEL}=${this.#world.namespace}`;
    const path = `${collection(kind)}?labelSelector=${encodeURIComponent(selector)}`;
    // The list of a definition that has just come or gone isn't to be had for a moment (429).
    const answer = await eventually(
      async () => {
        const { status, body } = await this.#world.api.call('GET', path);
        return status === 200 || status === 404 ? body : undefined;
      },
      { what: `the list of ${path}` },
    );
    const apiVersion = kind.group === '' ? kind.version : `${kind.group}/${kind.version}`;
    return ((answer.items ?? []) as JsonObject[]).map((item) => ({ ...item, apiVersion, kind: kind.kind }));
  }

  /** Adds what the operator said last to a failure. */
  async #explained<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const said = this.operator.output().split('\n').slice(-40).join('\n');
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${said}`, { cause: error });
    }
  }
}

async function within<T>(timeoutMs: number, work: Promise<T>, what: string): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`waited ${timeoutMs} ms for ${what}`)), timeoutMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

function collection({ group, version, plural }: FleetKind): string {
  return group === '' ? `/api/${version}/${plural}` : `/apis/${group}/${version}/${plural}`;
}

function sorted<T>(values: Iterable<T>): T[] {
  return [...values].sort();
}
