import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { inParallel } from '../../../operator/apply/in-parallel.ts';
import { type Held, ProofBook } from '../../../operator/apply/proof-book.ts';

const OWNER = { name: 'apps', namespace: 'flux-system' };

function held(id: string): Held {
  return {
    owner: OWNER,
    id,
    type: { group: '', version: 'v1', kind: 'ConfigMap', plural: 'configmaps', namespaced: true },
    name: { namespace: 'ns', name: 'a' },
    desired: '{}',
    desiredDigest: 'd',
    merged: false,
    forced: false,
    proof: { fieldsDigest: 'f', valuesDigest: 'v', merged: false, absorbable: [], obsolete: false },
  };
}

describe('the proof book', () => {
  it('lets one at a time work on an object, in order, also after a failure', async () => {
    const book = new ProofBook();
    const seen: string[] = [];
    const work = (name: string) =>
      book.exclusive(OWNER, 'x', async () => {
        seen.push(`${name} in`);
        await nextTurn();
        seen.push(`${name} out`);
        if (name === 'b') throw new Error('b');
      });
    const results = await Promise.allSettled([work('a'), work('b'), work('c')]);
    assert.deepEqual(seen, ['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.equal(book.isBusy(OWNER, 'x'), false);
  });

  it('tells when work on an object has ended, once for all who waited', async () => {
    const book = new ProofBook();
    const settled: string[] = [];
    book.onSettled((_owner, id, { recheck }) => settled.push(`${id} ${recheck}`));
    await Promise.all([
      book.exclusive(OWNER, 'x', () => nextTurn()),
      book.exclusive(OWNER, 'x', () => nextTurn()),
      book.exclusive(OWNER, 'y', () => nextTurn()),
    ]);
    assert.deepEqual(settled.sort(), ['x false', 'y false']);
  });

  it('drops proofs when they fall, of one group or all, and those from before that come late', () => {
    const book = new ProofBook();
    const [core, widget] = ['ns_a__ConfigMap', 'ns_a_example.com_Widget'];
    const proven = () => [core, widget].filter((id) => book.get(OWNER, id)?.proof !== undefined);
    const { epoch } = book;
    book.put(held(core), epoch);
    book.put(held(widget), epoch);
    book.fall('example.com');
    assert.deepEqual(proven(), [core]);
    book.put(held(widget), epoch);
    assert.deepEqual(proven(), [core], 'a proof older than the fall');
    book.put(held(widget), book.epoch);
    assert.deepEqual(proven(), [core, widget]);
    book.fall();
    assert.deepEqual(proven(), []);
    assert.notEqual(book.get(OWNER, core), undefined, 'what is wanted stays known');
  });
});

describe('parallel work', () => {
  const signal = new AbortController().signal;

  it('keeps to its limit and to the order of results', async () => {
    let running = 0;
    let most = 0;
    const results = await inParallel([5, 1, 3, 2, 4], { limit: 2, signal }, async (item) => {
      running += 1;
      most = Math.max(most, running);
      for (let turn = 0; turn < item; turn += 1) await nextTurn();
      running -= 1;
      return item * 10;
    });
    assert.deepEqual(results, [50, 10, 30, 20, 40]);
    assert.equal(most, 2);
  });

  it('starts nothing new after a failure, and waits for what was started', async () => {
    const ended: number[] = [];
    await assert.rejects(
      inParallel([1, 2, 3, 4], { limit: 2, signal }, async (item) => {
        if (item === 1) throw new Error('one');
        await nextTurn();
        ended.push(item);
      }),
      /one/,
    );
    assert.deepEqual(ended, [2]);
  });

  it('gathers the failures that it may go on from', async () => {
    const work = inParallel([1, 2, 3], { limit: 1, signal, goOn: () => true }, async (item) => {
      if (item !== 2) throw new Error(`${item}`);
    });
    await assert.rejects(work, (error: AggregateError) => error.errors.length === 2);
  });

  it('leaves room on the event loop between items that never wait', async () => {
    let turns = 0;
    const ticking = setInterval(() => {
      turns += 1;
    }, 1);
    const busyMs = (ms: number) => {
      const untilMs = performance.now() + ms;
      while (performance.now() < untilMs);
    };
    await inParallel(Array.from({ length: 100 }), { limit: 4, signal }, async () => busyMs(1));
    clearInterval(ticking);
    assert.ok(turns >= 3, `${turns} other turns`);
  });
});
