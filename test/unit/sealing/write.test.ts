import assert from 'node:assert/strict';
import { MANAGED_ANNOTATION, PATCH_ANNOTATION } from '../../../operator/api/names.ts';
import type { KubeObject, ObjectMeta, OwnerReference, StoredObject } from '../../../operator/api/objects.ts';
import { decideWrite, describeRefusedUpdate, type WriteDecision } from '../../../operator/sealing/write.ts';

const OWNER: OwnerReference = {
  apiVersion: 'bitnami.com/v1alpha1',
  kind: 'SealedSecret',
  name: 'db',
  uid: 'ours',
  controller: true,
};
const UNMANAGED = {
  action: 'refuse',
  message: 'Resource "db" already exists and is not managed by SealedSecret',
};

function desired(
  o: { metadata?: ObjectMeta; type?: string; data?: Record<string, string> } = {},
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'db', namespace: 'shop', ownerReferences: [OWNER], ...o.metadata },
    data: o.data ?? { a: 'bmV3' },
    ...(o.type === undefined ? {} : { type: o.type }),
  };
}

function live(
  o: { metadata?: ObjectMeta; type?: string; data?: Record<string, string>; immutable?: boolean } = {},
) {
  const metadata = { name: 'db', namespace: 'shop', uid: 'secret', resourceVersion: '7', ...o.metadata };
  const base: StoredObject = {
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'Opaque',
    data: { a: 'b2xk' },
    metadata,
  };
  return { ...base, ...o, metadata };
}

const decide = (existing: StoredObject | undefined, wanted: KubeObject = desired()) =>
  decideWrite({ desired: wanted, existing, ownerUid: 'ours' });

function updated(decision: WriteDecision): KubeObject {
  assert.ok(decision.action === 'update', `decided to ${decision.action}`);
  return decision.secret;
}

describe('what to do with the Secret', () => {
  it('is to create one that is missing', () => {
    assert.deepEqual(decide(undefined), { action: 'create', secret: desired() });
  });

  it('is to leave one alone that the SealedSecret has no claim on, with the upstream text', () => {
    const strangers: ObjectMeta[] = [
      {},
      { ownerReferences: [{ ...OWNER, uid: 'an earlier SealedSecret of that name' }] },
      { ownerReferences: [{ ...OWNER, controller: false }] },
      { ownerReferences: [{ ...OWNER, uid: 'other' }, OWNER] },
      { annotations: { [MANAGED_ANNOTATION]: 'yes', [PATCH_ANNOTATION]: 'True' } },
    ];
    for (const metadata of strangers) assert.deepEqual(decide(live({ metadata })), UNMANAGED);
  });

  it('is to overwrite one that the SealedSecret controls, as read, and to leave the rest of it', () => {
    const existing = live({
      metadata: {
        ownerReferences: [OWNER],
        labels: { old: 'x' },
        annotations: { old: 'x' },
        finalizers: ['example.org/keep'],
      },
      data: { a: 'b2xk', gone: 'eA==' },
      immutable: false,
    });
    const secret = updated(decide(existing, desired({ metadata: { labels: { app: 'shop' } } })));
    assert.deepEqual(secret, {
      ...existing,
      data: { a: 'bmV3' },
      type: 'Opaque',
      metadata: { ...existing.metadata, labels: { app: 'shop' }, annotations: {} },
    });
  });

  it('is to take over one annotated as managed; the annotation goes unless the template has it', () => {
    const existing = live({ metadata: { annotations: { [MANAGED_ANNOTATION]: 'true' } } });
    const secret = updated(decide(existing));
    assert.deepEqual(secret.metadata.ownerReferences, [OWNER]);
    assert.deepEqual(secret.metadata.annotations, {});
    assert.deepEqual(secret.data, { a: 'bmV3' });
    const kept = desired({ metadata: { annotations: { [MANAGED_ANNOTATION]: 'true' } } });
    assert.deepEqual(updated(decide(existing, kept)).metadata.annotations, { [MANAGED_ANNOTATION]: 'true' });
  });

  it('is to add to one annotated for patching, without owning it', () => {
    const existing = live({
      metadata: {
        annotations: { [PATCH_ANNOTATION]: 'true', note: 'theirs', shared: 'theirs' },
        labels: { app: 'theirs' },
        ownerReferences: [{ ...OWNER, uid: 'other' }],
      },
      data: { a: 'b2xk', theirs: 'eA==' },
      type: 'kubernetes.io/tls',
    });
    const secret = updated(
      decide(existing, desired({ metadata: { annotations: { shared: 'ours' }, labels: { tier: 'db' } } })),
    );
    assert.deepEqual(secret, {
      ...existing,
      data: { a: 'bmV3', theirs: 'eA==' },
      metadata: {
        ...existing.metadata,
        annotations: { [PATCH_ANNOTATION]: 'true', note: 'theirs', shared: 'ours' },
        labels: { app: 'theirs', tier: 'db' },
      },
    });
  });

  it('is to add to one annotated for patching even when the SealedSecret controls it', () => {
    const metadata = { annotations: { [PATCH_ANNOTATION]: 'true' }, ownerReferences: [OWNER] };
    const secret = updated(decide(live({ metadata, data: { theirs: 'eA==' } })));
    assert.deepEqual(secret.data, { a: 'bmV3', theirs: 'eA==' });
  });

  it('is to add to and own one annotated for patching and as managed', () => {
    const annotations = { [PATCH_ANNOTATION]: 'true', [MANAGED_ANNOTATION]: 'true' };
    const secret = updated(decide(live({ metadata: { annotations }, data: { theirs: 'eA==' } })));
    assert.deepEqual(secret.metadata.ownerReferences, [OWNER]);
    assert.deepEqual(secret.metadata.annotations, annotations);
    assert.deepEqual(secret.data, { a: 'bmV3', theirs: 'eA==' });
  });

  it('is to write the type, which the API server then refuses if it differs', () => {
    const metadata = { ownerReferences: [OWNER] };
    assert.equal(updated(decide(live({ metadata, type: 'kubernetes.io/tls' }))).type, 'Opaque');
    const typed = updated(decide(live({ metadata }), desired({ type: 'kubernetes.io/tls' })));
    assert.equal(typed.type, 'kubernetes.io/tls');
    const patched = live({ metadata: { annotations: { [PATCH_ANNOTATION]: 'true' } } });
    assert.equal(updated(decide(patched, desired({ type: 'kubernetes.io/tls' }))).type, 'kubernetes.io/tls');
  });

  it('is nothing when all is as it should be', () => {
    const owned = { ownerReferences: [{ ...OWNER, blockOwnerDeletion: false }] };
    const data = { a: 'bmV3' };
    assert.deepEqual(decide(live({ metadata: owned, data })), { action: 'none' });
    assert.deepEqual(decide(live({ metadata: { ...owned, labels: {}, annotations: {} }, data })), {
      action: 'none',
    });
    assert.deepEqual(decide(live({ metadata: owned, data }), desired({ type: '' })), { action: 'none' });
    const patched = { annotations: { [PATCH_ANNOTATION]: 'true' } };
    const tls = { metadata: patched, data: { ...data, theirs: 'eA==' }, type: 'kubernetes.io/tls' };
    assert.deepEqual(decide(live(tls)), { action: 'none' });
  });

  it('is an update for each single difference in what the SealedSecret decides', () => {
    const metadata = { ownerReferences: [OWNER], labels: { l: '1' }, annotations: { a: '1' } };
    const wanted = desired({ metadata });
    const same = { metadata, data: { a: 'bmV3' } };
    assert.deepEqual(decide(live(same), wanted), { action: 'none' });
    const differences = [
      { ...same, data: { a: 'b2xk' } },
      { ...same, data: { a: 'bmV3', more: '' } },
      { ...same, data: {} },
      { ...same, metadata: { ...metadata, labels: { l: '2' } } },
      { ...same, metadata: { ...metadata, labels: { l: '1', m: '' } } },
      { ...same, metadata: { ...metadata, annotations: {} } },
      {
        ...same,
        metadata: { ...metadata, ownerReferences: [OWNER, { ...OWNER, uid: 'x', controller: false }] },
      },
      { ...same, type: 'kubernetes.io/tls' },
    ];
    for (const difference of differences) updated(decide(live(difference), wanted));
  });

  it('is to put back an item named like an object internal', () => {
    const wanted = desired({ data: JSON.parse('{"__proto__":"bmV3"}') });
    const metadata = { ownerReferences: [OWNER] };
    const secret = updated(decide(live({ metadata, data: {} }), wanted));
    assert.equal(JSON.stringify(secret.data), '{"__proto__":"bmV3"}');
    const patched = { annotations: { [PATCH_ANNOTATION]: 'true' } };
    const merged = updated(decide(live({ metadata: patched, data: { a: 'eA==' } }), wanted));
    assert.equal(JSON.stringify(merged.data), '{"a":"eA==","__proto__":"bmV3"}');
  });

  it('is refused a second time after creating one that asks for no owner, as upstream does', () => {
    const wanted = desired({ metadata: { ownerReferences: [] } });
    assert.equal(decide(undefined, wanted).action, 'create');
    assert.deepEqual(decide(live({ data: { a: 'bmV3' } }), wanted), UNMANAGED);
  });
});

describe('a refused update', () => {
  it('is explained when the Secret is immutable, and is the API server’s message otherwise', () => {
    const immutable = 'Secret "db" is invalid: data: Forbidden: field is immutable when `immutable` is set';
    assert.match(
      describeRefusedUpdate('shop/db', immutable),
      /^Error updating shop\/db: the target Secret is immutable\. /,
    );
    const other = 'Secret "db" is invalid: type: Invalid value: "Opaque": field is immutable';
    assert.equal(describeRefusedUpdate('shop/db', other), other);
  });
});
