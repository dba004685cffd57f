import assert from 'node:assert/strict';
import type { JsonObject, StoredObject } from '../../../operator/api/objects.ts';
import type {
  SealedSecret,
  SealedSecretSpec,
  SealedSecretStatus,
} from '../../../operator/api/sealed-secret.gen.ts';
import { sealedSecretReconciler } from '../../../operator/controllers/sealed-secret.ts';
import { FailedError, type ReconcileContext, type Reconciler } from '../../../operator/runtime/reconciler.ts';
import { Base64Error, decodeBase64 } from '../../../operator/sealing/base64.ts';
import { sealingFace } from '../../../operator/sealing/http.ts';
import { decrypt, encrypt } from '../../../operator/sealing/hybrid.ts';
import { readKeySecret, type SealingKey } from '../../../operator/sealing/key-secret.ts';
import { OpenerMemory } from '../../../operator/sealing/opener-memory.ts';
import { PrivateKeyLanes } from '../../../operator/sealing/private-key.ts';
import type { TemplateEngine } from '../../../operator/sealing/template-engine.ts';
import { decideWrite } from '../../../operator/sealing/write.ts';
import { quickOrLong } from '../../support/long.ts';
import {
  damaged,
  malformedText,
  mutated,
  randomBytes,
  strangeJson,
  strangeName,
  strangeTemplate,
} from '../../support/malformed.ts';
import { Random } from '../../support/random.ts';
import { newSealingKey, recordingLogger, sealedSecret, startTemplateEngine } from '../../support/sealing.ts';

/** Inputs of each class; 100,000 in all, or twenty times as many. */
const TIMES = quickOrLong({ quick: 1, long: 20 });
const COUNT = {
  base64: 30_000 * TIMES,
  blobs: 28_000 * TIMES,
  objects: 10_000 * TIMES,
  templates: 5_000 * TIMES,
  legacy: 2_000 * TIMES,
  keySecrets: 3_000 * TIMES,
  bodies: 10_000 * TIMES,
  writes: 12_000 * TIMES,
};
/** In the clear nowhere but in the Secret that is to be made. */
const CANARY = 'canary:plaintext~42';
const SIDE_BY_SIDE = 8;
const REACHING_RSA = 5_000;
const UNCHANGED = { a: Buffer.from('as it was').toString('base64') };

describe('the sealing room under bad input', function () {
  this.timeout(60 * 60_000);
  const random = Random.fromEnvironment();
  const { logger, lines } = recordingLogger();
  const unhandled: unknown[] = [];
  let reachedRsa = 0;
  let key: SealingKey & { secret: object };
  let engine: TemplateEngine;
  before(async () => {
    process.on('unhandledRejection', collect);
    console.log(`      seed ${random.seed}: SIGNET_TEST_SEED=${random.seed} repeats these inputs`);
    [key, engine] = await Promise.all([newSealingKey(), startTemplateEngine({ size: SIDE_BY_SIDE })]);
    const openBlock = key.privateKey.openBlock.bind(key.privateKey);
    key.privateKey.openBlock = (block, label, signal) => {
      if (block.length <= 256) reachedRsa++;
      return openBlock(block, label, signal);
    };
  });
  after(async () => {
    process.off('unhandledRejection', collect);
    await engine.close();
  });
  const collect = (reason: unknown): void => {
    unhandled.push(reason);
  };

  const hidden = (text: string, input: unknown): void => {
    for (const form of [
      CANARY,
      Buffer.from(CANARY).toString('base64'),
      Buffer.from(CANARY).toString('hex'),
    ]) {
      if (text.includes(form)) assert.fail(`plaintext in ${text} for ${JSON.stringify(input)}`);
    }
  };
  const sealed = (spec: Partial<SealedSecretSpec> = {}): SealedSecret =>
    sealedSecret({ publicKey: key.privateKey.publicKey, values: { a: CANARY, b: CANARY }, spec });
  /** Runs the work so often, some at a time. */
  const many = async (count: number, work: () => Promise<void>): Promise<void> => {
    let left = count;
    const lane = async () => {
      while (left-- > 0) await work();
    };
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, lane));
  };

  /** A pass over the object beside a Secret that it owns; whatever happens, only a success may write. */
  const pass = async (object: SealedSecret): Promise<'written' | 'failed'> => {
    let writes = 0;
    const texts: string[] = [];
    const existing: StoredObject = {
      ...{ apiVersion: 'v1', kind: 'Secret', data: UNCHANGED },
      metadata: {
        ...{ name: 'db', namespace: 'shop', uid: 'secret', resourceVersion: '7' },
        ownerReferences: [
          {
            ...{ apiVersion: 'bitnami.com/v1alpha1', kind: 'SealedSecret', name: 'db' },
            uid: 'f6a5d7b0-uid',
            controller: true,
          },
        ],
      },
    };
    const write = async <T>(_type: unknown, secret: unknown): Promise<T> => {
      writes++;
      return { ...(secret as StoredObject) } as T;
    };
    const reconciler: Reconciler<SealedSecretSpec, SealedSecretStatus> = sealedSecretReconciler({
      client: { get: async <T>() => existing as T, create: write, replace: write },
      ...{
        keys: { keys: () => [key] },
        templates: engine,
        openers: new OpenerMemory(),
        acceptDeprecatedV1Data: true,
      },
    });
    const context: ReconcileContext<SealedSecretStatus> = {
      ...{
        signal: new AbortController().signal,
        logger,
        reconcileId: 'r',
        progress: () => {},
        claim: () => {},
        checkpoint: async () => {},
      },
      record: (facts) => texts.push(JSON.stringify(facts)),
      event: (event) => texts.push(JSON.stringify(event)),
    };
    try {
      const outcome = await reconciler.reconcile(object, context);
      hidden(JSON.stringify([outcome, texts]), object);
      return 'written';
    } catch (error) {
      if (!(error instanceof FailedError))
        throw new Error(`${error} for ${JSON.stringify(object)}`, { cause: error });
      hidden(JSON.stringify([error.message, error.eventMessage, error.reason, texts]) + error.stack, object);
      assert.equal(writes, 0, `a failure wrote for ${JSON.stringify(object)}`);
      return 'failed';
    }
  };

  it(`reads base64 or says where it ends (${COUNT.base64})`, () => {
    for (let count = 0; count < COUNT.base64; count++) {
      const good = randomBytes(random, 40);
      const text =
        random.below(3) === 0
          ? malformedText(random)
          : damaged(random, Buffer.from(`${good.toString('base64')}=`)).toString('latin1');
      try {
        const compact = text.replaceAll(/[\r\n]/g, '');
        assert.equal(decodeBase64(text).toString('base64').length, compact.length, text);
      } catch (error) {
        if (!(error instanceof Base64Error)) throw error;
        assert.match(error.message, /^illegal base64 data at input byte \d+$/);
      }
    }
  });

  it(`answers a damaged item with nothing, the same nothing every time (${COUNT.blobs})`, async () => {
    const label = Buffer.from('shop/db');
    const items = Array.from({ length: 20 }, () =>
      encrypt(key.privateKey.publicKey, Buffer.from(CANARY), label),
    );
    await many(COUNT.blobs, async () => {
      const good = random.pick(items);
      const blob = random.below(3) === 0 ? randomBytes(random, 600) : damaged(random, good);
      const otherLabel = random.below(20) === 0;
      if (blob.equals(good) && !otherLabel) return;
      const answer = await decrypt({
        sealed: blob,
        label: otherLabel ? Buffer.from('x') : label,
        keys: [key.privateKey],
      });
      assert.equal(answer, undefined, blob.toString('base64'));
    });
  });

  it(`fails a malformed SealedSecret in words, and touches nothing (${COUNT.objects})`, async () => {
    const template = {
      type: 'Opaque',
      immutable: false,
      metadata: { labels: { l: '1' }, annotations: { n: 'x' }, finalizers: [], ownerReferences: [] },
      data: { t: '{{ .a }}' },
    };
    const bases = Array.from({ length: 20 }, () => sealed(random.below(2) === 0 ? { template } : {}));
    const ends = { written: 0, failed: 0 };
    await many(COUNT.objects, async () => {
      const base = random.pick(bases);
      const object = structuredClone(base);
      if (random.below(3) === 0) {
        const item = Buffer.from(base.spec.encryptedData.a ?? '', 'base64');
        object.spec.encryptedData.a = damaged(random, item).toString('base64');
      }
      const { metadata, ...rest } = object;
      const spec = mutated(random, { spec: rest.spec as unknown as JsonObject }).spec;
      if (typeof spec !== 'object' || spec === null || Array.isArray(spec)) return;
      const annotations =
        random.below(10) === 0
          ? {
              [strangeName(random)]: malformedText(random),
              'sealedsecrets.bitnami.com/cluster-wide': random.pick(['true', 'True', '']),
            }
          : {};
      ends[
        await pass({
          ...rest,
          metadata: { ...metadata, annotations },
          spec: spec as unknown as SealedSecretSpec,
        })
      ]++;
    });
    assert.ok(ends.failed > COUNT.objects / 10 && ends.written > COUNT.objects / 10, JSON.stringify(ends));
  });

  it(`fails a strange template without quoting what it was given (${COUNT.templates})`, async () => {
    const base = sealed();
    const ends = { written: 0, failed: 0 };
    await many(COUNT.templates, async () => {
      const data = Object.fromEntries(
        [
          ['t', strangeTemplate(random)],
          ['u', strangeTemplate(random)],
        ].slice(random.below(2)),
      );
      ends[await pass({ ...base, spec: { ...base.spec, template: { data } } })]++;
    });
    assert.ok(ends.failed > COUNT.templates / 10 && ends.written > 0, JSON.stringify(ends));
  });

  it(`fails a deprecated form with anything in it, without quoting it (${COUNT.legacy})`, async () => {
    const inner = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { labels: { a: 'b' } },
      type: 'Opaque',
      data: { a: Buffer.from(CANARY).toString('base64') },
      stringData: { b: CANARY },
    };
    await many(COUNT.legacy, async () => {
      const text =
        random.below(4) === 0 ? `${CANARY}${malformedText(random)}` : JSON.stringify(mutated(random, inner));
      const data = encrypt(key.privateKey.publicKey, Buffer.from(text), Buffer.from('shop/db')).toString(
        'base64',
      );
      const base = sealed();
      await pass({ ...base, spec: { encryptedData: {}, data } });
    });
  });

  it(`skips a key Secret that is no key, and says so without quoting it (${COUNT.keySecrets})`, () => {
    const lanes = new PrivateKeyLanes(1);
    const good = key.secret as JsonObject & { data: Record<string, string> };
    for (let count = 0; count < COUNT.keySecrets; count++) {
      const data: Record<string, unknown> = { ...good.data };
      const field = random.pick(['tls.key', 'tls.crt']);
      const pem = Buffer.from(good.data[field] ?? '', 'base64');
      data[field] = random.below(3) === 0 ? strangeJson(random) : damaged(random, pem).toString('base64');
      const read = readKeySecret({ ...good, metadata: { name: 'k' }, data } as never, lanes);
      const said = JSON.stringify(read.problems);
      for (const line of pem
        .toString()
        .split('\n')
        .filter((text) => text.length > 30 && !text.startsWith('-'))) {
        assert.ok(!said.includes(line.slice(5, 30)), said);
      }
    }
  });

  it(`answers any body with a status and no word more (${COUNT.bodies})`, async () => {
    const rate = { perSecond: 1_000_000, burst: 1_000_000 };
    const { certificate } = key;
    const newest = () => (certificate === undefined ? undefined : { ...key, certificate });
    const face = sealingFace({ keys: { keys: () => [key], newest }, logger, rate });
    const base = sealed() as unknown as JsonObject;
    const statuses = new Map<number, number>();
    let rotated = 0;
    try {
      for (let count = 0; count < COUNT.bodies; count++) {
        const object = mutated(random, base);
        const payload = random.pick([
          () => JSON.stringify(object),
          () => JSON.stringify(base),
          () => damaged(random, Buffer.from(JSON.stringify(object))),
          () => randomBytes(random, 200),
          () => `kind: SealedSecret\napiVersion: bitnami.com/v1alpha1\n${malformedText(random, 200)}`,
          () => JSON.stringify(strangeJson(random)),
          () => '',
        ])();
        const headers: Record<string, string> = {};
        if (random.below(3) === 0)
          headers['content-type'] = random.pick(['application/json', 'text/plain', 'x', 'a/b; c="']);
        if (random.below(20) === 0) headers['content-encoding'] = random.pick(['gzip', 'br', 'identity']);
        const url = random.pick(['/v1/verify', '/v1/verify', '/v1/verify', '/v1/rotate']);
        const answer = await face.inject({ method: 'POST', url, payload, headers });
        if (url === '/v1/rotate' && answer.statusCode === 200) rotated++;
        statuses.set(answer.statusCode, (statuses.get(answer.statusCode) ?? 0) + 1);
        hidden(answer.body + JSON.stringify(answer.headers), payload);
      }
    } finally {
      await face.close();
    }
    assert.ok(rotated > 10, `${rotated} were rotated`);
    for (const status of [200, 409, 500])
      assert.ok((statuses.get(status) ?? 0) > 10, JSON.stringify([...statuses]));
  });

  it(`decides about any Secret that is there (${COUNT.writes})`, () => {
    const live = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        name: 'db',
        namespace: 'shop',
        uid: 'u',
        resourceVersion: '1',
        labels: { l: '1' },
        annotations: { a: '1' },
        ownerReferences: [],
      },
      type: 'Opaque',
      data: { a: 'AA==' },
    };
    const desired = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'db', namespace: 'shop', labels: { l: '1' } },
      data: { a: 'AAA=' },
    };
    for (let count = 0; count < COUNT.writes; count++) {
      const annotations = {
        [random.pick([
          'sealedsecrets.bitnami.com/managed',
          'sealedsecrets.bitnami.com/patch',
          strangeName(random),
        ])]: random.pick(['true', 'false', 'True', '', malformedText(random)]),
      };
      const data = Object.fromEntries(
        Array.from({ length: random.below(4) }, () => [strangeName(random), 'AA==']),
      );
      const existing = { ...live, metadata: { ...live.metadata, annotations }, data } as StoredObject;
      const decision = decideWrite({ desired, existing, ownerUid: 'owner' });
      const allowed = Object.entries(annotations).some(
        ([name, value]) => /\/(managed|patch)$/.test(name) && value === 'true',
      );
      assert.equal(decision.action === 'refuse', !allowed, JSON.stringify(existing));
      if (decision.action !== 'update') continue;
      const again = decideWrite({ desired, existing: decision.secret as StoredObject, ownerUid: 'owner' });
      const settled = annotations['sealedsecrets.bitnami.com/patch'] === 'true' ? 'none' : 'refuse';
      assert.equal(again.action, settled, JSON.stringify(decision));
    }
  });

  it('has had enough inputs reach the RSA key, logged no plaintext, and left no rejection unhandled', () => {
    console.log(`      ${reachedRsa} inputs reached RSA`);
    assert.ok(reachedRsa >= REACHING_RSA, `${reachedRsa}`);
    hidden(lines.join('\n'), 'the log');
    assert.deepEqual(unhandled, []);
  });
});
