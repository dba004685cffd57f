import assert from 'node:assert/strict';
import { OpenerMemory } from '../../../operator/sealing/opener-memory.ts';

const items = (count: number) =>
  new Map(Array.from({ length: count }, (_, at) => [`item${at}`, 'SHA256:x'] as const));

describe('the memory of which key opened an item', () => {
  it('answers what was remembered last, until it is told to forget', () => {
    const memory = new OpenerMemory();
    memory.remember('shop/db', items(2));
    memory.remember('shop/db', items(3));
    assert.equal(memory.recall('shop/db')?.size, 3);
    assert.equal(memory.size, 3);
    memory.forget('shop/db');
    assert.equal(memory.recall('shop/db'), undefined);
    assert.equal(memory.size, 0);
  });

  it('is bounded: the objects opened longest ago go first', () => {
    const memory = new OpenerMemory(10);
    for (const key of ['a', 'b', 'c']) memory.remember(key, items(3));
    memory.remember('a', items(3));
    memory.remember('d', items(3));
    assert.deepEqual(
      ['a', 'b', 'c', 'd'].filter((key) => memory.recall(key) !== undefined),
      ['a', 'c', 'd'],
    );
    memory.remember('huge', items(11));
    assert.equal(memory.size, 0);
  });
});
