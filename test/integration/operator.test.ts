import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { ControlPlane } from '../../hack/cluster/control-plane.ts';
import { installCrds } from '../../hack/cluster/crds.ts';
import { toolPath } from '../../hack/tools.mjs';
import { eventually } from '../support/eventually.ts';
import { launchOperator, type OperatorProcess, startOperator } from '../support/operator-process.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

describe("the operator's process", () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  const running: OperatorProcess[] = [];
  const listeners: Server[] = [];

  afterEach(async () => {
    for (const operator of running.splice(0)) await operator.kill();
    for (const listener of listeners.splice(0)) listener.close();
  });

  async function launch(o: { kubeconfig?: string; flags?: string[] } = {}): Promise<OperatorProcess> {
    const operator = await launchOperator({
      kubeconfig: o.kubeconfig ?? world().kubeconfig,
      namespace: world().namespace,
      onlyNamespace: true,
      buildWorker: await toolPath('kustomize-build-worker'),
      flags: o.flags ?? [],
    });
    running.push(operator);
    return operator;
  }

  async function start(flags: string[] = []): Promise<OperatorProcess> {
    const operator = await startOperator({
      kubeconfig: world().kubeconfig,
      namespace: world().namespace,
      onlyNamespace: true,
      buildWorker: await toolPath('kustomize-build-worker'),
      flags,
    });
    running.push(operator);
    return operator;
  }

  /** A server that takes connections and never answers; resolves with its port. */
  async function silentServer(onConnection: () => void = () => {}): Promise<number> {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      onConnection();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    listeners.push(server);
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** The one line that a refused start prints, with exit code 1. */
  async function refusal(operator: OperatorProcess): Promise<string> {
    assert.equal(await operator.exited, 1);
    const lines = operator.output().trim().split('\n');
    const last = lines.at(-1) ?? '';
    assert.match(last, /^signet: /);
    assert.equal(lines.filter((line) => line.startsWith('signet: ')).length, 1);
    return last;
  }

  it('refuses an unknown flag in one line that names it', async () => {
    assert.match(await refusal(await launch({ flags: ['--colour=red'] })), /unknown flag --colour/);
  });

  it('refuses a kubeconfig that is not there in one line that names it', async () => {
    const kubeconfig = join(directory(), 'absent');
    assert.match(await refusal(await launch({ kubeconfig })), /absent/);
  });

  it('refuses an address that is taken in one line that names the part and the address', async () => {
    const taken = `127.0.0.1:${await silentServer()}`;
    const operator = await launchOperator({
      kubeconfig: world().kubeconfig,
      namespace: world().namespace,
      onlyNamespace: true,
      buildWorker: await toolPath('kustomize-build-worker'),
      flags: ['--controllers=source'],
      storageAddress: taken,
    });
    running.push(operator);
    const named = await refusal(operator);
    assert.match(named, /artifact-server did not start: .*EADDRINUSE.*127\.0\.0\.1/);
  });

  it('names the build worker that it cannot find', async () => {
    const operator = await launchOperator({
      kubeconfig: world().kubeconfig,
      namespace: world().namespace,
      onlyNamespace: true,
      buildWorker: join(directory(), 'no-worker'),
    });
    running.push(operator);
    assert.match(await refusal(operator), /--build-worker .*no-worker/);
  });

  it('prints its help and its version, and ends', async () => {
    const help = await launch({ flags: ['--help'] });
    assert.equal(await help.exited, 0);
    assert.match(help.output(), /--kubeconfig FILE/);
    const version = await launch({ flags: ['--version'] });
    assert.equal(await version.exited, 0);
    assert.match(version.output(), /^\d+\.\d+\.\d+\n$/);
  });

  it('logs one JSON object a line, and which flags have no effect', async () => {
    const operator = await start(['--kube-api-qps=500']);
    assert.equal(await operator.stop(), 0);
    const lines = operator.output().trim().split('\n');
    assert.equal(operator.log().length, lines.length, operator.output());
    for (const line of operator.log()) {
      assert.match(String(line.ts), /^\d{4}-\d\d-\d\dT/);
      assert.ok(['trace', 'debug', 'info', 'error'].includes(String(line.level)));
      assert.equal(typeof line.msg, 'string');
    }
    assert.ok(operator.log().some(({ msg }) => String(msg).includes('--kube-api-qps')));
  });

  it('serves the metrics under the names that dashboards have', async () => {
    const operator = await start();
    const text = await (await fetch(operator.metricsUrl)).text();
    for (const name of [
      'controller_runtime_active_workers',
      'controller_runtime_max_concurrent_reconciles',
      'controller_runtime_reconcile_total',
      'gotk_reconcile_duration_seconds',
      'process_cpu_seconds_total',
      'rest_client_requests_total',
      'workqueue_depth',
    ]) {
      assert.match(text, new RegExp(`^# TYPE ${name} `, 'm'));
    }
  });

  it('starts only the controllers that it is told to', async () => {
    const operator = await start(['--controllers=kustomize']);
    const text = await (await fetch(operator.metricsUrl)).text();
    assert.match(text, /controller="kustomization"/);
    assert.doesNotMatch(text, /controller="(gitrepository|sealedsecret)"/);
    await assert.rejects(fetch(`${operator.sealedSecretsUrl}/healthz`));
  });

  it('ends with 0 on SIGTERM, also amid a fetch from a server that never answers', async () => {
    const operator = await start(['--controllers=source']);
    let connected = false;
    const port = await silentServer(() => {
      connected = true;
    });
    await world().api.create(world().path('source.toolkit.fluxcd.io/v1', 'gitrepositories'), {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: { name: 'silent' },
      spec: { url: `http://127.0.0.1:${port}/fleet.git`, interval: '1h' },
    });
    await eventually(() => connected, { what: 'git to connect' });
    assert.equal(await operator.stop(), 0);
    assert.ok(!operator.output().includes('did not stop in time'), operator.output());
  });

  it('is alive but not ready while the API server is away at its start, and gets ready by itself', async function () {
    this.timeout(120_000);
    const controlPlane = await ControlPlane.start({ unsafeNoFsync: true, controllerManager: false });
    try {
      await installCrds(controlPlane.api, join(import.meta.dirname, '../../crds'));
      await controlPlane.stopApiServer();
      const operator = await launchOperator({
        kubeconfig: controlPlane.kubeconfig,
        namespace: 'default',
        onlyNamespace: true,
        buildWorker: await toolPath('kustomize-build-worker'),
      });
      running.push(operator);
      await eventually(async () => (await fetch(`${operator.healthUrl}/healthz`)).status === 200, {
        what: 'the operator to be alive',
      });
      const readyz = await fetch(`${operator.healthUrl}/readyz`);
      assert.equal(readyz.status, 503);
      assert.match(await readyz.text(), /\[-\]/);
      await controlPlane.startApiServer();
      await eventually(async () => (await fetch(`${operator.healthUrl}/readyz`)).status === 200, {
        what: 'the operator to be ready',
        timeoutMs: 60_000,
      });
      assert.equal(await operator.stop(), 0);
    } finally {
      await controlPlane.stop();
    }
  });

  it('says what it may not do when its account has no rights', async () => {
    const kubeconfig = world().controlPlane.kubeconfigForUser({ name: 'powerless' });
    const operator = await launch({ kubeconfig, flags: ['--controllers=source'] });
    await eventually(() => operator.output().includes('forbidden'), { what: 'the refusal in the log' });
    assert.match(operator.output(), /gitrepositories/);
    const readyz = await fetch(`${operator.healthUrl}/readyz`);
    assert.equal(readyz.status, 503);
  });
});
