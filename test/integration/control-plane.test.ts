import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ControlPlane } from '../../hack/cluster/control-plane.ts';
import { RawApi } from '../../hack/cluster/raw-api.ts';
import { toolPath } from '../../hack/tools.mjs';
import { eventually } from '../support/eventually.ts';
import { useWorld } from '../support/world.ts';

const run = promisify(execFile);
const components = ['etcd', 'kube-apiserver', 'kube-controller-manager'] as const;

describe('the local control plane', () => {
  const world = useWorld();

  it('lets the administrator in and refuses a user without rights', async () => {
    const { controlPlane, api, path } = {
      ...world(),
      api: world().api,
      path: world().path('v1', 'configmaps'),
    };
    assert.ok(await api.get(path));

    const stranger = new RawApi(controlPlane.clientAccess({ commonName: 'stranger' }));
    const answer = await stranger.call('GET', path);
    await stranger.close();

    assert.equal(answer.status, 403);
    assert.match(String(answer.body.message), /User "stranger" cannot list resource "configmaps"/);
  });

  it('gives kubeconfigs that the real kubectl reads, for certificates and tokens, readable by their owner only', async () => {
    const { controlPlane, namespace } = world();
    const kubectl = await toolPath('kubectl');
    const token = await controlPlane.serviceAccountToken({ namespace, name: 'default' });
    const whoAmI = async (kubeconfig: string) => {
      const { stdout } = await run(kubectl, ['auth', 'whoami', '-o', 'json'], {
        env: { KUBECONFIG: kubeconfig },
      });
      return JSON.parse(stdout).status.userInfo.username;
    };
    const byCertificate = controlPlane.kubeconfigForUser({ name: 'jane', groups: ['developers'] });
    const byToken = controlPlane.kubeconfigForToken(token);

    assert.equal(await whoAmI(byCertificate), 'jane');
    assert.equal(await whoAmI(byToken), `system:serviceaccount:${namespace}:default`);
    for (const path of [byCertificate, byToken, controlPlane.kubeconfig]) {
      assert.equal(statSync(path).mode & 0o777, 0o600);
    }
  });

  it('reports the version that its binaries were built from', async () => {
    const version = await world().api.get('/version');
    const pin = readFileSync(new URL('../../hack/tools/kubernetes/go.mod', import.meta.url), 'utf8');
    assert.equal(version?.gitVersion, /k8s\.io\/kubernetes (v\S+)/.exec(pin)?.[1]);
  });

  it('collects the dependants of a deleted owner', async () => {
    const { api } = world();
    const collection = world().path('v1', 'configmaps');
    const owner = await api.create(collection, configMap('owner'));
    const uid = (owner.metadata as { uid: string }).uid;
    await api.create(collection, {
      ...configMap('dependant'),
      metadata: {
        name: 'dependant',
        ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid }],
      },
    });
    await api.delete(`${collection}/owner`);
    await eventually(async () => (await api.get(`${collection}/dependant`)) === undefined, {
      what: 'the dependant to be collected',
    });
  });

  it('records each write once, with its user, and no read', async () => {
    const { controlPlane, namespace } = world();
    await world().api.create(world().path('v1', 'configmaps'), configMap('audited'));
    await world().api.get(world().path('v1', 'configmaps', 'audited'));
    const mine = () => world().auditedWrites((entry) => entry.objectRef?.name === 'audited');
    await eventually(() => mine().length > 0, { what: 'the write in the audit log' });
    assert.deepEqual(
      mine().map((entry) => [entry.verb, entry.user.username, entry.objectRef?.namespace]),
      [['create', 'signet-local-admin', namespace]],
    );
    assert.ok(existsSync(controlPlane.auditLog));
  });
});

describe('a control plane of its own', () => {
  let controlPlane: ControlPlane;

  beforeEach(async () => {
    controlPlane = await ControlPlane.start({ unsafeNoFsync: true });
  });

  afterEach(async () => {
    await controlPlane.stop();
  });

  for (const end of ['stopApiServer', 'killApiServer'] as const) {
    it(`keeps its data and its address over ${end} and a start`, async () => {
      const path = '/api/v1/namespaces/default/configmaps';
      const written = await controlPlane.api.create(path, configMap('kept'));
      await controlPlane[end]();
      await assert.rejects(controlPlane.api.get(`${path}/kept`));
      await controlPlane.startApiServer();
      const read = await controlPlane.api.get(`${path}/kept`);
      assert.deepEqual(read?.metadata, written.metadata);
    });
  }

  it('leaves no process and no file behind when it is stopped', async () => {
    const pids = components.map((name) => controlPlane.pidOf(name));
    assert.ok(pids.every((pid) => pid !== undefined && isRunning(pid)));
    await controlPlane.stop();
    assert.deepEqual(
      pids.filter((pid) => pid !== undefined && isRunning(pid)),
      [],
    );
    assert.equal(existsSync(controlPlane.directory), false);
  });

  it('names a component that ended by itself, with the end of its log', async () => {
    const crashes: string[] = [];
    const watched = await ControlPlane.start({
      unsafeNoFsync: true,
      controllerManager: false,
      onCrash: (message) => crashes.push(message),
    });
    try {
      process.kill(watched.pidOf('kube-apiserver') ?? 0, 'SIGKILL');
      const crash = await eventually(() => crashes[0], { what: 'the crash to be reported' });
      assert.match(crash, /^kube-apiserver ended with SIGKILL; the end of its log:\n.+/s);
    } finally {
      await watched.stop();
    }
  });

  it('refuses to start, with the reason, when a flag is wrong', async () => {
    await assert.rejects(
      ControlPlane.start({
        apiServerFlags: ['--no-such-flag'],
        controllerManager: false,
        onCrash: () => undefined,
      }),
      /kube-apiserver ended with exit code 1.*unknown flag: --no-such-flag/s,
    );
  });
});

describe('a process that started a control plane', () => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL'] as const) {
    it(`leaves nothing behind when it is ended by ${signal}`, async () => {
      const program = `
        import { ControlPlane } from ${JSON.stringify(new URL('../../hack/cluster/control-plane.ts', import.meta.url).href)};
        const started = await ControlPlane.start({ unsafeNoFsync: true });
        const pids = ${JSON.stringify(components)}.map((name) => started.pidOf(name));
        process.stdout.write(JSON.stringify({ pids, directory: started.directory }));
        setInterval(() => {}, 1000);`;
      const child = execFile(process.execPath, ['--input-type=module-typescript', '-e', program]);
      const ended = new Promise((resolve) => child.once('exit', resolve));
      const output = await new Promise<string>((resolve, reject) => {
        child.stdout?.once('data', (chunk) => resolve(String(chunk)));
        child.once('exit', () => reject(new Error('it ended before its control plane was ready')));
      });
      const { pids, directory } = JSON.parse(output) as { pids: number[]; directory: string };
      assert.equal(pids.filter(isRunning).length, components.length);
      child.kill(signal);
      await ended;
      await eventually(() => pids.every((pid) => !isRunning(pid)) && !existsSync(directory), {
        what: `the components and ${join(directory)} to be gone`,
      });
    });
  }
});

function configMap(name: string) {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { key: 'value' } };
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
