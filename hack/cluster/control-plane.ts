import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureTools } from '../tools.mjs';
import { CertificateAuthority, type CertificateSubject, generateEcKeyPair } from './certificates.ts';
import { Component } from './component.ts';
import { apiServerFlags, controllerManagerFlags, etcdFlags, schedulerFlags } from './flags.ts';
import { guard } from './guard.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { findFreePort } from './ports.ts';
import { type ApiAccess, RawApi } from './raw-api.ts';

const READY_TIMEOUT_MS = 90_000;
const POLL_MS = 50;
const START_ATTEMPTS = 3;

/** What to start and how. */
export interface ControlPlaneOptions {
  /** kube-scheduler as well (default: no; without nodes it has nothing to do). */
  readonly scheduler?: boolean;
  /** kube-controller-manager (default: yes): garbage collection, ending namespaces, workload status. */
  readonly controllerManager?: boolean;
  /** etcd doesn't wait for the disk: faster, and its data is lost when the machine (not the process) dies. */
  readonly unsafeNoFsync?: boolean;
  /** Writes every mutating request as one JSON line to `auditLog` (level Metadata: never a body). */
  readonly audit?: boolean;
  /** More flags for kube-apiserver. */
  readonly apiServerFlags?: readonly string[];
  /** Progress of tool builds. */
  readonly log?: (line: string) => void;
  /** Ends a start that is under way. */
  readonly signal?: AbortSignal;
  /** A component ended unasked; default: a line to standard error. The message holds the end of its log. */
  readonly onCrash?: (message: string) => void;
}

/**
 * A real Kubernetes control plane on loopback, for the demo and the tests: etcd, kube-apiserver with RBAC and its own
 * certificate authority, kube-controller-manager, each as a process with its log in a temporary folder (mode 0700).
 *
 * Nothing outlives `stop`, and nothing outlives this process however it ends. Ports are free ones; etcd listens on a
 * socket file in the folder only.
 */
export class ControlPlane {
  /** The folder with certificates, kubeconfigs, data and logs; removed by `stop`. */
  readonly directory: string;
  /** https://127.0.0.1:PORT; stays the same over restarts of the API server. */
  readonly server: string;
  /** The cluster's certificate authority. */
  readonly caPem: string;
  /** Path of a kubeconfig for a cluster administrator. */
  readonly kubeconfig: string;
  /** Where the audit log is (see the option). */
  readonly auditLog: string;
  /** Calls as the administrator. */
  readonly api: RawApi;
  readonly #options: ControlPlaneOptions;
  readonly #tools: Record<string, string>;
  readonly #authority = new CertificateAuthority('signet-local-cluster');
  readonly #port: number;
  readonly #components = new Map<string, Component>();
  #kubeconfigs = 0;

  private constructor(options: ControlPlaneOptions, tools: Record<string, string>, port: number) {
    this.#options = options;
    this.#tools = tools;
    this.#port = port;
    this.directory = mkdtempSync(join(tmpdir(), 'signet-cluster-'));
    guard.adopt(this.directory);
    this.server = `https://127.0.0.1:${port}`;
    this.caPem = this.#authority.certificatePem;
    this.auditLog = join(this.directory, 'audit.log');
    const admin = this.clientAccess({ commonName: 'signet-local-admin', organizations: ['system:masters'] });
    this.api = new RawApi(admin);
    this.kubeconfig = join(this.directory, 'admin.kubeconfig');
    writeKubeconfig(this.kubeconfig, admin);
  }

  /**
   * Builds the tools that are missing, starts everything and resolves when the API server is ready and (with the
   * controller manager) the default namespace has its service account. On failure everything is stopped again and the
   * error holds the end of the log of what failed.
   */
  static async start(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
    const names = ['etcd', 'kube-apiserver'];
    if (options.controllerManager !== false) names.push('kube-controller-manager');
    if (options.scheduler === true) names.push('kube-scheduler');
    const tools = await ensureTools(names, {
      ...(options.log === undefined ? {} : { log: options.log }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    for (let attempt = 1; ; attempt += 1) {
      const controlPlane = new ControlPlane(options, tools, await findFreePort());
      try {
        await controlPlane.#startAll();
        return controlPlane;
      } catch (error) {
        await controlPlane.stop();
        // Another process was faster at the port between looking and listening.
        const portTaken = error instanceof Error && error.message.includes('address already in use');
        if (!portTaken || attempt === START_ATTEMPTS) throw error;
      }
    }
  }

  /** Credentials for a user (a new client certificate). RBAC decides what they may do; a fresh user may nothing. */
  clientAccess(subject: Omit<CertificateSubject, 'serverNames'>): ApiAccess {
    return { server: this.server, caPem: this.caPem, ...this.#authority.issue(subject) };
  }

  /** Path of a new kubeconfig for a user and their groups. */
  kubeconfigForUser(user: { name: string; groups?: readonly string[]; namespace?: string }): string {
    const access = this.clientAccess({ commonName: user.name, organizations: user.groups ?? [] });
    return this.#writeKubeconfig(access, user.namespace);
  }

  /** Path of a new kubeconfig with a bearer token. */
  kubeconfigForToken(token: string, namespace?: string): string {
    return this.#writeKubeconfig({ server: this.server, caPem: this.caPem, token }, namespace);
  }

  /** A token for an existing service account, by the TokenRequest API. */
  async serviceAccountToken(account: {
    namespace: string;
    name: string;
    expirationSeconds?: number;
  }): Promise<string> {
    const answer = await this.api.create(
      `/api/v1/namespaces/${account.namespace}/serviceaccounts/${account.name}/token`,
      {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { expirationSeconds: account.expirationSeconds ?? 3600 },
      },
    );
    const status = answer.status;
    const token =
      typeof status === 'object' && status !== null && !Array.isArray(status) ? status.token : undefined;
    if (typeof token !== 'string')
      throw new Error(`no token for service account ${account.namespace}/${account.name}`);
    return token;
  }

  /** A running component's process id, or undefined. */
  pidOf(name: 'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'kube-scheduler'): number | undefined {
    return this.#components.get(name)?.pid;
  }

  /** Stops the API server in good order; etcd keeps its data. */
  async stopApiServer(): Promise<void> {
    await this.#components.get('kube-apiserver')?.stop();
    this.#components.delete('kube-apiserver');
  }

  /** Kills the API server (SIGKILL). */
  async killApiServer(): Promise<void> {
    await this.#components.get('kube-apiserver')?.kill();
    this.#components.delete('kube-apiserver');
  }

  /** Starts the API server again, on the same port and data; resolves when it is ready. */
  async startApiServer(): Promise<void> {
    await this.#start('kube-apiserver', apiServerFlags(this.#layout()));
    await this.#waitFor('kube-apiserver', async () => (await this.api.call('GET', '/readyz')).status === 200);
  }

  /** Stops everything in reverse order (the API server before etcd) and removes the folder. Never throws; may be called twice. */
  async stop(): Promise<void> {
    for (const component of [...this.#components.values()].reverse()) await component.stop();
    this.#components.clear();
    await this.api.close();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 });
  }

  async #startAll(): Promise<void> {
    this.#writeServerFiles();
    const layout = this.#layout();
    await this.#start('etcd', etcdFlags(layout));
    await this.startApiServer();
    if (this.#options.controllerManager !== false) {
      await this.#start('kube-controller-manager', controllerManagerFlags(layout));
    }
    if (this.#options.scheduler === true) await this.#start('kube-scheduler', schedulerFlags(layout));
    if (this.#options.controllerManager !== false) {
      const path = '/api/v1/namespaces/default/serviceaccounts/default';
      await this.#waitFor('kube-controller-manager', async () => (await this.api.get(path)) !== undefined);
    }
  }

  #layout() {
    return {
      directory: this.directory,
      port: this.#port,
      unsafeNoFsync: this.#options.unsafeNoFsync ?? false,
      auditLog: this.#options.audit === true ? this.auditLog : undefined,
      extraApiServerFlags: this.#options.apiServerFlags ?? [],
    };
  }

  #writeServerFiles(): void {
    const write = (name: string, content: string) =>
      writeFileSync(join(this.directory, name), content, { mode: 0o600 });
    const serving = this.#authority.issue({
      commonName: 'kube-apiserver',
      serverNames: [
        '127.0.0.1',
        'localhost',
        'kubernetes',
        'kubernetes.default',
        'kubernetes.default.svc',
        '10.96.0.1',
      ],
    });
    const accounts = generateEcKeyPair();
    mkdirSync(join(this.directory, 'etcd'), { mode: 0o700 });
    write('ca.crt', this.caPem);
    write('apiserver.crt', serving.certificatePem);
    write('apiserver.key', serving.keyPem);
    write('service-accounts.key', accounts.privatePem);
    write('service-accounts.pub', accounts.publicPem);
    write('audit-policy.json', JSON.stringify(auditPolicy));
    for (const name of ['kube-controller-manager', 'kube-scheduler']) {
      writeKubeconfig(
        join(this.directory, `${name}.kubeconfig`),
        this.clientAccess({ commonName: `system:${name}`, organizations: ['system:masters'] }),
      );
    }
  }

  async #start(name: string, args: readonly string[]): Promise<void> {
    const command = this.#tools[name];
    if (command === undefined) throw new Error(`${name} isn't part of this control plane`);
    const component = await Component.start({
      name,
      command,
      args,
      cwd: this.directory,
      env: { HOME: this.directory, TMPDIR: this.directory },
      logFile: join(this.directory, `${name}.log`),
      onCrash: this.#options.onCrash ?? ((message) => process.stderr.write(`${message}\n`)),
    });
    this.#components.set(name, component);
  }

  async #waitFor(name: string, isReady: () => Promise<boolean>): Promise<void> {
    const component = this.#components.get(name);
    const deadline = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      this.#options.signal?.throwIfAborted();
      for (const one of this.#components.values()) if (!one.running) throw new Error(one.describeExit());
      // Refused connections while it starts; a certificate of a foreign server on the port.
      if (await isReady().catch(() => false)) return;
      if (performance.now() > deadline) {
        throw new Error(
          `${name} isn't ready after ${READY_TIMEOUT_MS / 1000} s. ${component?.describeExit() ?? ''}`,
        );
      }
      await sleep(POLL_MS);
    }
  }

  #writeKubeconfig(access: ApiAccess, namespace?: string): string {
    this.#kubeconfigs += 1;
    const path = join(this.directory, `user-${this.#kubeconfigs}.kubeconfig`);
    writeKubeconfig(path, access, namespace);
    return path;
  }
}

// Requests that change something, once each, when answered. Leases are renewed all the time and say nothing.
const auditPolicy = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [
    { level: 'None', verbs: ['get', 'list', 'watch'] },
    { level: 'None', resources: [{ group: 'coordination.k8s.io' }] },
    { level: 'Metadata' },
  ],
};
