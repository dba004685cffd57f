import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ResourceEvent } from '@dot-i/k8s-operator';
import { ControlPlane } from '../../hack/cluster/control-plane.ts';
import type { JsonObject, StoredObject } from '../../operator/api/objects.ts';
import { ApiError } from '../../operator/kube/errors.ts';
import { eventually, throughout } from '../support/eventually.ts';
import { FrameworkOperator } from '../support/framework-operator.ts';
import { GADGET } from '../support/gadgets.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';

const GADGET_CRD = new URL('../fixtures/gadgets/gadgets.yaml', import.meta.url).pathname;
const CONFIG_MAP = { group: '', version: 'v1', plural: 'configmaps' };
const FINALIZER = 'test.signet.dev/finalizer';
const GADGETS = '/apis/test.signet.dev/v1/namespaces/default/gadgets';
const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';

describe("the framework's operator, as ours overrides it", () => {
  const directory = useTemporaryDirectory();
  let controlPlane: ControlPlane;
  let operator: FrameworkOperator;
  let events: ResourceEvent[];

  before(async function () {
    this.timeout(15 * 60_000);
    controlPlane = await ControlPlane.start({ unsafeNoFsync: true, controllerManager: false });
  });
  after(() => controlPlane?.stop());

  beforeEach(() => {
    operator = new FrameworkOperator(controlPlane.kubeconfig);
    events = [];
  });
  afterEach(async () => {
    await operator.close();
    for (const collection of [GADGETS, CONFIG_MAPS]) {
      const { body } = await controlPlane.api.call('GET', collection);
      for (const { metadata } of (body.items ?? []) as unknown as StoredObject[]) {
        const path = `${collection}/${metadata.name}`;
        if (metadata.finalizers) await controlPlane.api.mergePatch(path, { metadata: { finalizers: null } });
        await controlPlane.api.delete(path);
      }
    }
  });

  const record = async (event: ResourceEvent): Promise<void> => {
    events.push(event);
  };
  const seen = (): string[] => events.map(({ type, meta }) => `${type} ${meta.name}`);
  const seenEventually = (expected: string[]): Promise<boolean> =>
    eventually(
      () => {
        assert.deepEqual(seen().toSorted(), expected.toSorted());
        return true;
      },
      { what: `the events ${expected.join(', ')}` },
    );
  const configMap = (name: string, labels: JsonObject = { team: 'test' }): Promise<JsonObject> =>
    controlPlane.api.create(CONFIG_MAPS, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, labels } });
  const edit = (name: string, value: string): Promise<JsonObject> =>
    controlPlane.api.mergePatch(`${CONFIG_MAPS}/${name}`, { data: { value } });
  const dataOf = (event: ResourceEvent): unknown =>
    (event.object as { data?: { value?: string } }).data?.value;

  /** A Gadget of this name as an event of a watch brings it. */
  const watchedGadget = async (name = 'a', metadata: JsonObject = {}): Promise<ResourceEvent> => {
    await operator.register(GADGET_CRD);
    await operator.watch(GADGET, record);
    await controlPlane.api.create(GADGETS, {
      ...{ apiVersion: 'test.signet.dev/v1', kind: 'Gadget' },
      metadata: { name, ...metadata },
      spec: { size: 1 },
    });
    return await latest(name);
  };
  const latest = (name: string, matches = (_: ResourceEvent): boolean => true): Promise<ResourceEvent> =>
    eventually(() => events.findLast((event) => event.meta.name === name && matches(event)), {
      what: `an event about ${name}`,
    });
  const gadget = async (name = 'a') =>
    (await controlPlane.api.get(`${GADGETS}/${name}`)) as
      | (StoredObject & { status?: JsonObject })
      | undefined;

  describe('watchResource', () => {
    it('brings what there is, what changes and what goes, each with the object as it is', async () => {
      await configMap('a');
      await operator.watch(CONFIG_MAP, record, 'default');
      await seenEventually(['ADDED a']);
      await configMap('b');
      await seenEventually(['ADDED a', 'ADDED b']);
      await edit('b', 'new');
      await seenEventually(['ADDED a', 'ADDED b', 'MODIFIED b']);
      await controlPlane.api.delete(`${CONFIG_MAPS}/a`);
      await seenEventually(['ADDED a', 'ADDED b', 'MODIFIED b', 'DELETED a']);
      const modified = events.find(({ type }) => type === 'MODIFIED');
      assert.ok(modified);
      assert.equal(dataOf(modified), 'new');
      const { meta, object } = modified;
      assert.deepEqual(
        { ...meta },
        {
          ...{ id: 'configmaps.v1', name: 'b', namespace: 'default', apiVersion: 'v1', kind: 'ConfigMap' },
          resourceVersion: object.metadata?.resourceVersion,
        },
      );
    });

    it('keeps to the namespace that it is given', async () => {
      const elsewhere = '/api/v1/namespaces/kube-public/configmaps';
      await operator.watch(CONFIG_MAP, record, 'default');
      await controlPlane.api.create(elsewhere, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'other' },
      });
      try {
        await configMap('mine');
        await seenEventually(['ADDED mine']);
      } finally {
        await controlPlane.api.delete(`${elsewhere}/other`);
      }
    });

    it('goes on when the API server was killed: nothing missed, nothing replayed, the process not ended', async () => {
      const exit = process.exit;
      let exits = 0;
      process.exit = (() => {
        exits += 1;
      }) as unknown as typeof process.exit;
      try {
        await configMap('a');
        await configMap('b');
        await operator.watch(CONFIG_MAP, record, 'default');
        await seenEventually(['ADDED a', 'ADDED b']);
        await controlPlane.killApiServer();
        await controlPlane.startApiServer();
        // Before the operator's back-off has brought it back, for the most part.
        await edit('a', 'after the restart');
        await controlPlane.api.delete(`${CONFIG_MAPS}/b`);
        await configMap('c');
        const expected = ['ADDED a', 'ADDED b', 'MODIFIED a', 'DELETED b', 'ADDED c'];
        await seenEventually(expected);
        await throughout(() => seen().length === expected.length, {
          what: 'nothing is replayed',
          forMs: 500,
        });
        assert.equal(exits, 0);
      } finally {
        process.exit = exit;
      }
    });

    it('handles one object once at a time and the others meanwhile, and then only its latest state', async () => {
      const gate = Promise.withResolvers<void>();
      let atA = 0;
      let mostAtA = 0;
      await operator.watch(
        CONFIG_MAP,
        async (event) => {
          events.push(event);
          if (event.meta.name !== 'a') return;
          atA += 1;
          mostAtA = Math.max(mostAtA, atA);
          await gate.promise;
          atA -= 1;
        },
        'default',
      );
      await configMap('a');
      await seenEventually(['ADDED a']);
      for (const value of ['1', '2', '3']) await edit('a', value);
      await configMap('b');
      await seenEventually(['ADDED a', 'ADDED b']);
      gate.resolve();
      await seenEventually(['ADDED a', 'ADDED b', 'MODIFIED a']);
      assert.equal(mostAtA, 1);
      assert.equal(dataOf(await latest('a')), '3');
    });

    it('refuses a kind that the API server does not have, naming it', async () => {
      const kind = { group: 'test.signet.dev', version: 'v1', plural: 'gizmos' };
      await assert.rejects(
        operator.watch(kind, record),
        /no matches for kind "gizmos" in version "test\.signet\.dev\/v1"/,
      );
    });

    it('calls a handler again that threw, and says so in the log', async () => {
      let failures = 2;
      await operator.watch(
        CONFIG_MAP,
        async (event) => {
          events.push(event);
          if (failures === 0) return;
          failures -= 1;
          throw new Error('not this time');
        },
        'default',
      );
      await configMap('a');
      await seenEventually(['ADDED a', 'ADDED a', 'ADDED a']);
      await throughout(() => seen().length === 3, { what: 'no call after one that succeeded', forMs: 300 });
      assert.equal(
        operator.lines.filter((line) => /the handler failed and will be called again.*default\/a/.test(line))
          .length,
        2,
      );
    });
  });

  describe('registerCustomResourceDefinition', () => {
    it('creates a definition that is served when it resolves, and upgrades its schema', async () => {
      const { group, plural } = await operator.register(GADGET_CRD);
      assert.deepEqual({ group, plural }, { group: 'test.signet.dev', plural: 'gadgets' });
      assert.equal((await controlPlane.api.call('GET', GADGETS)).status, 200);

      const upgraded = join(directory(), 'upgraded.yaml');
      const text = readFileSync(GADGET_CRD, 'utf8');
      writeFileSync(
        upgraded,
        text.replace('suspend: {', 'colour: { type: string }\n                suspend: {'),
      );
      await operator.register(upgraded);
      const object = {
        apiVersion: 'test.signet.dev/v1',
        kind: 'Gadget',
        metadata: { name: 'red' },
        spec: { colour: 'red' },
      };
      await eventually(
        async () => {
          const { body } = await controlPlane.api.call('POST', `${GADGETS}?dryRun=All`, { body: object });
          return (body.spec as JsonObject | undefined)?.colour === 'red';
        },
        { what: 'the new field to be kept' },
      );
    });

    it('refuses a file that is missing, no YAML or no definition, naming it, and passes on what the API server refuses', async () => {
      const path = join(directory(), 'bad.yaml');
      await assert.rejects(operator.register(path), /ENOENT.*bad\.yaml/);
      writeFileSync(path, 'a: [');
      await assert.rejects(operator.register(path), /bad\.yaml/);
      writeFileSync(path, 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\n');
      await assert.rejects(operator.register(path), /bad\.yaml is no CustomResourceDefinition/);
      writeFileSync(path, readFileSync(GADGET_CRD, 'utf8').replace('type: integer', 'type: colour'));
      await assert.rejects(operator.register(path), /Invalid value.*colour|Unsupported value: "colour"/);
    });
  });

  it('getCustomResourceApiUri is the address that the API server answers at, below a base path too', async () => {
    const serverOf = (uri: string): string => uri.slice(controlPlane.server.length);
    const core = operator.uri(CONFIG_MAP, 'default');
    assert.ok(core.startsWith(`${controlPlane.server}/`));
    assert.equal(serverOf(core), CONFIG_MAPS);
    assert.equal(serverOf(operator.uri(CONFIG_MAP)), '/api/v1/configmaps');
    assert.equal(serverOf(operator.uri(GADGET, 'default')), GADGETS);
    assert.equal((await controlPlane.api.call('GET', serverOf(core))).status, 200);

    const path = join(directory(), 'behind-a-path.kubeconfig');
    const text = readFileSync(controlPlane.kubeconfig, 'utf8');
    writeFileSync(path, text.replaceAll(controlPlane.server, 'https://clusters.example.org/k8s/c-1'));
    const behind = new FrameworkOperator(path);
    assert.equal(behind.uri(CONFIG_MAP), 'https://clusters.example.org/k8s/c-1/api/v1/configmaps');
    await behind.close();
  });

  describe('setResourceStatus and patchResourceStatus', () => {
    it('replace and merge the status alone, and answer with the object as written', async () => {
      const { meta } = await watchedGadget();
      const set = await operator.setStatus(meta, { phase: 'Running', inventory: ['x'] });
      assert.equal(set?.resourceVersion, (await gadget())?.metadata.resourceVersion);
      assert.equal(set?.id, meta.id);
      assert.ok(set);
      await operator.patchStatus(set, { phase: 'Done' });
      const patched = await gadget();
      assert.deepEqual(patched?.status, { phase: 'Done', inventory: ['x'] });
      assert.deepEqual((patched as { spec?: JsonObject }).spec, { size: 1 });
      await operator.setStatus(
        (await latest('a', ({ meta }) => meta.resourceVersion === patched?.metadata.resourceVersion)).meta,
        {},
      );
      assert.deepEqual((await gadget())?.status, {});
    });

    it('throw a conflict when the object has changed since, and answer null when it is gone', async () => {
      const { meta } = await watchedGadget();
      await controlPlane.api.mergePatch(`${GADGETS}/a`, { spec: { size: 2 } });
      const isConflict = (error: unknown): boolean => error instanceof ApiError && error.status === 409;
      await assert.rejects(operator.setStatus(meta, { phase: 'Stale' }), isConflict);
      await assert.rejects(operator.patchStatus(meta, { phase: 'Stale' }), isConflict);
      assert.equal((await gadget())?.status, undefined);
      await controlPlane.api.delete(`${GADGETS}/a`);
      assert.equal(await operator.setStatus(meta, {}), null);
      assert.equal(await operator.patchStatus(meta, {}), null);
    });

    it('refuse a kind that nobody watches, as they need the watch to know where it lives', async () => {
      const { meta } = await watchedGadget();
      const unknown = { ...meta, id: 'widgets.test.signet.dev/v1' };
      await assert.rejects(
        operator.setStatus(unknown, {}),
        /widgets.* is not watched: call watchResource first/,
      );
    });
  });

  describe('handleResourceFinalizer', () => {
    it('adds the finalizer, beside the ones of others, and has nothing to do when it is there', async () => {
      const event = await watchedGadget('a', { finalizers: ['example.org/theirs'] });
      const action = async (): Promise<void> => assert.fail('nothing is deleted');
      assert.equal(await operator.handleFinalizer(event, FINALIZER, action), true);
      assert.deepEqual((await gadget())?.metadata.finalizers, ['example.org/theirs', FINALIZER]);
      const held = await latest(
        'a',
        ({ object }) => object.metadata?.finalizers?.includes(FINALIZER) === true,
      );
      assert.equal(await operator.handleFinalizer(held, FINALIZER, action), false);
    });

    it('runs the action of a deleted object and lets it go only when that succeeded', async () => {
      await watchedGadget('a', { finalizers: [FINALIZER] });
      await controlPlane.api.delete(`${GADGETS}/a`);
      const deleting = await latest('a', ({ object }) => object.metadata?.deletionTimestamp !== undefined);
      const failing = operator.handleFinalizer(deleting, FINALIZER, async () => {
        throw new Error('not yet');
      });
      await assert.rejects(failing, /not yet/);
      assert.deepEqual((await gadget())?.metadata.finalizers, [FINALIZER]);

      let ran = 0;
      const handled = await operator.handleFinalizer(deleting, FINALIZER, async () => {
        ran += 1;
      });
      assert.deepEqual([handled, ran, await gadget()], [true, 1, undefined]);
      const gone = await latest('a', ({ type }) => type === 'DELETED');
      assert.equal(
        await operator.handleFinalizer(gone, FINALIZER, async () => assert.fail('it is gone')),
        false,
      );
    });
  });

  it('setResourceFinalizers sets and clears them, and throws when the object has changed since', async () => {
    const { meta } = await watchedGadget();
    await operator.setFinalizers(meta, [FINALIZER]);
    assert.deepEqual((await gadget())?.metadata.finalizers, [FINALIZER]);
    await assert.rejects(operator.setFinalizers(meta, []), ApiError);
    const { meta: current } = await latest(
      'a',
      ({ meta: { resourceVersion } }) => resourceVersion !== meta.resourceVersion,
    );
    await operator.setFinalizers(current, []);
    assert.equal((await gadget())?.metadata.finalizers, undefined);
  });

  describe('start and stop', () => {
    it('put the operator together once and end every watch', async () => {
      await operator.start();
      assert.equal(operator.initialized, 1);
      await operator.watch(CONFIG_MAP, record, 'default');
      await configMap('a');
      await seenEventually(['ADDED a']);
      operator.stop();
      await operator.shutDown();
      await configMap('b');
      await throughout(() => seen().length === 1, { what: 'nothing is followed any more', forMs: 300 });
      await assert.rejects(operator.watch(CONFIG_MAP, record), /shutting down|stopped/);
    });

    it('wait for a handler that runs', async () => {
      const gate = Promise.withResolvers<void>();
      let ended = false;
      await operator.watch(
        CONFIG_MAP,
        async (event) => {
          events.push(event);
          await gate.promise;
          ended = true;
        },
        'default',
      );
      await configMap('a');
      await seenEventually(['ADDED a']);
      const stopped = operator.shutDown().then(() => ended);
      gate.resolve();
      assert.equal(await stopped, true);
    });

    it("don't wait longer than the deadline for a handler that hangs", async () => {
      const hasty = new FrameworkOperator(controlPlane.kubeconfig, '--graceful-shutdown-timeout=200ms');
      try {
        await hasty.watch(
          CONFIG_MAP,
          async (event) => {
            events.push(event);
            await new Promise(() => {});
          },
          'default',
        );
        await configMap('a');
        await seenEventually(['ADDED a']);
        await hasty.shutDown();
      } finally {
        await hasty.close();
      }
    });
  });
});
