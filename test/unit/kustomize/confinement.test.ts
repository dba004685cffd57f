import assert from 'node:assert/strict';
import { symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { BuildWorkers } from '../../../operator/kustomize/build-worker.ts';
import { makeArtifact, type TestArtifact } from '../../support/artifact.ts';
import { build, startBuildWorkers, TOOL_TIMEOUT_MS } from '../../support/kustomize.ts';

const SECRET = 'the-token-of-the-pod';
const MANIFEST = `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stolen}\ndata: {token: ${SECRET}}\n`;

describe('a build', () => {
  let workers: BuildWorkers;
  let outside: TestArtifact;
  before(async function () {
    this.timeout(TOOL_TIMEOUT_MS);
    workers = await startBuildWorkers({ size: 1 });
    outside = await makeArtifact({
      'token.yaml': MANIFEST,
      token: SECRET,
      'base/kustomization.yaml': 'resources: [token.yaml]\n',
      'base/token.yaml': MANIFEST,
      'component/kustomization.yaml':
        'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [../token.yaml]\n',
    });
  });
  after(async () => {
    await workers.close();
    await outside[Symbol.asyncDispose]();
  });

  async function refused(
    kustomization: string,
    message: RegExp,
    prepare?: (artifact: TestArtifact) => Promise<void>,
  ): Promise<void> {
    await using artifact = await makeArtifact({
      'apps/kustomization.yaml': kustomization,
      'apps/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n',
    });
    await prepare?.(artifact);
    await assert.rejects(build(workers, artifact.root, 'apps'), (error: Error) => {
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, new RegExp(SECRET));
      assert.ok(!error.message.includes(artifact.root), 'the message shows where the artifact is');
      return true;
    });
  }

  /** Every field of a kustomization file that names a file or directory, with `P` for the name. */
  const references: ReadonlyArray<readonly [field: string, target: string, kustomization: string]> = [
    ['resources (file)', 'token.yaml', 'resources: [P]'],
    ['resources (directory)', 'base', 'resources: [P]'],
    ['bases', 'base', 'bases: [P]'],
    ['components', 'component', 'components: [P]'],
    ['configMapGenerator.files', 'token', 'configMapGenerator: [{name: a, files: [token=P]}]'],
    ['configMapGenerator.envs', 'token', 'configMapGenerator: [{name: a, envs: [P]}]'],
    ['secretGenerator.files', 'token', 'secretGenerator: [{name: a, files: [token=P]}]'],
    ['patches', 'token.yaml', 'resources: [a.yaml]\npatches: [{path: P, target: {kind: ConfigMap}}]'],
    ['patchesStrategicMerge', 'token.yaml', 'resources: [a.yaml]\npatchesStrategicMerge: [P]'],
    [
      'patchesJson6902',
      'token',
      'resources: [a.yaml]\npatchesJson6902: [{path: P, target: {version: v1, kind: ConfigMap, name: a}}]',
    ],
    ['replacements', 'token.yaml', 'resources: [a.yaml]\nreplacements: [{path: P}]'],
    ['generators', 'token.yaml', 'generators: [P]'],
    ['transformers', 'token.yaml', 'resources: [a.yaml]\ntransformers: [P]'],
    ['validators', 'token.yaml', 'resources: [a.yaml]\nvalidators: [P]'],
    ['configurations', 'token.yaml', 'resources: [a.yaml]\nconfigurations: [P]'],
    ['crds', 'token', 'resources: [a.yaml]\ncrds: [P]'],
    ['openapi', 'token', 'resources: [a.yaml]\nopenapi: {path: P}'],
  ];
  for (const [field, target, kustomization] of references) {
    it(`reads nothing outside the artifact through ${field}`, async () => {
      const path = join(outside.root, target);
      await refused(kustomization.replaceAll('P', path), /outside the artifact|cannot be absolute/);
      await refused(
        kustomization.replaceAll('P', `${'../'.repeat(20)}${path.slice(1)}`),
        /outside the artifact/,
      );
      await refused(
        kustomization.replaceAll('P', 'link'),
        /apps\/link is neither a file nor a directory/,
        (artifact) => symlink(path, join(artifact.root, 'apps/link')),
      );
      await refused(
        kustomization.replaceAll('P', `folder/${target}`),
        /apps\/folder is neither a file nor a directory/,
        (artifact) => symlink(outside.root, join(artifact.root, 'apps/folder')),
      );
    });
  }

  it('refuses a kustomization file that is a symbolic link, though another one is there', async () => {
    await refused(
      'resources: [a.yaml]',
      /apps\/Kustomization is neither a file nor a directory/,
      (artifact) =>
        symlink(join(outside.root, 'base/kustomization.yaml'), join(artifact.root, 'apps/Kustomization')),
    );
  });

  it('refuses a manifest that is a symbolic link in a path without a kustomization file', async () => {
    await using artifact = await makeArtifact({ 'apps/README.md': '' });
    await symlink(join(outside.root, 'token.yaml'), join(artifact.root, 'apps/token.yaml'));
    await assert.rejects(build(workers, artifact.root, 'apps'), /apps\/token\.yaml is neither/);
  });

  it('refuses symbolic links even within the artifact', async () => {
    await refused('resources: [b.yaml]', /apps\/b\.yaml is neither/, (artifact) =>
      symlink('a.yaml', join(artifact.root, 'apps/b.yaml')),
    );
  });

  it('keeps the path of the Kustomization within the artifact', async () => {
    await using artifact = await makeArtifact({ 'README.md': '' });
    for (const path of [`../${outside.root.split('/').at(-1)}`, outside.root, '../../../../../etc']) {
      await assert.rejects(build(workers, artifact.root, path), { reason: 'ArtifactFailed' });
    }
  });

  it('fetches no remote file, and names it', async () => {
    let requests = 0;
    const server = createServer((_request, response) => {
      requests += 1;
      response.end(MANIFEST);
    }).listen(0, '127.0.0.1');
    try {
      await new Promise((resolve) => server.once('listening', resolve));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/manifest.yaml`;
      const message = new RegExp(`^remote resource "${url}" is not allowed$`);
      await refused(`resources: [${url}]`, message);
      await refused(`configMapGenerator: [{name: a, files: ["x=${url}"]}]`, message);
      await refused(`resources: [a.yaml]\npatches: [{path: "${url}", target: {kind: ConfigMap}}]`, message);
      await refused(`resources: [a.yaml]\ntransformers: ["${url}"]`, message);
      assert.equal(requests, 0);
    } finally {
      server.close();
    }
  });

  for (const [field, reference] of [
    ['resources', 'git@git.example:org/repo.git'],
    ['resources', 'ssh://git@git.example/org/repo?ref=main'],
    ['resources', 'github.com/org/repo//deploy?ref=v1'],
    ['components', 'git@git.example:org/repo.git//component'],
    ['components', 'https://git.example/org/repo.git//component'],
  ] as const) {
    it(`clones no remote base, and names ${reference} in ${field}`, () =>
      refused(
        `resources: [a.yaml${field === 'resources' ? `, "${reference}"` : ''}]\n${
          field === 'components' ? `components: ["${reference}"]` : ''
        }`,
        new RegExp(
          `remote base "(ssh://)?[^"]*${reference.slice(-12).replaceAll('?', '\\?')}" in apps/kustomization\\.yaml`,
        ),
      ));
  }

  it('inflates no Helm chart, whether as a field or as a generator', async () => {
    await refused('helmCharts: [{name: a, releaseName: a, repo: "https://charts.example"}]', /enable-helm/);
    await refused(
      'generators: ["{apiVersion: builtin, kind: HelmChartInflationGenerator, metadata: {name: a}, name: a}"]',
      /enable-helm/,
    );
  });

  it('runs no plugin, whether an executable or a container', async () => {
    for (const [kind, config] of [
      ['exec', `exec: {path: ./plugin.sh}`],
      ['container', `container: {image: "registry.example/plugin", network: true}`],
    ] as const) {
      await using witness = await makeArtifact({});
      const plugin = `apiVersion: example.org/v1\nkind: Plugin\nmetadata:\n  name: a\n  annotations:\n    config.kubernetes.io/function: |\n      ${config}\n`;
      for (const field of ['generators', 'transformers', 'validators']) {
        await refused(
          `resources: [a.yaml]\n${field}: [plugin.yaml]`,
          /external plugins disabled; unable to load external plugin 'Plugin'/,
          async (artifact) => {
            await artifact.write('apps/plugin.yaml', plugin);
            await writeFile(
              join(artifact.root, 'apps/plugin.sh'),
              `#!/bin/sh\ntouch ${witness.root}/${kind}\n`,
              { mode: 0o755 },
            );
          },
        );
      }
      assert.deepEqual(await witness.list(), []);
    }
  });

  it('sees none of the operator’s environment', async () => {
    process.env.SIGNET_TEST_TOKEN = SECRET;
    try {
      await using artifact = await makeArtifact({
        'kustomization.yaml': 'configMapGenerator: [{name: a, envs: [names.env]}]\n',
        'names.env': 'SIGNET_TEST_TOKEN\n',
      });
      const fresh = await startBuildWorkers({ size: 1 });
      try {
        const outcome = await build(fresh, artifact.root).catch((error: Error) => error.message);
        assert.doesNotMatch(JSON.stringify(outcome), new RegExp(SECRET));
      } finally {
        await fresh.close();
      }
    } finally {
      delete process.env.SIGNET_TEST_TOKEN;
    }
  });
});
