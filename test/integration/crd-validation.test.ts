import assert from 'node:assert/strict';
import type { Json, JsonObject } from '../../operator/api/objects.ts';
import {
  GIT_REPOSITORY,
  KUSTOMIZATION,
  type ResourceType,
  SEALED_SECRET,
} from '../../operator/api/resources.ts';
import {
  collectionOf,
  createCustom,
  customObject,
  MINIMAL_GIT_REPOSITORY,
  MINIMAL_KUSTOMIZATION,
} from '../support/custom-objects.ts';
import { useWorld } from '../support/world.ts';

interface Refusal {
  what: string;
  type: ResourceType;
  spec: JsonObject;
  field: string;
}

const refusals: Refusal[] = [
  gitRefusal('without a URL', { url: undefined }, 'spec.url'),
  gitRefusal('with an scp-like URL', { url: 'git@git.example.com:fleet.git' }, 'spec.url'),
  gitRefusal('with a URL of another protocol', { url: 'file:///etc' }, 'spec.url'),
  gitRefusal('without an interval', { interval: undefined }, 'spec.interval'),
  gitRefusal('with an interval without a unit', { interval: '60' }, 'spec.interval'),
  gitRefusal('with a timeout of hours', { timeout: '1h' }, 'spec.timeout'),
  gitRefusal('with an unknown provider', { provider: 'gitlab' }, 'spec.provider'),
  gitRefusal('with a service account but no provider', { serviceAccountName: 'git' }, 'serviceAccountName'),
  gitRefusal(
    'with a service account and a provider that has no use for one',
    { serviceAccountName: 'git', provider: 'github' },
    'serviceAccountName',
  ),
  gitRefusal(
    'with an unknown verification mode',
    { verify: { mode: 'tag', secretRef: { name: 'keys' } } },
    'spec.verify.mode',
  ),
  gitRefusal('with verification but no keys', { verify: {} }, 'spec.verify.secretRef'),
  gitRefusal('with an include of nothing', { include: [{ fromPath: 'a' }] }, 'spec.include[0].repository'),
  ksRefusal('without a source', { sourceRef: undefined }, 'spec.sourceRef'),
  ksRefusal('that leaves open whether to prune', { prune: undefined }, 'spec.prune'),
  ksRefusal(
    'with a source of another kind',
    { sourceRef: { kind: 'HelmRepository', name: 'a' } },
    'spec.sourceRef.kind',
  ),
  ksRefusal('with a malformed retry interval', { retryInterval: 'soon' }, 'spec.retryInterval'),
  ksRefusal('with an empty target namespace', { targetNamespace: '' }, 'spec.targetNamespace'),
  ksRefusal(
    'with a target namespace that is too long',
    { targetNamespace: 'n'.repeat(64) },
    'spec.targetNamespace',
  ),
  ksRefusal('with a prefix that is too long', { namePrefix: 'p'.repeat(201) }, 'spec.namePrefix'),
  ksRefusal('with an unknown deletion policy', { deletionPolicy: 'Keep' }, 'spec.deletionPolicy'),
  ksRefusal(
    'with an unknown decryption provider',
    { decryption: { provider: 'gpg' } },
    'spec.decryption.provider',
  ),
  ksRefusal('with unknown build metadata', { buildMetadata: ['origin'] }, 'spec.buildMetadata[0]'),
  ksRefusal(
    'with variables from another kind',
    { postBuild: { substituteFrom: [{ kind: 'Pod', name: 'a' }] } },
    'spec.postBuild.substituteFrom[0].kind',
  ),
  ksRefusal(
    'with an unknown substitution strategy',
    { postBuild: { substituteStrategy: 'Never' } },
    'spec.postBuild.substituteStrategy',
  ),
  ksRefusal('with neither form of kubeConfig', { kubeConfig: {} }, 'spec.kubeConfig'),
  ksRefusal(
    'with both forms of kubeConfig',
    { kubeConfig: { secretRef: { name: 'a' }, configMapRef: { name: 'b' } } },
    'spec.kubeConfig',
  ),
  ksRefusal(
    'with a health expression that can never pass',
    { healthCheckExprs: [{ apiVersion: 'v1' }] },
    'spec.healthCheckExprs[0].current',
  ),
  ksRefusal(
    'with a patch of nothing',
    { patches: [{ target: { kind: 'Deployment' } }] },
    'spec.patches[0].patch',
  ),
  { what: 'without items', type: SEALED_SECRET, spec: { template: {} }, field: 'spec.encryptedData' },
  {
    what: 'with an item that is not text',
    type: SEALED_SECRET,
    spec: { encryptedData: { a: 1 } },
    field: 'spec.encryptedData.a',
  },
  {
    what: 'with an empty legacy blob',
    type: SEALED_SECRET,
    spec: { encryptedData: {}, data: '' },
    field: 'spec.data',
  },
];

function gitRefusal(what: string, change: Record<string, Json | undefined>, field: string): Refusal {
  return { what, type: GIT_REPOSITORY, spec: changed(MINIMAL_GIT_REPOSITORY, change), field };
}

function ksRefusal(what: string, change: Record<string, Json | undefined>, field: string): Refusal {
  return { what, type: KUSTOMIZATION, spec: changed(MINIMAL_KUSTOMIZATION, change), field };
}

/** The fields of `base` with those of `change`; undefined takes one out. */
function changed(base: JsonObject, change: Record<string, Json | undefined>): JsonObject {
  const fields: JsonObject = {};
  for (const [name, value] of Object.entries({ ...base, ...change })) {
    if (value !== undefined) fields[name] = value;
  }
  return fields;
}

describe('the schemas of our kinds', () => {
  const world = useWorld();

  it('fill in the defaults of the real ones, and no others', async () => {
    const repository = await createCustom(world(), GIT_REPOSITORY, {
      ...MINIMAL_GIT_REPOSITORY,
      verify: { secretRef: { name: 'keys' } },
    });
    assert.deepEqual(repository.spec, {
      ...MINIMAL_GIT_REPOSITORY,
      timeout: '60s',
      verify: { mode: 'HEAD', secretRef: { name: 'keys' } },
    });
    assert.deepEqual(repository.status, { observedGeneration: -1 });

    const from = { kind: 'ConfigMap', name: 'vars' };
    const applied = await createCustom(world(), KUSTOMIZATION, {
      ...MINIMAL_KUSTOMIZATION,
      postBuild: { substituteFrom: [from] },
    });
    assert.deepEqual(applied.spec, {
      ...MINIMAL_KUSTOMIZATION,
      force: false,
      postBuild: { substituteFrom: [{ ...from, optional: false }] },
    });
    assert.deepEqual(applied.status, { observedGeneration: -1 });
  });

  for (const { what, type, spec, field } of refusals) {
    it(`refuse a ${type.kind} ${what}, naming ${field}`, async () => {
      const { status, body } = await world().api.call('POST', collectionOf(world(), type), {
        body: customObject(type, spec),
      });
      assert.equal(status, 422, JSON.stringify(body));
      assert.ok(String(body.message).includes(field), String(body.message));
    });
  }

  it('accept every field of a Flux manifest, those included that the operator can not act on yet', async () => {
    const full: [ResourceType, JsonObject][] = [
      [
        GIT_REPOSITORY,
        {
          ...MINIMAL_GIT_REPOSITORY,
          url: 'ssh://git@git.example.com/fleet.git',
          timeout: '1m30s',
          ref: {
            branch: 'main',
            tag: 'v1',
            semver: '>=1.0.0 <2.0.0',
            name: 'refs/heads/main',
            commit: 'a'.repeat(40),
          },
          secretRef: { name: 'deploy-key' },
          provider: 'azure',
          serviceAccountName: 'git',
          verify: { mode: 'TagAndHEAD', secretRef: { name: 'keys' } },
          proxySecretRef: { name: 'proxy' },
          ignore: '/*\n!/apps\n',
          suspend: true,
          recurseSubmodules: true,
          include: [{ repository: { name: 'other' }, fromPath: 'a', toPath: 'b' }],
          sparseCheckout: ['apps', './infra'],
        },
      ],
      [
        KUSTOMIZATION,
        {
          ...MINIMAL_KUSTOMIZATION,
          sourceRef: {
            apiVersion: 'source.toolkit.fluxcd.io/v1',
            kind: 'OCIRepository',
            name: 'a',
            namespace: 'b',
          },
          path: './apps/web',
          timeout: '3m',
          retryInterval: '1m',
          suspend: false,
          wait: true,
          force: true,
          targetNamespace: 'web',
          namePrefix: 'a-',
          nameSuffix: '-z',
          commonMetadata: { labels: { a: 'b' }, annotations: { c: 'd' } },
          components: ['../components/tls'],
          ignoreMissingComponents: true,
          patches: [
            {
              patch: '- op: remove\n  path: /spec/replicas\n',
              target: {
                group: 'apps',
                version: 'v1',
                kind: 'Deployment',
                name: '.*',
                namespace: 'web',
                labelSelector: 'a=b',
                annotationSelector: 'c=d',
              },
            },
          ],
          images: [
            {
              name: 'web',
              newName: 'registry.example.com/web',
              newTag: 'v2',
              digest: `sha256:${'0'.repeat(64)}`,
            },
          ],
          buildMetadata: ['originAnnotations', 'transformerAnnotations'],
          postBuild: {
            substitute: { region: 'eu' },
            substituteFrom: [{ kind: 'Secret', name: 'vars', optional: true }],
            substituteStrategy: 'Always',
          },
          decryption: { provider: 'sops', secretRef: { name: 'age' }, serviceAccountName: 'kms' },
          kubeConfig: { secretRef: { name: 'remote', key: 'config' } },
          serviceAccountName: 'deployer',
          dependsOn: [{ name: 'infra', namespace: 'flux-system', readyExpr: 'dep.status.ready' }],
          healthChecks: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'web', namespace: 'web' }],
          healthCheckExprs: [
            { apiVersion: 'v1', kind: 'A', current: 'true', inProgress: 'false', failed: 'false' },
          ],
          deletionPolicy: 'WaitForTermination',
          ignore: [{ paths: ['/spec/replicas'], target: { kind: 'Deployment' } }],
        },
      ],
      [
        SEALED_SECRET,
        {
          encryptedData: { password: 'AgB=' },
          data: 'AgB4',
          template: {
            type: 'Opaque',
            immutable: true,
            data: { url: 'x://{{ .password }}' },
            metadata: { name: 'a', labels: { a: 'b' }, annotations: { c: 'd' }, finalizers: ['e/f'] },
          },
        },
      ],
    ];
    for (const [type, spec] of full) {
      // Strict: a field that the definition forgot is refused, not pruned.
      const path = `${collectionOf(world(), type)}?fieldValidation=Strict`;
      const stored = await world().api.create(path, customObject(type, spec));
      assert.deepEqual(stored.spec, spec);
    }
  });
});
