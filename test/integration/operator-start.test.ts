import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { findFreePort } from '../../hack/cluster/ports.ts';
import { eventually } from '../support/eventually.ts';
import { type CommandResult, runOperatorCommand } from '../support/operator-command.ts';
import { launchOperator, type OperatorProcess, startOperator } from '../support/operator-process.ts';
import { startTcpRelay } from '../support/tcp-relay.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { toolPath } from '../support/tool-path.ts';
import { useWorld } from '../support/world.ts';

const MANIFEST = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
const ADDRESSES = ['metrics-addr', 'health-addr', 'storage-addr', 'sealed-secrets-addr'];

describe('starting the operator', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  let buildWorker: string;
  let operator: OperatorProcess | undefined;

  before(async function () {
    this.timeout(15 * 60_000);
    buildWorker = await toolPath('kustomize-build-worker');
  });

  afterEach(async () => {
    await operator?.kill();
    operator = undefined;
  });

  const run = (flags: Record<string, string> = {}): Promise<CommandResult> => {
    const all: Record<string, string> = {
      ...Object.fromEntries(ADDRESSES.map((address) => [address, '127.0.0.1:0'])),
      'storage-path': directory(),
      'build-worker': buildWorker,
      'log-level': 'error',
      'key-size': '2048',
      controllers: 'source,kustomize',
      ...flags,
    };
    const args = Object.entries(all).map(([name, value]) => `--${name}=${value}`);
    return runOperatorCommand(args, { HOME: directory() });
  };

  const assertRefused = ({ code, stdout, stderr }: CommandResult, message: RegExp): void => {
    assert.deepEqual(
      { code, stdout, lines: stderr.trimEnd().split('\n').length },
      { code: 1, stdout: '', lines: 1 },
      stderr,
    );
    assert.match(stderr, message);
  };

  it('is refused in one line without a kubeconfig, saying where one is looked for', async () => {
    assertRefused(
      await run(),
      /^signet: no kubeconfig: give --kubeconfig or KUBECONFIG, have ~\/\.kube\/config/,
    );
  });

  it('is refused in one line with a kubeconfig that is missing or none, naming the file', async () => {
    const path = join(directory(), 'config.yaml');
    assertRefused(await run({ kubeconfig: path }), /^signet: .*no such file.*config\.yaml/);
    writeFileSync(path, 'clusters: [');
    assertRefused(await run({ kubeconfig: path }), /^signet: .*config\.yaml: unexpected end/);
  });

  it('is refused in one line for an unknown flag and a malformed value, naming the flag', async () => {
    assertRefused(await run({ frobnicate: 'yes' }), /^signet: unknown flag --frobnicate/);
    assertRefused(await run({ concurrent: 'many' }), /^signet: invalid value "many" for --concurrent/);
  });

  it('is refused in one line when an address is taken, naming it', async () => {
    const squatter = createServer().listen(0, '127.0.0.1');
    try {
      await once(squatter, 'listening');
      const taken = `127.0.0.1:${(squatter.address() as AddressInfo).port}`;
      for (const address of ADDRESSES) {
        const { kubeconfig, namespace } = world();
        const controllers = 'source,sealed-secrets';
        const refused = await run({ kubeconfig, namespace, controllers, [address]: taken });
        assert.equal(refused.code, 1);
        const last = refused.stderr.trimEnd().split('\n').at(-1) ?? '';
        assert.match(last, /^signet: .* did not start: .*EADDRINUSE/, refused.stderr);
        assert.ok(last.includes(taken), last);
      }
    } finally {
      squatter.close();
    }
  });

  it('is refused in one line without a build worker, saying how to get one', async () => {
    const refused = await run({ kubeconfig: world().kubeconfig, 'build-worker': 'no-such-worker' });
    assertRefused(refused, /^signet: --build-worker no-such-worker: there is no such program; build it/);
  });

  it('prints its flags with --help and its version with --version, and does nothing else', async () => {
    const help = await runOperatorCommand(['--help']);
    assert.deepEqual([help.code, help.stderr], [0, '']);
    for (const group of ['General:', 'Addresses:', 'Sealed Secrets:', 'Logging:'])
      assert.ok(help.stdout.includes(group));
    assert.deepEqual(await runOperatorCommand(['--version']), {
      code: 0,
      stdout: `${MANIFEST.version}\n`,
      stderr: '',
    });
  });

  it('takes flags of the controllers it replaces that mean nothing here, and says so', async () => {
    operator = await launchOperator({
      ...{ kubeconfig: world().kubeconfig, namespace: world().namespace, onlyNamespace: true, buildWorker },
      flags: ['--controllers=source', '--kube-api-qps=500'],
    });
    const running = operator;
    const line = await eventually(
      () => running.log().find(({ msg }) => String(msg).includes('--kube-api-qps')),
      {
        what: 'a line about the flag',
      },
    );
    assert.match(String(line.msg), /^--kube-api-qps has no effect/);
  });

  it('starts only the parts of the controllers that were asked for', async () => {
    const storageAddress = `127.0.0.1:${await findFreePort()}`;
    const start = async (controller: string): Promise<OperatorProcess> => {
      await operator?.kill();
      operator = await startOperator({
        ...{ kubeconfig: world().kubeconfig, namespace: world().namespace, onlyNamespace: true },
        ...{ buildWorker: 'none', storageAddress, flags: [`--controllers=${controller}`, '--key-size=2048'] },
      });
      return operator;
    };
    const unsealing = await start('sealed-secrets');
    const metrics = await (await fetch(unsealing.metricsUrl)).text();
    const workers = metrics.matchAll(/max_concurrent_reconciles\{controller="([^"]+)"\}/g);
    assert.deepEqual(
      Array.from(workers, ([, name]) => name),
      ['sealedsecret'],
    );
    assert.match(
      await (await fetch(`${unsealing.sealedSecretsUrl}/v1/cert.pem`)).text(),
      /BEGIN CERTIFICATE/,
    );
    await assert.rejects(fetch(`http://${storageAddress}`), 'nothing serves artifacts');

    const fetching = await start('source');
    assert.equal((await fetch(`http://${storageAddress}`)).status, 404);
    await assert.rejects(fetch(fetching.sealedSecretsUrl), 'nothing answers kubeseal');
  });

  it('is alive but not ready while the API server is away, says why, and is ready by itself when it comes', async () => {
    const relay = await startTcpRelay(new URL(world().controlPlane.server));
    try {
      relay.cut();
      const kubeconfig = join(directory(), 'relayed.kubeconfig');
      const text = readFileSync(world().kubeconfig, 'utf8');
      writeFileSync(kubeconfig, text.replaceAll(world().controlPlane.server, relay.url.origin), {
        mode: 0o600,
      });
      operator = await launchOperator({
        ...{ kubeconfig, namespace: world().namespace, onlyNamespace: true, buildWorker },
        flags: ['--key-size=2048'],
      });
      const { healthUrl } = operator;
      await eventually(async () => (await fetch(`${healthUrl}/healthz`)).status === 200, {
        what: 'a sign of life',
      });
      await eventually(
        async () => {
          const answer = await fetch(`${healthUrl}/readyz`);
          assert.equal(answer.status, 503);
          assert.match(
            await answer.text(),
            /^\[-\]gitrepository: waiting for the list of gitrepositories: GET /,
          );
          return true;
        },
        { what: 'the reason why it is not ready' },
      );
      relay.mend();
      await eventually(async () => (await fetch(`${healthUrl}/readyz`)).status === 200, {
        what: 'readiness',
      });
    } finally {
      await operator?.kill();
      await relay.close();
    }
  });

  it('says what it may not do when its account lacks the rights', async () => {
    const kubeconfig = world().controlPlane.kubeconfigForUser({ name: 'jane', groups: [] });
    operator = await launchOperator({
      kubeconfig,
      namespace: world().namespace,
      onlyNamespace: true,
      buildWorker,
    });
    const running = operator;
    const words = /gitrepositories.* is forbidden: User "jane" cannot list resource "gitrepositories"/;
    await eventually(
      async () => {
        const answer = await fetch(`${running.healthUrl}/readyz`);
        assert.match(await answer.text(), words);
        return true;
      },
      { what: 'the refusal at /readyz' },
    );
    assert.ok(
      running.log().some(({ msg }) => words.test(String(msg))),
      running.output(),
    );
  });
});
