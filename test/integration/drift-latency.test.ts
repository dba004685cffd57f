import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GitServer } from '../../hack/cluster/git-server.ts';
import { Repository } from '../../hack/cluster/repository.ts';
import { toolPath } from '../../hack/tools.mjs';
import type { JsonObject } from '../../operator/api/objects.ts';
import type { KeptObject } from '../support/bare-loop.ts';
import { eventually } from '../support/eventually.ts';
import { ObjectWatch, type TimedEvent } from '../support/object-watch.ts';
import { startOperator } from '../support/operator-process.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld, type World } from '../support/world.ts';

/** Of edits, deletions and scalings together, for each of the two that put them back. */
const DRIFTS = 200;
const MOST_TIMES_THE_FLOOR = 10;
const REPLICAS = 1;

function desired(name: string): { configMap: JsonObject; service: JsonObject; deployment: JsonObject } {
  const labels = { app: name };
  return {
    configMap: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { mode: 'as in git' } },
    service: {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name },
      spec: { selector: labels, ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }] },
    },
    deployment: {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name },
      spec: {
        replicas: REPLICAS,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            containers: [{ name: 'web', image: 'example/web:1.0.0', ports: [{ containerPort: 8080 }] }],
          },
        },
      },
    },
  };
}

/** A way to drift: does it, and says which event shows that it was put back. */
interface DriftKind {
  watch: ObjectWatch;
  disturb(n: number): Promise<void>;
  isPutBack(event: TimedEvent): boolean;
}

async function driftKinds(world: World, name: string): Promise<DriftKind[]> {
  const { api } = world;
  const paths = {
    configMaps: world.path('v1', 'configmaps'),
    services: world.path('v1', 'services'),
    deployments: world.path('apps/v1', 'deployments'),
  };
  const open = (path: string) => ObjectWatch.open(api, path, name);
  const [configMaps, services, deployments] = await Promise.all([
    open(paths.configMaps),
    open(paths.services),
    open(paths.deployments),
  ]);
  let edited = false;
  let scaled = false;
  return [
    {
      watch: configMaps,
      disturb: async (n) => {
        edited = false;
        await api.mergePatch(`${paths.configMaps}/${name}`, { data: { mode: `by hand ${n}` } });
      },
      isPutBack: ({ object }) => {
        const asInGit = (object.data as JsonObject).mode === 'as in git';
        edited ||= !asInGit;
        return edited && asInGit;
      },
    },
    {
      watch: services,
      disturb: () => api.delete(`${paths.services}/${name}`),
      isPutBack: ({ type }) => type === 'ADDED',
    },
    {
      watch: deployments,
      disturb: async (n) => {
        scaled = false;
        await api.mergePatch(`${paths.deployments}/${name}/scale`, { spec: { replicas: 2 + (n % 3) } });
      },
      isPutBack: ({ object }) => {
        const asInGit = (object.spec as JsonObject).replicas === REPLICAS;
        scaled ||= !asInGit;
        return scaled && asInGit;
      },
    },
  ];
}

/** Milliseconds from each drift's acknowledgement to the event that shows it undone. */
async function measure(world: World, name: string, count: number): Promise<number[]> {
  const kinds = await driftKinds(world, name);
  const latencies: number[] = [];
  try {
    for (let n = 0; n < count; n++) {
      const kind = kinds[n % kinds.length] as DriftKind;
      await kind.disturb(n);
      const acknowledgedAtMs = performance.now();
      const { atMs } = await kind.watch.next((event) => kind.isPutBack(event));
      latencies.push(Math.max(0, atMs - acknowledgedAtMs));
    }
  } finally {
    await Promise.all(kinds.map(({ watch }) => watch.close()));
  }
  return latencies;
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

describe('drift, measured against a bare watch-then-apply loop', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  const ends: (() => Promise<unknown>)[] = [];

  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });

  async function startBareLoop(name: string): Promise<void> {
    const { configMap, service, deployment } = desired(name);
    const objects: KeptObject[] = [
      { path: world().path('v1', 'configmaps'), name, object: configMap },
      { path: world().path('v1', 'services'), name, object: service },
      { path: world().path('apps/v1', 'deployments'), name, object: deployment },
    ];
    const file = join(directory(), 'bare-loop.json');
    writeFileSync(file, JSON.stringify({ access: world().api.access, objects }), { mode: 0o600 });
    const script = join(import.meta.dirname, '../support/bare-loop.ts');
    const child = spawn(process.execPath, [script, file], { stdio: ['ignore', 'pipe', 'inherit'] });
    ends.push(async () => {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    });
    await once(child.stdout, 'data');
  }

  async function startSignet(name: string): Promise<void> {
    const server = await GitServer.start({ directory: directory() });
    ends.push(() => server.stop());
    const url = await server.createRepository('fleet');
    const work = await Repository.init(join(directory(), 'work'));
    const { configMap, service, deployment } = desired(name);
    work.write({
      'app/kustomization.yaml': 'resources: [configmap.yaml, service.yaml, deployment.yaml]\n',
      'app/configmap.yaml': JSON.stringify(configMap),
      'app/service.yaml': JSON.stringify(service),
      'app/deployment.yaml': JSON.stringify(deployment),
    });
    await work.commit('Add the app');
    await work.push(url);
    const operator = await startOperator({
      kubeconfig: world().kubeconfig,
      namespace: world().namespace,
      onlyNamespace: true,
      buildWorker: await toolPath('kustomize-build-worker'),
      flags: ['--controllers=source,kustomize'],
    });
    ends.push(() => operator.stop());
    await world().api.create(world().path('source.toolkit.fluxcd.io/v1', 'gitrepositories'), {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: { name: 'fleet' },
      spec: { url, interval: '1h', ref: { branch: 'main' } },
    });
    const kustomizations = world().path('kustomize.toolkit.fluxcd.io/v1', 'kustomizations');
    await world().api.create(kustomizations, {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: { name: 'app' },
      spec: {
        interval: '1h',
        prune: true,
        path: './app',
        targetNamespace: world().namespace,
        sourceRef: { kind: 'GitRepository', name: 'fleet' },
      },
    });
    await eventually(
      async () => {
        const status = (await world().api.get(`${kustomizations}/app`))?.status as JsonObject | undefined;
        const [ready] = (status?.conditions ?? []) as JsonObject[];
        assert.equal(ready?.status, 'True', JSON.stringify(ready));
        return true;
      },
      { what: 'the Kustomization to be ready' },
    );
  }

  it(`puts back every one of ${DRIFTS} edits, deletions and scalings, its p99 within ${MOST_TIMES_THE_FLOOR} times the loop's`, async function () {
    this.timeout(180_000);
    await startBareLoop('bare');
    await startSignet('signet');
    await measure(world(), 'bare', 6);
    await measure(world(), 'signet', 6);
    const floor: number[] = [];
    const ours: number[] = [];
    for (let round = 0; round < 4; round++) {
      floor.push(...(await measure(world(), 'bare', DRIFTS / 4)));
      ours.push(...(await measure(world(), 'signet', DRIFTS / 4)));
    }
    assert.equal(ours.length, DRIFTS);
    const told = [0.5, 0.99].map((share) => {
      const [a, b] = [percentile(ours, share), percentile(floor, share)];
      return `p${share * 100} ${a.toFixed(1)} ms, the loop's ${b.toFixed(1)} ms`;
    });
    console.log(`      ${told.join('; ')}`);
    assert.ok(
      percentile(ours, 0.99) <= MOST_TIMES_THE_FLOOR * percentile(floor, 0.99),
      `too slow: ${told.join('; ')}`,
    );
  });
});
