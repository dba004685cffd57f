import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { toolPath } from '../../../hack/tools.mjs';
import { newestTags, VersionRange } from '../../../operator/source/semver.ts';
import { Random } from '../../support/random.ts';

interface Answer {
  range: string;
  invalid?: true;
  allowed: string[];
  newest: string[];
}

interface Table {
  tags: string[];
  answers: Answer[];
}

const table: Table = JSON.parse(
  readFileSync(new URL('../../fixtures/semver/answers.json', import.meta.url), 'utf8'),
);

function answer(text: string, tags: string[]): Answer {
  try {
    const range = new VersionRange(text);
    const allowed = tags.filter((tag) => newestTags(range, [tag]).length > 0);
    return { range: text, allowed, newest: newestTags(range, tags) };
  } catch {
    return { range: text, invalid: true, allowed: [], newest: [] };
  }
}

/** What the Go library says, by running it. */
async function ask(ranges: string[]): Promise<Answer[]> {
  const oracle = await toolPath('semver-oracle');
  const input = JSON.stringify(ranges.map((range) => ({ range, tags: table.tags })));
  const output = execFileSync(oracle, { input, encoding: 'utf8', maxBuffer: 256 * 1024 * 1024 });
  return (JSON.parse(output) as Array<Answer & { tags: string[] }>).map(({ tags: _, ...given }) => given);
}

/** Ranges put together at random, from a fixed seed. */
function madeUpRanges(count: number): string[] {
  const random = new Random(7);
  const one = (choices: string[]): string => random.pick(choices);
  const number = () => one(['0', '1', '2', '3', '10', '11', 'x', '*']);
  const suffix = () => one(['', '', '', '', '', '-0', '-alpha', '-rc.1', '-rc', '+b']);
  const version = () => one(['', '', 'v']) + one([number(), `${number()}.${number()}`, three()]) + suffix();
  const three = () => `${number()}.${number()}.${number()}`;
  const operator = () => one(['', '>', '<', '>=', '<=', '=', '!=', '~', '^', '~>', '=>', '=<']);
  const constraint = () => one(['', ' ']) + operator() + one(['', ' ']) + version();
  const hyphen = () => version() + one([' - ', '  -  ', '-', ' -']) + version();
  const both = () => constraint() + one([' ', ',', ' , ']) + constraint();
  const group = () => one([constraint(), both(), hyphen(), `${both()} ${constraint()}`]);
  return Array.from({ length: count }, () => one([group(), `${group()}||${group()}`]));
}

describe('a version range', () => {
  for (const expected of table.answers)
    it(`allows the tags that Masterminds/semver allows: ${JSON.stringify(expected.range).slice(0, 60)}`, () =>
      assert.deepEqual(answer(expected.range, table.tags), expected));

  it('is compared with what Masterminds/semver itself says today', async () => {
    assert.deepEqual(await ask(table.answers.map(({ range }) => range)), table.answers);
  });

  it('means what it means to Masterminds/semver, for thousands of made-up ranges', async () => {
    const ranges = madeUpRanges(3_000);
    const expected = await ask(ranges);
    assert.ok(expected.filter(({ newest }) => newest.length > 0).length > 500);
    for (const [index, range] of ranges.entries())
      assert.deepEqual(answer(range, table.tags), expected[index]);
  });

  it('is read in no time, however it is made to make a matcher search', () => {
    const hostile = `${'1  '.repeat(170)}!`;
    assert.throws(() => new VersionRange(hostile), /is not a constraint/);
    assert.throws(() => new VersionRange(`${'1 , '.repeat(127)}!`), /is not a constraint/);
    assert.throws(() => new VersionRange(`1-${'a'.repeat(505)}!`), /is not a constraint/);
  });
});
