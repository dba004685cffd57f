import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { KeyedLock } from '../../../operator/source/keyed-lock.ts';

describe('a lock by key', () => {
  it('lets one in at a time, in the order asked, failures included', async () => {
    const lock = new KeyedLock();
    const log: string[] = [];
    const work = (name: string) => async () => {
      log.push(`+${name}`);
      await turn();
      log.push(`-${name}`);
      if (name === 'b') throw new Error('b failed');
    };
    const results = await Promise.allSettled(['a', 'b', 'c'].map((name) => lock.run('k', work(name))));
    assert.deepEqual(log, ['+a', '-a', '+b', '-b', '+c', '-c']);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
  });

  it('does not make one key wait for another', async () => {
    const lock = new KeyedLock();
    const release = await lock.acquire('a');
    assert.equal(await lock.run('b', async () => 'free'), 'free');
    release();
  });
});
