import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { conformanceRows, titlesIn, unproven } from '../support/conformance.ts';

const ROOT = join(import.meta.dirname, '../..');
const SPEC = join(ROOT, 'docs/spec');
const pages = readdirSync(SPEC).filter((name) => name.endsWith('.md'));

function testSources(): string[] {
  return readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts'))
    .map((path) => readFileSync(join(ROOT, 'test', path), 'utf8'));
}

describe('the conformance tables of docs/spec', () => {
  const titles = testSources().flatMap(titlesIn);
  for (const page of pages) {
    it(`name only tests that exist: ${page}`, () => {
      const rows = conformanceRows(readFileSync(join(SPEC, page), 'utf8'));
      const missing = rows
        .flatMap((row) => row.titles)
        .filter((title) => !titles.some((pattern) => pattern.test(title)));
      assert.deepEqual(missing, []);
    });
  }
});

describe('the check of the conformance tables', () => {
  const table = (...rows: string[]) =>
    ['# Page', '', '## Conformance', '', '| behaviour | test |', '| --- | --- |', ...rows, ''].join('\n');

  it('reads behaviours with the tests that prove them, and differences with their reasons', () => {
    const rows = conformanceRows(
      table(
        '| seals | `one`; `two` |',
        '| opens | the `one` that opens |',
        '| `--flag` | differs: because of `this` |',
      ),
    );
    assert.deepEqual(rows, [
      { behaviour: 'seals', titles: ['one', 'two'], differs: undefined },
      { behaviour: 'opens', titles: ['the `one` that opens'], differs: undefined },
      { behaviour: '`--flag`', titles: [], differs: 'because of `this`' },
    ]);
  });

  it('refuses a page without a table at its end, and a row that proves nothing', () => {
    assert.throws(() => conformanceRows('# Page\n'), /must end with one/);
    assert.throws(() => conformanceRows(`${table('| a | `b` |')}\n## More\n`), /must end with one/);
    assert.throws(() => conformanceRows(table()), /is empty/);
    assert.throws(() => conformanceRows(table('| seals | |')), /proves nothing: \| seals/);
  });

  it('finds titles in sources, whatever their quotes, with anything in place of what is filled in', () => {
    // Put together, lest this file be found to have these titles itself.
    const call = (title: string, name = 'it') => [name, `(${title}, () => {});`].join('');
    const calls = [call(String.raw`'it\'s (one)'`), call('"two"'), call('`for $' + '{a.b({ c })} of x`')];
    const patterns = titlesIn([call("'suite'", 'describe'), ...calls].join('\n'));
    const found = (title: string) => patterns.some((pattern) => pattern.test(title));
    for (const title of ["it's (one)", 'two', 'suite two', 'for anything of x'])
      assert.ok(found(title), title);
    for (const title of ['its (one)', 'twofold', 'other two', 'for all']) assert.ok(!found(title), title);
  });

  it('takes only tests that passed for a proof', () => {
    const rows = conformanceRows(table('| a | `ran`; `here ran`; `failed`; `skipped`; `gone` |'));
    const ran = [
      { title: 'ran', fullTitle: 'here ran', state: 'passed' as const },
      { title: 'failed', fullTitle: 'here failed', state: 'failed' as const },
      { title: 'skipped', fullTitle: 'here skipped', state: 'pending' as const },
    ];
    assert.deepEqual(unproven(rows, ran, { acceptPending: false }), ['failed', 'skipped', 'gone']);
  });

  it('lets a test be pending only where a program is known to be missing', () => {
    const rows = conformanceRows(table('| a | `failed`; `skipped`; `gone` |'));
    const ran = [
      { title: 'failed', fullTitle: 'here failed', state: 'failed' as const },
      { title: 'skipped', fullTitle: 'here skipped', state: 'pending' as const },
    ];
    assert.deepEqual(unproven(rows, ran, { acceptPending: true }), ['failed', 'gone']);
  });
});
