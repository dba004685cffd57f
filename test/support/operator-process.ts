/** The operator as people run it: a process of its own, started from the sources with flags. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guard } from '../../hack/cluster/guard.ts';

/** What to start. `storagePath` may be shared by successive processes, as a volume would be. */
export interface OperatorProcessOptions {
  kubeconfig: string;
  /** The operator's namespace; with `onlyNamespace`, the only one whose custom resources it acts on. */
  namespace: string;
  onlyNamespace?: boolean;
  buildWorker: string;
  storagePath?: string;
  /** In place of a free port on loopback. */
  storageAddress?: string;
  /** Where kubeseal's face listens; without: on the loopback alone, which no service proxy reaches. */
  sealedSecretsHost?: string;
  flags?: readonly string[];
  /** Variables on top of the search path, the only one that it gets else. */
  environment?: Readonly<Record<string, string>>;
}

/** A running operator. */
export interface OperatorProcess {
  pid: number;
  healthUrl: string;
  metricsUrl: string;
  sealedSecretsUrl: string;
  /** Lines of its log so far, parsed where they are JSON. */
  log(): readonly Record<string, unknown>[];
  /** What it printed, as text. */
  output(): string;
  /** SIGTERM, and the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  exited: Promise<number | null>;
}

const ENTRY = new URL('../../operator/main.ts', import.meta.url).pathname;

/** Starts an operator and waits until it says that it is ready; throws with its output when it ends instead. */
export async function startOperator(options: OperatorProcessOptions): Promise<OperatorProcess> {
  const operator = await launchOperator(options);
  await ready(operator);
  return operator;
}

/** Starts an operator without waiting for anything. It ends with this process at the latest. */
export async function launchOperator(options: OperatorProcessOptions): Promise<OperatorProcess> {
  const [metrics, health, storage, sealed] = await freePorts(4);
  const { sealedSecretsHost = '127.0.0.1' } = options;
  const owned =
    options.storagePath === undefined ? await mkdtemp(join(tmpdir(), 'signet-operator-')) : undefined;
  const child = spawn(
    process.execPath,
    [
      ENTRY,
      ...['--kubeconfig', options.kubeconfig, '--namespace', options.namespace],
      `--watch-all-namespaces=${options.onlyNamespace !== true}`,
      ...['--storage-path', options.storagePath ?? owned ?? ''],
      ...['--build-worker', options.buildWorker],
      `--metrics-addr=127.0.0.1:${metrics}`,
      `--health-addr=127.0.0.1:${health}`,
      `--storage-addr=${options.storageAddress ?? `127.0.0.1:${storage}`}`,
      `--sealed-secrets-addr=${sealedSecretsHost}:${sealed}`,
      ...(options.flags ?? []),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH ?? '', ...options.environment } },
  );
  return {
    ...observe(child, owned),
    healthUrl: `http://127.0.0.1:${health}`,
    metricsUrl: `http://127.0.0.1:${metrics}/metrics`,
    sealedSecretsUrl: `http://${sealedSecretsHost}:${sealed}`,
  };
}

function observe(child: ChildProcess, ownedFolder: string | undefined) {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  const pid = child.pid ?? 0;
  if (pid !== 0) guard.watch(pid);
  const exited = once(child, 'exit').then(async ([code]) => {
    guard.release(pid);
    if (ownedFolder !== undefined) await rm(ownedFolder, { recursive: true, force: true });
    return code as number | null;
  });
  return {
    pid,
    exited,
    output: () => text,
    log: () => text.split('\n').flatMap(parsedLine),
    stop: () => {
      child.kill('SIGTERM');
      return exited;
    },
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function parsedLine(line: string): Record<string, unknown>[] {
  try {
    const parsed: unknown = JSON.parse(line);
    return typeof parsed === 'object' && parsed !== null ? [parsed as Record<string, unknown>] : [];
  } catch {
    return [];
  }
}

async function ready(operator: OperatorProcess): Promise<void> {
  let ended = false;
  operator.exited.then(() => {
    ended = true;
  });
  for (;;) {
    if (ended) throw new Error(`the operator ended at its start:\n${operator.output()}`);
    const answer = await fetch(`${operator.healthUrl}/readyz`).catch(() => undefined);
    if (answer?.status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
