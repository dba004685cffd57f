/**
 * What unsealing costs: 1,000 SealedSecrets of three values (one 4096-bit key) wait on an API server; from the start of
 * the process to the last Secret made and the last status written, against the real sealed-secrets controller with its
 * client's limiter off, on the same control plane in the same run. Beside it the longest stall of our event loop.
 *
 *     npm run bench -- seal             fails when the ratio is above 0.25
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ControlPlane } from '../../hack/cluster/control-plane.ts';
import { installCrds } from '../../hack/cluster/crds.ts';
import type { JsonObject } from '../../operator/api/objects.ts';
import { eventually } from '../support/eventually.ts';
import { type OperatorProcess, startOperator } from '../support/operator-process.ts';
import { startSealedSecretsController } from '../support/sealed-secrets-controller.ts';
import { newSealingKey, sealedSecret } from '../support/sealing.ts';
import { toolPath } from '../support/tool-path.ts';

const OBJECTS = 1_000;
const VALUES = { user: 'admin', password: 'correct horse battery staple', token: 'x'.repeat(200) };
const LARGEST_RATIO = 0.25;
const AT_ONCE = 16;
const TIMEOUT_MS = 600_000;

const directory = await mkdtemp(join(tmpdir(), 'signet-bench-seal-'));
const controlPlane = await ControlPlane.start({
  ...{ unsafeNoFsync: true, controllerManager: false, scheduler: false, audit: false },
});
const { api } = controlPlane;
try {
  await installCrds(api, join(import.meta.dirname, '../../crds'));
  await compare();
} finally {
  await controlPlane.stop();
  await rm(directory, { recursive: true, force: true });
}

async function compare(): Promise<void> {
  const key = await newSealingKey({ modulusLength: 4096 });
  print(`making ${OBJECTS} SealedSecrets of ${Object.keys(VALUES).length} values for each`);
  for (const namespace of ['ours', 'theirs']) await fill(namespace, key);
  const ours = await measureOurs();
  const theirs = await measureTheirs();
  const ratio = ours.durationMs / theirs;
  print(`signet ${ours.durationMs.toFixed(0)} ms, sealed-secrets controller ${theirs.toFixed(0)} ms`);
  print(`longest stall of our event loop: ${ours.longestStallMs.toFixed(0)} ms`);
  print(`ratio: ${ratio.toFixed(3)}`);
  if (!(ratio <= LARGEST_RATIO)) {
    process.exitCode = 1;
    print(`above ${LARGEST_RATIO}`);
  }
}

async function fill(namespace: string, key: Awaited<ReturnType<typeof newSealingKey>>): Promise<void> {
  await api.create('/api/v1/namespaces', {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: namespace },
  });
  await api.create(`/api/v1/namespaces/${namespace}/secrets`, {
    ...key.secret,
    metadata: { ...key.secret.metadata, namespace },
  } as unknown as JsonObject);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < OBJECTS) {
      const metadata = { name: `db-${next++}`, namespace };
      const object = sealedSecret({ publicKey: key.privateKey.publicKey, values: VALUES, metadata });
      await api.create(sealedSecretsOf(namespace), { ...object, metadata } as unknown as JsonObject);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

async function measureOurs(): Promise<{ durationMs: number; longestStallMs: number }> {
  const startedAtMs = performance.now();
  const operator = await startOperator({
    ...{ kubeconfig: controlPlane.kubeconfig, namespace: 'ours', onlyNamespace: true, buildWorker: 'none' },
    flags: ['--controllers=sealed-secrets', '--template-engine', await toolPath('template-engine')],
  });
  try {
    await allUnsealed('ours');
    const durationMs = performance.now() - startedAtMs;
    return { durationMs, longestStallMs: await longestStallMs(operator) };
  } finally {
    await operator.stop();
  }
}

async function measureTheirs(): Promise<number> {
  const startedAtMs = performance.now();
  const controller = await startSealedSecretsController({ controlPlane, namespace: 'theirs', directory });
  try {
    await allUnsealed('theirs');
    return performance.now() - startedAtMs;
  } catch (error) {
    throw new Error(controller.readLog().slice(-2_000), { cause: error });
  } finally {
    await controller.stop();
  }
}

/** Since the operator's start: nobody has asked before, and each asking starts anew. */
async function longestStallMs(operator: OperatorProcess): Promise<number> {
  const metrics = await (await fetch(operator.metricsUrl)).text();
  const seconds = /^nodejs_eventloop_lag_max_seconds ([\d.e+-]+)$/m.exec(metrics)?.[1];
  return Number(seconds) * 1_000;
}

/** Counting costs the API server next to nothing: one object, and how many more there are. */
async function allUnsealed(namespace: string): Promise<void> {
  const secrets = `/api/v1/namespaces/${namespace}/secrets?limit=1`;
  await eventually(async () => (await count(secrets)) >= OBJECTS + 1, {
    ...{ what: `${OBJECTS} Secrets in ${namespace}`, timeoutMs: TIMEOUT_MS, pollMs: 50 },
  });
  await eventually(async () => (await synced(namespace)) === OBJECTS, {
    ...{ what: `every SealedSecret in ${namespace} to say so`, timeoutMs: TIMEOUT_MS, pollMs: 100 },
  });
}

async function count(path: string): Promise<number> {
  const list = (await api.get(path)) as
    | { items: unknown[]; metadata: { remainingItemCount?: number } }
    | undefined;
  return (list?.items.length ?? 0) + (list?.metadata.remainingItemCount ?? 0);
}

async function synced(namespace: string): Promise<number> {
  const list = (await api.get(sealedSecretsOf(namespace))) as
    | { items: Array<{ status?: { conditions?: Array<{ status: string }> } }> }
    | undefined;
  return list?.items.filter(({ status }) => status?.conditions?.[0]?.status === 'True').length ?? 0;
}

function sealedSecretsOf(namespace: string): string {
  return `/apis/bitnami.com/v1alpha1/namespaces/${namespace}/sealedsecrets`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
