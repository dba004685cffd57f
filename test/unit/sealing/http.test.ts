import assert from 'node:assert/strict';
import { request } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { SILENT } from '../../../operator/api/logger.ts';
import { CLUSTER_WIDE_ANNOTATION } from '../../../operator/api/names.ts';
import { decodeBase64 } from '../../../operator/sealing/base64.ts';
import { SealingServer, sealingFace } from '../../../operator/sealing/http.ts';
import { decrypt, encrypt } from '../../../operator/sealing/hybrid.ts';
import type { KeyRing } from '../../../operator/sealing/key-ring.ts';
import type { SealingKey } from '../../../operator/sealing/key-secret.ts';
import { PrivateKeyLanes } from '../../../operator/sealing/private-key.ts';
import { newSealingKey, sealedSecret } from '../../support/sealing.ts';

/** A rate that no test comes near. */
const MANY = { perSecond: 10_000, burst: 10_000 };

type TestKey = Awaited<ReturnType<typeof newSealingKey>>;

function ringOf(...keys: SealingKey[]): Pick<KeyRing, 'keys' | 'newest'> {
  const [key] = keys;
  return {
    keys: () => keys,
    newest: () => (key?.certificate === undefined ? undefined : { ...key, certificate: key.certificate }),
  };
}

describe('the sealing HTTP face', function () {
  this.timeout(30_000);
  let key: TestKey;
  let other: TestKey;
  let app: FastifyInstance;
  before(async () => {
    [key, other] = await Promise.all([newSealingKey(), newSealingKey()]);
    app = sealingFace({ keys: ringOf(key), logger: SILENT, rate: MANY });
  });
  after(() => app.close());

  const sealed = (o: Partial<Parameters<typeof sealedSecret>[0]> = {}) =>
    sealedSecret({ publicKey: key.privateKey.publicKey, values: { a: 'hunter2', b: '' }, ...o });
  const verify = async (payload: string | Buffer, headers: Record<string, string> = {}) => {
    const answer = await app.inject({ method: 'POST', url: '/v1/verify', payload, headers });
    assert.equal(answer.body, '', 'a body was sent');
    return answer.statusCode;
  };

  it('serves the newest certificate, to GET and HEAD', async () => {
    const got = await app.inject({ method: 'GET', url: '/v1/cert.pem' });
    assert.equal(got.statusCode, 200);
    assert.equal(got.headers['content-type'], 'application/x-pem-file');
    assert.equal(got.body, key.certificate?.pem);
    const head = await app.inject({ method: 'HEAD', url: '/v1/cert.pem' });
    assert.equal(head.statusCode, 200);
    assert.equal(head.headers['content-type'], 'application/x-pem-file');
    assert.equal(head.headers['content-length'], String(key.certificate?.pem.length));
    assert.equal(head.body, '');
  });

  it('answers 500 for the certificate while there is no key', async () => {
    const keyless = sealingFace({ keys: ringOf(), logger: SILENT });
    assert.equal((await keyless.inject({ method: 'GET', url: '/v1/cert.pem' })).statusCode, 500);
  });

  it('is healthy whether or not there is a key', async () => {
    const keyless = sealingFace({ keys: ringOf(), logger: SILENT });
    const answer = await keyless.inject({ method: 'GET', url: '/healthz' });
    assert.deepEqual([answer.statusCode, answer.body], [200, 'ok\n']);
  });

  it('verifies what the keys in force can decrypt, in JSON and in YAML, whatever the Content-Type says', async () => {
    const object = sealed();
    assert.equal(await verify(JSON.stringify(object)), 200);
    for (const type of ['application/json', 'application/yaml', 'text/plain', 'nonsense']) {
      assert.equal(await verify(JSON.stringify(object), { 'content-type': type }), 200, type);
    }
    const { a, b } = object.spec.encryptedData;
    const yaml = [
      'apiVersion: bitnami.com/v1alpha1',
      'kind: SealedSecret',
      'metadata: { name: db, namespace: shop }',
      'spec:',
      '  encryptedData:',
      `    a: ${a}`,
      `    b: ${b}`,
      '',
    ].join('\n');
    assert.equal(await verify(yaml), 200);
    assert.equal(await verify(yaml.replace('name: db', 'name: other')), 409);
  });

  it('answers 409 to what no key decrypts, whatever is wrong with it', async () => {
    const foreign = sealed({ publicKey: other.privateKey.publicKey });
    assert.equal(await verify(JSON.stringify(foreign)), 409);
    const item = sealed().spec.encryptedData.a ?? '';
    for (const a of [
      '',
      'AAAA',
      'A',
      '!',
      ` ${item}`,
      item.slice(0, -4),
      `${item}AAAA`,
      7,
      null,
      true,
      [item],
      { a: item },
    ]) {
      const object = { ...sealed(), spec: { encryptedData: { good: item, a } } };
      assert.equal(await verify(JSON.stringify(object)), 409, JSON.stringify(a));
    }
    const moved = { ...sealed(), metadata: { name: 'db', namespace: 'other' } };
    assert.equal(await verify(JSON.stringify(moved)), 409);
    assert.equal(
      await verify(JSON.stringify({ ...sealed(), spec: { encryptedData: {}, data: 'AAAA' } })),
      409,
    );
  });

  it('takes the scope from the annotations of the object itself', async () => {
    const annotations = { [CLUSTER_WIDE_ANNOTATION]: 'true' };
    const object = sealed({ metadata: { annotations } });
    assert.equal(
      await verify(JSON.stringify({ ...object, metadata: { name: 'x', namespace: 'y', annotations } })),
      200,
    );
    assert.equal(
      await verify(JSON.stringify({ ...object, metadata: { name: 'db', namespace: 'shop' } })),
      409,
    );
  });

  it('verifies an object without items, and ignores templates', async () => {
    for (const encryptedData of [{}, null, undefined, 'text']) {
      assert.equal(await verify(JSON.stringify({ ...sealed(), spec: { encryptedData } })), 200);
    }
    const template = { data: { x: '{{ fail .a }}', y: '{{' } };
    assert.equal(await verify(JSON.stringify(sealed({ spec: { template } }))), 200);
  });

  it('answers 500 to what is not one SealedSecret', async () => {
    const object = JSON.stringify(sealed());
    const { kind: _, ...kindless } = sealed();
    const bodies = [
      '',
      'null',
      '7',
      '[]',
      '{}',
      `[${object}]`,
      JSON.stringify(kindless),
      JSON.stringify({ ...sealed(), kind: 'Secret' }),
      JSON.stringify({ ...sealed(), apiVersion: 'v1' }),
      `${object}\n${object}`,
      `---\n${object}\n---\n${object}\n`,
      object.slice(0, -1),
      '{{{{',
      'a: &a [*a, *a',
      Buffer.from([0xff, 0xfe, 0x00]),
      `a: &a [x,x]\nb: &b [${'*a,'.repeat(20)}x]\nc: &c [${'*b,'.repeat(20)}x]\nd: [${'*c,'.repeat(20)}x]\n`,
    ];
    for (const body of bodies) assert.equal(await verify(body), 500, String(body).slice(0, 60));
  });

  it('says nothing of a body on standard error, however strange its YAML', async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on('warning', listen);
    try {
      assert.equal(await verify('? { a: hunter2 }\n: b\n'), 500);
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      process.off('warning', listen);
    }
    assert.deepEqual(warnings, []);
  });

  it('survives names of object internals in a body', async () => {
    const object = JSON.stringify(sealed());
    const item = sealed().spec.encryptedData.a;
    assert.equal(
      await verify(object.replace('"encryptedData":{', `"encryptedData":{"__proto__":"${item}",`)),
      200,
    );
    assert.equal(
      await verify(object.replace('"encryptedData":{', '"encryptedData":{"__proto__":"AAAA",')),
      409,
    );
    assert.equal(
      await verify('{"__proto__":{"kind":"SealedSecret","apiVersion":"bitnami.com/v1alpha1"}}'),
      500,
    );
  });

  it('refuses compressed and oversized bodies', async () => {
    assert.equal(await verify(JSON.stringify(sealed()), { 'content-encoding': 'gzip' }), 415);
    assert.equal(await verify(Buffer.alloc(3 * 1024 * 1024 + 1, 0x20)), 413);
    const longYaml = `# ${'x'.repeat(200_000)}\n${JSON.stringify(sealed())}`;
    assert.equal(await verify(longYaml), 500);
  });

  it('tells clients to come back while it is busy', async () => {
    const oneLane = new PrivateKeyLanes(1);
    const held = Promise.withResolvers<void>();
    const holding = oneLane.run(() => held.promise);
    const slowKey = await newSealingKey({ lanes: oneLane });
    const busy = sealingFace({ keys: ringOf(slowKey), logger: SILENT, rate: MANY });
    const payload = JSON.stringify(sealed({ publicKey: slowKey.privateKey.publicKey }));
    const ask = async () => await busy.inject({ method: 'POST', url: '/v1/verify', payload });
    const answers = Array.from({ length: 5 }, ask);
    const refused = await Promise.all(answers.slice(2));
    for (const answer of refused) {
      assert.deepEqual([answer.statusCode, answer.headers['retry-after'], answer.body], [429, '1', '']);
    }
    held.resolve();
    await holding;
    for (const answer of await Promise.all(answers.slice(0, 2))) assert.equal(answer.statusCode, 200);
    assert.equal((await ask()).statusCode, 200);
    await busy.close();
  });

  it('knows no other paths', async () => {
    for (const url of ['/', '/v1', '/v1/cert.pem/', '/v1/verify', '/v1/rotate', '/metrics']) {
      const { statusCode, body } = await app.inject({ method: 'GET', url });
      assert.deepEqual([statusCode, body], [404, ''], url);
    }
  });

  describe('sealing anew', () => {
    const rotate = async (payload: unknown, keys = ringOf(other, key)) => {
      const face = sealingFace({ keys, logger: SILENT, rate: MANY });
      const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
      const answer = await face.inject({ method: 'POST', url: '/v1/rotate', payload: text });
      await face.close();
      return answer;
    };
    const openedBy = async (sealedItem: string | undefined, label: string) =>
      await decrypt({
        sealed: decodeBase64(sealedItem ?? ''),
        label: Buffer.from(label),
        keys: [other.privateKey, key.privateKey],
      });

    it('seals every item with the newest key and keeps everything else that was sent', async () => {
      const template = {
        type: 'kubernetes.io/basic-auth',
        immutable: true,
        metadata: { labels: { app: 'shop' }, annotations: { 'sealedsecrets.bitnami.com/managed': 'true' } },
        data: { url: 'http://{{ .a }}', broken: '{{' },
      };
      const object = sealed({
        metadata: { annotations: { note: 'x' } },
        spec: { template },
      });
      const sent = {
        ...object,
        metadata: { ...object.metadata, labels: { team: 'a' }, managedFields: [{}] },
      };
      const answer = await rotate(sent);
      assert.equal(answer.statusCode, 200);
      assert.match(String(answer.headers['content-type']), /^application\/json/);
      const rotated = JSON.parse(answer.body) as typeof object;
      assert.deepEqual(rotated.metadata, {
        name: 'db',
        namespace: 'shop',
        labels: { team: 'a' },
        annotations: { note: 'x' },
      });
      assert.deepEqual(rotated.spec.template, template);
      assert.deepEqual(Object.keys(rotated.spec.encryptedData), ['a', 'b']);
      for (const [item, value] of [
        ['a', 'hunter2'],
        ['b', ''],
      ] as const) {
        const opened = await openedBy(rotated.spec.encryptedData[item], 'shop/db');
        assert.deepEqual([opened?.plaintext.toString(), opened?.fingerprint], [value, other.fingerprint]);
      }
    });

    it('never widens the scope: what the template says of it counts for nothing', async () => {
      const annotations = { [CLUSTER_WIDE_ANNOTATION]: 'true' };
      const rotated = JSON.parse(
        (await rotate(sealed({ spec: { template: { metadata: { annotations } } } }))).body,
      );
      assert.equal(rotated.metadata.annotations, undefined);
      assert.ok((await openedBy(rotated.spec.encryptedData.a, 'shop/db')) !== undefined);
      assert.equal(await openedBy(rotated.spec.encryptedData.a, ''), undefined);
      const moved = { ...sealed(), metadata: { name: 'db', namespace: 'shop', annotations } };
      assert.equal((await rotate(moved)).statusCode, 500, 'a strict item was sealed cluster-wide');
    });

    it('seals the deprecated form anew as it is, unless that is not accepted', async () => {
      const blob = encrypt(key.privateKey.publicKey, Buffer.from('{}'), Buffer.from('shop/db'));
      const object = { ...sealed(), spec: { encryptedData: {}, data: blob.toString('base64') } };
      const rotated = JSON.parse((await rotate(object)).body);
      assert.equal((await openedBy(rotated.spec.data, 'shop/db'))?.fingerprint, other.fingerprint);
      const face = sealingFace({
        ...{ keys: ringOf(key), logger: SILENT, rate: MANY },
        acceptDeprecatedV1Data: false,
      });
      for (const [url, status] of [
        ['/v1/verify', 409],
        ['/v1/rotate', 500],
      ] as const) {
        const answer = await face.inject({ method: 'POST', url, payload: JSON.stringify(object) });
        assert.equal(answer.statusCode, status, url);
      }
      await face.close();
    });

    it('answers 500 without a body to whatever else it is', async () => {
      const foreign = sealed({ publicKey: (await newSealingKey()).privateKey.publicKey });
      const half = sealed();
      half.spec.encryptedData.c = foreign.spec.encryptedData.a ?? '';
      for (const body of [
        foreign,
        half,
        '',
        'null',
        '{}',
        `${JSON.stringify(sealed())}{}`,
        { ...sealed(), kind: 'Secret' },
      ]) {
        const answer = await rotate(body);
        assert.deepEqual([answer.statusCode, answer.body], [500, '']);
      }
      assert.equal((await rotate(sealed(), ringOf())).statusCode, 500, 'without a key');
    });
  });

  it('lets a client verify and rotate at the rate that it is given, each path and client for itself', async () => {
    const limited = sealingFace({ keys: ringOf(key), logger: SILENT, rate: { perSecond: 1 / 60, burst: 2 } });
    const ask = async (url: string, forwardedFor?: string) => {
      const headers = forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor };
      return await limited.inject({ method: 'POST', url, payload: '{}', headers });
    };
    const first = await ask('/v1/verify');
    assert.equal(first.statusCode, 500);
    assert.equal(first.headers['x-ratelimit-limit'], '3');
    assert.equal(first.headers['x-ratelimit-remaining'], '2');
    assert.equal(first.headers['x-ratelimit-reset'], '60');
    assert.equal(first.headers['retry-after'], undefined);
    await ask('/v1/verify');
    await ask('/v1/verify');
    const refused = await ask('/v1/verify');
    assert.deepEqual([refused.statusCode, refused.body], [429, 'limit exceeded\n']);
    assert.match(String(refused.headers['retry-after']), /^[1-6]\d$/);
    assert.equal(refused.headers['x-ratelimit-remaining'], '0');
    assert.equal((await ask('/v1/rotate')).statusCode, 500, 'another path');
    assert.equal((await ask('/v1/verify', '10.0.0.1')).statusCode, 500, 'another client');
    await limited.close();
  });

  it('knows a client by the address that the nearest proxy wrote, not by what the client wrote', async () => {
    const limited = sealingFace({ keys: ringOf(key), logger: SILENT, rate: { perSecond: 1 / 60, burst: 0 } });
    const ask = async (forwardedFor: string) => {
      const headers = { 'x-forwarded-for': forwardedFor };
      return (await limited.inject({ method: 'POST', url: '/v1/verify', payload: '{}', headers })).statusCode;
    };
    assert.deepEqual([await ask('1.1.1.1, 10.0.0.1'), await ask('2.2.2.2, 10.0.0.1')], [500, 429]);
    await limited.close();
  });

  it('is ready when it is told to be, and says so apart from being healthy', async () => {
    let ready = false;
    const face = sealingFace({ keys: ringOf(), logger: SILENT, ready: () => ready });
    const ask = async () => {
      const { statusCode, body } = await face.inject({ method: 'GET', url: '/readyz' });
      return [statusCode, body];
    };
    assert.deepEqual(await ask(), [503, 'not ready\n']);
    ready = true;
    assert.deepEqual(await ask(), [200, 'ok\n']);
    await face.close();
  });

  it('ends what takes longer than the write timeout with 503', async () => {
    const oneLane = new PrivateKeyLanes(1);
    const held = Promise.withResolvers<void>();
    const holding = oneLane.run(() => held.promise);
    const slowKey = await newSealingKey({ lanes: oneLane });
    const slow = sealingFace({ keys: ringOf(slowKey), logger: SILENT, rate: MANY, writeTimeoutMs: 20 });
    const payload = JSON.stringify(sealed({ publicKey: slowKey.privateKey.publicKey }));
    const answer = await slow.inject({ method: 'POST', url: '/v1/verify', payload });
    assert.deepEqual([answer.statusCode, answer.body], [503, '']);
    held.resolve();
    await holding;
    await slow.close();
  });

  it('tells its observer of every answer by route, and of nothing else', async () => {
    const seen: string[] = [];
    const face = sealingFace({
      ...{ keys: ringOf(key), logger: SILENT },
      observe: ({ path, method, status }) => seen.push(`${method} ${path} ${status}`),
    });
    await face.inject({ method: 'GET', url: '/v1/cert.pem?x=1' });
    await face.inject({ method: 'GET', url: '/made-up' });
    await face.inject({ method: 'POST', url: '/v1/verify', payload: '{}' });
    assert.deepEqual(seen, ['get /v1/cert.pem 200', 'post /v1/verify 500']);
    await face.close();
  });

  it('takes bodies without a Content-Type over a real connection, and stops', async () => {
    const server = new SealingServer({ keys: ringOf(key), logger: SILENT, address: '127.0.0.1:0' });
    await server.start();
    const body = JSON.stringify(sealed());
    const status = await new Promise((resolve, reject) => {
      const call = request(
        { host: '127.0.0.1', port: server.port, path: '/v1/verify', method: 'POST' },
        (answer) => {
          answer.resume().on('end', () => resolve(answer.statusCode));
        },
      );
      call.on('error', reject).setHeader('Content-Length', Buffer.byteLength(body));
      call.end(body);
    });
    assert.equal(status, 200);
    await server.stop();
  });

  it('listens on every interface when the address names none', async () => {
    const server = new SealingServer({ keys: ringOf(key), logger: SILENT, address: ':0' });
    await server.start();
    const answer = await fetch(`http://127.0.0.1:${server.port}/healthz`);
    assert.equal(await answer.text(), 'ok\n');
    await server.stop();
  });
});
