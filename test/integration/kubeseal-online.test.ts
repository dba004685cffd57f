import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ControlPlane } from '../../hack/cluster/control-plane.ts';
import { installCrds } from '../../hack/cluster/crds.ts';
import type { JsonObject } from '../../operator/api/objects.ts';
import type { SealedSecret } from '../../operator/api/sealed-secret.gen.ts';
import { eventually } from '../support/eventually.ts';
import { launchOperator, type OperatorProcess } from '../support/operator-process.ts';
import { installRights, startBehindService } from '../support/sealed-secrets-install.ts';
import { toolPath } from '../support/tool-path.ts';

const CRDS = new URL('../../crds', import.meta.url).pathname;
const SECRETS = '/api/v1/namespaces/shop/secrets';
const SEALED_SECRETS = '/apis/bitnami.com/v1alpha1/namespaces/shop/sealedsecrets';
const KEY_SECRETS = '/api/v1/namespaces/kube-system/secrets';
const FLAGS = ['--controllers=sealed-secrets', '--key-size=2048'];

interface Run {
  status: number;
  stdout: string;
  stderr: string;
}

/** A Secret as a person writes it. */
function secretYaml(o: { name?: string; namespace?: string; items?: Record<string, string> } = {}): string {
  const { name = 'db', namespace = 'shop', items = { password: 'hunter2', empty: '' } } = o;
  return [
    'apiVersion: v1',
    'kind: Secret',
    `metadata: { name: ${name}, namespace: ${namespace}, labels: { app: shop } }`,
    'stringData:',
    ...Object.entries(items).map(([item, value]) => `  ${item}: ${JSON.stringify(value)}`),
    '',
  ].join('\n');
}

describe('the stock kubeseal, through the API server, with the rights that Sealed Secrets ships', function () {
  this.timeout(120_000);
  let controlPlane: ControlPlane;
  let operator: OperatorProcess;
  let directory: string;
  let kubeseal: string;
  let kubectl: string;
  let operatorKubeconfig: string;
  let buildWorker: string;
  before(async function () {
    this.timeout(15 * 60_000);
    [kubeseal, kubectl, buildWorker] = (await Promise.all(
      ['kubeseal', 'kubectl', 'kustomize-build-worker'].map(toolPath),
    )) as [string, string, string];
    directory = await mkdtemp(join(tmpdir(), 'signet-kubeseal-'));
    controlPlane = await ControlPlane.start({ unsafeNoFsync: true, controllerManager: false });
    await installCrds(controlPlane.api, CRDS);
    await controlPlane.api.create('/api/v1/namespaces', {
      ...{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
    });
    operatorKubeconfig = await installRights(controlPlane);
    operator = await startBehindService(controlPlane, {
      ...{ kubeconfig: operatorKubeconfig, buildWorker, flags: FLAGS },
    });
  });
  after(async () => {
    await operator?.stop();
    await controlPlane?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  /** As jane, who may nothing that not everybody may. */
  const run = (args: string[], input = '', program = kubeseal): Promise<Run> =>
    new Promise((resolve) => {
      const KUBECONFIG =
        program === kubectl ? controlPlane.kubeconfig : controlPlane.kubeconfigForUser({ name: 'jane' });
      const env = { HOME: directory, KUBECONFIG, NO_PROXY: '*' };
      const child = execFile(program, args, { env }, (error, stdout, stderr) => {
        resolve({ status: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
      });
      child.stdin?.end(input);
    });
  const succeed = async (args: string[], input = '', program = kubeseal): Promise<string> => {
    const { status, stdout, stderr } = await run(args, input, program);
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  const file = async (name: string, text: string): Promise<string> => {
    const path = join(directory, name);
    await writeFile(path, text);
    return path;
  };
  const sealJson = async (o: Parameters<typeof secretYaml>[0] = {}, args: string[] = []) =>
    JSON.parse(await succeed(['-o', 'json', ...args], secretYaml(o))) as SealedSecret;
  const unsealsTo = (name: string, items: Record<string, string>) =>
    eventually(
      async () => {
        const secret = await controlPlane.api.get(`${SECRETS}/${name}`);
        const data = Object.entries((secret?.data ?? {}) as Record<string, string>);
        const values = data.map(([item, value]) => [item, Buffer.from(value, 'base64').toString()]);
        assert.deepEqual(Object.fromEntries(values), items);
        return true;
      },
      { what: `the Secret ${name}` },
    );
  const keySecrets = async () =>
    ((await controlPlane.api.get(KEY_SECRETS)) as unknown as { items: JsonObject[] }).items;

  it('seals what the operator turns into a Secret, in JSON and in YAML', async () => {
    for (const [name, format] of [
      ['in-json', 'json'],
      ['in-yaml', 'yaml'],
    ] as const) {
      const sealed = await succeed(['-o', format], secretYaml({ name }));
      await succeed(['apply', '-f', '-'], sealed, kubectl);
      await unsealsTo(name, { password: 'hunter2', empty: '' });
    }
  });

  for (const scope of ['strict', 'namespace-wide', 'cluster-wide'] as const) {
    it(`seals and validates in the scope ${scope}`, async () => {
      const sealed = await sealJson({ name: `scope-${scope}` }, ['--scope', scope]);
      await succeed(['--validate'], JSON.stringify(sealed));
      await controlPlane.api.create(SEALED_SECRETS, sealed as unknown as JsonObject);
      await unsealsTo(`scope-${scope}`, { password: 'hunter2', empty: '' });
      const moved = { ...sealed, metadata: { ...sealed.metadata, name: 'moved' } };
      const { status, stderr } = await run(['--validate'], JSON.stringify(moved));
      assert.equal(status, scope === 'strict' ? 1 : 0, stderr);
    });
  }

  it('fetches the certificate, byte for byte', async () => {
    const fetched = await succeed(['--fetch-cert']);
    const served = await fetch(`${operator.sealedSecretsUrl}/v1/cert.pem`);
    assert.equal(fetched, await served.text());
  });

  it('seals with a certificate from a file and from a URL', async () => {
    const path = await file('cert.pem', await succeed(['--fetch-cert']));
    for (const cert of [path, `file://${path}`, `${operator.sealedSecretsUrl}/v1/cert.pem`]) {
      const sealed = await sealJson({}, ['--cert', cert]);
      await succeed(['--validate'], JSON.stringify(sealed));
    }
  });

  it('seals a single value with --raw', async () => {
    const raw = await succeed([
      '--raw',
      '--namespace',
      'shop',
      '--name',
      'raw',
      '--from-file',
      await file('value', 'v1'),
    ]);
    assert.doesNotMatch(raw, /\n/);
    const object = {
      ...{ apiVersion: 'bitnami.com/v1alpha1', kind: 'SealedSecret' },
      metadata: { name: 'raw', namespace: 'shop' },
      spec: { encryptedData: { item: raw } },
    };
    await controlPlane.api.create(SEALED_SECRETS, object);
    await unsealsTo('raw', { item: 'v1' });
  });

  it('merges a new item into a file', async () => {
    const path = await file(
      'merge.json',
      JSON.stringify(await sealJson({ name: 'merged', items: { a: '1' } })),
    );
    await succeed(['-o', 'json', '--merge-into', path], secretYaml({ name: 'merged', items: { b: '2' } }));
    await succeed(['apply', '-f', path], '', kubectl);
    await unsealsTo('merged', { a: '1', b: '2' });
  });

  it('says that it cannot validate what was sealed for somebody else', async () => {
    const sealed = await sealJson();
    sealed.spec.encryptedData = { a: Buffer.alloc(600, 7).toString('base64') };
    const { status, stderr } = await run(['--validate'], JSON.stringify(sealed));
    assert.equal(status, 1);
    assert.match(stderr, /unable to decrypt sealed secret: db/);
  });

  it('validates more objects at once than the rate limit lets through, by coming back', async () => {
    const objects = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => sealJson({ name })));
    await succeed(['--validate'], objects.map((object) => JSON.stringify(object)).join('\n'));
    const metrics = await (await fetch(operator.metricsUrl)).text();
    assert.match(metrics, /sealed_secrets_controller_http_requests_total\{path="\/v1\/verify",code="429",/);
  });

  it('keeps to the rules of names and namespaces', async () => {
    const { status, stderr } = await run(['--namespace', 'other'], secretYaml());
    assert.equal(status, 1);
    assert.match(stderr, /namespace/);
    const named = await succeed(['-o', 'json', '--name', 'named'], secretYaml({ name: '""' }));
    await succeed(['--validate'], named);
    assert.equal((JSON.parse(named) as SealedSecret).metadata.name, 'named');
  });

  it('seals anew with the key that SIGUSR1 has made, in place, keeping templates, labels and annotations', async () => {
    const sealed = await sealJson({ name: 'anew', items: { a: '1' } });
    sealed.metadata.annotations = { note: 'kept' };
    sealed.metadata.labels = { team: 'kept' };
    sealed.spec.template = { ...sealed.spec.template, data: { b: 'text {{ .a }}' } };
    const path = await file('anew.json', JSON.stringify(sealed));
    const before = await succeed(['--fetch-cert']);
    await eventually(() => Date.now() % 1_000 < 200, { what: 'a new second' });
    process.kill(operator.pid, 'SIGUSR1');
    await eventually(async () => (await succeed(['--fetch-cert'])) !== before, {
      what: 'another certificate',
    });
    assert.equal((await keySecrets()).length, 2);
    await succeed(['-o', 'json', '--re-encrypt', '-f', path]);
    const anew = JSON.parse(await readFile(path, 'utf8')) as SealedSecret;
    assert.notEqual(anew.spec.encryptedData.a, sealed.spec.encryptedData.a);
    assert.deepEqual(anew.spec.template, sealed.spec.template);
    assert.deepEqual(anew.metadata.annotations, { note: 'kept' });
    assert.deepEqual(anew.metadata.labels, { team: 'kept' });
    await succeed(['--validate'], JSON.stringify(anew));
  });

  it('recovers everything from a backup of the keys, without a cluster', async () => {
    const sealed = await sealJson({ name: 'recovered' });
    const selector = 'sealedsecrets.bitnami.com/sealed-secrets-key';
    const backup = await succeed(
      ['get', 'secret', '-n', 'kube-system', '-l', selector, '-o', 'yaml'],
      '',
      kubectl,
    );
    const path = await file('backup.yaml', backup);
    const args = ['--recovery-unseal', '--recovery-private-key', path, '-o', 'json'];
    const { data } = JSON.parse(await succeed(args, JSON.stringify(sealed))) as {
      data: Record<string, string>;
    };
    assert.equal(Buffer.from(data.password ?? '', 'base64').toString(), 'hunter2');
  });

  it('works again after a disaster: a fresh cluster, the backup restored, no key made before it is there', async () => {
    const sealed = await sealJson({ name: 'saved' });
    const selector = 'sealedsecrets.bitnami.com/sealed-secrets-key';
    const backup = await succeed(
      ['get', 'secret', '-n', 'kube-system', '-l', selector, '-o', 'yaml'],
      '',
      kubectl,
    );
    const path = await file('disaster.yaml', backup);
    const certificate = await succeed(['--fetch-cert']);
    const fresh = await ControlPlane.start({ unsafeNoFsync: true, controllerManager: false });
    try {
      await installCrds(fresh.api, CRDS);
      await fresh.api.create('/api/v1/namespaces', {
        ...{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
      });
      const kubeconfig = await installRights(fresh);
      const flags = [...FLAGS, '--create-first-key=false'];
      const again = await launchOperator({ kubeconfig, namespace: 'kube-system', buildWorker, flags });
      try {
        await fresh.api.create(SEALED_SECRETS, sealed as unknown as JsonObject);
        await eventually(
          async () => {
            const { status } = (await fresh.api.get(`${SEALED_SECRETS}/saved`)) as unknown as SealedSecret;
            return status?.conditions?.some(
              ({ message }) => message?.startsWith('no key could decrypt') === true,
            );
          },
          { what: 'the SealedSecret to fail for want of its key' },
        );
        await succeed(['--kubeconfig', fresh.kubeconfig, 'create', '-f', path], '', kubectl);
        await eventually(async () => (await fresh.api.get(`${SECRETS}/saved`)) !== undefined, {
          what: 'the Secret in the fresh cluster',
        });
        const served = await (await fetch(`${again.sealedSecretsUrl}/v1/cert.pem`)).text();
        assert.equal(served, certificate, 'another certificate is served');
      } finally {
        await again.stop();
      }
    } finally {
      await fresh.stop();
    }
  });

  it('shows the metrics of Sealed Secrets by their names and labels', async () => {
    const sealed = await sealJson({ name: 'measured' });
    sealed.metadata.labels = { 'app.kubernetes.io/instance': 'shop-1' };
    await controlPlane.api.create(SEALED_SECRETS, sealed as unknown as JsonObject);
    const text = await eventually(
      async () => {
        const metrics = await (await fetch(operator.metricsUrl)).text();
        return metrics.includes('name="measured",condition="Synced"') ? metrics : undefined;
      },
      { what: 'the condition of the new object' },
    );
    for (const line of [
      /^sealed_secrets_controller_build_info\{revision="[\d.]+"\} 0$/m,
      /^sealed_secrets_controller_unseal_requests_total [1-9]/m,
      /^sealed_secrets_controller_unseal_errors_total\{reason="unseal",namespace=""\} 0$/m,
      /^sealed_secrets_controller_condition_info\{namespace="shop",name="measured",condition="Synced",ss_app_kubernetes_io_instance="shop-1"\} 1$/m,
      /^sealed_secrets_controller_http_requests_total\{path="\/v1\/cert\.pem",code="200",method="get"\} [1-9]/m,
      /^sealed_secrets_controller_http_request_duration_seconds_bucket\{le="0\.005",path="\/v1\/cert\.pem",method="get"\}/m,
    ]) {
      assert.match(text, line);
    }
    await controlPlane.api.delete(`${SEALED_SECRETS}/measured`);
    await eventually(
      async () => !(await (await fetch(operator.metricsUrl)).text()).includes('name="measured"'),
      {
        what: 'the condition of the deleted object to go',
      },
    );
  });

  it('was never refused anything by the API server', () => {
    assert.doesNotMatch(operator.output(), /forbidden/i);
  });
});
