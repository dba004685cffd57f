import assert from 'node:assert/strict';
import { type Entry, IndexedStore } from '../../../operator/kube/store.ts';

interface Kept {
  owner: string[];
  text: string;
}

const entry = (resourceVersion: string, owner: string[], text = ''): Entry<Kept> => ({
  resourceVersion,
  kept: { owner, text },
});

describe('the store of an informer', () => {
  const owners = () => new IndexedStore<Kept>({ owner: (kept) => kept.owner });

  it('finds objects under what the index says of them now', () => {
    const store = owners();
    store.set('a', entry('1', ['x', 'y']));
    store.set('b', entry('2', ['x']));
    assert.equal(store.byIndex('owner', 'x').length, 2);
    assert.equal(store.byIndex('owner', 'y').length, 1);
    store.set('a', entry('3', ['z']));
    assert.deepEqual(store.byIndex('owner', 'x'), [store.get('b')]);
    assert.deepEqual(store.byIndex('owner', 'y'), []);
    assert.deepEqual(store.byIndex('owner', 'z'), [store.get('a')]);
    store.delete('a');
    assert.deepEqual(store.byIndex('owner', 'z'), []);
    assert.equal(store.size, 1);
  });

  it('refuses an index that it was not given: a typing error is no empty result', () => {
    assert.throws(() => owners().byIndex('owners', 'x'), /no index "owners"/);
  });

  it('tells by version what a whole list changed, and follows it with its indexes', () => {
    const store = owners();
    store.set('same', entry('1', ['x']));
    store.set('changed', entry('2', ['x'], 'before'));
    store.set('gone', entry('3', ['x']));
    const { deleted, changed } = store.swap(
      new Map([
        ['same', entry('1', ['x'])],
        ['changed', entry('5', ['y'], 'after')],
        ['new', entry('6', ['y'])],
      ]),
    );
    assert.deepEqual(
      deleted.map((change) => change.key),
      ['gone'],
    );
    assert.deepEqual(
      changed.map(({ key, kept, previous }) => [key, kept.text, previous?.text]),
      [
        ['changed', 'after', 'before'],
        ['new', '', undefined],
      ],
    );
    assert.equal(store.byIndex('owner', 'x').length, 1);
    assert.equal(store.byIndex('owner', 'y').length, 2);
    assert.equal(store.list().length, 3);
  });

  it('agrees with a plain model after a thousand random writes', () => {
    const seed = Date.now() % 1_000_000;
    let state = seed;
    const random = (below: number): number => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((state / 2_147_483_648) * below);
    };
    const store = owners();
    const model = new Map<string, Entry<Kept>>();
    for (let step = 0; step < 1_000; step += 1) {
      const key = `k${random(20)}`;
      const next = entry(`${step}`, [`o${random(4)}`, `o${random(4)}`].slice(random(3)));
      if (random(3) === 0) {
        store.delete(key);
        model.delete(key);
      } else if (random(20) === 0) {
        const list = new Map([...model].filter(() => random(2) === 0).concat([[key, next]]));
        store.swap(new Map(list));
        model.clear();
        for (const [name, kept] of list) model.set(name, kept);
      } else {
        store.set(key, next);
        model.set(key, next);
      }
      for (const owner of ['o0', 'o1', 'o2', 'o3']) {
        const expected = [...model.values()].filter(({ kept }) => kept.owner.includes(owner));
        assert.deepEqual(
          new Set(store.byIndex('owner', owner)),
          new Set(expected.map(({ kept }) => kept)),
          `seed ${seed}, step ${step}`,
        );
      }
    }
    assert.equal(store.size, model.size, `seed ${seed}`);
  });
});
