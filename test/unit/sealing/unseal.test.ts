import assert from 'node:assert/strict';
import { CLUSTER_WIDE_ANNOTATION, NAMESPACE_WIDE_ANNOTATION } from '../../../operator/api/names.ts';
import type { JsonObject } from '../../../operator/api/objects.ts';
import type { SealedSecret } from '../../../operator/api/sealed-secret.gen.ts';
import type { OpeningKey } from '../../../operator/sealing/hybrid.ts';
import type { SealingKey } from '../../../operator/sealing/key-secret.ts';
import { type UnsealRequest, unseal as unsealRequest } from '../../../operator/sealing/unseal.ts';
import { UnsealError } from '../../../operator/sealing/unseal-error.ts';
import { newSealingKey, sealedSecret, WITHOUT_TEMPLATES } from '../../support/sealing.ts';

function textOf(data: unknown): Record<string, string> {
  const decode = ([item, value]: [string, string]) => [item, Buffer.from(value, 'base64').toString()];
  return Object.fromEntries(Object.entries(data as Record<string, string>).map(decode));
}

const unseal = (request: Omit<UnsealRequest, 'templates' | 'acceptDeprecatedV1Data'>) =>
  unsealRequest({ ...WITHOUT_TEMPLATES, ...request });

describe('unsealing', function () {
  this.timeout(30_000);
  let key: SealingKey;
  let other: SealingKey;
  before(async () => {
    [key, other] = await Promise.all([newSealingKey(), newSealingKey()]);
  });

  const sealed = (values: Record<string, string>, o: Partial<Parameters<typeof sealedSecret>[0]> = {}) =>
    sealedSecret({ publicKey: key.privateKey.publicKey, values, ...o });
  const unsealed = (object: SealedSecret, keys: readonly OpeningKey[] = [key.privateKey]) =>
    unseal({ sealedSecret: object, keys });
  const fails = async (object: SealedSecret, message: string, keys?: readonly OpeningKey[]) => {
    await assert.rejects(unsealed(object, keys), new UnsealError(message));
  };

  it('makes the Secret of the same name, controlled by the SealedSecret', async () => {
    const { secret } = await unsealed(sealed({ user: 'admin', password: 'hunter2', empty: '' }));
    const { data, ...rest } = secret;
    assert.deepEqual(textOf(data), { user: 'admin', password: 'hunter2', empty: '' });
    assert.deepEqual(rest, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        name: 'db',
        namespace: 'shop',
        ownerReferences: [
          {
            apiVersion: 'bitnami.com/v1alpha1',
            kind: 'SealedSecret',
            name: 'db',
            uid: 'f6a5d7b0-uid',
            controller: true,
          },
        ],
      },
    });
  });

  it('copies type, immutable, labels, annotations and finalizers of the template, and nothing else of it', async () => {
    const template = {
      type: 'kubernetes.io/basic-auth',
      immutable: true,
      data: null,
      metadata: {
        name: 'elsewhere',
        namespace: 'kube-system',
        generateName: 'x-',
        uid: 'u',
        resourceVersion: '9',
        creationTimestamp: null,
        ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'p' }],
        labels: { app: 'shop', nothing: null },
        annotations: { note: 'x' },
        finalizers: ['example.org/keep'],
      },
    };
    const { secret } = await unsealed(sealed({ username: 'u' }, { spec: { template } }));
    assert.equal(secret.type, 'kubernetes.io/basic-auth');
    assert.equal(secret.immutable, true);
    const { ownerReferences, ...metadata } = secret.metadata;
    assert.equal(ownerReferences?.[0]?.kind, 'SealedSecret');
    assert.deepEqual(metadata, {
      name: 'db',
      namespace: 'shop',
      labels: { app: 'shop', nothing: '' },
      annotations: { note: 'x' },
      finalizers: ['example.org/keep'],
    });
  });

  it('sets no owner when the template says so, and then keeps the owners that the template names', async () => {
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'p' }];
    const annotations = { 'sealedsecrets.bitnami.com/skip-set-owner-references': 'true' };
    const owners = async (metadata: JsonObject) =>
      (await unsealed(sealed({ a: 'v' }, { spec: { template: { metadata } } }))).secret.metadata
        .ownerReferences;
    assert.equal(await owners({ annotations }), undefined);
    assert.deepEqual(await owners({ annotations, ownerReferences }), ownerReferences);
    const onlyTrueCounts = { 'sealedsecrets.bitnami.com/skip-set-owner-references': 'yes' };
    assert.equal((await owners({ annotations: onlyTrueCounts }))?.[0]?.uid, 'f6a5d7b0-uid');
  });

  it('binds a strict item to its namespace and name', async () => {
    const object = sealed({ a: 'v' });
    await unsealed(object);
    for (const metadata of [{ name: 'other' }, { namespace: 'other' }]) {
      await fails(
        { ...object, metadata: { ...object.metadata, ...metadata } },
        'no key could decrypt secret (a)',
      );
    }
  });

  it('lets a namespace-wide item be renamed but not moved, and a cluster-wide item both', async () => {
    const inScope = (annotation: string) =>
      sealed({ a: 'v' }, { metadata: { annotations: { [annotation]: 'true' } } });
    const as = (object: SealedSecret, metadata: object) => ({
      ...object,
      metadata: { ...object.metadata, ...metadata },
    });
    const namespaceWide = inScope(NAMESPACE_WIDE_ANNOTATION);
    assert.equal((await unsealed(as(namespaceWide, { name: 'other' }))).secret.metadata.name, 'other');
    await fails(as(namespaceWide, { namespace: 'other' }), 'no key could decrypt secret (a)');
    const clusterWide = inScope(CLUSTER_WIDE_ANNOTATION);
    const moved = (await unsealed(as(clusterWide, { name: 'x', namespace: 'y' }))).secret;
    assert.deepEqual(
      [moved.metadata.name, moved.metadata.namespace, textOf(moved.data)],
      ['x', 'y', { a: 'v' }],
    );
  });

  it('takes the scope from the SealedSecret alone: annotations of the template widen nothing', async () => {
    const template = { metadata: { annotations: { [CLUSTER_WIDE_ANNOTATION]: 'true' } } };
    const object = sealed({ a: 'v' }, { spec: { template } });
    await fails(
      { ...object, metadata: { ...object.metadata, name: 'x' } },
      'no key could decrypt secret (a)',
    );
  });

  it('refuses the whole object when one item fails, in upstream words, with the items in order', async () => {
    const object = sealed({ c: 'v', good: 'v' });
    const foreign = sealed({ b: 'v', a: 'v' }, { publicKey: other.privateKey.publicKey }).spec.encryptedData;
    const broken = { x: 'AAAA*', w: 'AAAA-', v: '' };
    const encryptedData = { ...foreign, ...object.spec.encryptedData, ...broken };
    await fails(
      { ...object, spec: { encryptedData } },
      ['no key could decrypt secret (a, b, v)', 'illegal base64 data at input byte 4 (w, x)'].join('\n'),
    );
  });

  it('never shows a decrypted value in its error', async () => {
    const object = sealed({ good: 'hunter2' });
    object.spec.encryptedData.bad = 'AAAA';
    await assert.rejects(unsealed(object), (error: Error) => {
      assert.ok(error instanceof UnsealError);
      assert.doesNotMatch(`${error.stack}${JSON.stringify(error)}`, /hunter2|aHVudGVyMg/);
      return true;
    });
  });

  it('ignores line breaks in an item, as upstream does', async () => {
    const object = sealed({ a: 'v' });
    const item = object.spec.encryptedData.a ?? '';
    object.spec.encryptedData.a = `${item.slice(0, 60)}\r\n${item.slice(60)}\n`;
    assert.deepEqual(textOf((await unsealed(object)).secret.data), { a: 'v' });
  });

  it('opens items that were sealed with different keys', async () => {
    const object = sealed({ a: 'old' });
    const renewed = sealed({ b: 'new' }, { publicKey: other.privateKey.publicKey });
    Object.assign(object.spec.encryptedData, renewed.spec.encryptedData);
    const { secret, openedBy } = await unsealed(object, [other.privateKey, key.privateKey]);
    assert.deepEqual(textOf(secret.data), { a: 'old', b: 'new' });
    assert.deepEqual(Object.fromEntries(openedBy), { a: key.fingerprint, b: other.fingerprint });
  });

  it('tries the remembered key first, and the others when it no longer helps', async () => {
    const tried: string[] = [];
    const watched = ({ privateKey, fingerprint }: SealingKey): OpeningKey => ({
      fingerprint,
      openBlock: async (...args) => {
        tried.push(fingerprint);
        return await privateKey.openBlock(...args);
      },
    });
    const keys = [watched(other), watched(key)];
    const object = sealed({ a: 'v' });
    const { openedBy } = await unseal({ sealedSecret: object, keys });
    assert.deepEqual(tried.splice(0), [other.fingerprint, key.fingerprint]);
    await unseal({ sealedSecret: object, keys, remembered: openedBy });
    assert.deepEqual(tried.splice(0), [key.fingerprint]);
    await unseal({ sealedSecret: object, keys, remembered: new Map([['a', 'SHA256:gone']]) });
    assert.deepEqual(tried.splice(0), [other.fingerprint, key.fingerprint]);
    await unseal({ sealedSecret: object, keys, remembered: new Map([['a', other.fingerprint]]) });
    assert.deepEqual(tried, [other.fingerprint, key.fingerprint]);
  });

  it('lets a small object go ahead while a large one is at the keys', async () => {
    const one = sealed({ a: 'v' });
    const item = one.spec.encryptedData.a ?? '';
    const encryptedData = Object.fromEntries(Array.from({ length: 500 }, (_, at) => [`item-${at}`, item]));
    let largeDone = false;
    const large = unsealed({ ...one, spec: { encryptedData } }).finally(() => {
      largeDone = true;
    });
    for (let count = 0; count < 5; count++) await unsealed(one);
    assert.equal(largeDone, false);
    assert.equal(Object.keys((await large).secret.data as object).length, 500);
  });

  it('treats items named like object internals as any other', async () => {
    const text = JSON.stringify(sealed({ constructor: 'b', toString: 'c' }));
    const item = sealed({ a: 'p' }).spec.encryptedData.a;
    const object = JSON.parse(text.replace('"encryptedData":{', `"encryptedData":{"__proto__":"${item}",`));
    const { secret } = await unsealed(object);
    const stored = JSON.parse(JSON.stringify(secret)).data as object;
    assert.deepEqual(Object.keys(stored).sort(), ['__proto__', 'constructor', 'toString']);
  });

  it('makes an empty Secret of no items', async () => {
    assert.deepEqual((await unsealed(sealed({}))).secret.data, {});
  });

  it('refuses malformed metadata before anything is decrypted', async () => {
    const untouchable: OpeningKey = {
      fingerprint: 'x',
      openBlock: () => assert.fail('a key was used'),
    };
    for (const [metadata, message] of [
      [{ labels: { a: 1 } }, 'spec.template.metadata.labels must be a map of strings'],
      [{ annotations: ['a'] }, 'spec.template.metadata.annotations must be a map of strings'],
      [{ finalizers: 'a' }, 'spec.template.metadata.finalizers must be a list'],
    ] as const) {
      await fails(
        sealed({ a: 'v' }, { spec: { template: { metadata: { ...metadata } as JsonObject } } }),
        message,
        [untouchable],
      );
    }
  });

  it('ignores an empty template and nulls that old versions of kubeseal leave behind', async () => {
    const text = JSON.stringify(sealed({ a: 'v' }));
    for (const template of ['null', '{}', '{"data":null,"metadata":null}', '{"data":{}}']) {
      const object = JSON.parse(text.replace('"spec":{', `"spec":{"data":null,"template":${template},`));
      assert.deepEqual(textOf((await unsealed(object)).secret.data), { a: 'v' });
    }
  });

  it('ends with the reason of the abort', async () => {
    const signal = AbortSignal.abort(new Error('shutting down'));
    const promise = unseal({ sealedSecret: sealed({ a: 'v' }), keys: [key.privateKey], signal });
    await assert.rejects(promise, /shutting down/);
  });
});
