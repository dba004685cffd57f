import assert from 'node:assert/strict';
import { request } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { SILENT } from '../../../operator/api/logger.ts';
import { CLUSTER_WIDE_ANNOTATION } from '../../../operator/api/names.ts';
import { SealingServer, sealingFace } from '../../../operator/sealing/http.ts';
import type { KeyRing } from '../../../operator/sealing/key-ring.ts';
import type { SealingKey } from '../../../operator/sealing/key-secret.ts';
import { PrivateKeyLanes } from '../../../operator/sealing/private-key.ts';
import { newSealingKey, sealedSecret } from '../../support/sealing.ts';

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
    app = sealingFace({ keys: ringOf(key), logger: SILENT });
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
    const busy = sealingFace({ keys: ringOf(slowKey), logger: SILENT });
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

  it('says that it cannot rotate, and knows no other paths', async () => {
    const answer = async (method: 'GET' | 'POST', url: string) => {
      const { statusCode, body } = await app.inject({ method, url });
      return [statusCode, body];
    };
    assert.deepEqual(await answer('POST', '/v1/rotate'), [501, '']);
    for (const url of ['/', '/v1', '/v1/cert.pem/', '/v1/verify', '/metrics']) {
      assert.deepEqual(await answer('GET', url), [404, ''], url);
    }
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
