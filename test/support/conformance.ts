/**
 * The conformance tables that end the pages of docs/spec: each behaviour with the titles of the tests that prove it, or
 * with what differs and why. Reads the tables and the titles in test sources.
 */

/** A row: the behaviour, and how it stands. */
export interface ConformanceRow {
  behaviour: string;
  /** Titles of tests; empty where it differs. */
  titles: string[];
  /** Why it differs. */
  differs: string | undefined;
}

const HEADING = '## Conformance';
const QUOTED_TITLES = /^`[^`]+`(?:; `[^`]+`)*$/;
const TITLE = /`([^`]+)`/g;
const LITERAL = String.raw`\(\s*(['\"\x60])((?:\\.|(?!\1)[^\\])*)\1`;
const TEST_CALL = new RegExp(String.raw`\bit${LITERAL}`, 'g');
const SUITE_CALL = new RegExp(String.raw`\bdescribe${LITERAL}`, 'g');

/**
 * The rows of a page's table: a behaviour, then one title as it is, or several, each in backticks, with semicolons
 * between them, or `differs: why`. A title is what `it` says, alone or after what each `describe` around it says.
 * Throws when the page doesn't end with such a table, or a row has nothing to show.
 */
export function conformanceRows(markdown: string): ConformanceRow[] {
  const [, section, ...more] = markdown.split(`\n${HEADING}\n`);
  if (section === undefined || more.length > 0 || /^#{1,6} /m.test(section)) {
    throw new Error(`the page must end with one "${HEADING}"`);
  }
  const lines = section.split('\n').filter((line) => line.startsWith('|'));
  const rows = lines.slice(2).map((line) => rowOf(line));
  if (rows.length === 0) throw new Error('the conformance table is empty');
  return rows;
}

function rowOf(line: string): ConformanceRow {
  const [, behaviour = '', proof = ''] = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
  const differs = /^differs: (.+)$/.exec(proof)?.[1];
  const titles = differs === undefined ? titlesOf(proof) : [];
  if (behaviour === '' || (differs === undefined && titles.length === 0)) {
    throw new Error(`the row proves nothing: ${line}`);
  }
  return { behaviour, titles, differs };
}

function titlesOf(proof: string): string[] {
  if (QUOTED_TITLES.test(proof)) return [...proof.matchAll(TITLE)].map(([, title = '']) => title);
  return proof === '' ? [] : [proof];
}

/** Patterns of the titles in a test file's source; what a template literal puts in may be anything. */
export function titlesIn(source: string): RegExp[] {
  const suites = [...source.matchAll(SUITE_CALL)].map(patternOf);
  const around = suites.length === 0 ? '' : `(?:(?:${suites.join('|')}) )*`;
  return [...source.matchAll(TEST_CALL)].map((call) => new RegExp(`^${around}${patternOf(call)}$`));
}

function patternOf([, quote, text = '']: RegExpExecArray): string {
  const literal = (part: string) =>
    part.replace(/\\(.)/g, '$1').replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  if (quote !== '`') return literal(text);
  return text
    .split(/\$\{(?:[^{}]|\{[^{}]*\})*\}/)
    .map(literal)
    .join('.*');
}

/** How a test of a run ended; `undefined`: it never began. */
export interface RanTest {
  title: string;
  /** With what each `describe` around it says before it. */
  fullTitle: string;
  state: 'passed' | 'failed' | 'pending' | undefined;
}

/**
 * Titles in the tables that no test of a full run has passed under. `acceptPending`: this machine lacks a program, so
 * that a test which was left pending for want of it doesn't count against its row.
 */
export function unproven(
  rows: readonly ConformanceRow[],
  ran: readonly RanTest[],
  { acceptPending }: { acceptPending: boolean },
): string[] {
  const proven = new Set(
    ran
      .filter(({ state }) => state === 'passed' || (acceptPending && state === 'pending'))
      .flatMap(({ title, fullTitle }) => [title, fullTitle]),
  );
  return rows.flatMap(({ titles }) => titles).filter((title) => !proven.has(title));
}
