import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findFreePort } from '../../hack/cluster/ports.ts';
import { type ApiProxy, startApiProxy } from '../support/api-proxy.ts';
import { eventually } from '../support/eventually.ts';
import { GitGate } from '../support/git-gate.ts';
import { launchOperator, type OperatorProcess, startOperator } from '../support/operator-process.ts';
import { ProcessTree } from '../support/process-tree.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

const SOURCES = 'gitrepositories';

describe('ending the operator', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  let operator: OperatorProcess | undefined;
  let gate: GitGate;
  let proxy: ApiProxy | undefined;

  beforeEach(async () => {
    // Takes every request and answers none.
    gate = await GitGate.start({ port: 1, rule: () => true });
  });

  afterEach(async () => {
    await operator?.kill();
    operator = undefined;
    await gate.stop();
    await proxy?.close();
    proxy = undefined;
  });

  const options = (kubeconfig: string, ...flags: string[]) => ({
    ...{ kubeconfig, namespace: world().namespace, onlyNamespace: true, buildWorker: 'none' },
    flags: ['--controllers=source', ...flags],
  });

  const createSource = (): Promise<unknown> =>
    world().api.create(world().path('source.toolkit.fluxcd.io/v1', SOURCES), {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: { name: 'fleet' },
      spec: { url: `${gate.origin}/fleet.git`, interval: '1h', timeout: '60m' },
    });

  /** An operator whose pass can't end: the answer to its status write never comes. */
  const startStuck = async (...flags: string[]): Promise<OperatorProcess> => {
    proxy = await startApiProxy(world().kubeconfig);
    const kubeconfig = join(directory(), 'kubeconfig');
    writeFileSync(kubeconfig, proxy.kubeconfig, { mode: 0o600 });
    const stuck = Promise.withResolvers<void>();
    proxy.intervene(({ method, path }) => {
      if (method !== 'PATCH' || !path.includes(`/${SOURCES}/fleet/status`)) return undefined;
      stuck.resolve();
      return 'hold';
    });
    const started = await startOperator(options(kubeconfig, ...flags));
    operator = started;
    await createSource();
    await stuck.promise;
    return started;
  };

  it('drains on SIGTERM and exits 0 amid a fetch from a git server that never answers, leaving no process', async () => {
    operator = await startOperator(options(world().kubeconfig));
    const tree = new ProcessTree(operator.pid);
    try {
      await createSource();
      await eventually(() => gate.requests.length > 0, { what: 'git to ask the server' });
      await eventually(() => tree.started.some(({ commandLine }) => commandLine.includes('git')), {
        what: 'the git process to be seen',
      });
      assert.equal(await operator.stop(), 0);
    } finally {
      await tree.stop();
    }
    assert.deepEqual(await tree.survivors(), []);
    assert.doesNotMatch(operator.output(), /did not stop in time/);
    const source = await world().api.get(world().path('source.toolkit.fluxcd.io/v1', SOURCES, 'fleet'));
    assert.doesNotMatch(
      JSON.stringify(source?.status ?? {}),
      /"Ready","status":"False"/,
      'a shutdown is no failure',
    );
  });

  it('exits 0 on SIGTERM while it waits for an API server to start with', async () => {
    const text = readFileSync(world().kubeconfig, 'utf8');
    const kubeconfig = join(directory(), 'nowhere.kubeconfig');
    const nowhere = `https://127.0.0.1:${await findFreePort()}`;
    writeFileSync(kubeconfig, text.replaceAll(world().controlPlane.server, nowhere), { mode: 0o600 });
    operator = await launchOperator(options(kubeconfig));
    const { healthUrl } = operator;
    await eventually(async () => (await fetch(`${healthUrl}/healthz`)).status === 200, {
      what: 'a sign of life',
    });
    assert.equal(await operator.stop(), 0);
    assert.doesNotMatch(operator.output(), /^signet:/m);
  });

  it('gives up on what does not end when its deadline is over, naming it, and exits 0', async () => {
    const stuck = await startStuck('--graceful-shutdown-timeout=1s');
    assert.equal(await stuck.stop(), 0);
    assert.match(stuck.output(), /gitrepository did not stop in time/);
  });

  it('ends at once, non-zero, at a second SIGTERM', async () => {
    const stuck = await startStuck('--graceful-shutdown-timeout=1h');
    process.kill(stuck.pid, 'SIGTERM');
    await eventually(() => /SIGTERM received, draining/.test(stuck.output()), {
      what: 'the first to be heard',
    });
    assert.equal(await stuck.stop(), 1);
  });
});
