import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import type { JsonObject, StoredObject } from '../../operator/api/objects.ts';
import { eventually } from '../support/eventually.ts';
import { startSealedSecretsController } from '../support/sealed-secrets-controller.ts';
import { sealedSecret } from '../support/sealing.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { toolPath } from '../support/tool-path.ts';
import { UnsealingWorld } from '../support/unsealing.ts';
import { useWorld } from '../support/world.ts';

const KEY_LABEL = 'sealedsecrets.bitnami.com/sealed-secrets-key';

describe('a namespace handed over from the Bitnami controller', function () {
  this.timeout(15 * 60_000);
  const world = useWorld();
  const directory = useTemporaryDirectory();
  before(async () => {
    await Promise.all(['sealed-secrets-controller', 'template-engine'].map(toolPath));
  });

  const secrets = async (): Promise<StoredObject[]> => {
    const list = (await world().api.get(world().path('v1', 'secrets'))) as unknown as {
      items: StoredObject[];
    };
    return list.items.filter(({ type }) => type !== 'kubernetes.io/service-account-token');
  };
  const versions = (objects: readonly StoredObject[]) =>
    Object.fromEntries(objects.map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
  const sealedFor = (
    pem: string,
    name: string,
    spec: Parameters<typeof sealedSecret>[0]['spec'],
  ): JsonObject => {
    const { apiVersion, kind, ...sealed } = sealedSecret({
      publicKey: new X509Certificate(pem).publicKey,
      values: { user: 'admin', password: 'hunter2' },
      metadata: { name, namespace: world().namespace },
      ...(spec === undefined ? {} : { spec }),
    });
    const { annotations } = sealed.metadata;
    const metadata = { name, ...(annotations === undefined ? {} : { annotations }) };
    return {
      apiVersion,
      kind,
      metadata,
      spec: { ...spec, encryptedData: sealed.spec.encryptedData },
    } as object as JsonObject;
  };

  it('shows no Secret rewritten and no new key, and everything in sync', async () => {
    const { namespace, controlPlane, api } = world();
    const peer = await startSealedSecretsController({
      controlPlane,
      namespace,
      directory: directory(),
      flags: ['--key-size=2048'],
    });
    let pem = '';
    try {
      const keys = await eventually(
        async () => {
          const found = (await secrets()).filter(({ metadata }) => metadata.labels?.[KEY_LABEL] === 'active');
          return found.length === 1 ? found : undefined;
        },
        { what: 'the key of the Bitnami controller', timeoutMs: 30_000 },
      );
      const [data = {}] = keys.map((key) => key.data as Record<string, string>);
      pem = Buffer.from(data['tls.crt'] ?? '', 'base64').toString();
      const path = world().path('bitnami.com/v1alpha1', 'sealedsecrets');
      await api.create(path, sealedFor(pem, 'plain', undefined));
      await api.create(
        path,
        sealedFor(pem, 'typed', {
          template: { type: 'kubernetes.io/basic-auth', metadata: { labels: { app: 'x' } } },
        }),
      );
      await api.create(
        path,
        sealedFor(pem, 'rendered', {
          template: { data: { url: 'http://{{ .user }}:{{ .password | b64enc }}@db' } },
        }),
      );
      await api.create(path, sealedFor(pem, 'once', { template: { immutable: true } }));
      await eventually(async () => (await secrets()).length === 5, {
        what: 'four Secrets beside the key',
        timeoutMs: 30_000,
      });
    } finally {
      await peer.stop();
    }
    const before = versions(await secrets());
    const here = new UnsealingWorld(world());
    await here.start();
    try {
      for (const name of ['plain', 'typed', 'rendered', 'once']) {
        await here.synced(name, 'True');
        await eventually(
          async () => {
            const { metadata, status } = await here.read(name);
            assert.equal(status?.observedGeneration, metadata.generation);
            assert.equal(status?.conditions?.[0]?.reason, 'Unsealed');
            return true;
          },
          { what: `our own word on ${name}` },
        );
      }
      assert.deepEqual(versions(await secrets()), before);
      const served = await (await fetch(`${here.operator.sealedSecretsUrl}/v1/cert.pem`)).text();
      assert.equal(served, pem);
    } finally {
      await here.stop();
    }
  });
});
