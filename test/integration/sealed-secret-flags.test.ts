import assert from 'node:assert/strict';
import { eventually, throughout } from '../support/eventually.ts';
import { startOperator } from '../support/operator-process.ts';
import { toolPath } from '../support/tool-path.ts';
import { UnsealingWorld } from '../support/unsealing.ts';
import { useWorld } from '../support/world.ts';

describe('the flags of the sealed-secrets controller', function () {
  this.timeout(120_000);
  const world = useWorld();
  let here: UnsealingWorld | undefined;
  before(async function () {
    this.timeout(15 * 60_000);
    await toolPath('template-engine');
  });
  afterEach(() => here?.stop());

  const start = async (...flags: string[]): Promise<UnsealingWorld> => {
    here = new UnsealingWorld(world(), flags);
    await here.start();
    return here;
  };
  const hasSecret = async (path: string) => (await world().api.get(path)) !== undefined;
  const made = (path: string) => eventually(() => hasSecret(path), { what: path });

  it('--label-selector: only SealedSecrets that match are unsealed', async () => {
    const there = await start('--label-selector', 'team in (a, b),!paused');
    await there.seal('ours', { a: '1' }, { labels: { team: 'a' } });
    await there.seal('theirs', { a: '1' }, { labels: { team: 'c' } });
    await there.seal('paused', { a: '1' }, { labels: { team: 'a', paused: '' } });
    await made(there.secretPath('ours'));
    await throughout(
      async () => {
        assert.equal(await hasSecret(there.secretPath('theirs')), false);
        assert.equal(await hasSecret(there.secretPath('paused')), false);
      },
      { what: 'stays sealed', forMs: 300 },
    );
  });

  it('--update-status=false: Secrets are made and the status stays empty', async () => {
    const there = await start('--update-status=false');
    await there.seal('db', { a: '1' });
    await made(there.secretPath('db'));
    await throughout(async () => assert.equal((await there.read('db')).status, undefined), {
      what: 'has no status',
      forMs: 300,
    });
  });

  it('--old-gc-behavior: the Secret is deleted with its SealedSecret, whoever owns it', async () => {
    const there = await start('--old-gc-behavior');
    await there.seal('db', { a: '1' });
    await made(there.secretPath('db'));
    await world().api.mergePatch(there.secretPath('db'), { metadata: { ownerReferences: null } });
    await world().api.delete(world().path('bitnami.com/v1alpha1', 'sealedsecrets', 'db'));
    await eventually(async () => !(await hasSecret(there.secretPath('db'))), { what: 'the Secret to go' });
  });

  it('--additional-namespaces: SealedSecrets are unsealed there and in the own namespace alone', async () => {
    const { api, namespace } = world();
    const [listed, other] = [`${namespace}-listed`, `${namespace}-other`];
    for (const name of [listed, other]) {
      await api.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    }
    const there = await start('--additional-namespaces', `${listed},not-there`);
    await there.seal('own', { a: '1' });
    for (const name of [listed, other]) {
      const { apiVersion, kind, spec } = there.sealed(
        'db',
        { a: '1' },
        {
          annotations: { 'sealedsecrets.bitnami.com/cluster-wide': 'true' },
        },
      );
      await api.create(`/apis/bitnami.com/v1alpha1/namespaces/${name}/sealedsecrets`, {
        ...{ apiVersion, kind, spec: { encryptedData: spec.encryptedData } },
        metadata: { name: 'db', annotations: { 'sealedsecrets.bitnami.com/cluster-wide': 'true' } },
      });
    }
    await made(there.secretPath('own'));
    await made(`/api/v1/namespaces/${listed}/secrets/db`);
    await throughout(
      async () => assert.equal(await hasSecret(`/api/v1/namespaces/${other}/secrets/db`), false),
      {
        what: 'stays sealed in a namespace that was not listed',
        forMs: 300,
      },
    );
  });

  it('--metrics-omit-secret-labels: no metric names a SealedSecret', async () => {
    const there = await start('--metrics-omit-secret-labels');
    await there.seal('db', { a: '1' });
    await there.synced('db', 'True');
    const text = await (await fetch(there.operator.metricsUrl)).text();
    assert.match(text, /^sealed_secrets_controller_unseal_requests_total [1-9]/m);
    assert.doesNotMatch(text, /sealed_secrets_controller_condition_info/);
  });

  it('--key-cutoff-time and --key-renew-period: a key that is too old gets its successor at the start', async () => {
    const there = await start();
    const first = await (await fetch(`${there.operator.sealedSecretsUrl}/v1/cert.pem`)).text();
    await there.stop();
    const cutoff = new Date(Date.now() + 2_000).toUTCString().replace('GMT', '+0000');
    const again = await start('--key-cutoff-time', cutoff);
    await eventually(
      async () => (await (await fetch(`${again.operator.sealedSecretsUrl}/v1/cert.pem`)).text()) !== first,
      { what: 'another certificate' },
    );
    await again.stop();
    const short = await start('--key-renew-period', '1s');
    await eventually(
      async () => {
        const list = (await world().api.get(world().path('v1', 'secrets'))) as unknown as {
          items: unknown[];
        };
        return list.items.length >= 3;
      },
      { what: 'a third key' },
    );
    await short.stop();
  });

  it('counts what failed by reason and namespace', async () => {
    const there = await start();
    const { namespace, api } = world();
    await api.create(world().path('v1', 'secrets'), {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'taken' },
    });
    await there.seal('taken', { a: '1' });
    await there.synced('taken', 'False');
    const object = there.sealed('broken', { a: '1' });
    await there.apply({ ...object, spec: { encryptedData: { a: 'AAAA' } } });
    await there.synced('broken', 'False');
    await api.create(world().path('v1', 'secrets'), {
      ...{ apiVersion: 'v1', kind: 'Secret', immutable: true, data: { a: 'MA==' } },
      metadata: { name: 'frozen', annotations: { 'sealedsecrets.bitnami.com/managed': 'true' } },
    });
    await there.seal('frozen', { a: '1' });
    await there.synced('frozen', 'False');
    const text = await (await fetch(there.operator.metricsUrl)).text();
    for (const reason of ['unmanaged', 'unseal', 'update']) {
      const line = `sealed_secrets_controller_unseal_errors_total{reason="${reason}",namespace="${namespace}"}`;
      assert.ok(text.includes(line), line);
    }
  });

  it('counts status writes that the API server refuses, and makes the Secret all the same', async () => {
    const { namespace, api, controlPlane } = world();
    const there = await start();
    const object = there.sealed('db', { a: '1' });
    await there.stop();
    const user = `no-status-${namespace}`;
    const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
    const apiVersion = 'rbac.authorization.k8s.io/v1';
    await api.create(`${rbac}/roles`, {
      ...{ apiVersion, kind: 'Role', metadata: { name: 'no-status' } },
      rules: [
        { apiGroups: ['', 'bitnami.com'], resources: ['secrets', 'sealedsecrets', 'events'], verbs: ['*'] },
      ],
    });
    await api.create(`${rbac}/rolebindings`, {
      ...{ apiVersion, kind: 'RoleBinding', metadata: { name: 'no-status' } },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'no-status' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
    });
    const operator = await startOperator({
      ...{ kubeconfig: controlPlane.kubeconfigForUser({ name: user }), namespace, onlyNamespace: true },
      ...{ buildWorker: 'none', flags: ['--controllers=sealed-secrets', '--key-size=2048'] },
    });
    try {
      await there.apply(object);
      await made(there.secretPath('db'));
      const line = `sealed_secrets_controller_unseal_errors_total{reason="status",namespace="${namespace}"}`;
      await eventually(async () => (await (await fetch(operator.metricsUrl)).text()).includes(line), {
        what: line,
      });
    } finally {
      await operator.stop();
    }
  });
});
