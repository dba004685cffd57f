import assert from 'node:assert/strict';
import { SILENT } from '../../../operator/api/logger.ts';
import { Manager, type Runnable } from '../../../operator/runtime/manager.ts';

const never = new AbortController().signal;

function part(name: string, events: string[], o: Partial<Runnable> = {}): Runnable {
  return {
    name,
    start: async () => {
      await Promise.resolve();
      events.push(`+${name}`);
    },
    stop: async () => {
      await Promise.resolve();
      events.push(`-${name}`);
    },
    ...o,
  };
}

function managerOf(...parts: Runnable[]): Manager {
  const manager = new Manager({ logger: SILENT });
  for (const runnable of parts) manager.add(runnable);
  return manager;
}

describe('manager', () => {
  it('starts its parts in order and stops them in exactly the reverse order', async () => {
    const events: string[] = [];
    const manager = managerOf(part('a', events), part('b', events), part('c', events));
    await manager.start(never);
    assert.deepEqual(await manager.stop(1_000), []);
    assert.deepEqual(events, ['+a', '+b', '+c', '-c', '-b', '-a']);
  });

  it('starts a part only when the one before it is up', async () => {
    const events: string[] = [];
    const gate = Promise.withResolvers<void>();
    const manager = managerOf(part('slow', events, { start: () => gate.promise }), part('b', events));
    const starting = manager.start(never);
    await new Promise(setImmediate);
    assert.deepEqual(events, []);
    gate.resolve();
    await starting;
    assert.deepEqual(events, ['+b']);
  });

  it('names the part that did not start, and stops only those before it', async () => {
    const events: string[] = [];
    const broken = part('broken', events, { start: () => Promise.reject(new Error('address in use')) });
    const manager = managerOf(part('a', events), broken, part('c', events));
    await assert.rejects(manager.start(never), /broken did not start: address in use/);
    assert.equal(manager.readiness().ready, false);
    await manager.stop(1_000);
    assert.deepEqual(events, ['+a', '-a']);
  });

  it('aborts a start under way when it is stopped, and stops what came up meanwhile', async () => {
    const events: string[] = [];
    const gate = Promise.withResolvers<void>();
    const slow = part('slow', events, { start: () => gate.promise });
    const waits = part('waits', events, {
      start: (signal) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    });
    const manager = managerOf(part('a', events), slow, waits);
    const starting = assert.rejects(manager.start(never), /stopped while it started/);
    await new Promise(setImmediate);
    const stopping = manager.stop(10_000);
    gate.resolve();
    await starting;
    assert.deepEqual(await stopping, []);
    assert.deepEqual(events, ['+a', '-slow', '-a']);
  });

  it('goes on past a part that does not end in time, and past one that fails, and names the late one', async () => {
    const events: string[] = [];
    const manager = managerOf(
      part('a', events),
      part('fails', events, { stop: () => Promise.reject(new Error('x')) }),
      part('hangs', events, { stop: () => new Promise(() => {}) }),
      part('d', events),
    );
    await manager.start(never);
    assert.deepEqual(await manager.stop(80), ['hangs']);
    assert.deepEqual(events.slice(-2), ['-d', '-a']);
  });

  it('stops once, however often it is asked', async () => {
    const events: string[] = [];
    const manager = managerOf(part('a', events));
    await manager.start(never);
    await Promise.all([manager.stop(1_000), manager.stop(1_000)]);
    assert.deepEqual(events, ['+a', '-a']);
  });

  it('is ready when every part is up and says so, and says which is not and why', async () => {
    const events: string[] = [];
    let answer: boolean | string = 'waiting for the list of gadgets';
    const manager = managerOf(part('a', events), part('gadgets', events, { ready: () => answer }));
    assert.deepEqual(manager.readiness(), {
      ready: false,
      failing: ['a: not started'],
    });
    await manager.start(never);
    assert.deepEqual(manager.readiness(), {
      ready: false,
      failing: ['gadgets: waiting for the list of gadgets'],
    });
    answer = false;
    assert.deepEqual(manager.readiness().failing, ['gadgets: not ready']);
    answer = true;
    assert.deepEqual(manager.readiness(), { ready: true, failing: [] });
    await manager.stop(1_000);
    assert.deepEqual(manager.readiness(), { ready: false, failing: ['stopping'] });
  });

  it('takes no part after its start', async () => {
    const manager = managerOf();
    await manager.start(never);
    assert.throws(() => manager.add(part('late', [])), /late was added after the start/);
    await assert.rejects(manager.start(never), /started before/);
    await manager.stop(1_000);
  });
});
