import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { FINALIZER } from '../../operator/api/names.ts';
import { syncedPolicy } from '../../operator/runtime/condition-policy.ts';
import { ownChange } from '../../operator/runtime/enqueue-predicate.ts';
import { failed, type Reconciler, stalled, waiting } from '../../operator/runtime/reconciler.ts';
import { eventually, throughout } from '../support/eventually.ts';
import { type GadgetRun, type GadgetSpec, type GadgetStatus, useGadgets } from '../support/gadgets.ts';
import { useWorld } from '../support/world.ts';

type GadgetReconciler = Reconciler<GadgetSpec, GadgetStatus>;

function condition(gadget: { status?: GadgetStatus } | undefined, type: string) {
  return gadget?.status?.conditions?.find((c) => c.type === type);
}

async function metric(run: GadgetRun, line: string): Promise<boolean> {
  return (await run.metrics.registry.metrics()).split('\n').includes(line);
}

describe('a controller', () => {
  const world = useWorld();
  const gadgets = useGadgets(world);

  it('puts its finalizer on before the first pass, and takes it off after finalizing', async () => {
    const seen: string[] = [];
    const reconciler: GadgetReconciler = {
      reconcile: async ({ metadata }) => {
        seen.push(`reconcile ${metadata.finalizers?.join()}`);
        return { message: 'done' };
      },
      finalize: async ({ metadata }) => {
        seen.push(`finalize ${metadata.deletionTimestamp !== undefined}`);
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create();
    await run.until('Ready', 'True/Succeeded');
    await run.world.api.delete(run.path);
    await run.untilGone();
    assert.deepEqual(seen, [`reconcile ${FINALIZER}`, 'finalize true']);
  });

  it('keeps its finalizer as long as finalizing fails, and says why', async () => {
    let broken = true;
    const reconciler: GadgetReconciler = {
      reconcile: async () => ({ message: 'done' }),
      finalize: async (_object, context) => {
        context.record({ inventory: ['survivor'] });
        if (broken) failed('PruneFailed', 'one object could not be deleted');
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create();
    await run.until('Ready', 'True/Succeeded');
    await run.world.api.delete(run.path);
    const gadget = await run.until('Ready', 'False/PruneFailed');
    assert.deepEqual(gadget.metadata.finalizers, [FINALIZER]);
    assert.deepEqual(gadget.status?.inventory, ['survivor']);
    broken = false;
    await run.untilGone();
  });

  it('leaves other finalizers alone, and the object once its own is off', async () => {
    let finalized = 0;
    const reconciler: GadgetReconciler = {
      reconcile: async () => ({ message: 'done' }),
      finalize: async () => {
        finalized += 1;
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create();
    await run.until('Ready', 'True/Succeeded');
    const both = [FINALIZER, 'test.signet.dev/other'];
    await run.world.api.mergePatch(run.path, { metadata: { finalizers: both } });
    await run.world.api.delete(run.path);
    const gadget = await eventually(
      async () => {
        const read = await run.read();
        return read?.metadata.finalizers?.length === 1 ? read : undefined;
      },
      { what: 'our finalizer to be off' },
    );
    assert.deepEqual(gadget.metadata.finalizers, ['test.signet.dev/other']);
    run.controller.enqueue(`${run.world.namespace}/a`);
    await run.world.api.mergePatch(run.path, { metadata: { finalizers: null } });
    await run.untilGone();
    assert.equal(finalized, 1);
  });

  it('leaves a suspended object alone, and goes on when it is resumed', async () => {
    const sizes: (number | undefined)[] = [];
    const reconciler: GadgetReconciler = {
      reconcile: async ({ spec }) => {
        sizes.push(spec.size);
        return { message: 'done' };
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create({ size: 1 });
    await run.until('Ready', 'True/Succeeded');
    await run.edit({ suspend: true, size: 2 });
    await run.request('while suspended');
    const gadget = await run.untilHandled('while suspended');
    assert.equal(condition(gadget, 'Ready')?.status, 'True');
    assert.equal(gadget.status?.observedGeneration, 1);
    await run.edit({ suspend: false, size: 3 });
    await eventually(async () => (await run.read())?.status?.observedGeneration === 3, {
      what: 'the resumed pass',
    });
    assert.deepEqual(sizes, [1, 3]);
  });

  it('does not repeat a stalled pass until the spec changes', async () => {
    let passes = 0;
    const reconciler: GadgetReconciler = {
      reconcile: async ({ spec }) => {
        passes += 1;
        return spec.size === 1 ? stalled('URLInvalid', 'write ssh://') : { message: 'done' };
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create({ size: 1 });
    const gadget = await run.until('Stalled', 'True/URLInvalid');
    assert.equal(condition(gadget, 'Ready')?.status, 'False');
    assert.equal(condition(gadget, 'Reconciling'), undefined);
    assert.equal(gadget.status?.observedGeneration, 1);
    // The longest back-off is 200 ms.
    await throughout(() => passes === 1, { what: 'no further pass', forMs: 300 });
    assert.ok(
      await metric(run, 'controller_runtime_terminal_reconcile_errors_total{controller="gadgets"} 1'),
    );
    await run.edit({ size: 2 });
    const mended = await run.until('Ready', 'True/Succeeded');
    assert.equal(condition(mended, 'Stalled'), undefined);
    assert.equal(passes, 2);
  });

  it('retries a failure after a growing delay, and removes its traces on success', async () => {
    let failures = 3;
    const reconciler: GadgetReconciler = {
      reconcile: async () => {
        if (failures-- > 0) failed('GitOperationFailed', 'no route to host');
        return { message: 'fetched' };
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create();
    const gadget = await run.until('Ready', 'True/Succeeded');
    assert.deepEqual(
      gadget.status?.conditions?.map((c) => c.type),
      ['Ready'],
    );
    assert.ok(await metric(run, 'controller_runtime_reconcile_errors_total{controller="gadgets"} 3'));
    assert.ok(await metric(run, 'workqueue_retries_total{name="gadgets",controller="gadgets"} 3'));
    const events = await eventually(
      async () => {
        const list = await run.world.api.get(run.world.path('v1', 'events'));
        const items = list?.items as { reason: string; type: string; message: string }[];
        return items.length > 0 ? items : undefined;
      },
      { what: 'the event' },
    );
    assert.deepEqual(
      events.map(({ reason, type, message }) => [type, reason, message]),
      [['Warning', 'GitOperationFailed', 'no route to host']],
    );
  });

  it('counts a wait as no error, and looks again after the time that it asked for', async () => {
    let ready = false;
    const reconciler: GadgetReconciler = {
      reconcile: async () =>
        ready ? { message: 'done' } : waiting('DependencyNotReady', 'b is not ready', 50),
    };
    const run = await gadgets.run({ reconciler });
    await run.create();
    const gadget = await run.until('Ready', 'False/DependencyNotReady');
    assert.equal(condition(gadget, 'Reconciling'), undefined);
    assert.equal(gadget.status?.observedGeneration, undefined);
    ready = true;
    await run.until('Ready', 'True/Succeeded');
    assert.ok(await metric(run, 'controller_runtime_reconcile_errors_total{controller="gadgets"} 0'));
  });

  it('ends a pass that takes too long, and says so', async () => {
    const reconciler: GadgetReconciler = {
      reconcile: async (_object, context) => {
        await sleep(3_600_000, undefined, { signal: context.signal });
        return { message: 'never' };
      },
    };
    const run = await gadgets.run({ reconciler, options: { timeoutMs: () => 50 } });
    await run.create();
    const gadget = await run.until('Ready', 'False/ReconciliationFailed');
    assert.equal(condition(gadget, 'Ready')?.message, 'timed out after 50ms');
  });

  it('survives an error that nothing expected, and keeps its text out of the status', async () => {
    let broken = true;
    const reconciler: GadgetReconciler = {
      reconcile: async () => {
        if (broken) JSON.parse('hunter2');
        return { message: 'done' };
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create();
    const gadget = await run.until('Ready', 'False/ReconciliationFailed');
    assert.match(condition(gadget, 'Ready')?.message ?? '', /^internal error \(SyntaxError\)/);
    broken = false;
    await run.until('Ready', 'True/Succeeded');
  });

  it('announces a new generation before it works on it, and leaves Ready as it is', async () => {
    let announced: GadgetStatus | undefined;
    const reconciler: GadgetReconciler = {
      reconcile: async ({ spec }) => {
        if (spec.size === 2) announced = (await run.read())?.status;
        return { message: 'done' };
      },
    };
    const run = await gadgets.run({ reconciler });
    await run.create({ size: 1 });
    await run.until('Ready', 'True/Succeeded');
    await run.edit({ size: 2 });
    await eventually(async () => (await run.read())?.status?.observedGeneration === 2, {
      what: 'the second pass',
    });
    const [ready, reconciling] = ['Ready', 'Reconciling'].map((type) =>
      condition({ ...(announced && { status: announced }) }, type),
    );
    assert.deepEqual([ready?.status, ready?.observedGeneration], ['True', 1]);
    assert.equal(reconciling?.message, 'processing object: new generation 1 -> 2');
  });

  it('is not ready before its first list, and then is', async () => {
    const run = gadgets.prepared({ reconciler: { reconcile: async () => ({ message: 'done' }) } });
    assert.equal(run.controller.ready(), 'waiting for the list of gadgets');
    await run.start();
    assert.equal(run.controller.ready(), true);
  });

  it('takes up what was created while it was away', async () => {
    const run = gadgets.prepared({ reconciler: { reconcile: async () => ({ message: 'done' }) } });
    await run.create();
    await run.start();
    await run.until('Ready', 'True/Succeeded');
  });

  it('writes the status of a kind with Synced alone as a whole, over what another writer left', async () => {
    let opens = false;
    const policy = syncedPolicy<GadgetStatus>({
      summary: 'Synced',
      successReason: 'Unsealed',
      failureReason: 'ErrUpdateFailed',
    });
    const reconciler: GadgetReconciler = {
      reconcile: async () => {
        if (!opens) failed('ErrUnsealFailed', 'no key could decrypt secret');
        return { message: '' };
      },
    };
    const options = { policy, statusWrite: 'put' as const, shouldEnqueue: ownChange() };
    const run = await gadgets.run({ reconciler, options });
    await run.create();
    const broken = await run.until('Synced', 'False/ErrUnsealFailed');
    assert.equal(broken.status?.observedGeneration, 1);
    opens = true;
    const gadget = await run.until('Synced', 'True/Unsealed');
    const [only, ...others] = gadget.status?.conditions ?? [];
    assert.deepEqual(others, []);
    assert.deepEqual(Object.keys(only ?? {}).sort(), [
      'lastTransitionTime',
      'lastUpdateTime',
      'message',
      'reason',
      'status',
      'type',
    ]);
    const puts = run.world.auditedWrites(
      ({ objectRef, verb }) =>
        objectRef?.namespace === run.world.namespace &&
        objectRef.subresource === 'status' &&
        verb !== 'update',
    );
    assert.deepEqual(puts, []);
  });
});

describe('the reconcile request', () => {
  const world = useWorld();
  const gadgets = useGadgets(world);

  const STATES: { state: string; spec?: GadgetSpec; pass: () => { message: string } }[] = [
    { state: 'that succeeds', pass: () => ({ message: 'done' }) },
    { state: 'that fails', pass: () => failed('X', 'x', { retryAfterMs: 3_600_000 }) },
    { state: 'that waits', pass: () => waiting('X', 'x', 3_600_000) },
    { state: 'that is stalled', pass: () => stalled('X', 'x') },
    { state: 'that breaks', pass: () => JSON.parse('') as { message: string } },
    { state: 'that is suspended', spec: { suspend: true }, pass: () => ({ message: 'never' }) },
  ];
  for (const { state, spec = {}, pass } of STATES) {
    it(`is acknowledged at the end of a pass ${state}`, async () => {
      const run = await gadgets.run({ reconciler: { reconcile: async () => pass() } });
      await run.create(spec, { annotations: { 'reconcile.fluxcd.io/requestedAt': 'first' } });
      await run.untilHandled('first');
      await run.request('second');
      await run.untilHandled('second');
    });
  }

  it('is acknowledged while finalizing fails', async () => {
    const run = await gadgets.run({
      reconciler: { reconcile: async () => ({ message: 'done' }), finalize: async () => failed('X', 'x') },
    });
    await run.create();
    await run.until('Ready', 'True/Succeeded');
    await run.world.api.delete(run.path);
    await run.until('Ready', 'False/X');
    await run.request('second');
    await run.untilHandled('second');
  });
});

describe('an idle controller', () => {
  const world = useWorld();
  const gadgets = useGadgets(world);

  it('writes no object, status or event, however often its objects come round', async () => {
    let passes = 0;
    const reconciler: GadgetReconciler = {
      reconcile: async (_object, context) => {
        passes += 1;
        context.record({ inventory: ['a', 'b'] });
        await context.checkpoint();
        return { message: 'nothing changed', requeueAfterMs: 5 };
      },
      finalize: async () => {},
    };
    const run = await gadgets.run({ reconciler });
    await run.create();
    await run.until('Ready', 'True/Succeeded');
    const writes = (): number =>
      run.world.auditedWrites(({ objectRef }) => objectRef?.namespace === run.world.namespace).length;
    const version = (await run.read())?.metadata.resourceVersion;
    // The API server writes its audit log after its answer: a write of our own tells when it has got so far.
    const before = writes();
    const until = passes + 100;
    await eventually(() => passes >= until, { what: 'a hundred more passes' });
    assert.equal((await run.read())?.metadata.resourceVersion, version);
    await run.world.api.create(run.world.path('v1', 'configmaps'), {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'marker' },
    });
    await eventually(() => writes() > before, { what: 'the marker in the audit log' });
    const added = run.world
      .auditedWrites(({ objectRef }) => objectRef?.namespace === run.world.namespace)
      .slice(before)
      .map(({ objectRef }) => objectRef?.name);
    assert.deepEqual(added, ['marker']);
  });
});
