import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { GitServer } from '../../hack/cluster/git-server.ts';
import { configMap, Fleet, listing } from '../support/fleet.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

describe('the running operator', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  let fleet: Fleet;

  beforeEach(async () => {
    fleet = await Fleet.start(world(), directory(), ['--controllers=source,kustomize', '--log-level=trace']);
  });
  afterEach(() => fleet.stop());

  async function firstSync(): Promise<void> {
    const revision = await fleet.push({
      'app/kustomization.yaml': listing('a.yaml'),
      'app/a.yaml': configMap('a', { version: '1' }),
    });
    await fleet.createSource();
    await fleet.createKustomization();
    await fleet.applied(revision);
  }

  it('logs one JSON object a line; those of a pass say which object and which pass', async () => {
    await firstSync();
    await fleet.operator.stop();
    const lines = fleet.operator.output().trimEnd().split('\n');
    const log = fleet.operator.log();
    assert.equal(log.length, lines.length, 'lines that are no JSON object');
    for (const { ts, level, msg } of log) {
      assert.match(String(ts), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      assert.ok(['trace', 'debug', 'info', 'error'].includes(String(level)), String(level));
      assert.equal(typeof msg, 'string');
    }
    const finished = log.find(({ msg, controllerKind }) => {
      return controllerKind === 'Kustomization' && String(msg).startsWith('reconciliation finished');
    });
    assert.ok(finished, fleet.operator.output());
    const { name, namespace, controller, controllerGroup, reconcileID } = finished;
    assert.deepEqual(
      { name, namespace, controller, controllerGroup },
      {
        ...{ name: 'app', namespace: world().namespace },
        ...{ controller: 'kustomization', controllerGroup: 'kustomize.toolkit.fluxcd.io' },
      },
    );
    assert.match(String(reconcileID), /^[0-9a-f-]{36}$/);
  });

  it('logs no password: neither one that is refused nor one that is applied', async () => {
    const login = { username: 'ada', password: 'wrong-horse-battery' };
    const served = join(directory(), 'guarded');
    mkdirSync(served);
    const guarded = await GitServer.start({
      directory: served,
      credentials: { username: 'ada', password: 'right-horse-battery' },
    });
    try {
      await world().api.create(world().path('v1', 'secrets'), {
        ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'login' }, stringData: login },
      });
      const url = await guarded.createRepository('fleet');
      await fleet.createSource({ url, secretRef: { name: 'login' } });
      await fleet.condition(fleet.sourcePath(), 'FetchFailed', ({ status }) => status === 'True');
      await world().api.mergePatch(fleet.sourcePath(), { spec: { url: fleet.url, secretRef: null } });
      const secret = (name: string, rest: object): string =>
        JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, ...rest });
      const revision = await fleet.push({
        'app/kustomization.yaml': listing('a.yaml'),
        'app/a.yaml': secret('a', { stringData: { password: 'applied-horse-battery' } }),
      });
      await fleet.createKustomization();
      await fleet.applied(revision);
      await fleet.push({ 'app/a.yaml': secret('a', { data: { password: 'broken-horse-battery' } }) });
      await fleet.condition(fleet.kustomizationPath(), 'Ready', ({ status }) => status === 'False');
    } finally {
      await guarded.stop();
    }
    await fleet.operator.stop();
    const output = fleet.operator.output();
    assert.match(output, /AuthenticationFailed/, 'the failure is logged');
    assert.doesNotMatch(output, /horse/);
    const events = await world().api.get(world().path('v1', 'events'));
    assert.doesNotMatch(JSON.stringify(events), /horse/);
  });

  it('serves the metrics under the names that dashboards have', async () => {
    await firstSync();
    const text = await (await fetch(fleet.operator.metricsUrl)).text();
    for (const [name, type] of Object.entries({
      controller_runtime_active_workers: 'gauge',
      controller_runtime_max_concurrent_reconciles: 'gauge',
      controller_runtime_reconcile_errors_total: 'counter',
      controller_runtime_reconcile_panics_total: 'counter',
      controller_runtime_reconcile_time_seconds: 'histogram',
      controller_runtime_reconcile_total: 'counter',
      controller_runtime_terminal_reconcile_errors_total: 'counter',
      gotk_reconcile_duration_seconds: 'histogram',
      process_cpu_seconds_total: 'counter',
      process_resident_memory_bytes: 'gauge',
      rest_client_requests_total: 'counter',
      workqueue_adds_total: 'counter',
      workqueue_depth: 'gauge',
      workqueue_longest_running_processor_seconds: 'gauge',
      workqueue_queue_duration_seconds: 'histogram',
      workqueue_retries_total: 'counter',
      workqueue_unfinished_work_seconds: 'gauge',
      workqueue_work_duration_seconds: 'histogram',
    })) {
      assert.match(text, new RegExp(`^# TYPE ${name} ${type}$`, 'm'));
    }
    const { namespace } = world();
    const labels = `kind="Kustomization",name="app",namespace="${namespace}"`;
    assert.match(text, new RegExp(`^gotk_reconcile_duration_seconds_count\\{${labels}\\} [1-9]`, 'm'));
    assert.match(
      text,
      /^rest_client_requests_total\{code="200",method="PATCH",host="127\.0\.0\.1:\d+"\} [1-9]/m,
    );
  });
});
