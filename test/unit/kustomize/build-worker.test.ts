import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { KubeObject } from '../../../operator/api/objects.ts';
import type { BuildWorkers } from '../../../operator/kustomize/build-worker.ts';
import { manifestsOf } from '../../../operator/kustomize/normalise.ts';
import { makeArtifact } from '../../support/artifact.ts';
import {
  build,
  byId,
  kustomizeCli,
  objectsOf,
  startBuildWorkers,
  TOOL_TIMEOUT_MS,
} from '../../support/kustomize.ts';
import { toolPath } from '../../support/tool-path.ts';

const FEATURES = join(import.meta.dirname, '../../fixtures/kustomize/features');

function configMap(name: string, fields = ''): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\n${fields}`;
}

const names = (objects: readonly KubeObject[]): Array<string | undefined> =>
  objects.map(({ metadata }) => metadata.name);

describe('the kustomize build', () => {
  let workers: BuildWorkers;
  before(async function () {
    this.timeout(TOOL_TIMEOUT_MS);
    await toolPath('kustomize');
    workers = await startBuildWorkers({ size: 1 });
  });
  after(() => workers.close());

  for (const path of ['base', 'overlays/production', 'overlays/schema']) {
    it(`makes of ${path} what the stock kustomize makes of it`, async () => {
      const expected = manifestsOf(objectsOf(await kustomizeCli(join(FEATURES, path))));
      const { objects } = await build(workers, FEATURES, path);
      assert.ok(expected.length > 0);
      assert.deepEqual(byId(objects), byId(expected));
    });
  }

  it('keeps the order of the kustomization file', async () => {
    const { objects } = await build(workers, FEATURES, 'overlays/production');
    const inOrder = objectsOf(await kustomizeCli(join(FEATURES, 'overlays/production'))); // its sortOptions say fifo
    assert.deepEqual(names(objects), names(inOrder));
  });

  it("doesn't let one build's OpenAPI schema change the next one's patches", async () => {
    const first = await build(workers, FEATURES, 'overlays/production');
    await build(workers, FEATURES, 'overlays/schema');
    const second = await build(workers, FEATURES, 'overlays/production');
    assert.deepEqual(second.objects, first.objects);
  });

  it('builds any number of paths at once', async () => {
    const several = await startBuildWorkers({ size: 3 });
    try {
      const expected = (await build(workers, FEATURES, 'overlays/production')).objects;
      const results = await Promise.all(
        Array.from({ length: 12 }, () => build(several, FEATURES, 'overlays/production')),
      );
      for (const { objects } of results) assert.deepEqual(objects, expected);
    } finally {
      await several.close();
    }
  });

  describe('of a path without a kustomization file', () => {
    it('takes every manifest below it, and a directory with a kustomization file as one resource', async () => {
      await using artifact = await makeArtifact({
        'apps/a.yaml': configMap('a'),
        'apps/deep/er/b.yml': configMap('b'),
        'apps/deep/README.md': 'not: [a manifest',
        'apps/.hidden/c.yaml': configMap('c'),
        'apps/own/kustomization.yml': 'namePrefix: own-\nresources: [d.yaml]\n',
        'apps/own/d.yaml': configMap('d'),
        'apps/own/unlisted.yaml': configMap('unlisted'),
        'other/e.yaml': configMap('e'),
      });
      const { objects } = await build(workers, artifact.root, './apps');
      assert.deepEqual(names(objects).sort(), ['a', 'b', 'c', 'own-d']);
    });

    it('builds nothing of an empty directory', async () => {
      await using artifact = await makeArtifact({ 'apps/README.md': 'empty' });
      const { objects } = await build(workers, artifact.root, 'apps', { targetNamespace: 'shop' });
      assert.deepEqual(objects, []);
    });

    it('names the file that holds no Kubernetes object', async () => {
      await using artifact = await makeArtifact({
        'apps/a.yaml': configMap('a'),
        'apps/deep/values.yaml': 'replicas: 3\n',
      });
      await assert.rejects(build(workers, artifact.root, 'apps'), {
        reason: 'BuildFailed',
        message:
          /^accumulating resources: accumulating resources from '\.\/deep\/values\.yaml': missing Resource metadata$/,
      });
    });

    it('names the file that is no YAML', async () => {
      await using artifact = await makeArtifact({ 'a.yaml': configMap('a'), 'b.yaml': 'a: b: c: [\n' });
      await assert.rejects(build(workers, artifact.root), {
        reason: 'BuildFailed',
        message: /^accumulating resources: accumulating resources from '\.\/b\.yaml': .*yaml: /,
      });
    });
  });

  describe('with what the spec adds', () => {
    const deployment = `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\nspec: {template: {spec: {containers: [{name: shop, image: "shop:1"}]}}}\n`;
    const containers = (object: KubeObject | undefined): Array<Record<string, unknown>> =>
      (object as KubeObject<{ spec: { template: { spec: { containers: Array<Record<string, unknown>> } } } }>)
        .spec.template.spec.containers;

    it('sets the namespace, prefix, suffix and metadata over those of the file', async () => {
      await using artifact = await makeArtifact({
        'kustomization.yaml': 'namespace: from-file\nnamePrefix: from-\nresources: [a.yaml]\n',
        'a.yaml': `${configMap('a')}`,
      });
      const { objects } = await build(workers, artifact.root, '', {
        targetNamespace: 'shop',
        namePrefix: 'pre-',
        nameSuffix: '-post',
        commonMetadata: { labels: { team: 'tea' }, annotations: { note: 'x' } },
      });
      assert.deepEqual(objects[0]?.metadata, {
        name: 'pre-a-post',
        namespace: 'shop',
        labels: { team: 'tea' },
        annotations: { note: 'x' },
      });
    });

    it('applies strategic and JSON patches after those of the file', async () => {
      await using artifact = await makeArtifact({
        'kustomization.yaml':
          'resources: [d.yaml]\npatches: [{patch: "- {op: add, path: /spec/replicas, value: 2}", target: {kind: Deployment}}]\n',
        'd.yaml': deployment,
      });
      const { objects } = await build(workers, artifact.root, '', {
        patches: [
          {
            patch:
              '[{"op": "test", "path": "/spec/replicas", "value": 2}, {"op": "replace", "path": "/spec/replicas", "value": 5}]',
            target: { group: 'apps', version: 'v1', kind: 'Deployment', name: 'shop' },
          },
          {
            patch:
              'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\nspec: {template: {spec: {containers: [{name: shop, tty: true}]}}}',
          },
        ],
      });
      assert.deepEqual(objects[0]?.spec, { ...(objects[0]?.spec ?? {}), replicas: 5 });
      assert.deepEqual(containers(objects[0]), [{ name: 'shop', image: 'shop:1', tty: true }]);
    });

    it('merges an image field by field with that of the file, a tag clearing its digest and the reverse', async () => {
      const digest = `sha256:${'0'.repeat(64)}`;
      await using artifact = await makeArtifact({
        'tag/kustomization.yaml':
          'resources: [../d.yaml]\nimages: [{name: shop, newName: mirror/shop, newTag: "2"}]\n',
        'digest/kustomization.yaml': `resources: [../d.yaml]\nimages: [{name: shop, newName: mirror/shop, digest: "${digest}"}]\n`,
        'd.yaml': deployment,
      });
      const imageOf = async (path: string, image: object): Promise<unknown> => {
        const { objects } = await build(workers, artifact.root, path, {
          images: [{ name: 'shop', ...image }],
        });
        return containers(objects[0])[0]?.image;
      };
      assert.equal(await imageOf('tag', { newTag: '3' }), 'mirror/shop:3');
      assert.equal(await imageOf('tag', { digest }), `mirror/shop@${digest}`);
      assert.equal(await imageOf('digest', { newTag: '3' }), 'mirror/shop:3');
      assert.equal(await imageOf('digest', { newName: 'other/shop' }), `other/shop@${digest}`);
      assert.equal(await imageOf('tag', { name: 'unrelated', newTag: '3' }), 'mirror/shop:2');
    });

    it('adds components, and leaves out missing ones only when told to', async () => {
      await using artifact = await makeArtifact({
        'apps/a.yaml': configMap('a'),
        'extra/kustomization.yaml':
          'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: extra-\n',
      });
      const components = ['../extra', '../missing'];
      const { objects, inputs } = await build(workers, artifact.root, 'apps', {
        components,
        ignoreMissingComponents: true,
      });
      assert.deepEqual(names(objects), ['extra-a']);
      assert.ok(inputs.absent.includes('missing'));
      await assert.rejects(build(workers, artifact.root, 'apps', { components }), /missing/);
    });

    it('refuses components that are absolute or remote', async () => {
      await using artifact = await makeArtifact({ 'apps/a.yaml': configMap('a') });
      for (const component of ['/etc', 'https://git.example/org/repo']) {
        await assert.rejects(build(workers, artifact.root, 'apps', { components: [component] }), {
          reason: 'BuildFailed',
          message: `component path '${component}' must be local and relative`,
        });
      }
    });

    it('annotates the origin when asked to', async () => {
      await using artifact = await makeArtifact({ 'apps/a.yaml': configMap('a') });
      const { objects } = await build(workers, artifact.root, 'apps', {
        buildMetadata: ['originAnnotations'],
      });
      assert.equal(objects[0]?.metadata.annotations?.['config.kubernetes.io/origin'], 'path: a.yaml\n');
    });

    it('leaves the artifact as it was', async () => {
      await using artifact = await makeArtifact({ 'apps/a.yaml': configMap('a') });
      await build(workers, artifact.root, 'apps', { targetNamespace: 'shop' });
      assert.deepEqual(await artifact.list(), ['apps/a.yaml']);
    });
  });

  describe('that fails', () => {
    const failures: ReadonlyArray<{ title: string; files: Record<string, string>; message: RegExp }> = [
      {
        title: 'names the kustomization file with an unknown field',
        files: { 'apps/kustomization.yaml': 'resourcs: [a.yaml]\n' },
        message: /^apps\/kustomization\.yaml: invalid Kustomization: .*resourcs/,
      },
      {
        title: 'names the resource that is missing',
        files: { 'apps/kustomization.yaml': 'resources: [a.yaml]\n' },
        message: /'a\.yaml': stat apps\/a\.yaml: no such file or directory/,
      },
      {
        title: 'names the file whose object has no name',
        files: {
          'apps/kustomization.yaml': 'resources: [a.yaml]\n',
          'apps/a.yaml': 'apiVersion: v1\nkind: ConfigMap\n',
        },
        message: /'a\.yaml'.*missing metadata\.name in object \{\{v1 ConfigMap\}/,
      },
      {
        title: 'names the file whose object has no kind',
        files: {
          'apps/kustomization.yaml': 'resources: [a.yaml]\n',
          'apps/a.yaml': 'apiVersion: v1\nmetadata: {name: a}\n',
        },
        message: /'a\.yaml'.*missing kind in object/,
      },
      {
        title: 'names an object that is there twice',
        files: { 'apps/a.yaml': configMap('a'), 'apps/b.yaml': configMap('a') },
        message: /ConfigMap\.v1\.\[noGrp\]\/a\.\[noNs\]/,
      },
      {
        title: 'names an object that is there twice in two versions',
        files: {
          'apps/a.yaml':
            'apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\n---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\n',
        },
        message: /^HorizontalPodAutoscaler\/a is built twice \(autoscaling\/v1 and autoscaling\/v2\)/,
      },
      {
        title: 'names an object with a duplicate key',
        files: { 'apps/a.yaml': configMap('a', 'data:\n  x: one\n  x: two\n') },
        message: /^ConfigMap.*\/a\.\S*: [\s\S]*"x" already defined/,
      },
    ];
    for (const { title, files, message } of failures) {
      it(title, async () => {
        await using artifact = await makeArtifact(files);
        await assert.rejects(build(workers, artifact.root, 'apps'), { reason: 'BuildFailed', message });
      });
    }

    it('says in upstream’s words that the path is not in the artifact', async () => {
      await using artifact = await makeArtifact({ 'apps/a.yaml': configMap('a') });
      await assert.rejects(build(workers, artifact.root, './nothing/here'), {
        reason: 'ArtifactFailed',
        message: 'kustomization path not found: stat nothing/here: no such file or directory',
      });
    });

    it('shows no content of a generator, an inline patch or an object', async () => {
      const secret = 'hunter2';
      const cases: Array<Record<string, string>> = [
        {
          'kustomization.yaml': `secretGenerator:\n- name: a\n  literals: ["password=${secret}"]\n  files: [missing]\n`,
        },
        {
          'kustomization.yaml': `resources: [a.yaml]\npatches: [{patch: "{bad: ${secret}}"}]\n`,
          'a.yaml': configMap('a'),
        },
        {
          'kustomization.yaml': `resources: [a.yaml]\nsecretGenerator:\n- name: a\n  literals: ["password=${secret}"]\n  options: {disableNameSuffixHash: true}\n`,
          'a.yaml': 'apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n',
        },
        { 'kustomization.yaml': `secretGenerator:\n- name: a\n  literals: ["${secret}"]\n` },
        {
          'a.yaml': `apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {x: ${secret}, x: ${secret}}}]\n`,
        },
        { 'a.yaml': `apiVersion: v1\nkind: Secret\nmetadata: {annotations: {last: ${secret}}}\n` },
        { 'kustomization.yaml': `resources: ["https://user:${secret}@git.example/org/repo"]\n` },
      ];
      for (const files of cases) {
        await using artifact = await makeArtifact(files);
        await assert.rejects(build(workers, artifact.root), (error: Error) => {
          assert.doesNotMatch(error.message, new RegExp(secret));
          return true;
        });
      }
    });
  });
});
