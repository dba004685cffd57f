import assert from 'node:assert/strict';
import { rootCertificates } from 'node:tls';
import { applyCommonMetadata, manifestsOf } from '../../../operator/kustomize/normalise.ts';

describe('the manifests of a build', () => {
  const normalised = (object: object): unknown => manifestsOf([object])[0];
  const metadata = { name: 'a' };

  it('have every List expanded, nested ones too', () => {
    const item = (name: string): object => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } });
    const objects = manifestsOf([
      {
        apiVersion: 'v1',
        kind: 'List',
        items: [item('a'), { apiVersion: 'v1', kind: 'ConfigMapList', items: [item('b')] }],
      },
      item('c'),
    ]);
    assert.deepEqual(objects, [item('a'), item('b'), item('c')]);
  });

  it('keep an object whose kind merely ends in List', () => {
    const object = { apiVersion: 'example.org/v1', kind: 'AllowList', metadata, spec: { items: [1] } };
    assert.deepEqual(normalised({ ...object }), object);
  });

  it('hold no kustomization file, but Kustomizations of Flux', () => {
    const ours = { apiVersion: 'kustomize.toolkit.fluxcd.io/v1', kind: 'Kustomization', metadata };
    const file = { apiVersion: 'kustomize.config.k8s.io/v1beta1', kind: 'Kustomization', metadata };
    assert.deepEqual(manifestsOf([file, ours]), [ours]);
  });

  for (const [missing, object] of [
    ['apiVersion', { kind: 'ConfigMap', metadata }],
    ['kind', { apiVersion: 'v1', metadata }],
    ['metadata.name', { apiVersion: 'v1', kind: 'ConfigMap', metadata: { generateName: 'a-' } }],
  ] as const) {
    it(`are refused without ${missing}`, () => {
      assert.throws(() => manifestsOf([object]), {
        reason: 'BuildFailed',
        message: new RegExp(`has no ${missing}$`),
      });
    });
  }

  it('tell objects apart by group, kind, namespace and name', () => {
    const variants = [
      { apiVersion: 'v1', kind: 'ConfigMap', metadata },
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'b' } },
      { apiVersion: 'v1', kind: 'Service', metadata },
      { apiVersion: 'example.org/v1', kind: 'ConfigMap', metadata },
    ];
    assert.equal(manifestsOf(structuredClone(variants)).length, 4);
    assert.throws(
      () =>
        manifestsOf([
          ...variants,
          { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'b' } },
        ]),
      /^BuildError: ConfigMap\/b\/a is built twice/,
    );
  });

  it('have no creationTimestamp and no status, except a CustomResourceDefinition, which keeps its status', () => {
    const stamped = { name: 'a', creationTimestamp: null };
    assert.deepEqual(
      normalised({ apiVersion: 'example.org/v1', kind: 'A', metadata: stamped, status: { x: 1 } }),
      {
        apiVersion: 'example.org/v1',
        kind: 'A',
        metadata: { name: 'a' },
      },
    );
    const definition = {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      status: { x: 1 },
    };
    assert.deepEqual(normalised({ ...definition, metadata: { ...stamped } }), {
      ...definition,
      metadata: { name: 'a' },
    });
  });

  it('have the stringData of a Secret as data, over the data there is', () => {
    assert.deepEqual(
      normalised({
        apiVersion: 'v1',
        kind: 'Secret',
        metadata,
        data: { a: 'YQ==', b: 'Yg==' },
        stringData: { b: 'tea\n', c: '' },
      }),
      { apiVersion: 'v1', kind: 'Secret', metadata, data: { a: 'YQ==', b: 'dGVhCg==', c: '' } },
    );
  });

  it('leave a stringData that is no text for the API server to refuse', () => {
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata, stringData: { a: 1 } };
    assert.deepEqual(normalised(structuredClone(secret)), secret);
  });

  it('name the protocol of every port of a Service and of a container', () => {
    const ports = [
      { containerPort: 1 },
      { containerPort: 2, protocol: 'UDP' },
      { containerPort: 3, protocol: '' },
    ];
    const expected = [
      { containerPort: 1, protocol: 'TCP' },
      { containerPort: 2, protocol: 'UDP' },
      { containerPort: 3, protocol: 'TCP' },
    ];
    const pod = (list: object[]): object => ({
      containers: [{ ports: list }],
      initContainers: [{ ports: list }],
    });
    const template = (list: object[]): object => ({ template: { spec: pod(list) } });
    const kinds: ReadonlyArray<readonly [string, string, (list: object[]) => object]> = [
      ['v1', 'Pod', pod],
      ['v1', 'ReplicationController', template],
      ['apps/v1', 'Deployment', template],
      ['apps/v1', 'StatefulSet', template],
      ['apps/v1', 'DaemonSet', template],
      ['apps/v1', 'ReplicaSet', template],
      ['batch/v1', 'Job', template],
      ['batch/v1', 'CronJob', (list) => ({ jobTemplate: { spec: template(list) } })],
      ['v1', 'Service', (list) => ({ ports: list })],
    ];
    for (const [apiVersion, kind, spec] of kinds) {
      assert.deepEqual(
        normalised({ apiVersion, kind, metadata, spec: spec(structuredClone(ports)) }),
        { apiVersion, kind, metadata, spec: spec(expected) },
        kind,
      );
    }
  });

  it('leave other groups’ objects of the same kind alone', () => {
    const object = {
      apiVersion: 'serving.example.org/v1',
      kind: 'Service',
      metadata,
      spec: { ports: [{ port: 1 }] },
    };
    assert.deepEqual(normalised(structuredClone(object)), object);
  });

  it('have no caBundle in a CustomResourceDefinition unless it is a certificate', () => {
    const definition = (caBundle?: string): object => ({
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata,
      spec: {
        conversion: { webhook: { clientConfig: { ...(caBundle === undefined ? {} : { caBundle }) } } },
      },
    });
    const good = Buffer.from(rootCertificates[0] ?? '').toString('base64');
    assert.deepEqual(normalised(definition(good)), definition(good));
    for (const bad of ['Cg==', '', 'not base64']) assert.deepEqual(normalised(definition(bad)), definition());
  });

  it('get the common metadata over their own', () => {
    const object = { apiVersion: 'v1', kind: 'A', metadata: { name: 'a', labels: { x: '1', y: '1' } } };
    applyCommonMetadata([object], { labels: { y: '2' }, annotations: { z: '3' } });
    assert.deepEqual(object.metadata, { name: 'a', labels: { x: '1', y: '2' }, annotations: { z: '3' } });
  });
});
