import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import type { KubeObject, StoredObject } from '../../operator/api/objects.ts';
import { CUSTOM_RESOURCE_DEFINITION, type ResourceType, SECRET } from '../../operator/api/resources.ts';
import { Discovery, NoMatchError } from '../../operator/kube/discovery.ts';
import {
  type ApiError,
  isAlreadyExists,
  isConflict,
  isForbidden,
  isInvalid,
  isNotFound,
  TransportError,
} from '../../operator/kube/errors.ts';
import { eventually } from '../support/eventually.ts';
import { CONFIG_MAP, useClients } from '../support/kube.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

type ConfigMap = StoredObject<{ data?: Record<string, string> }>;

describe('the client on a real API server', () => {
  const world = useWorld();
  const connect = useClients();
  const directory = useTemporaryDirectory();
  const configMap = (name: string, data: Record<string, string> = {}): KubeObject => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { namespace: world().namespace, name },
    data,
  });
  const named = (name: string) => ({ namespace: world().namespace, name });

  it('creates, reads, replaces, patches, applies and deletes', async () => {
    const { client } = connect(world().kubeconfig);
    const created = await client.create<ConfigMap>(CONFIG_MAP, configMap('a', { k: '1' }), {
      fieldManager: 'creator',
    });
    assert.equal(created.metadata.managedFields?.[0]?.manager, 'creator');
    await assert.rejects(client.create(CONFIG_MAP, configMap('a')), isAlreadyExists);

    const replaced = await client.replace<ConfigMap>(CONFIG_MAP, { ...created, data: { k: '2' } });
    assert.deepEqual(replaced.data, { k: '2' });
    await assert.rejects(client.replace(CONFIG_MAP, { ...created, data: { k: '3' } }), isConflict);

    const merged = await client.patch<ConfigMap>(
      CONFIG_MAP,
      named('a'),
      { data: { k: null, m: '1' } },
      { as: 'merge' },
    );
    assert.deepEqual(merged.data, { m: '1' });
    const operations = [{ op: 'add', path: '/data/j', value: '1' }];
    const patched = await client.patch<ConfigMap>(CONFIG_MAP, named('a'), operations, { as: 'json' });
    assert.deepEqual(patched.data, { m: '1', j: '1' });
    const failingTest = [{ op: 'test', path: '/data/j', value: '2' }];
    await assert.rejects(client.patch(CONFIG_MAP, named('a'), failingTest, { as: 'json' }), isInvalid);

    const options = { fieldManager: 'applier', dryRun: true };
    const dry = await client.apply<ConfigMap>(CONFIG_MAP, configMap('a', { s: '1' }), options);
    assert.deepEqual(dry.data, { m: '1', j: '1', s: '1' });
    assert.deepEqual((await client.get<ConfigMap>(CONFIG_MAP, named('a')))?.data, { m: '1', j: '1' });
    const other = { fieldManager: 'another' };
    await client.apply(CONFIG_MAP, configMap('a', { s: '1' }), other);
    await assert.rejects(
      client.apply(CONFIG_MAP, configMap('a', { s: '2' }), { fieldManager: 'applier' }),
      (error: ApiError) => isConflict(error) && /conflict with "another"/.test(error.message),
    );
    await client.apply(CONFIG_MAP, configMap('a', { s: '2' }), { fieldManager: 'applier', force: true });

    const uid = created.metadata.uid;
    await assert.rejects(client.delete(CONFIG_MAP, named('a'), { uid: 'somebody-else' }), isConflict);
    assert.equal(await client.delete(CONFIG_MAP, named('a'), { uid }), 'deleted');
    assert.equal(await client.delete(CONFIG_MAP, named('a'), { uid }), 'not found');
    assert.equal(await client.get(CONFIG_MAP, named('a')), undefined);
  });

  it('has a misspelt field refused by name, because it sends what was written', async () => {
    const { client } = connect(world().kubeconfig);
    const deployment = {
      group: 'apps',
      version: 'v1',
      kind: 'Deployment',
      plural: 'deployments',
      namespaced: true,
    };
    const container = { name: 'c', image: 'i', imagePullPolcy: 'Always' };
    const labels = { app: 'a' };
    const object = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { namespace: world().namespace, name: 'a' },
      spec: {
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers: [container] } },
      },
    };
    await assert.rejects(client.apply(deployment, object, { fieldManager: 'm' }), /imagePullPolcy/);
  });

  it('lists whole and in pages, full and as metadata, by labels and fields', async () => {
    const { client } = connect(world().kubeconfig);
    const { namespace } = world();
    for (const name of ['a', 'b', 'c']) {
      const object = configMap(name, { k: name });
      object.metadata.labels = { half: name === 'c' ? 'second' : 'first' };
      await client.create(CONFIG_MAP, object);
    }
    const labelSelector = 'half';
    const names = (list: { items: StoredObject[] }) => list.items.map((item) => item.metadata.name);
    assert.deepEqual(names(await client.list(CONFIG_MAP, { namespace, labelSelector })), ['a', 'b', 'c']);
    const page = await client.list(CONFIG_MAP, { namespace, labelSelector, limit: 2 });
    assert.deepEqual(names(page), ['a', 'b']);
    const rest = { namespace, labelSelector, limit: 2, continue: page.metadata.continue };
    assert.deepEqual(names(await client.list(CONFIG_MAP, rest)), ['c']);
    const selected = await client.list(CONFIG_MAP, { namespace, labelSelector: 'half=first' });
    assert.deepEqual(names(selected), ['a', 'b']);
    const one = await client.list(CONFIG_MAP, { namespace, fieldSelector: 'metadata.name=b' });
    assert.deepEqual(names(one), ['b']);

    const metadata = await client.list(CONFIG_MAP, { namespace, labelSelector, metadataOnly: true });
    assert.deepEqual(names(metadata), ['a', 'b', 'c']);
    assert.ok(metadata.items.every((item) => item.kind === 'ConfigMap' && item.apiVersion === 'v1'));
    assert.ok(metadata.items.every((item) => !('data' in item)));
    const alone = await client.get(CONFIG_MAP, named('a'), { metadataOnly: true });
    assert.equal(alone?.kind, 'ConfigMap');
    assert.ok(alone !== undefined && !('data' in alone));
  });

  it('streams a list as the beginning of a watch', async () => {
    const { client } = connect(world().kubeconfig);
    const { namespace } = world();
    for (const name of ['a', 'b']) await client.create(CONFIG_MAP, configMap(name));
    const watch = client.watch(CONFIG_MAP, {
      namespace,
      fieldSelector: 'metadata.name!=kube-root-ca.crt',
      sendInitialEvents: true,
      timeoutSeconds: 30,
      idleTimeoutMs: 30_000,
      signal: new AbortController().signal,
    });
    const seen: string[] = [];
    for await (const { type, object } of watch) {
      seen.push(`${type} ${object.metadata.name}`);
      if (object.metadata.annotations?.['k8s.io/initial-events-end'] === 'true') break;
    }
    assert.deepEqual(seen, ['ADDED a', 'ADDED b', 'BOOKMARK undefined']);
  });

  it('is the user of its client certificate, of its token, or whom it impersonates', async () => {
    const { namespace, controlPlane, api } = world();
    const jane = connect(controlPlane.kubeconfigForUser({ name: 'jane' })).client;
    await assert.rejects(
      jane.list(SECRET, { namespace }),
      (error: ApiError) =>
        isForbidden(error) && /User "jane" cannot list resource "secrets"/.test(error.message),
    );
    await api.create(world().path('v1', 'serviceaccounts'), {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'robot' },
    });
    const token = await controlPlane.serviceAccountToken({ namespace, name: 'robot' });
    const robot = connect(controlPlane.kubeconfigForToken(token)).client;
    const user = `system:serviceaccount:${namespace}:robot`;
    await assert.rejects(robot.list(SECRET, { namespace }), new RegExp(`User "${user}" cannot list`));
    const admin = connect(world().kubeconfig).client;
    const impersonated = admin.impersonating(user);
    await assert.rejects(impersonated.list(SECRET, { namespace }), new RegExp(`User "${user}" cannot list`));
    assert.ok((await admin.list(SECRET, { namespace })).items);
  });

  it('goes on with the next token when its token file rotates', async () => {
    const { namespace, controlPlane } = world();
    const tokenFile = join(directory(), 'token');
    const account = { namespace, name: 'default' };
    writeFileSync(tokenFile, 'an expired token');
    const kubeconfig = join(directory(), 'kubeconfig');
    const cluster = {
      server: controlPlane.server,
      'certificate-authority-data': Buffer.from(controlPlane.caPem).toString('base64'),
    };
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        'current-context': 'c',
        contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
        clusters: [{ name: 'c', cluster }],
        users: [{ name: 'u', user: { tokenFile } }],
      }),
    );
    const { client } = connect(kubeconfig);
    await assert.rejects(client.list(SECRET, { namespace }), (error: ApiError) => error.status === 401);
    writeFileSync(tokenFile, await controlPlane.serviceAccountToken(account));
    await assert.rejects(client.list(SECRET, { namespace }), isForbidden);
  });

  it("doesn't talk to a server whose certificate it can't trust", async () => {
    const tls = async () => ({});
    const { client } = connect(world().kubeconfig, { override: { tls } });
    await assert.rejects(client.list(CONFIG_MAP), (error: Error) => error instanceof TransportError);
  });

  it('goes through the proxy that the kubeconfig names, requests and watches', async () => {
    const tunnels: string[] = [];
    const proxy = createServer();
    proxy.on('connect', (request, inner) => {
      tunnels.push(request.url ?? '');
      const target = new URL(`http://${request.url}`);
      const outer = connectSocket(Number(target.port), target.hostname, () => {
        inner.write('HTTP/1.1 200 Connection Established\r\n\r\n');
        inner.pipe(outer).pipe(inner);
      });
      for (const socket of [inner, outer]) socket.on('error', () => {});
      inner.on('close', () => outer.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const { port } = proxy.address() as AddressInfo;
    const override = { proxyUrl: `http://127.0.0.1:${port}` };
    const { client } = connect(world().kubeconfig, { override });
    try {
      await client.create(CONFIG_MAP, configMap('a'));
      const selection = { namespace: world().namespace, fieldSelector: 'metadata.name=a' };
      const { metadata } = await client.list(CONFIG_MAP, selection);
      await client.delete(CONFIG_MAP, named('a'));
      const watch = client.watch(CONFIG_MAP, {
        ...selection,
        resourceVersion: metadata.resourceVersion,
        timeoutSeconds: 30,
        idleTimeoutMs: 30_000,
        signal: new AbortController().signal,
      });
      for await (const event of watch) {
        assert.equal(event.type, 'DELETED');
        break;
      }
      assert.deepEqual(new Set(tunnels), new Set([new URL(world().controlPlane.server).host]));
    } finally {
      await client.close();
      proxy.close();
    }
  });

  it('finds a kind as soon as its CRD is served, and can follow it at once', async () => {
    const { client } = connect(world().kubeconfig);
    const discovery = new Discovery(client);
    const group = `${world().namespace}.example.com`;
    const gvk = { group, version: 'v1', kind: 'Widget' };
    await assert.rejects(discovery.resolve(gvk), NoMatchError);
    await client.create(CUSTOM_RESOURCE_DEFINITION, widgets(group));
    const type = await eventually(() => discovery.resolve(gvk), { what: 'the kind' });
    assert.deepEqual(type, { ...gvk, plural: 'widgets', namespaced: true } satisfies ResourceType);
    const list = await client.list(type);
    const watch = client.watch(type, {
      resourceVersion: list.metadata.resourceVersion,
      timeoutSeconds: 30,
      idleTimeoutMs: 30_000,
      signal: new AbortController().signal,
    });
    const widget = { apiVersion: `${group}/v1`, kind: 'Widget', metadata: named('w'), spec: { odd: 1 } };
    await client.create(type, widget);
    for await (const event of watch) {
      assert.equal(event.object.metadata.name, 'w');
      break;
    }
    await client.delete(CUSTOM_RESOURCE_DEFINITION, { name: `widgets.${group}` });
    await eventually(() => client.list(type).then(() => false, isNotFound), { what: 'the kind to be gone' });
  });
});

function widgets(group: string): KubeObject {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `widgets.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural: 'widgets', kind: 'Widget' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
        },
      ],
    },
  };
}
