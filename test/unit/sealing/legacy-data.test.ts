import assert from 'node:assert/strict';
import type { JsonObject } from '../../../operator/api/objects.ts';
import type { SealedSecretSpec } from '../../../operator/api/sealed-secret.gen.ts';
import { encrypt } from '../../../operator/sealing/hybrid.ts';
import type { SealingKey } from '../../../operator/sealing/key-secret.ts';
import { unseal } from '../../../operator/sealing/unseal.ts';
import { UnsealError } from '../../../operator/sealing/unseal-error.ts';
import { newSealingKey, sealedSecret, WITHOUT_TEMPLATES } from '../../support/sealing.ts';

const SECRET = {
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: {
    name: 'elsewhere',
    namespace: 'other',
    labels: { app: 'x' },
    annotations: { note: 'y' },
    creationTimestamp: null,
  },
  type: 'example.org/typed',
  data: { a: 'aHVudGVyMg==', empty: null },
};

describe('the deprecated form, a whole Secret sealed as one', function () {
  this.timeout(30_000);
  let key: SealingKey;
  before(async () => {
    key = await newSealingKey();
  });

  const object = (inner: unknown, spec: Partial<SealedSecretSpec> = {}) => {
    const text = typeof inner === 'string' ? inner : JSON.stringify(inner);
    const data = encrypt(key.privateKey.publicKey, Buffer.from(text), Buffer.from('shop/db')).toString(
      'base64',
    );
    return sealedSecret({ publicKey: key.privateKey.publicKey, values: {}, spec: { data, ...spec } });
  };
  const unsealed = (sealed: ReturnType<typeof object>, acceptDeprecatedV1Data = true) =>
    unseal({ ...WITHOUT_TEMPLATES, sealedSecret: sealed, keys: [key.privateKey], acceptDeprecatedV1Data });
  const fails = (sealed: ReturnType<typeof object>, message: string, accepted?: boolean) =>
    assert.rejects(unsealed(sealed, accepted), new UnsealError(message));

  it('becomes the Secret that is in it, under the SealedSecret’s name and owner', async () => {
    const { secret, openedBy } = await unsealed(
      object(SECRET, { template: { type: 'ignored', metadata: { labels: { no: 'no' } } } }),
    );
    assert.deepEqual(secret, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        ...{ name: 'db', namespace: 'shop', labels: { app: 'x' }, annotations: { note: 'y' } },
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
      type: 'example.org/typed',
      data: { a: 'aHVudGVyMg==', empty: '' },
    });
    assert.deepEqual([...openedBy.values()], [key.fingerprint]);
  });

  it('takes stringData along, and heeds the template’s wish for no owner', async () => {
    const metadata = { annotations: { 'sealedsecrets.bitnami.com/skip-set-owner-references': 'true' } };
    const { secret } = await unsealed(
      object({ ...SECRET, stringData: { b: 'text' } }, { template: { metadata } }),
    );
    assert.equal((secret.data as JsonObject).b, Buffer.from('text').toString('base64'));
    assert.equal(secret.metadata.ownerReferences, undefined);
  });

  it('is refused behind its flag, and beside encrypted items', async () => {
    await fails(
      object(SECRET),
      "using deprecated 'data' field, use 'encryptedData' or flip the feature flag",
      false,
    );
    const both = "cannot use the field 'encryptedData' and the deprecated field 'data' at the same time";
    await fails(object(SECRET, { encryptedData: { a: 'AAAA' } }), both);
  });

  it('fails as one, without a word of what is in it', async () => {
    await fails(object(SECRET, { data: 'AAAA' }), 'no key could decrypt secret');
    await fails(object(SECRET, { data: 'AAAA*' }), 'illegal base64 data at input byte 4');
    for (const inner of [
      'hunter2',
      '["hunter2"]',
      '{"hunter2":',
      '"hunter2"',
      '{"kind":"Pod","apiVersion":"v1"}',
      '',
    ]) {
      await fails(object(inner), 'spec.data holds no v1 Secret');
    }
    const data = 'the Secret in spec.data: data';
    await fails(object({ ...SECRET, data: { a: 'hunter2!' } }), `${data}.a must be base64`);
    await fails(object({ ...SECRET, data: { a: 1 } }), `${data}.a must be a string`);
    await fails(object({ ...SECRET, data: ['hunter2'] }), `${data} must be an object`);
    await fails(
      object({ ...SECRET, metadata: { labels: { a: 1 } } }),
      'the Secret in spec.data: metadata.labels must be a map of strings',
    );
  });
});
