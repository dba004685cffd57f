import assert from 'node:assert/strict';
import {
  constants,
  createCipheriv,
  createPublicKey,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import { decrypt, encrypt } from '../../../operator/sealing/hybrid.ts';
import { PrivateKey, PrivateKeyLanes } from '../../../operator/sealing/private-key.ts';
import { newPrivateKey } from '../../support/sealing.ts';

const LABEL = Buffer.from('shop/db');
const RSA_2048_BYTES = 256;
const OAEP = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256', oaepLabel: LABEL };

/** The format put together by hand, so that a mistake in `encrypt` can't hide one in `decrypt`. */
function seal(o: { block: Buffer; sessionKey: Buffer; plaintext: Buffer }): Buffer {
  const algorithm = `aes-${o.sessionKey.length * 8}-gcm`;
  const cipher = createCipheriv(algorithm as 'aes-256-gcm', o.sessionKey, Buffer.alloc(12));
  const length = Buffer.of(o.block.length >> 8, o.block.length & 0xff);
  return Buffer.concat([length, o.block, cipher.update(o.plaintext), cipher.final(), cipher.getAuthTag()]);
}

function flipped(sealed: Buffer, at: number): Buffer {
  const copy = Buffer.from(sealed);
  copy[at] = (copy[at] ?? 0) ^ 0x01;
  return copy;
}

describe('the hybrid cipher', function () {
  this.timeout(60_000);
  const lanes = new PrivateKeyLanes();
  let rsa: KeyObject;
  let publicKey: KeyObject;
  let key: PrivateKey;
  let otherKey: PrivateKey;

  before(async () => {
    rsa = await newPrivateKey();
    publicKey = createPublicKey(rsa);
    key = new PrivateKey(rsa, lanes);
    otherKey = new PrivateKey(await newPrivateKey(), lanes);
  });

  const open = (sealed: Buffer, o: { label?: Buffer; keys?: PrivateKey[] } = {}) =>
    decrypt({ sealed, label: o.label ?? LABEL, keys: o.keys ?? [key] });

  for (const bytes of [0, 1, 15, 16, 17, 1024 * 1024]) {
    it(`opens what it sealed: ${bytes} bytes`, async () => {
      const plaintext = randomBytes(bytes);
      const opened = await open(encrypt(publicKey, plaintext, LABEL));
      assert.deepEqual(opened, { plaintext, fingerprint: key.fingerprint });
    });
  }

  it('writes the documented format', () => {
    const plaintext = Buffer.from('hunter2');
    const sealed = encrypt(publicKey, plaintext, LABEL);
    assert.equal(sealed.length, 2 + RSA_2048_BYTES + plaintext.length + 16);
    assert.equal(sealed.readUInt16BE(0), RSA_2048_BYTES);
    const block = sealed.subarray(2, 2 + RSA_2048_BYTES);
    const sessionKey = privateDecrypt({ key: rsa, ...OAEP }, block);
    assert.equal(sessionKey.length, 32);
    assert.deepEqual(seal({ block, sessionKey, plaintext }), sealed);
  });

  for (const bytes of [16, 24, 32]) {
    it(`opens an item with a session key of ${bytes} bytes`, async () => {
      const sessionKey = randomBytes(bytes);
      const plaintext = Buffer.from('v');
      const block = publicEncrypt({ key: publicKey, ...OAEP }, sessionKey);
      assert.deepEqual((await open(seal({ block, sessionKey, plaintext })))?.plaintext, plaintext);
    });
  }

  for (const bytes of [0, 1, 15, 17, 31, 33, 64]) {
    it(`doesn't open an item with a session key of ${bytes} bytes`, async () => {
      const block = publicEncrypt({ key: publicKey, ...OAEP }, randomBytes(bytes));
      const sealed = seal({ block, sessionKey: randomBytes(32), plaintext: Buffer.from('v') });
      assert.equal(await open(sealed), undefined);
    });
  }

  it('opens an RSA block whose leading zero byte was stripped, as Go does', async () => {
    const sessionKey = randomBytes(32);
    let block: Buffer;
    do block = publicEncrypt({ key: publicKey, ...OAEP }, sessionKey);
    while (block[0] !== 0);
    const plaintext = Buffer.from('v');
    const sealed = seal({ block: block.subarray(1), sessionKey, plaintext });
    assert.deepEqual((await open(sealed))?.plaintext, plaintext);
  });

  it('tries every key and says which one opened the item', async () => {
    const sealed = encrypt(publicKey, Buffer.from('v'), LABEL);
    const opened = await open(sealed, { keys: [otherKey, key] });
    assert.equal(opened?.fingerprint, key.fingerprint);
    assert.equal(await open(sealed, { keys: [otherKey] }), undefined);
    assert.equal(await open(sealed, { keys: [] }), undefined);
  });

  it('has one and the same answer for every failure', async () => {
    const sealed = encrypt(publicKey, Buffer.from('hunter2'), LABEL);
    const bodyAt = 2 + RSA_2048_BYTES;
    const withLength = (length: number) =>
      Buffer.concat([Buffer.of(length >> 8, length & 0xff), sealed.subarray(2)]);
    const failures: Record<string, Promise<unknown>> = {
      'wrong label': open(sealed, { label: Buffer.from('shop/other') }),
      'empty label': open(sealed, { label: Buffer.alloc(0) }),
      'wrong key': open(sealed, { keys: [otherKey] }),
      nothing: open(Buffer.alloc(0)),
      'one byte': open(sealed.subarray(0, 1)),
      'only the length': open(sealed.subarray(0, 2)),
      'half an RSA block': open(sealed.subarray(0, 100)),
      'no AES block': open(sealed.subarray(0, bodyAt)),
      'a tag of 4 bytes': open(sealed.subarray(0, -12)),
      'a tag of 15 bytes': open(sealed.subarray(0, bodyAt + 15)),
      'a byte too many': open(Buffer.concat([sealed, Buffer.of(0)])),
      'length 0': open(withLength(0)),
      'length one less': open(withLength(RSA_2048_BYTES - 1)),
      'length one more': open(withLength(RSA_2048_BYTES + 1)),
      'length 65535': open(withLength(65_535)),
      'length 65535 with that many bytes': open(Buffer.concat([Buffer.of(255, 255), randomBytes(70_000)])),
      'RSA block of zeros': open(
        Buffer.concat([sealed.subarray(0, 2), Buffer.alloc(RSA_2048_BYTES), sealed.subarray(bodyAt)]),
      ),
      'RSA block above the modulus': open(
        Buffer.concat([sealed.subarray(0, 2), Buffer.alloc(RSA_2048_BYTES, 0xff), sealed.subarray(bodyAt)]),
      ),
    };
    for (let at = 0; at < sealed.length; at += at < bodyAt ? 13 : 1) {
      failures[`byte ${at} flipped`] = open(flipped(sealed, at));
    }
    for (const [failure, outcome] of Object.entries(failures))
      assert.equal(await outcome, undefined, failure);
    assert.ok(Object.keys(failures).length > 50);
    assert.equal((await open(sealed))?.plaintext.toString(), 'hunter2');
  });

  it('stops waiting for its turn when it is aborted, and gives the turn back', async () => {
    const oneLane = new PrivateKeyLanes(1);
    const slow = Promise.withResolvers<void>();
    const holding = oneLane.run(() => slow.promise);
    const waiting = new AbortController();
    const sealed = encrypt(publicKey, Buffer.from('v'), LABEL);
    const keys = [new PrivateKey(rsa, oneLane)];
    const aborted = decrypt({ sealed, label: LABEL, keys, signal: waiting.signal });
    const later = decrypt({ sealed, label: LABEL, keys });
    waiting.abort(new Error('shutting down'));
    await assert.rejects(aborted, /shutting down/);
    slow.resolve();
    await holding;
    assert.equal((await later)?.plaintext.toString(), 'v');
  });

  it('runs no more private-key operations at once than it has lanes, and each lane once', async () => {
    const three = new PrivateKeyLanes(3);
    const busy = new Set<number>();
    let most = 0;
    const work = async (lane: number) => {
      assert.ok(!busy.has(lane));
      busy.add(lane);
      most = Math.max(most, busy.size);
      await new Promise((resolve) => setImmediate(resolve));
      busy.delete(lane);
    };
    await Promise.all(Array.from({ length: 50 }, () => three.run(work)));
    assert.equal(most, 3);
  });

  it("doesn't stall the event loop with 200 decryptions", async () => {
    const large = await newPrivateKey(4096);
    const largeKey = new PrivateKey(large, lanes);
    const items = Array.from({ length: 200 }, () => encrypt(createPublicKey(large), Buffer.from('v'), LABEL));
    const stallOf = async (work: () => Promise<unknown>): Promise<number> => {
      let longestMs = 0;
      let last = performance.now();
      const look = () => {
        const now = performance.now();
        longestMs = Math.max(longestMs, now - last);
        last = now;
      };
      const timer = setInterval(look, 1);
      await work();
      look();
      clearInterval(timer);
      return longestMs;
    };
    const onMainThreadMs = await stallOf(async () => {
      for (const item of items) privateDecrypt({ key: large, ...OAEP }, item.subarray(2, 2 + 512));
    });
    const offMainThreadMs = await stallOf(() =>
      Promise.all(items.map((sealed) => decrypt({ sealed, label: LABEL, keys: [largeKey] }))),
    );
    const said = `${offMainThreadMs.toFixed(1)} ms against ${onMainThreadMs.toFixed(1)} ms`;
    assert.ok(offMainThreadMs < onMainThreadMs / 4, said);
  });
});
