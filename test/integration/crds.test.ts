import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { type Definition, onlyVersion, property, type Schema } from '../../hack/generate/schema.ts';
import { toolPath } from '../../hack/tools.mjs';
import { GIT_REPOSITORY, KUSTOMIZATION, SEALED_SECRET } from '../../operator/api/resources.ts';
import {
  collectionOf,
  createCustom,
  customObject,
  MINIMAL_GIT_REPOSITORY,
  MINIMAL_KUSTOMIZATION,
} from '../support/custom-objects.ts';
import { useWorld } from '../support/world.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '../..');
const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

function definitions(): Definition[] {
  const folder = join(ROOT, 'crds');
  return readdirSync(folder).map((file) => parse(readFileSync(join(folder, file), 'utf8')) as Definition);
}

describe('the definitions of our kinds', () => {
  const world = useWorld();

  async function kubectl(...args: string[]): Promise<string> {
    const binary = await toolPath('kubectl');
    const { stdout } = await run(binary, args, {
      env: { KUBECONFIG: world().kubeconfig, HOME: world().controlPlane.directory },
    });
    return stdout;
  }

  it('are established under the names that tools know', async () => {
    for (const type of [GIT_REPOSITORY, KUSTOMIZATION, SEALED_SECRET]) {
      const definition = await world().api.get(`${CRDS}/${type.plural}.${type.group}`);
      const { conditions, acceptedNames, storedVersions } = (definition?.status ?? {}) as {
        conditions: { type: string; status: string; message: string }[];
        acceptedNames: { kind: string; plural: string };
        storedVersions: string[];
      };
      const holding = conditions.filter(({ status }) => status === 'True').map((condition) => condition.type);
      // A schema with a mistake that the API server can live with adds NonStructuralSchema or the like.
      assert.deepEqual(holding.sort(), ['Established', 'NamesAccepted']);
      assert.deepEqual([acceptedNames.kind, acceptedNames.plural], [type.kind, type.plural]);
      assert.deepEqual(storedVersions, [type.version]);
    }
  });

  it('carry the labels that `flux check` and `flux version` look for, with the version of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    const answer = await world().api.get(`${CRDS}?labelSelector=app.kubernetes.io/part-of%3Dflux`);
    const items = answer?.items as { metadata: { name: string; labels: Record<string, string> } }[];
    assert.deepEqual(
      items.map(({ metadata }) => [metadata.name, metadata.labels['app.kubernetes.io/version']]),
      [
        ['gitrepositories.source.toolkit.fluxcd.io', `v${version}`],
        ['kustomizations.kustomize.toolkit.fluxcd.io', `v${version}`],
      ],
    );
  });

  it('show the columns of the real ones, in their order', async () => {
    const conditions = [
      {
        type: 'Ready',
        status: 'False',
        reason: 'BuildFailed',
        message: 'too bad',
        lastTransitionTime: '2026-01-02T03:04:05Z',
      },
    ];
    for (const [type, spec] of [
      [GIT_REPOSITORY, MINIMAL_GIT_REPOSITORY],
      [KUSTOMIZATION, MINIMAL_KUSTOMIZATION],
      [SEALED_SECRET, { encryptedData: {} }],
    ] as const) {
      await createCustom(world(), type, spec);
      const name = type === SEALED_SECRET ? 'Synced' : 'Ready';
      await world().api.mergePatch(`${collectionOf(world(), type)}/a/status`, {
        status: { conditions: conditions.map((condition) => ({ ...condition, type: name })) },
      });
    }
    const rows = async (kind: string): Promise<string[][]> =>
      (await kubectl('get', kind, '--namespace', world().namespace))
        .trim()
        .split('\n')
        .map((line) => line.split(/ {2,}/));
    const age = /^\d+s$/;

    const [gitHead, git = []] = await rows('gitrepo');
    assert.deepEqual(gitHead, ['NAME', 'URL', 'AGE', 'READY', 'STATUS']);
    assert.match(git[2] ?? '', age);
    assert.deepEqual(git.toSpliced(2, 1), ['a', 'https://git.example.com/fleet.git', 'False', 'too bad']);

    const [ksHead, ks = []] = await rows('ks');
    assert.deepEqual(ksHead, ['NAME', 'AGE', 'READY', 'STATUS']);
    assert.deepEqual(ks.toSpliced(1, 1), ['a', 'False', 'too bad']);

    const [sealedHead, sealed = []] = await rows('sealedsecret');
    assert.deepEqual(sealedHead, ['NAME', 'STATUS', 'SYNCED', 'AGE']);
    assert.deepEqual(sealed.slice(0, 3), ['a', 'too bad', 'False']);
  });

  it('belong to the categories of Flux and to all', async () => {
    await createCustom(world(), GIT_REPOSITORY, MINIMAL_GIT_REPOSITORY);
    await createCustom(world(), KUSTOMIZATION, MINIMAL_KUSTOMIZATION);
    const names = async (category: string): Promise<string[]> =>
      (await kubectl('get', category, '--namespace', world().namespace, '--output', 'name'))
        .trim()
        .split('\n');
    const [git, ks] = [
      'gitrepository.source.toolkit.fluxcd.io/a',
      'kustomization.kustomize.toolkit.fluxcd.io/a',
    ];
    assert.deepEqual((await names('fluxcd')).sort(), [git, ks]);
    assert.deepEqual(await names('fluxcd-sources'), [git]);
    assert.deepEqual(await names('fluxcd-appliers'), [ks]);
    assert.deepEqual((await names('all')).sort(), [git, ks]);
  });

  it('explain every field', async () => {
    const undescribed: string[] = [];
    const visit = (path: string, schema: Schema): void => {
      if ((schema.description ?? '') === '') undescribed.push(path);
      for (const [name, of] of Object.entries(schema.properties ?? {})) visit(`${path}.${name}`, of);
      for (const of of Object.values(schema.items?.properties ?? {})) visit(`${path}[]`, of);
    };
    for (const definition of definitions()) {
      const { kind } = definition.spec.names;
      const { schema } = onlyVersion(definition);
      for (const part of ['spec', 'status']) visit(`${kind}.${part}`, property(schema, part));
    }
    assert.deepEqual(undescribed, []);
    assert.match(
      await kubectl('explain', 'ks.spec.prune'),
      /FIELD: prune <boolean>\n[\s\S]*deletes from the cluster/,
    );
    assert.match(await kubectl('explain', 'gitrepo.spec.ref.semver'), /Range of versions/);
    assert.match(await kubectl('explain', 'sealedsecret.spec.encryptedData'), /each encrypted on its own/);
  });

  it('keep a whole status, and refuse one that dashboards could not read', async () => {
    await createCustom(world(), KUSTOMIZATION, MINIMAL_KUSTOMIZATION);
    const path = `${collectionOf(world(), KUSTOMIZATION)}/a/status`;
    const status = {
      observedGeneration: 1,
      lastAppliedRevision: 'main@sha1:0',
      lastAppliedOriginRevision: 'main@sha1:0',
      lastAttemptedRevision: 'main@sha1:0',
      lastHandledReconcileAt: 'now',
      inventory: { entries: [{ id: 'web_web_apps_Deployment', v: 'v1' }] },
      history: [
        {
          digest: 'sha256:0',
          firstReconciled: '2026-01-02T03:04:05Z',
          lastReconciled: '2026-01-02T03:04:05Z',
          lastReconciledDuration: '1.5s',
          lastReconciledStatus: 'ReconciliationSucceeded',
          totalReconciliations: 3,
          metadata: { revision: 'main@sha1:0' },
        },
      ],
    };
    const stored = await world().api.mergePatch(`${path}?fieldValidation=Strict`, { status });
    assert.deepEqual(stored.status, status);
    await assert.rejects(
      world().api.mergePatch(path, {
        status: { inventory: { entries: [{ id: 'web_web_apps_Deployment' }] } },
      }),
      /status\.inventory\.entries\[0\]\.v/,
    );
    await assert.rejects(
      world().api.mergePatch(path, { status: { conditions: [{ type: 'Ready', status: 'Maybe' }] } }),
      /status\.conditions\[0\]\.status/,
    );
  });

  it('keep a GitRepository status with its artifact, and refuse a digest without its algorithm', async () => {
    await createCustom(world(), GIT_REPOSITORY, MINIMAL_GIT_REPOSITORY);
    const path = `${collectionOf(world(), GIT_REPOSITORY)}/a/status`;
    const artifact = {
      path: 'gitrepository/a/a/0.tar.gz',
      url: 'http://source/gitrepository/a/a/0.tar.gz',
      revision: 'main@sha1:0',
      digest: `sha256:${'0'.repeat(64)}`,
      lastUpdateTime: '2026-01-02T03:04:05Z',
      size: 5_000_000_000,
      metadata: { a: 'b' },
    };
    const status = {
      observedGeneration: 1,
      artifact,
      includedArtifacts: [artifact],
      observedIgnore: '/*',
      observedRecurseSubmodules: true,
      observedInclude: [{ repository: { name: 'other' }, fromPath: 'a', toPath: 'b' }],
      observedSparseCheckout: ['apps'],
      sourceVerificationMode: 'HEAD',
      sourceVerificationFingerprint: 'sha256:0',
      lastHandledReconcileAt: 'now',
    };
    const stored = await world().api.mergePatch(`${path}?fieldValidation=Strict`, { status });
    assert.deepEqual(stored.status, status);
    await assert.rejects(
      world().api.mergePatch(path, { status: { artifact: { digest: '0'.repeat(64) } } }),
      /status\.artifact\.digest/,
    );
  });

  it('accept the nulls that kubeseal writes', async () => {
    const metadata = { name: 'a', creationTimestamp: null };
    const spec = { encryptedData: { a: 'AgB=' }, template: { data: null, metadata } };
    const stored = await world().api.create(collectionOf(world(), SEALED_SECRET), {
      ...customObject(SEALED_SECRET, spec),
      metadata,
      status: {},
    });
    assert.deepEqual(stored.spec, spec);
  });

  it('accept a SealedSecret whose template metadata and legacy blob are null', async () => {
    const stored = await createCustom(world(), SEALED_SECRET, {
      encryptedData: {},
      data: null,
      template: { metadata: null },
    });
    assert.deepEqual(stored.spec, { encryptedData: {}, template: { metadata: null } });
  });

  it('keep a null template value, which means that the item stays out of the Secret', async () => {
    const template = { data: { password: null, url: 'x://{{ .password }}' } };
    const stored = await createCustom(world(), SEALED_SECRET, { encryptedData: {}, template });
    assert.deepEqual(stored.spec.template, template);
  });
});
