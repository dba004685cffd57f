import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import type { KeyObject } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SealedSecret } from '../../operator/api/sealed-secret.gen.ts';
import { decodeBase64 } from '../../operator/sealing/base64.ts';
import { createCertificate } from '../../operator/sealing/certificate.ts';
import { decrypt } from '../../operator/sealing/hybrid.ts';
import type { SealingKey } from '../../operator/sealing/key-secret.ts';
import { unseal } from '../../operator/sealing/unseal.ts';
import { newPrivateKey, newSealingKey, sealedSecret, WITHOUT_TEMPLATES } from '../support/sealing.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { toolPath } from '../support/tool-path.ts';

const VALUES = { password: 'hunter2', empty: '', binary: '\u0000\u0001é\n' };
const SCOPES = ['strict', 'namespace-wide', 'cluster-wide'] as const;

interface Run {
  status: number;
  stdout: string;
  stderr: string;
}

describe('the stock kubeseal, without a cluster', function () {
  this.timeout(15 * 60_000);
  const directory = useTemporaryDirectory();
  let kubeseal: string;
  let key: SealingKey & { secret: object; privateKeyObject: KeyObject };
  before(async () => {
    kubeseal = await toolPath('kubeseal');
    key = await newSealingKey();
  });

  const run = (args: string[], input: string): Promise<Run> =>
    new Promise((resolve) => {
      const env = { HOME: directory(), KUBECONFIG: join(directory(), 'none') };
      const child = execFile(kubeseal, args, { env }, (error, stdout, stderr) => {
        resolve({ status: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
      });
      child.stdin?.end(input);
    });
  const succeed = async (args: string[], input: string): Promise<string> => {
    const { status, stdout, stderr } = await run(args, input);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const certificateFile = async (pem = key.certificate?.pem ?? ''): Promise<string> => {
    const path = join(directory(), 'cert.pem');
    await writeFile(path, pem);
    return path;
  };
  const recover = async (object: SealedSecret, type: 'pkcs1' | 'pkcs8' | 'secret'): Promise<string> => {
    const path = join(directory(), 'recovery.key');
    const exported =
      type === 'secret'
        ? JSON.stringify(key.secret)
        : key.privateKeyObject.export({ type, format: 'pem' }).toString();
    await writeFile(path, exported);
    return await succeed(
      ['--recovery-unseal', '--recovery-private-key', path, '-o', 'json'],
      JSON.stringify(object),
    );
  };
  const secretJson = () =>
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'db', namespace: 'shop', labels: { app: 'shop' }, annotations: { note: 'x' } },
      type: 'Opaque',
      data: Object.fromEntries(
        Object.entries(VALUES).map(([item, value]) => [item, Buffer.from(value).toString('base64')]),
      ),
    });
  const decoded = (data: unknown) =>
    Object.fromEntries(
      // Go writes an empty value as null.
      Object.entries((data ?? {}) as Record<string, string | null>).map(([item, value]) => [
        item,
        Buffer.from(value ?? '', 'base64').toString(),
      ]),
    );

  for (const scope of SCOPES) {
    it(`seals with our certificate what we unseal: ${scope}`, async () => {
      const args = ['--cert', await certificateFile(), '--scope', scope, '-o', 'json'];
      const object = JSON.parse(await succeed(args, secretJson())) as SealedSecret;
      object.metadata.uid = 'uid';
      const { secret } = await unseal({ ...WITHOUT_TEMPLATES, sealedSecret: object, keys: [key.privateKey] });
      assert.deepEqual(decoded(secret.data), VALUES);
      assert.equal(secret.type, 'Opaque');
      assert.deepEqual(secret.metadata.labels, { app: 'shop' });
      assert.equal(secret.metadata.annotations?.note, 'x');
      const renamed = { ...object, metadata: { ...object.metadata, name: 'other' } };
      const opensRenamed = await unseal({
        ...WITHOUT_TEMPLATES,
        sealedSecret: renamed,
        keys: [key.privateKey],
      }).then(
        () => true,
        () => false,
      );
      assert.equal(opensRenamed, scope !== 'strict');
    });

    it(`recovers with our private key what we sealed: ${scope}`, async () => {
      const annotations = scope === 'strict' ? {} : { [`sealedsecrets.bitnami.com/${scope}`]: 'true' };
      const object = sealedSecret({
        publicKey: key.privateKey.publicKey,
        values: VALUES,
        metadata: { annotations },
      });
      for (const type of ['pkcs1', 'pkcs8', 'secret'] as const) {
        const recovered = JSON.parse(await recover(object, type)) as { data: unknown };
        assert.deepEqual(decoded(recovered.data), VALUES, type);
      }
    });
  }

  it('seals single values with --raw', async () => {
    const args = ['--cert', await certificateFile(), '--raw', '--namespace', 'shop', '--name', 'db'];
    const item = await succeed(args, 'hunter2');
    const sealed = decodeBase64(item);
    const opened = await decrypt({ sealed, label: Buffer.from('shop/db'), keys: [key.privateKey] });
    assert.equal(opened?.plaintext.toString(), 'hunter2');
  });

  it('accepts a certificate of ours of any common name, and refuses one that has expired', async () => {
    const privateKey = await newPrivateKey();
    const seal = async (commonName: string, now: Date) => {
      const pem = await createCertificate({ privateKey, commonName, validForMs: 3_600_000, now });
      return await run(['--cert', await certificateFile(pem), '-o', 'json'], secretJson());
    };
    for (const commonName of ['', 'sealed.example.org', 'schlüssel']) {
      assert.equal((await seal(commonName, new Date())).status, 0, commonName);
    }
    const expired = await seal('', new Date(Date.now() - 7_200_000));
    assert.equal(expired.status, 1);
    assert.match(expired.stderr, /expired/);
  });

  it('words a failure to decrypt as we do', async () => {
    const object = sealedSecret({ publicKey: key.privateKey.publicKey, values: { a: 'v' } });
    const items = { b: 'AAAA', c: '!', d: `${object.spec.encryptedData.a?.slice(0, 300)}` };
    for (const [item, value] of Object.entries(items)) {
      const broken = { ...object, spec: { encryptedData: { [item]: value } } };
      const path = join(directory(), 'recovery.key');
      await writeFile(path, key.privateKeyObject.export({ type: 'pkcs1', format: 'pem' }));
      const theirs = await run(['--recovery-unseal', '--recovery-private-key', path], JSON.stringify(broken));
      const ours = await unseal({ ...WITHOUT_TEMPLATES, sealedSecret: broken, keys: [key.privateKey] }).then(
        () => assert.fail('was unsealed'),
        (error: Error) => error.message,
      );
      assert.notEqual(theirs.status, 0);
      assert.ok(theirs.stderr.includes(ours), `${theirs.stderr} does not say: ${ours}`);
    }
  });
});
