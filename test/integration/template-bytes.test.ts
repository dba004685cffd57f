import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { SealedSecret } from '../../operator/api/sealed-secret.gen.ts';
import type { SealingKey } from '../../operator/sealing/key-secret.ts';
import type { TemplateEngine } from '../../operator/sealing/template-engine.ts';
import { unseal } from '../../operator/sealing/unseal.ts';
import { newSealingKey, sealedSecret, startTemplateEngine } from '../support/sealing.ts';
import { TEMPLATES_THAT_FAIL, TEMPLATES_WITH_ONE_OUTPUT } from '../support/templates.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { toolPath } from '../support/tool-path.ts';

const VALUES = {
  user: 'admin',
  password: 'hünter2 "quoted" <&>',
  'with.dot': 'dotted',
  json: '{"a":[1,2,{"b":"c"}],"n":1.5}',
  number: '42',
  empty: '',
  lines: 'one\ntwo\n\n three ',
  __proto__x: 'p',
};

/** Upstream's own code: kubeseal unseals with the library that the controller has, templates and all. */
describe('rendering templates beside the real kubeseal', function () {
  this.timeout(10 * 60_000);
  const directory = useTemporaryDirectory();
  let key: SealingKey & { secret: object };
  let engine: TemplateEngine;
  let kubeseal: string;
  before(async () => {
    [key, engine, kubeseal] = await Promise.all([
      newSealingKey(),
      startTemplateEngine(),
      toolPath('kubeseal'),
    ]);
  });
  after(() => engine.close());

  const object = (data: Record<string, string | null>, values: Record<string, string | Buffer> = VALUES) =>
    sealedSecret({ publicKey: key.privateKey.publicKey, values, spec: { template: { data } } });
  const ours = async (sealed: SealedSecret) =>
    (
      await unseal({
        ...{ sealedSecret: sealed, keys: [key.privateKey], templates: engine, acceptDeprecatedV1Data: true },
      })
    ).secret.data;
  const theirs = async (sealed: SealedSecret): Promise<unknown> => {
    const keyFile = join(directory(), 'key.json');
    writeFileSync(keyFile, JSON.stringify(key.secret));
    const file = join(directory(), 'sealed.json');
    writeFileSync(file, JSON.stringify(sealed));
    const { stdout } = await promisify(execFile)(
      kubeseal,
      ['--recovery-unseal', '--recovery-private-key', keyFile, '-o', 'json', '-f', file],
      { env: {} },
    );
    const { data } = JSON.parse(stdout) as { data: Record<string, string | null> };
    // Go writes an empty value as null.
    return Object.fromEntries(Object.entries(data).map(([item, value]) => [item, value ?? '']));
  };
  const refusal = (promise: Promise<unknown>): Promise<string> =>
    promise.then(
      () => assert.fail('was rendered'),
      (error: Error & { stderr?: string }) => error.stderr ?? error.message,
    );

  it('gives the same bytes for every template that has one output', async () => {
    const data = Object.fromEntries(TEMPLATES_WITH_ONE_OUTPUT.map((text, at) => [`t${at}`, text]));
    const sealed = object(data);
    const [our, their] = [await ours(sealed), await theirs(sealed)] as [
      Record<string, string>,
      Record<string, string>,
    ];
    for (const [at, text] of TEMPLATES_WITH_ONE_OUTPUT.entries()) {
      const plain = (map: Record<string, string>) => Buffer.from(map[`t${at}`] ?? '', 'base64').toString();
      assert.equal(plain(our), plain(their), text);
    }
    assert.deepEqual(our, their);
  });

  it('lets an item win over a template of its name, and leaves null templates out, as upstream does', async () => {
    const sealed = object({
      user: 'from the template {{ .password }}',
      password: null,
      sees: '{{ .user }} {{ .password }} {{ .plain }}',
      plain: 'raw {{ .user }}',
    });
    assert.deepEqual(await ours(sealed), await theirs(sealed));
  });

  it('passes bytes that are no UTF-8 through untouched', async () => {
    const templates = {
      t: '{{ .bytes }}',
      b: '{{ .bytes | b64enc }}',
      j: '{{ .bytes | toJson }}',
      r: '{{ "\\xff\\x00" }}{{ .user | b64enc }}',
    };
    const sealed = object(templates, { bytes: Buffer.from([0xff, 0, 0xfe, 0x41]), user: 'u' });
    assert.deepEqual(await ours(sealed), await theirs(sealed));
  });

  it('refuses the functions that upstream takes away, in its words', async () => {
    for (const name of ['env', 'expandenv', 'getHostByName']) {
      const sealed = object({ t: `{{ ${name} "HOME" }}` });
      const message = `template: t:1: function "${name}" not defined (t)`;
      assert.equal(await refusal(ours(sealed)), message);
      assert.ok((await refusal(theirs(sealed))).includes(message));
    }
  });

  it('fails where upstream fails, at the same position, without quoting a value as upstream does', async () => {
    for (const { text, position, quotes } of TEMPLATES_THAT_FAIL) {
      const sealed = object({ t: text });
      const [our, their] = [await refusal(ours(sealed)), await refusal(theirs(sealed))];
      assert.ok(their.includes(position), `${text}: upstream says ${their}`);
      assert.ok(our.startsWith(position), `${text}: we say ${our}`);
      for (const value of Object.values(VALUES)) {
        if (value.length > 3) assert.ok(!our.includes(value), `${text}: ${our}`);
      }
      if (quotes)
        assert.ok(
          Object.values(VALUES).some((value) => value.length > 3 && their.includes(value)),
          their,
        );
    }
  });
});
