import assert from 'node:assert/strict';
import type { Rendered, TemplateEngine } from '../../../operator/sealing/template-engine.ts';
import { TemplateEngine as Engine } from '../../../operator/sealing/template-engine.ts';
import { startTemplateEngine } from '../../support/sealing.ts';

const LOOP = '{{ range 9000000000000000000 }}{{ end }}';
const GENERATED = [
  '{{ now }}',
  '{{ now | date "2006" }}',
  '{{ date "2006" "no time" }}',
  '{{ ago now }}',
  '{{ uuidv4 }}',
  '{{ randAlphaNum 1 }}',
  '{{ randInt 0 2 }}',
  '{{ shuffle "ab" }}',
  '{{ randBytes 1 }}',
  '{{ bcrypt .a }}',
  '{{ htpasswd "u" .a }}',
  '{{ encryptAES "0123456789abcdef" .a }}',
  '{{ genPrivateKey "ecdsa" }}',
  '{{ (genCA "ca" 1).Cert }}',
  '{{ $ca := genCA "ca" 1 }}{{ (genSignedCert "x" nil nil 1 $ca).Key }}',
];
const NOT_GENERATED = [
  'plain',
  '{{ .a }}',
  '{{ if false }}{{ uuidv4 }}{{ end }}never called',
  '{{ date "2006" (toDate "2006-01-02" "2020-02-29") }}',
  '{{ date "2006" 0 }}',
  '{{ keys (dict "b" 1 "a" 2 "c" 3 "d" 4) | join "," }}',
  '{{ values (dict "b" 1 "a" 2 "c" 3 "d" 4) }}',
  '{{ derivePassword 1 "long" .a "u" "s" }}',
];

describe('the template engine', function () {
  this.timeout(5 * 60_000);
  let engine: TemplateEngine;
  before(async () => {
    engine = await startTemplateEngine();
  });
  after(() => engine.close());

  const render = (templates: Record<string, string>, by: TemplateEngine = engine, signal?: AbortSignal) =>
    by.render({
      data: new Map([['a', Buffer.from('hunter2')]]),
      templates: new Map(Object.entries(templates)),
      signal,
    });
  const one = async (text: string, by?: TemplateEngine) => (await render({ t: text }, by)).get('t');
  const text = (result: Rendered | { failure: string } | undefined) =>
    result !== undefined && 'value' in result ? result.value.toString() : assert.fail(JSON.stringify(result));

  it('renders each template with the same data', async () => {
    const results = await render({ x: '{{ .a }}', y: '{{ .a | upper }}', z: '' });
    assert.deepEqual(
      Array.from(results, ([key, result]) => [key, text(result)]),
      [
        ['x', 'hunter2'],
        ['y', 'HUNTER2'],
        ['z', ''],
      ],
    );
  });

  it('finds what is generated: whatever chance or the clock has a part in', async () => {
    for (const each of GENERATED) assert.equal(((await one(each)) as Rendered).generated, true, each);
  });

  it('takes what is a function of its input for what it is, and gives maps an order', async () => {
    for (const each of NOT_GENERATED) assert.equal(((await one(each)) as Rendered).generated, false, each);
    assert.equal(
      text(await one('{{ keys (dict "b" 1 "a" 2) }}{{ values (dict "b" 1 "a" 2) }}')),
      '[a b][2 1]',
    );
  });

  it('says what is wrong with every template, and never shows a value', async () => {
    const results = await render({
      t: '{{ fail .a }}',
      u: '{{ if',
      v: 'fine',
      w: '{{ mustToDate "2006" .a }}',
    });
    assert.deepEqual(Object.fromEntries(results), {
      t: { failure: "template: t:1:3: can't be executed" },
      u: { failure: 'template: u:1: unclosed action' },
      v: { value: Buffer.from('fine'), generated: false },
      w: { failure: "template: w:1:3: can't be executed" },
    });
  });

  it('ends a template that loops, names it, and lets no other wait for it', async () => {
    const few = await startTemplateEngine({ size: 2, timeLimitMs: 1_500 });
    try {
      let ended = false;
      const looping = render({ fine: 'x', endless: LOOP }, few).finally(() => {
        ended = true;
      });
      for (let count = 0; count < 20; count++) assert.equal(text(await one('{{ .a }}', few)), 'hunter2');
      assert.equal(ended, false, 'the others were served meanwhile');
      assert.deepEqual(Object.fromEntries(await looping), {
        endless: { failure: 'template: endless: it takes longer than the 1.5s that templates may take' },
      });
      assert.equal(text(await one('{{ .a }}', few)), 'hunter2');
    } finally {
      await few.close();
    }
  });

  it('ends a template that takes too much memory or has too much output, and goes on', async () => {
    const memory = /^template: t: it needs more than the 384 MiB of memory that templates may use$/;
    const tooLong = 'template: t: the output is longer than a Secret can hold';
    const failure = async (template: string) => ((await one(template)) as { failure: string }).failure;
    assert.match(await failure('{{ repeat 2000000000 "x" }}'), memory);
    assert.match(await failure('{{ range until 1000000000 }}{{ end }}'), memory);
    assert.equal(await failure('{{ repeat 2000000 "x" }}'), tooLong);
    assert.equal(await failure('{{ range until 3000000 }}x{{ end }}'), tooLong);
    assert.match(
      await failure('{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}'),
      /^template: t/,
    );
    const half = '{{ repeat 600000 "x" }}';
    assert.deepEqual(Object.fromEntries(await render({ s: half, t: half })).t, { failure: tooLong });
    assert.equal(text(await one('{{ .a }}')), 'hunter2');
  });

  it('has names like object internals for keys and items', async () => {
    const data = new Map([['__proto__', Buffer.from('p')]]);
    const templates = new Map([['constructor', '{{ index . "__proto__" }}']]);
    const results = await engine.render({ data, templates });
    assert.equal(text(results.get('constructor')), 'p');
  });

  it('ends with the reason of the abort, waiting or rendering, and its turn is free again', async () => {
    const single = await startTemplateEngine({ size: 1, timeLimitMs: 60_000 });
    try {
      const [first, second] = [new AbortController(), new AbortController()];
      const running = assert.rejects(render({ t: LOOP }, single, first.signal), /enough/);
      const waiting = assert.rejects(render({ t: LOOP }, single, second.signal), /gone/);
      const last = one('{{ .a }}', single);
      second.abort(new Error('gone'));
      await waiting;
      first.abort(new Error('enough'));
      await running;
      assert.equal(text(await last), 'hunter2');
      await assert.rejects(render({ t: 'x' }, single, AbortSignal.abort(new Error('before'))), /before/);
    } finally {
      await single.close();
    }
  });

  it('has as many places as turns at once', async () => {
    const two = new Engine({ binary: 'none', size: 2 });
    const [first, second, third] = [two.reserve(), two.reserve(), two.reserve()];
    assert.ok(first !== undefined && second !== undefined);
    assert.equal(third, undefined);
    first();
    assert.notEqual(two.reserve(), undefined);
    assert.equal(two.reserve(), undefined);
  });

  it('fails the template, and nothing else, when the program is not there', async () => {
    const missing = new Engine({ binary: '/nowhere/template-engine' });
    const { failure } = (await one('x', missing)) as { failure: string };
    assert.match(failure, /^template: t: the template engine \/nowhere\/template-engine can't be run: /);
  });
});
