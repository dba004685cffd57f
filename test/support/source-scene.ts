/** A git server, a work copy and an operator that runs the source controller alone, in a test's namespace. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { GitServer, type GitServerOptions } from '../../hack/cluster/git-server.ts';
import { findFreePort } from '../../hack/cluster/ports.ts';
import { Repository } from '../../hack/cluster/repository.ts';
import type { GitRepository } from '../../operator/api/git-repository.gen.ts';
import type { JsonObject } from '../../operator/api/objects.ts';
import { eventually } from './eventually.ts';
import { type OperatorProcess, startOperator } from './operator-process.ts';
import { useTemporaryDirectory } from './temporary-directory.ts';
import type { World } from './world.ts';

/** An event as tests read it. */
export interface SeenEvent {
  type: string;
  reason: string;
  message: string;
  metadata: { annotations?: Record<string, string> };
  involvedObject: { name: string };
}

/** See the head of this file. */
export class SourceScene {
  readonly directory: string;
  server: GitServer;
  readonly url: string;
  readonly work: Repository;
  readonly webhookUrl: string;
  readonly #world: World;
  readonly #flags: readonly string[];
  #operator: OperatorProcess | undefined;

  private constructor(o: {
    directory: string;
    server: GitServer;
    url: string;
    work: Repository;
    webhookPort: number;
    world: World;
    flags: readonly string[];
  }) {
    this.directory = o.directory;
    this.server = o.server;
    this.url = o.url;
    this.work = o.work;
    this.webhookUrl = `http://127.0.0.1:${o.webhookPort}`;
    this.#world = o.world;
    this.#flags = [`--webhook-addr=127.0.0.1:${o.webhookPort}`, ...o.flags];
  }

  static async start(o: {
    directory: string;
    world: World;
    flags: readonly string[];
    git: Omit<GitServerOptions, 'directory'>;
  }): Promise<SourceScene> {
    const repositories = join(o.directory, 'repositories');
    mkdirSync(repositories);
    const server = await GitServer.start({ directory: repositories, ...o.git });
    const url = await server.createRepository('fleet');
    const work = await Repository.init(join(o.directory, 'work'));
    const webhookPort = await findFreePort();
    const scene = new SourceScene({ ...o, server, url, work, webhookPort });
    await scene.startOperator();
    return scene;
  }

  get operator(): OperatorProcess {
    if (this.#operator === undefined) throw new Error('no operator runs');
    return this.#operator;
  }

  /** Starts an operator on the storage of the one before it. */
  async startOperator(
    flags: readonly string[] = [],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    this.#operator = await startOperator({
      kubeconfig: this.#world.kubeconfig,
      namespace: this.#world.namespace,
      onlyNamespace: true,
      buildWorker: 'unused',
      storagePath: join(this.directory, 'storage'),
      flags: ['--controllers=source', ...this.#flags, ...flags],
      environment,
    });
  }

  async stopOperator(): Promise<void> {
    const operator = this.#operator;
    this.#operator = undefined;
    await operator?.stop();
  }

  /** Ends the git server; answers how to start it again, at the same address. */
  async cutGit(): Promise<() => Promise<void>> {
    const { port } = this.server;
    await this.server.stop();
    return async () => {
      this.server = await GitServer.start({ directory: join(this.directory, 'repositories'), port });
    };
  }

  /** The file of the artifact that the status names. */
  artifactFile(repository: GitRepository): string {
    return join(this.directory, 'storage', 'artifacts', repository.status?.artifact?.path ?? 'none');
  }

  async stop(): Promise<void> {
    await this.stopOperator();
    await this.server.stop();
  }

  /** Writes, commits and pushes to main; answers with the commit. */
  async push(files: Record<string, string>, message = 'Change something'): Promise<string> {
    this.work.write(files);
    const commit = await this.work.commit(message);
    await this.work.push(this.url);
    return commit;
  }

  /** The path of a GitRepository in the API. */
  path(name = 'app'): string {
    return this.#world.path('source.toolkit.fluxcd.io/v1', 'gitrepositories', name);
  }

  /** Creates a GitRepository that follows main; an hour passes between its passes. */
  async create(
    o: { name?: string; spec?: JsonObject; annotations?: Record<string, string> } = {},
  ): Promise<void> {
    await this.#world.api.create(this.#world.path('source.toolkit.fluxcd.io/v1', 'gitrepositories'), {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: { name: o.name ?? 'app', annotations: o.annotations ?? {} },
      spec: { url: this.url, interval: '1h', ref: { branch: 'main' }, ...o.spec },
    });
  }

  async createSecret(name: string, stringData: Record<string, string>): Promise<void> {
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData };
    await this.#world.api.create(this.#world.path('v1', 'secrets'), secret);
  }

  async patch(patch: JsonObject, name = 'app'): Promise<void> {
    await this.#world.api.mergePatch(this.path(name), patch);
  }

  /** Asks for a pass, as `flux reconcile` does. */
  async request(value: string, name = 'app'): Promise<void> {
    await this.patch({ metadata: { annotations: { 'reconcile.fluxcd.io/requestedAt': value } } }, name);
  }

  async read(name = 'app'): Promise<GitRepository | undefined> {
    return (await this.#world.api.get(this.path(name))) as unknown as GitRepository | undefined;
  }

  /** The GitRepository as soon as `holds`. */
  async until(
    what: string,
    holds: (repository: GitRepository) => boolean,
    o: { name?: string; timeoutMs?: number } = {},
  ): Promise<GitRepository> {
    let last: GitRepository | undefined;
    try {
      return await eventually(
        async () => {
          last = await this.read(o.name);
          return last !== undefined && holds(last) ? last : undefined;
        },
        { what, pollMs: 20, timeoutMs: o.timeoutMs ?? 20_000 },
      );
    } catch (error) {
      const status = JSON.stringify(last?.status, undefined, 1);
      throw new Error(`${String(error)}\nlast status: ${status}\n${this.#operator?.output() ?? ''}`);
    }
  }

  /** Until the commit is published and the status says so. */
  untilPublished(commit: string, name = 'app'): Promise<GitRepository> {
    const holds = (r: GitRepository): boolean =>
      r.status?.artifact?.revision.endsWith(commit) === true && isReady(r);
    return this.until(`${commit} to be published`, holds, { name });
  }

  /** Events about a GitRepository so far. */
  async events(name = 'app'): Promise<SeenEvent[]> {
    const list = await this.#world.api.get(this.#world.path('v1', 'events'));
    const items = (list?.items ?? []) as unknown as SeenEvent[];
    return items.filter((event) => event.involvedObject.name === name);
  }

  /** The first event with a reason, as soon as it is there. */
  untilEvent(reason: string, name = 'app'): Promise<SeenEvent> {
    const find = async (): Promise<SeenEvent | undefined> =>
      (await this.events(name)).find((event) => event.reason === reason);
    return eventually(find, { what: `an event ${reason}` });
  }

  /** How often the git server was asked for its refs. */
  lookUps(): number {
    return this.server.requests.filter(({ method, url }) => method === 'GET' && url.includes('info/refs'))
      .length;
  }
}

/** The condition of a type, if it is there. */
export function condition(repository: GitRepository, type: string) {
  return repository.status?.conditions?.find((each) => each.type === type);
}

/** Ready, and about the current generation. */
export function isReady(repository: GitRepository): boolean {
  const { status, metadata } = repository;
  return (
    condition(repository, 'Ready')?.status === 'True' && status?.observedGeneration === metadata.generation
  );
}

/** Gives each test of the surrounding `describe` a scene. */
export function useSource(
  world: () => World,
  o: { flags?: readonly string[]; git?: Omit<GitServerOptions, 'directory'> } = {},
): () => SourceScene {
  const directory = useTemporaryDirectory();
  let current: SourceScene | undefined;
  beforeEach('a source controller', async () => {
    const { flags = [], git = {} } = o;
    current = await SourceScene.start({ directory: directory(), world: world(), flags, git });
  });
  afterEach('stop the source controller', async () => {
    await current?.stop();
    current = undefined;
  });
  return () => {
    if (current === undefined) throw new Error('there is a source controller only while a test runs');
    return current;
  };
}
