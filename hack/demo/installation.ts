import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ControlPlane } from '../cluster/control-plane.ts';
import { installCrds } from '../cluster/crds.ts';
import { GitServer } from '../cluster/git-server.ts';
import { ApiCallError } from '../cluster/raw-api.ts';
import { Repository } from '../cluster/repository.ts';
import { ensureTools } from '../tools.mjs';
import { Commands, type ProgramPaths } from './commands.ts';
import { type Credentials, credentialsSecret, newCredentials } from './credentials.ts';
import { fleetFiles, SOURCE_NAME, SYSTEM_NAMESPACE } from './fleet.ts';
import type { Narrator } from './narrator.ts';
import { type OperatorProcess, startOperator } from './operator-process.ts';

const CRDS = fileURLToPath(new URL('../../crds', import.meta.url));
const SOURCE_PATH = `/apis/source.toolkit.fluxcd.io/v1/namespaces/${SYSTEM_NAMESPACE}/gitrepositories/${SOURCE_NAME}`;
const SEALING_KEYS = `/api/v1/namespaces/${SYSTEM_NAMESPACE}/secrets?labelSelector=sealedsecrets.bitnami.com/sealed-secrets-key`;

/** What starting needs. */
export interface InstallationOptions {
  readonly narrator: Narrator;
  readonly signal: AbortSignal;
  /** A program of the installation ended unasked; the message holds the end of its log. */
  readonly onCrash: (error: Error) => void;
}

/** Everything that the demo started. */
export interface Parts {
  readonly controlPlane: ControlPlane;
  readonly operator: OperatorProcess;
  readonly commands: Commands;
  readonly programs: ProgramPaths;
  /** The working copy of a person at a desk. */
  readonly repository: Repository;
  readonly repositoryUrl: string;
  /** What the SealedSecret in the first commit holds. */
  readonly credentials: Credentials;
}

/**
 * A control plane, the definitions, the operator and a git server with the fleet's repository: all on 127.0.0.1, all
 * files in the control plane's temporary folder.
 */
export class Installation {
  readonly #options: InstallationOptions;
  /** How to stop what runs, in the order of the starts. */
  readonly #stops: (() => Promise<unknown>)[] = [];

  constructor(options: InstallationOptions) {
    this.#options = options;
  }

  /** Starts everything and says so with what the API server answers. After a rejection `stop` is still to be called. */
  async start(): Promise<Parts> {
    const controlPlane = await this.#startControlPlane();
    await this.#installDefinitions(controlPlane);
    const tools = await ensureTools('demo');
    const operator = await this.#startOperator(controlPlane, tools);
    const { kubectl = '', kustomize = '', kubeseal = '' } = tools;
    const programs = { kubectl, kustomize, kubeseal };
    const commands = new Commands({
      programs,
      directory: folder(controlPlane, 'home'),
      kubeconfig: controlPlane.kubeconfig,
      certificateUrl: operator.certificateUrl,
      signal: this.#options.signal,
    });
    return { controlPlane, operator, commands, programs, ...(await this.#startGit(controlPlane, commands)) };
  }

  /** Stops what was started, the last first, and removes the folder. */
  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0).reverse()) await stop();
  }

  async #startControlPlane(): Promise<ControlPlane> {
    const { narrator, signal } = this.#options;
    const startedAtMs = performance.now();
    narrator.underWay('starting etcd, kube-apiserver and kube-controller-manager');
    const controlPlane = await ControlPlane.start({
      // What the demo writes is thrown away with it.
      unsafeNoFsync: true,
      signal,
      onCrash: (message) => this.#options.onCrash(new Error(message)),
    });
    this.#stops.push(() => controlPlane.stop());
    const version = await controlPlane.api.get('/version');
    const about = `kube-apiserver ${String(version?.gitVersion)}, etcd, kube-controller-manager`;
    narrator.part('control plane', about, performance.now() - startedAtMs);
    return controlPlane;
  }

  async #installDefinitions({ api }: ControlPlane): Promise<void> {
    const { narrator } = this.#options;
    const startedAtMs = performance.now();
    narrator.underWay('installing the definitions');
    await installCrds(api, CRDS);
    const list = await api.get('/apis/apiextensions.k8s.io/v1/customresourcedefinitions');
    const items = (list?.items ?? []) as { spec: { names: { kind: string } } }[];
    const kinds = items.map(({ spec }) => spec.names.kind).join(', ');
    narrator.part('definitions', kinds, performance.now() - startedAtMs);
  }

  async #startOperator(
    controlPlane: ControlPlane,
    tools: Readonly<Record<string, string>>,
  ): Promise<OperatorProcess> {
    const { narrator, signal, onCrash } = this.#options;
    const { api, kubeconfig } = controlPlane;
    const startedAtMs = performance.now();
    narrator.underWay('starting the operator');
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: SYSTEM_NAMESPACE } };
    await api.create('/api/v1/namespaces', namespace);
    const operator = await startOperator({
      kubeconfig,
      buildWorker: tools['kustomize-build-worker'] ?? '',
      templateEngine: tools['template-engine'] ?? '',
      directory: folder(controlPlane, 'operator'),
      signal,
      onCrash: (message) => onCrash(new Error(message)),
    });
    this.#stops.push(() => {
      // A frozen process (see story.ts) ends only when it goes on.
      operator.component.signal('SIGCONT');
      return operator.component.stop();
    });
    const tookMs = performance.now() - startedAtMs;
    const keys = ((await api.get(SEALING_KEYS))?.items ?? []) as { metadata: { name: string } }[];
    const names = keys.map(({ metadata }) => metadata.name).join(', ');
    narrator.part('operator', `made its sealing key: Secret ${SYSTEM_NAMESPACE}/${names}`, tookMs);
    return operator;
  }

  async #startGit(controlPlane: ControlPlane, commands: Commands) {
    const { narrator } = this.#options;
    const startedAtMs = performance.now();
    narrator.underWay('sealing a Secret and pushing the repository');
    const server = await GitServer.start({
      directory: folder(controlPlane, 'git'),
      onPush: () => void this.#requestReconcile(controlPlane),
    });
    this.#stops.push(() => server.stop());
    const repositoryUrl = await server.createRepository(SOURCE_NAME);
    const repository = await Repository.init(join(controlPlane.directory, 'desk'));
    const credentials = newCredentials();
    repository.write(fleetFiles(await commands.kubeseal(credentialsSecret(credentials))));
    await repository.commit('Web and worker');
    await repository.push(repositoryUrl);
    narrator.part('git server', repositoryUrl, performance.now() - startedAtMs);
    return { repository, repositoryUrl, credentials };
  }

  /** What a push webhook's receiver does: asks for a look at the repository by Flux's annotation. */
  async #requestReconcile({ api }: ControlPlane): Promise<void> {
    const annotations = { 'reconcile.fluxcd.io/requestedAt': new Date().toISOString() };
    try {
      await api.mergePatch(SOURCE_PATH, { metadata: { annotations } });
    } catch (error) {
      // The first push comes before there is a GitRepository.
      if (error instanceof ApiCallError && error.status === 404) return;
      this.#options.onCrash(new Error('the push could not be announced to the cluster', { cause: error }));
    }
  }
}

function folder({ directory }: ControlPlane, name: string): string {
  const path = join(directory, name);
  mkdirSync(path, { mode: 0o700 });
  return path;
}
