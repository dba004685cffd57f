import assert from 'node:assert/strict';
import { statusDifference } from '../../../operator/kube/status.ts';

const condition = (status: string, time: string, more: object = {}) => ({
  type: 'Ready',
  status,
  reason: 'Succeeded',
  message: 'done',
  lastTransitionTime: time,
  ...more,
});

describe('the difference of two statuses', () => {
  const cases: [string, object, object, object | undefined][] = [
    ['nothing', { a: 1 }, { a: 1 }, undefined],
    ['what is new', {}, { a: 1 }, { a: 1 }],
    ['what changed, and only that', { a: 1, b: 2 }, { a: 3, b: 2 }, { a: 3 }],
    ['an explicit null for what goes', { a: 1, b: 2 }, { b: 2 }, { a: null }],
    ['an explicit null for what is set to undefined', { a: 1 }, { a: undefined }, { a: null }],
    ['nothing for an undefined that was never there', {}, { a: undefined }, undefined],
    ['only the inner field of an object', { o: { a: 1, b: 2 } }, { o: { a: 1, b: 3 } }, { o: { b: 3 } }],
    ['a null inside an object', { o: { a: 1, b: 2 } }, { o: { a: 1 } }, { o: { b: null } }],
    ['nothing for objects that are equal', { o: { a: 1 } }, { o: { a: 1 } }, undefined],
    ['a whole list, as a merge patch must', { l: [1, 2] }, { l: [1] }, { l: [1] }],
    ['an object in place of a list', { l: [1] }, { l: { a: 1 } }, { l: { a: 1 } }],
    ['an empty list in place of a full one', { l: [1] }, { l: [] }, { l: [] }],
    ['false and zero, which are values', { a: true, b: 1 }, { a: false, b: 0 }, { a: false, b: 0 }],
  ];
  for (const [title, before, after, expected] of cases) {
    it(`is ${title}`, () => assert.deepEqual(statusDifference(before, after), expected));
  }

  it('is nothing when only the times of conditions differ', () => {
    const before = { observedGeneration: 2, conditions: [condition('True', '2026-01-01T00:00:00Z')] };
    const after = {
      observedGeneration: 2,
      conditions: [condition('True', '2026-01-02T00:00:00Z', { lastUpdateTime: '2026-01-02T00:00:00Z' })],
    };
    assert.equal(statusDifference(before, after), undefined);
  });

  it('leaves conditions that say the same alone when something else differs', () => {
    const before = { observedGeneration: 1, conditions: [condition('True', '2026-01-01T00:00:00Z')] };
    const after = { observedGeneration: 2, conditions: [condition('True', '2026-01-02T00:00:00Z')] };
    assert.deepEqual(statusDifference(before, after), { observedGeneration: 2 });
  });

  it('has all conditions, with their times, when one of them says something else', () => {
    const before = { conditions: [condition('True', '2026-01-01T00:00:00Z')] };
    const after = { conditions: [condition('False', '2026-01-02T00:00:00Z')] };
    assert.deepEqual(statusDifference(before, after), after);
  });

  it('takes an absent and an undefined message for the same', () => {
    const before = { conditions: [{ type: 'Ready', status: 'True' }] };
    const after = { conditions: [{ type: 'Ready', status: 'True', message: undefined }] };
    assert.equal(statusDifference(before, after), undefined);
  });

  it('turns the one into the other, as RFC 7396 reads it', () => {
    const statuses = cases.flatMap(([, before, after]) => [before, after]);
    for (const before of statuses) {
      for (const after of statuses) {
        const patch = statusDifference(before, after) ?? {};
        const defined = JSON.parse(JSON.stringify(after)) as object;
        assert.deepEqual(merged(before, patch), defined);
      }
    }
  });
});

/** RFC 7396, section 2. */
function merged(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const isObject = typeof target === 'object' && target !== null && !Array.isArray(target);
  const result: Record<string, unknown> = isObject ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merged(result[key], value);
  }
  return JSON.parse(JSON.stringify(result));
}
