import assert from 'node:assert/strict';
import {
  FINALIZER,
  NAMESPACE_WIDE_ANNOTATION,
  RECONCILE_REQUEST_ANNOTATION,
} from '../../../operator/api/names.ts';
import type { ObjectMeta, StoredObject } from '../../../operator/api/objects.ts';
import { anyOf, metadataChanged, ownChange } from '../../../operator/runtime/enqueue-predicate.ts';

const NOW = '2026-11-21T00:00:00Z';

function object(metadata: ObjectMeta = {}, status: unknown = undefined): StoredObject {
  return {
    apiVersion: 'test.signet.dev/v1',
    kind: 'Gadget',
    metadata: {
      name: 'a',
      uid: 'u',
      resourceVersion: '1',
      generation: 1,
      finalizers: [FINALIZER],
      ...metadata,
    },
    status,
  };
}

const asked = (value: string): ObjectMeta => ({ annotations: { [RECONCILE_REQUEST_ANNOTATION]: value } });

const TABLE: { change: string; from: StoredObject; to: StoredObject; enqueues: boolean }[] = [
  { change: 'a new generation', from: object(), to: object({ generation: 2 }), enqueues: true },
  { change: 'a first reconcile request', from: object(), to: object(asked('1')), enqueues: true },
  { change: 'another reconcile request', from: object(asked('1')), to: object(asked('2')), enqueues: true },
  { change: 'a reconcile request taken back', from: object(asked('1')), to: object(), enqueues: false },
  {
    change: 'the beginning of a deletion',
    from: object(),
    to: object({ deletionTimestamp: NOW }),
    enqueues: true,
  },
  {
    change: 'a deletion under way',
    from: object({ deletionTimestamp: NOW }),
    to: object({ deletionTimestamp: NOW, resourceVersion: '2' }),
    enqueues: false,
  },
  { change: 'our finalizer taken off', from: object(), to: object({ finalizers: [] }), enqueues: true },
  { change: 'our finalizer added', from: object({ finalizers: [] }), to: object(), enqueues: true },
  {
    change: "another's finalizer",
    from: object(),
    to: object({ finalizers: [FINALIZER, 'x/y'] }),
    enqueues: false,
  },
  { change: 'a replacement under the same name', from: object(), to: object({ uid: 'v' }), enqueues: true },
  {
    change: 'a status write',
    from: object(),
    to: object({ resourceVersion: '2' }, { observedGeneration: 1 }),
    enqueues: false,
  },
  { change: 'a label', from: object(), to: object({ labels: { a: 'b' } }), enqueues: false },
  { change: 'nothing', from: object(), to: object(), enqueues: false },
];

describe('enqueue predicate', () => {
  for (const { change, from, to, enqueues } of TABLE) {
    it(`${enqueues ? 'enqueues' : 'does not enqueue'} for ${change}`, () => {
      assert.equal(ownChange(FINALIZER)(from, to), enqueues);
    });
  }

  it('asks about finalizers only where the kind has one', () => {
    assert.equal(ownChange()(object(), object({ finalizers: [] })), false);
  });

  it('takes any label and annotation into account where the kind does', () => {
    const asked = anyOf(ownChange(), metadataChanged);
    const wide = object({ annotations: { [NAMESPACE_WIDE_ANNOTATION]: 'true' } });
    assert.equal(asked(object(), wide), true);
    assert.equal(asked(wide, object()), true);
    assert.equal(asked(wide, wide), false);
    assert.equal(asked(wide, object({ annotations: { [NAMESPACE_WIDE_ANNOTATION]: 'false' } })), true);
    assert.equal(asked(object(), object({ labels: { l: '1' } })), true);
    assert.equal(asked(object({ labels: { l: '1' } }), object({ labels: { m: '1' } })), true);
    assert.equal(ownChange()(object(), wide), false);
  });
});
