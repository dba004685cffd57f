import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { failed, type Reconciler } from '../../operator/runtime/reconciler.ts';
import { type ApiProxy, startApiProxy } from '../support/api-proxy.ts';
import { eventually } from '../support/eventually.ts';
import { type GadgetSpec, type GadgetStatus, kubeconfigFile, useGadgets } from '../support/gadgets.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

type GadgetReconciler = Reconciler<GadgetSpec, GadgetStatus>;

const isStatusWrite = (request: { method: string; path: string }): boolean =>
  request.method === 'PATCH' && request.path.includes('/status');

describe('facts that a reconciler records', () => {
  const world = useWorld();
  const gadgets = useGadgets(world);
  const directory = useTemporaryDirectory();
  let proxy: ApiProxy;

  beforeEach('a proxy to the API server', async () => {
    proxy = await startApiProxy(world().kubeconfig);
  });

  afterEach('end the proxy', () => proxy.close());

  const throughProxy = (): string => kubeconfigFile(directory(), proxy.kubeconfig);

  it('are on the API server when a checkpoint returns, and stay when a later step fails', async () => {
    let seen: string[] | undefined;
    const reconciler: GadgetReconciler = {
      reconcile: async (_object, context) => {
        context.record({ inventory: ['a'] });
        context.progress('Progressing', 'applying');
        await context.checkpoint();
        seen ??= (await run.read())?.status?.inventory;
        context.record({ inventory: ['a', 'b'] });
        return failed('ReconciliationFailed', 'the second step failed');
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create();
    const gadget = await run.until('Ready', 'False/ReconciliationFailed');
    assert.deepEqual(seen, ['a']);
    assert.deepEqual(gadget.status?.inventory, ['a', 'b']);
    const reconciling = gadget.status?.conditions?.find((c) => c.type === 'Reconciling');
    assert.deepEqual([reconciling?.reason, reconciling?.message], ['ProgressingWithRetry', 'applying']);
  });

  it('are written onto the object as it is by then, when its spec and metadata changed during the pass', async () => {
    let passes = 0;
    const sizes: (number | undefined)[] = [];
    const reconciler: GadgetReconciler = {
      reconcile: async ({ spec }, context) => {
        sizes.push(spec.size);
        passes += 1;
        context.record({ inventory: [`pass ${passes}`] });
        if (passes === 1) {
          await run.edit({ size: 2 });
          await run.world.api.mergePatch(run.path, { metadata: { labels: { changed: 'yes' } } });
          return failed('ReconciliationFailed', 'after the change', { retryAfterMs: 3_600_000 });
        }
        await gate.promise;
        return { message: 'done' };
      },
    };
    const gate = Promise.withResolvers<void>();
    const run = await gadgets.run({ reconciler });
    await run.create({ size: 1 });
    const gadget = await run.until('Ready', 'False/ReconciliationFailed');
    assert.deepEqual(gadget.status?.inventory, ['pass 1']);
    assert.equal(gadget.spec.size, 2, 'the change stands');
    const ready = gadget.status?.conditions?.find((c) => c.type === 'Ready');
    assert.equal(ready?.observedGeneration, 1, 'the condition is about the generation that was reconciled');
    gate.resolve();
    const after = await run.until('Ready', 'True/Succeeded');
    assert.deepEqual(after.status?.inventory, ['pass 2']);
    assert.deepEqual(sizes, [1, 2]);
    assert.equal(after.status?.observedGeneration, 2);
  });

  it('are seen by the next pass, even while the store has not heard of them', async () => {
    let deaf = false;
    proxy.intervene(async ({ path }) => {
      if (!path.includes('watch=')) return undefined;
      // No watch ever answers: the store stays as the first list filled it.
      deaf = true;
      return 'hold';
    });
    const inventories: (string[] | undefined)[] = [];
    const reconciler: GadgetReconciler = {
      reconcile: async ({ status }, context) => {
        inventories.push(status?.inventory);
        context.record({ inventory: [...(status?.inventory ?? []), `${inventories.length}`] });
        if (inventories.length === 2) return failed('ReconciliationFailed', 'once');
        return { message: 'done', ...(inventories.length === 1 && { requeueAfterMs: 1 }) };
      },
    };
    // What the store is to hold has been through a pass: an announcement would find out that it is old.
    const earlier = await gadgets.run({ reconciler: { reconcile: async () => ({ message: 'done' }) } });
    await earlier.create();
    await earlier.until('Ready', 'True/Succeeded');
    await earlier.stop();

    const run = gadgets.prepared({ reconciler, kubeconfig: throughProxy() });
    await run.start();
    const key = `${run.world.namespace}/a`;
    await eventually(() => inventories.length >= 3, { what: 'the pass, its failure and the retry' });
    for (const passes of [4, 5]) {
      run.controller.enqueue(key);
      await eventually(() => inventories.length >= passes, { what: `pass ${passes}` });
    }
    await eventually(async () => (await run.read())?.status?.inventory?.length === 5, {
      what: 'all five facts to be on the API server',
    });
    assert.deepEqual(inventories, [undefined, ['1'], ['1', '2'], ['1', '2', '3'], ['1', '2', '3', '4']]);
    assert.equal(run.controller.store.get(key)?.status?.inventory, undefined, 'the store is stale');
    assert.equal(deaf, true);
  });

  it('reach the next pass and the API server when the write at the end failed', async () => {
    let refusals = 0;
    proxy.intervene((request) => {
      const ends = isStatusWrite(request) && request.body.includes('"inventory"');
      if (!ends || refusals >= 2) return undefined;
      refusals += 1;
      return { status: 500, body: { kind: 'Status', message: 'etcd is busy', code: 500 } };
    });
    const inventories: (string[] | undefined)[] = [];
    const reconciler: GadgetReconciler = {
      reconcile: async ({ status }, context) => {
        inventories.push(status?.inventory);
        if (inventories.length === 1) context.record({ inventory: ['a'] });
        return { message: 'done' };
      },
    };
    const run = await gadgets.run({ reconciler, kubeconfig: throughProxy() });
    await run.create();
    const gadget = await run.until('Ready', 'True/Succeeded');
    assert.deepEqual(gadget.status?.inventory, ['a']);
    // The second refusal met the write that comes before the next pass, which therefore didn't begin.
    assert.deepEqual(inventories, [undefined, ['a']]);
    assert.equal(refusals, 2);
  });

  it('are written when a shutdown cuts the pass short, which shows as no failure', async () => {
    const begun = Promise.withResolvers<void>();
    const reconciler: GadgetReconciler = {
      reconcile: async (_object, context) => {
        context.record({ inventory: ['a'] });
        begun.resolve();
        await sleep(3_600_000, undefined, { signal: context.signal });
        return { message: 'never' };
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create();
    await begun.promise;
    const before = await run.read();
    await run.stop();
    const after = await run.read();
    assert.deepEqual(after?.status?.inventory, ['a']);
    assert.deepEqual(after?.status?.conditions, before?.status?.conditions);
    assert.equal(after?.status?.observedGeneration, undefined);
  });

  it('hold back what was to be announced by them, when the object is gone', async () => {
    let went: unknown;
    const reconciler: GadgetReconciler = {
      reconcile: async (_object, context) => {
        await run.world.api.delete(run.path);
        context.record({ inventory: ['a'] });
        try {
          await context.checkpoint();
        } catch (error) {
          went = error;
          throw error;
        }
        return { message: 'created what nobody would prune' };
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create();
    await eventually(() => went, { what: 'the checkpoint to be refused' });
    assert.match(String(went), /deleted during the pass/);
  });
});
