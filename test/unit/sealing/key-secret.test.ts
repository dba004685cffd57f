import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import type { KubeObject } from '../../../operator/api/objects.ts';
import { decrypt, encrypt } from '../../../operator/sealing/hybrid.ts';
import {
  agreedKeyName,
  byCertificateNotBefore,
  keySecret,
  readKeySecret,
  type SealingKey,
} from '../../../operator/sealing/key-secret.ts';
import { PrivateKeyLanes } from '../../../operator/sealing/private-key.ts';
import { newPrivateKey, newSealingKey } from '../../support/sealing.ts';

const LANES = new PrivateKeyLanes();
const LABEL = Buffer.from('a/b');

type TestKey = Awaited<ReturnType<typeof newSealingKey>>;

function withData(secret: KubeObject, fields: Record<string, string | undefined>): KubeObject {
  const changed = Object.entries(fields).flatMap(([field, text]) =>
    text === undefined ? [] : [[field, Buffer.from(text).toString('base64')]],
  );
  const kept = Object.entries(secret.data as object).filter(([field]) => !(field in fields));
  return { ...secret, data: Object.fromEntries([...kept, ...changed]) };
}

async function opensItems(key: SealingKey, publicKey: KeyObject): Promise<boolean> {
  const sealed = encrypt(publicKey, Buffer.from('v'), LABEL);
  return (await decrypt({ sealed, label: LABEL, keys: [key.privateKey] })) !== undefined;
}

describe('a sealing key Secret', function () {
  this.timeout(30_000);
  let good: TestKey;
  let other: TestKey;
  before(async () => {
    [good, other] = await Promise.all([newSealingKey(), newSealingKey()]);
  });

  it('is written as Sealed Secrets writes it', () => {
    const { secret } = good;
    assert.equal(secret.type, 'kubernetes.io/tls');
    assert.deepEqual(secret.metadata.labels, { 'sealedsecrets.bitnami.com/sealed-secrets-key': 'active' });
    const data = secret.data as Record<string, string>;
    assert.deepEqual(Object.keys(data).sort(), ['tls.crt', 'tls.key']);
    const text = (field: string) => Buffer.from(data[field] ?? '', 'base64').toString();
    assert.match(text('tls.key'), /^-----BEGIN RSA PRIVATE KEY-----\n/);
    assert.ok(new X509Certificate(text('tls.crt')).publicKey.equals(createPublicKey(good.privateKeyObject)));
  });

  for (const type of ['pkcs1', 'pkcs8'] as const) {
    it(`is read with its private key in ${type.toUpperCase()}`, async () => {
      const pem = good.privateKeyObject.export({ type, format: 'pem' }).toString();
      const { key, problems } = readKeySecret(withData(good.secret, { 'tls.key': pem }), LANES);
      assert.deepEqual(problems, []);
      assert.equal(key?.fingerprint, good.fingerprint);
      assert.ok(key.certificate !== undefined && (await opensItems(key, good.privateKey.publicKey)));
    });
  }

  it('is read whatever its type and label', () => {
    const secret = { ...good.secret, type: 'Opaque', metadata: { name: 'sealed-secrets-key' } };
    assert.equal(readKeySecret(secret, LANES).key?.fingerprint, good.fingerprint);
  });

  const ec = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const unusable: Record<string, { key: () => string | undefined; problem: RegExp }> = {
    'no private key': { key: () => undefined, problem: /tls\.key.* is missing/ },
    'an empty private key': { key: () => '', problem: /tls\.key.* is missing/ },
    garbage: { key: () => 'not a key, but s3cret', problem: /is not an unencrypted private key in PEM/ },
    'a torn PEM block': {
      key: () => pem(good.privateKeyObject).slice(0, 400),
      problem: /is not an unencrypted private key in PEM/,
    },
    'a public key': {
      key: () => good.privateKey.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
      problem: /is not an unencrypted private key in PEM/,
    },
    'an encrypted key': {
      key: () =>
        good.privateKeyObject
          .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'p' })
          .toString(),
      problem: /is not an unencrypted private key in PEM/,
    },
    'an EC key': { key: () => pem(ec()), problem: /not an RSA key/ },
    'an Ed25519 key': {
      key: () => pem(generateKeyPairSync('ed25519').privateKey),
      problem: /not an RSA key/,
    },
    'an RSA-PSS key': {
      key: () => pem(generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey),
      problem: /not an RSA key/,
    },
    'a key of 768 bits': {
      key: () => pem(generateKeyPairSync('rsa', { modulusLength: 768 }).privateKey),
      problem: /has 768 bits/,
    },
  };
  for (const [what, { key, problem }] of Object.entries(unusable)) {
    it(`gives no key, and says why, for ${what}`, () => {
      const read = readKeySecret(withData(good.secret, { 'tls.key': key() }), LANES);
      assert.equal(read.key, undefined);
      assert.equal(read.problems.length, 1);
      assert.match(read.problems[0] ?? '', problem);
      assert.doesNotMatch(read.problems[0] ?? '', /s3cret/);
    });
  }

  it('gives no key when it has no data at all', () => {
    const { data: _, ...secret } = good.secret;
    assert.match(readKeySecret(secret, LANES).problems.join(), /is missing/);
  });

  it('gives a key that unseals but seals nothing when its certificate is unusable', async () => {
    const foreign = Buffer.from((other.secret.data as Record<string, string>)['tls.crt'] ?? '', 'base64');
    for (const [certificate, problem] of [
      [undefined, /has no certificate/],
      ['junk', /has no certificate/],
      [foreign.toString(), /is not for the private key/],
    ] as const) {
      const { key, problems } = readKeySecret(withData(good.secret, { 'tls.crt': certificate }), LANES);
      assert.match(problems.join(), problem);
      assert.ok(key !== undefined && key.certificate === undefined);
      assert.ok(await opensItems(key, good.privateKey.publicKey));
    }
  });

  it('orders keys by the start of their certificates, then by their own age, then by name', () => {
    const at = (secretName: string, notBefore: string | undefined, createdAtMs: number): SealingKey =>
      ({
        ...good,
        secretName,
        createdAtMs,
        certificate:
          notBefore === undefined ? undefined : { ...good.certificate, notBefore: new Date(notBefore) },
      }) as SealingKey;
    const keys = [
      at('none', undefined, 0),
      at('old', '2024-01-01T00:00:00Z', 9),
      at('b', '2026-01-01T00:00:00Z', 5),
      at('a', '2026-01-01T00:00:00Z', 5),
      at('c', '2026-01-01T00:00:00Z', 4),
    ];
    const ordered = keys.sort(byCertificateNotBefore).map(({ secretName }) => secretName);
    assert.deepEqual(ordered, ['c', 'a', 'b', 'old', 'none']);
  });
});

describe('the name of a first sealing key', () => {
  const name = (seed: string, attempt: number) =>
    agreedKeyName({ prefix: 'sealed-secrets-key', seed, attempt });

  it('looks like a generated name', () => {
    for (let attempt = 0; attempt < 50; attempt++) {
      assert.match(name('uid', attempt), /^sealed-secrets-key[bcdfghjklmnpqrstvwxz2456789]{5}$/);
    }
  });

  it('is the same for all who know the same, and another in another cluster or at the next attempt', () => {
    assert.equal(name('uid', 0), name('uid', 0));
    assert.notEqual(name('uid', 0), name('other', 0));
    assert.notEqual(name('uid', 0), name('uid', 1));
  });

  it('leaves room for the longest prefix', async () => {
    const prefix = 'k'.repeat(245);
    assert.ok(agreedKeyName({ prefix, seed: '', attempt: 0 }).length <= 253);
    const privateKey = await newPrivateKey(1024);
    const secret = keySecret({ namespace: 'n', name: prefix, privateKey, certificatePem: '' });
    assert.equal(secret.metadata.name, prefix);
  });
});
