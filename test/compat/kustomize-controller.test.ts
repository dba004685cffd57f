import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Component } from '../../hack/cluster/component.ts';
import { ControlPlane } from '../../hack/cluster/control-plane.ts';
import { installCrds } from '../../hack/cluster/crds.ts';
import { GitServer } from '../../hack/cluster/git-server.ts';
import { findFreePort } from '../../hack/cluster/ports.ts';
import { Repository } from '../../hack/cluster/repository.ts';
import { toolPath } from '../../hack/tools.mjs';
import { eventually } from '../support/eventually.ts';
import { type OperatorProcess, startOperator } from '../support/operator-process.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';

const TOOL_MS = 30 * 60_000;
const NAMESPACE = 'default';
const SOURCES = '/apis/source.toolkit.fluxcd.io/v1/namespaces/default/gitrepositories';
const KUSTOMIZATIONS = '/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/default/kustomizations';

/** Kinds that Flux's controller insists on watching, though nobody uses them here. */
function unusedSource(kind: string): Record<string, unknown> {
  const plural = kind === 'OCIRepository' ? 'ocirepositories' : `${kind.toLowerCase()}s`;
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.source.toolkit.fluxcd.io` },
    spec: {
      group: 'source.toolkit.fluxcd.io',
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      scope: 'Namespaced',
      versions: [{ name: 'v1', served: true, storage: true, schema }],
    },
  };
}

describe("Flux's kustomize-controller 1.7.3", () => {
  const directory = useTemporaryDirectory();
  let controlPlane: ControlPlane;
  let server: GitServer;
  let operator: OperatorProcess | undefined;
  let controller: Component | undefined;

  before('its binary', async function () {
    this.timeout(TOOL_MS);
    await toolPath('kustomize-controller');
  });

  beforeEach('a cluster of its own', async () => {
    controlPlane = await ControlPlane.start({ unsafeNoFsync: true, audit: false });
    await installCrds(controlPlane.api, join(import.meta.dirname, '../../crds'));
    for (const kind of ['Bucket', 'OCIRepository', 'ExternalArtifact'])
      await controlPlane.api.create(
        '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
        unusedSource(kind) as Parameters<typeof controlPlane.api.create>[1],
      );
    server = await GitServer.start({ directory: directory() });
  });

  afterEach('stop everything', async () => {
    await controller?.stop();
    await operator?.stop();
    await server.stop();
    await controlPlane.stop();
  });

  it('applies from our artifact, and what is pushed next', async () => {
    const url = await server.createRepository('fleet');
    const work = await Repository.init(join(directory(), 'work'));
    const push = async (value: string): Promise<string> => {
      work.write({
        'kustomization.yaml': 'resources: [settings.yaml]\n',
        'settings.yaml': `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {value: ${value}}\n`,
      });
      const commit = await work.commit(`Set ${value}`);
      await work.push(url);
      return commit;
    };
    const first = await push('one');
    operator = await startOperator({
      kubeconfig: controlPlane.kubeconfig,
      namespace: NAMESPACE,
      buildWorker: 'unused',
      flags: ['--controllers=source'],
    });
    controller = await Component.start({
      name: 'kustomize-controller',
      command: await toolPath('kustomize-controller'),
      args: [
        `--metrics-addr=127.0.0.1:${await findFreePort()}`,
        `--health-addr=127.0.0.1:${await findFreePort()}`,
        '--feature-gates=ExternalArtifact=false',
      ],
      env: { KUBECONFIG: controlPlane.kubeconfig, RUNTIME_NAMESPACE: NAMESPACE },
      logFile: join(directory(), 'kustomize-controller.log'),
    });
    const { api } = controlPlane;
    await api.create(SOURCES, {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: { name: 'fleet' },
      spec: { url, interval: '200ms', ref: { branch: 'main' } },
    });
    await api.create(KUSTOMIZATIONS, {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: { name: 'fleet' },
      spec: {
        interval: '1h',
        path: './',
        prune: true,
        targetNamespace: NAMESPACE,
        sourceRef: { kind: 'GitRepository', name: 'fleet' },
      },
    });
    const applied = (value: string, commit: string): Promise<unknown> =>
      eventually(
        async () => {
          const settings = await api.get(`/api/v1/namespaces/${NAMESPACE}/configmaps/settings`);
          assert.deepEqual(settings?.data, { value }, controller?.readLog().slice(-2_000));
          const status = (await api.get(`${KUSTOMIZATIONS}/fleet`))?.status as {
            lastAppliedRevision?: string;
          };
          assert.equal(status.lastAppliedRevision, `main@sha1:${commit}`);
          return true;
        },
        { what: `the value ${value} to be applied`, timeoutMs: 40_000 },
      );
    await applied('one', first);
    await applied('two', await push('two'));
  });
});
