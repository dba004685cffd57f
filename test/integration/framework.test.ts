import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ResourceEvent, ResourceEventType, type ResourceMeta } from '@dot-i/k8s-operator';
import { ControlPlane } from '../../hack/cluster/control-plane.ts';
import { installCrds } from '../../hack/cluster/crds.ts';
import { SILENT } from '../../operator/api/logger.ts';
import type { JsonObject } from '../../operator/api/objects.ts';
import { ApiError } from '../../operator/kube/errors.ts';
import { SignetOperator } from '../../operator/operator.ts';
import { type Options, parseCommandLine } from '../../operator/options.ts';
import { eventually, throughout } from '../support/eventually.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

const FINALIZER = 'test.signet.dev/held';
const GADGETS_CRD = join(import.meta.dirname, '../fixtures/gadgets/gadgets.yaml');

/** What the framework's users may call, made callable from a test. */
class ExposedOperator extends SignetOperator {
  watch(plural: string, namespace: string, onEvent: (event: ResourceEvent) => Promise<void>): Promise<void> {
    return this.watchResource('', 'v1', plural, onEvent, namespace);
  }
  watchGadgets(namespace: string, onEvent: (event: ResourceEvent) => Promise<void>): Promise<void> {
    return this.watchResource('test.signet.dev', 'v1', 'gadgets', onEvent, namespace);
  }
  register(file: string) {
    return this.registerCustomResourceDefinition(file);
  }
  uri(group: string, version: string, plural: string, namespace?: string): string {
    return this.getCustomResourceApiUri(group, version, plural, namespace);
  }
  setStatus(meta: ResourceMeta, status: object): Promise<ResourceMeta | null> {
    return this.setResourceStatus(meta, status);
  }
  patchStatus(meta: ResourceMeta, status: object): Promise<ResourceMeta | null> {
    return this.patchResourceStatus(meta, status);
  }
  handleFinalizer(event: ResourceEvent, deleteAction: () => Promise<void>): Promise<boolean> {
    return this.handleResourceFinalizer(event, FINALIZER, deleteAction);
  }
  setFinalizers(meta: ResourceMeta, finalizers: string[]): Promise<void> {
    return this.setResourceFinalizers(meta, finalizers);
  }
}

describe("the framework's operator, as Signet runs it", () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  const running: SignetOperator[] = [];

  afterEach(async () => {
    for (const operator of running.splice(0)) await operator.shutDown();
  });

  function optionsFor(kubeconfig: string): Options {
    const commandLine = parseCommandLine(
      [
        ...['--kubeconfig', kubeconfig, '--controllers', 'source', '--storage-path', directory()],
        ...['--metrics-addr=0', '--health-addr=0', '--storage-addr=127.0.0.1:0'],
      ],
      {},
    );
    assert.equal(commandLine.action, 'run');
    return (commandLine as { options: Options }).options;
  }

  async function started(kubeconfig = world().kubeconfig): Promise<ExposedOperator> {
    const operator = new ExposedOperator({
      options: optionsFor(kubeconfig),
      logger: SILENT,
      path: process.env.PATH ?? '',
    });
    running.push(operator);
    await operator.start();
    return operator;
  }

  async function createGadget(name: string): Promise<void> {
    await world().api.create(world().path('test.signet.dev/v1', 'gadgets'), {
      apiVersion: 'test.signet.dev/v1',
      kind: 'Gadget',
      metadata: { name },
      spec: { size: 1 },
    });
  }

  async function gadget(name: string): Promise<JsonObject> {
    return (await world().api.get(world().path('test.signet.dev/v1', 'gadgets', name))) ?? {};
  }

  /** A running operator, and the latest event of a gadget that it has seen. */
  async function withGadget(name: string): Promise<{ operator: ExposedOperator; event: ResourceEvent }> {
    const operator = await started();
    await operator.register(GADGETS_CRD);
    await createGadget(name);
    const events: ResourceEvent[] = [];
    await operator.watchGadgets(world().namespace, async (event) => void events.push(event));
    const event = await eventually(() => events.at(-1), { what: 'the gadget to be seen' });
    return { operator, event };
  }

  it('tells a watcher of what is there, of changes and of deletions', async () => {
    const operator = await started();
    const path = world().path('v1', 'configmaps');
    const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { k: '1' } };
    await world().api.create(path, configMap);
    const seen: string[] = [];
    await operator.watch('configmaps', world().namespace, async ({ type, meta, object }) => {
      if (meta.name === 'a') seen.push(`${type} ${(object as { data?: { k?: string } }).data?.k}`);
    });
    await eventually(() => seen.includes('ADDED 1'), { what: 'the object that was there' });
    await world().api.mergePatch(`${path}/a`, { data: { k: '2' } });
    await eventually(() => seen.includes('MODIFIED 2'), { what: 'the change' });
    await world().api.delete(`${path}/a`);
    await eventually(() => seen.includes('DELETED 2'), { what: 'the deletion' });
    assert.deepEqual(seen, ['ADDED 1', 'MODIFIED 2', 'DELETED 2']);
  });

  it('calls a handler again that threw, and never twice at once for one object', async () => {
    const operator = await started();
    const path = world().path('v1', 'configmaps');
    let atWork = 0;
    let most = 0;
    const seen: string[] = [];
    await operator.watch('configmaps', world().namespace, async ({ meta, object }) => {
      if (meta.name !== 'a') return;
      atWork += 1;
      most = Math.max(most, atWork);
      await new Promise((resolve) => setImmediate(resolve));
      atWork -= 1;
      seen.push((object as { data?: { k?: string } }).data?.k ?? '');
      if (seen.length === 1) throw new Error('not this time');
    });
    await world().api.create(path, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'a' },
      data: { k: '0' },
    });
    for (let n = 1; n <= 5; n++) await world().api.mergePatch(`${path}/a`, { data: { k: String(n) } });
    await eventually(() => seen.at(-1) === '5' && seen.length > 1, { what: 'the last change to be handled' });
    assert.equal(most, 1);
  });

  it('goes on watching through a restart of the API server, without telling anything twice', async function () {
    this.timeout(120_000);
    const controlPlane = await ControlPlane.start({ unsafeNoFsync: true, controllerManager: false });
    try {
      await installCrds(controlPlane.api, join(import.meta.dirname, '../../crds'));
      const operator = await started(controlPlane.kubeconfig);
      const path = '/api/v1/namespaces/default/configmaps';
      const create = (name: string) =>
        controlPlane.api.create(path, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } });
      const seen: string[] = [];
      await create('before');
      await operator.watch('configmaps', 'default', async ({ type, meta }) => {
        seen.push(`${type} ${meta.name}`);
      });
      await eventually(() => seen.includes('ADDED before'), { what: 'the first object' });
      await controlPlane.killApiServer();
      await controlPlane.startApiServer();
      await create('after');
      await eventually(() => seen.includes('ADDED after'), { what: 'the object made after the restart' });
      await throughout(() => seen.filter((line) => line === 'ADDED before').length === 1, {
        what: 'the first object is told of once',
        forMs: 500,
      });
    } finally {
      for (const operator of running.splice(0)) await operator.shutDown();
      await controlPlane.stop();
    }
  });

  it('registers a definition, upgrades its schema, and refuses a file that holds none', async () => {
    const operator = await started();
    const registered = await operator.register(GADGETS_CRD);
    assert.equal(registered.group, 'test.signet.dev');
    assert.equal(registered.plural, 'gadgets');
    assert.deepEqual(
      registered.versions.map(({ name }) => name),
      ['v1'],
    );
    const upgraded = join(directory(), 'upgraded.yaml');
    writeFileSync(
      upgraded,
      readFileSync(GADGETS_CRD, 'utf8').replace(/^(\s*)size:/m, '$1colour: { type: string }\n$1size:'),
    );
    await operator.register(upgraded);
    const crd = await world().api.get(
      '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.test.signet.dev',
    );
    assert.match(JSON.stringify(crd), /"colour":\{"type":"string"\}/);
    await operator.register(GADGETS_CRD);
    const other = join(directory(), 'other.yaml');
    writeFileSync(other, 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\n');
    await assert.rejects(operator.register(other), /other\.yaml is no CustomResourceDefinition/);
  });

  it('gives the address of a collection that answers', async () => {
    const operator = await started();
    const { namespace, controlPlane, api } = world();
    const uri = operator.uri('apps', 'v1', 'deployments', namespace);
    assert.equal(uri, `${controlPlane.server}/apis/apps/v1/namespaces/${namespace}/deployments`);
    assert.equal((await api.get(new URL(uri).pathname))?.kind, 'DeploymentList');
    assert.equal(operator.uri('', 'v1', 'nodes'), `${controlPlane.server}/api/v1/nodes`);
  });

  it('replaces and merges a status, refuses one that is based on an older object, and answers null for one that is gone', async () => {
    const { operator, event } = await withGadget('status');
    const replaced = await operator.setStatus(event.meta, { observedGeneration: 1, inventory: ['a'] });
    assert.deepEqual((await gadget('status')).status, { observedGeneration: 1, inventory: ['a'] });
    assert.ok(replaced !== null);
    await operator.patchStatus(replaced, { observedGeneration: 2 });
    assert.deepEqual((await gadget('status')).status, { observedGeneration: 2, inventory: ['a'] });
    const isConflict = (error: unknown): boolean => error instanceof ApiError && error.status === 409;
    await assert.rejects(operator.setStatus(event.meta, { observedGeneration: 3 }), isConflict);
    await assert.rejects(operator.patchStatus(event.meta, { observedGeneration: 3 }), isConflict);
    await world().api.delete(world().path('test.signet.dev/v1', 'gadgets', 'status'));
    assert.equal(await operator.setStatus(event.meta, { observedGeneration: 4 }), null);
    assert.equal(await operator.patchStatus(event.meta, { observedGeneration: 4 }), null);
  });

  it('holds an object by its finalizer until the clean-up has succeeded', async () => {
    const { operator, event } = await withGadget('held');
    assert.equal(await operator.handleFinalizer(event, async () => assert.fail('not deleted')), true);
    assert.deepEqual(finalizersOf(await gadget('held')), [FINALIZER]);
    const held = { ...event, object: (await gadget('held')) as object as ResourceEvent['object'] };
    assert.equal(await operator.handleFinalizer(held, async () => assert.fail('not deleted')), false);

    await world().api.delete(world().path('test.signet.dev/v1', 'gadgets', 'held'));
    const deleted = { ...event, object: (await gadget('held')) as object as ResourceEvent['object'] };
    await assert.rejects(
      operator.handleFinalizer(deleted, async () => {
        throw new Error('cannot clean up');
      }),
      /cannot clean up/,
    );
    assert.deepEqual(finalizersOf(await gadget('held')), [FINALIZER]);
    let cleaned = 0;
    const done = await operator.handleFinalizer(deleted, async () => {
      cleaned += 1;
    });
    assert.equal(done, true);
    assert.equal(cleaned, 1);
    assert.deepEqual(await gadget('held'), {});
    const gone = { ...deleted, type: ResourceEventType.Deleted };
    assert.equal(await operator.handleFinalizer(gone, async () => assert.fail('gone')), false);
  });

  it('sets finalizers on the object as read, and says when it has changed since', async () => {
    const { operator, event } = await withGadget('listed');
    await operator.setFinalizers(event.meta, [FINALIZER]);
    assert.deepEqual(finalizersOf(await gadget('listed')), [FINALIZER]);
    await assert.rejects(
      operator.setFinalizers(event.meta, []),
      (error) => error instanceof ApiError && error.status === 409,
    );
    const { metadata } = (await gadget('listed')) as { metadata: { resourceVersion: string } };
    await operator.setFinalizers({ ...event.meta, resourceVersion: metadata.resourceVersion }, []);
    assert.deepEqual(finalizersOf(await gadget('listed')), []);
  });

  it('stops its watches when it stops, and stays alive', async () => {
    const operator = await started();
    const seen: string[] = [];
    await operator.watch('configmaps', world().namespace, async ({ meta }) => void seen.push(meta.name));
    operator.stop();
    await operator.shutDown();
    const path = world().path('v1', 'configmaps');
    await world().api.create(path, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'later' } });
    await throughout(() => !seen.includes('later'), { what: 'nothing is told any more', forMs: 300 });
  });
});

function finalizersOf(object: JsonObject): string[] {
  return ((object.metadata as { finalizers?: string[] } | undefined)?.finalizers ?? []) as string[];
}
