/**
 * Version ranges as `github.com/Masterminds/semver/v3` reads them, for `spec.ref.semver`. npm's `semver` has another
 * grammar and other answers (`>1`, `1.2 - 1.4`, pre-releases, a space for "and"), and no package has this one.
 * test/fixtures/semver holds the Go library's own answers, which the tests compare with.
 */

/** A version. Numbers are unsigned and of 64 bits, as in Go. */
export interface Version {
  /** As the tag is written. */
  original: string;
  major: bigint;
  minor: bigint;
  patch: bigint;
  /** Without the dash; empty for a release. */
  prerelease: string;
}

/** What can't be read as a range; the message says which part. */
export class InvalidRange extends Error {
  override readonly name = 'InvalidRange';
}

interface Constraint {
  operator: string;
  version: Version;
  /** What was `x`, or left out: everything, minor and patch, or patch. */
  open: 'none' | 'all' | 'minor' | 'patch';
}

type Check = (version: Version, constraint: Constraint) => boolean;

const MAX_UINT64 = 2n ** 64n - 1n;
const MAX_VERSION_LENGTH = 256;
const MAX_RANGE_LENGTH = 512;
const MAX_ALTERNATIVES = 32;

const SUFFIX = '(-([0-9A-Za-z-]+(?:\\.[0-9A-Za-z-]+)*))?(\\+[0-9A-Za-z-]+(?:\\.[0-9A-Za-z-]+)*)?';
const VERSION = new RegExp(`^v?([0-9]+)(\\.[0-9]+)?(\\.[0-9]+)?${SUFFIX}$`);
const STRICT = new RegExp(`^v?(?:0|[1-9][0-9]*)(?:\\.(?:0|[1-9][0-9]*)){2}${SUFFIX}$`);
const PART = '[0-9|xX*]+';
const PATTERN = `v?(${PART})(\\.${PART})?(\\.${PART})?${SUFFIX}`;
const OPERATOR = '=||!=|>|<|>=|=>|<=|=<|~|~>|\\^';
const HYPHEN_RANGE = new RegExp(` ?(${PATTERN}) - (${PATTERN}) ?`, 'g');
const CONSTRAINT = new RegExp(`(${OPERATOR}) ?(${PATTERN})`, 'g');
const WHOLE_CONSTRAINT = new RegExp(`^ ?(${OPERATOR}) ?${PATTERN} ?$`);
const ALTERNATIVE = new RegExp(`^ ?(?:${OPERATOR}) ?${PATTERN}(?:[ ,](?:${OPERATOR}) ?${PATTERN})* ?$`);

const CHECKS: Readonly<Record<string, Check>> = {
  '': equalOrTilde,
  '=': equalOrTilde,
  '!=': notEqual,
  '>': greater,
  '<': (version, constraint) => compareVersions(version, constraint.version) < 0,
  '>=': atLeast,
  '=>': atLeast,
  '<=': atMost,
  '=<': atMost,
  '~': tilde,
  '~>': tilde,
  '^': caret,
};

/** A range: alternatives (`||`), in each of which every constraint must hold. */
export class VersionRange {
  readonly #alternatives: readonly (readonly Constraint[])[];

  /** @throws InvalidRange */
  constructor(text: string) {
    if (Buffer.byteLength(text) > MAX_RANGE_LENGTH)
      throw new InvalidRange(`it is longer than ${MAX_RANGE_LENGTH} bytes`);
    // One space for each run of white space, so that a pattern can match in one way only, and fast.
    const spaced = text.replace(/[\t\n\f\r ]+/g, ' ');
    const alternatives = withoutHyphens(spaced).split('||');
    if (alternatives.length > MAX_ALTERNATIVES)
      throw new InvalidRange(`it has more than ${MAX_ALTERNATIVES} alternatives`);
    this.#alternatives = alternatives.map(parseAlternative);
  }

  /** A pre-release only counts where the alternative names a pre-release itself. */
  allows(version: Version): boolean {
    return this.#alternatives.some((constraints) => {
      const prereleases = constraints.some((constraint) => constraint.version.prerelease !== '');
      if (version.prerelease !== '' && !prereleases) return false;
      return constraints.every((constraint) => CHECKS[constraint.operator]?.(version, constraint) === true);
    });
  }
}

/**
 * The tags of the newest version within the range; several when they differ only in `v` or build metadata, none when
 * nothing is allowed. What isn't three numbers, with or without `v` in front, is no version (as in Flux).
 */
export function newestTags(range: VersionRange, tags: Iterable<string>): string[] {
  let newest: Version[] = [];
  for (const tag of tags) {
    const version = STRICT.test(tag) ? parseVersion(tag) : undefined;
    if (version === undefined || !range.allows(version)) continue;
    const [best] = newest;
    const order = best === undefined ? 1 : compareVersions(version, best);
    if (order > 0) newest = [version];
    else if (order === 0) newest.push(version);
  }
  return newest.map(({ original }) => original);
}

/** Negative, zero or positive; build metadata doesn't count. */
export function compareVersions(a: Version, b: Version): number {
  for (const part of ['major', 'minor', 'patch'] as const)
    if (a[part] !== b[part]) return a[part] < b[part] ? -1 : 1;
  if (a.prerelease === b.prerelease) return 0;
  if (a.prerelease === '') return 1;
  if (b.prerelease === '') return -1;
  return comparePrereleases(a.prerelease.split('.'), b.prerelease.split('.'));
}

/** Undefined for what isn't a version. Minor and patch may be left out. */
function parseVersion(text: string): Version | undefined {
  const match = text.length <= MAX_VERSION_LENGTH ? VERSION.exec(text) : null;
  if (match === null) return undefined;
  const [major, minor, patch] = match.slice(1, 4).map((part) => BigInt((part ?? '0').replace('.', '')));
  const prerelease = match[5] ?? '';
  if (major === undefined || minor === undefined || patch === undefined) return undefined;
  if ([major, minor, patch].some((part) => part > MAX_UINT64)) return undefined;
  if (prerelease.split('.').some((part) => /^0[0-9]+$/.test(part))) return undefined;
  return { original: text, major, minor, patch, prerelease };
}

function comparePrereleases(a: readonly string[], b: readonly string[]): number {
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const order = comparePart(a[index] ?? '', b[index] ?? '');
    if (order !== 0) return order;
  }
  return 0;
}

function comparePart(a: string, b: string): number {
  if (a === b) return 0;
  if (a === '') return -1;
  if (b === '') return 1;
  const [left, right] = [numberOf(a), numberOf(b)];
  if (left === undefined && right === undefined) return a > b ? 1 : -1;
  if (right === undefined) return -1;
  if (left === undefined) return 1;
  return left > right ? 1 : -1;
}

function numberOf(part: string): bigint | undefined {
  const value = /^[0-9]+$/.test(part) ? BigInt(part) : undefined;
  return value !== undefined && value <= MAX_UINT64 ? value : undefined;
}

/** `a - b` is `>= a, <= b`. */
function withoutHyphens(text: string): string {
  return text.replace(HYPHEN_RANGE, (...groups) => `>= ${groups[1]}, <= ${groups[8]} `);
}

function parseAlternative(text: string): Constraint[] {
  const tidy = text.replace(/ +/g, ' ').replace(/ ?, ?/g, ',');
  if (!ALTERNATIVE.test(tidy)) throw new InvalidRange(`${JSON.stringify(text)} is not a constraint`);
  return (tidy.match(CONSTRAINT) ?? []).map(parseConstraint);
}

function parseConstraint(text: string): Constraint {
  const match = WHOLE_CONSTRAINT.exec(text);
  const [, operator = '', major = '', minor = '', patch = '', suffix = ''] = match ?? [];
  const open = isOpen(major) ? 'all' : isOpen(minor) ? 'minor' : isOpen(patch) ? 'patch' : 'none';
  const written = {
    all: `0.0.0${suffix}`,
    minor: `${major}.0.0${suffix}`,
    patch: `${major}${minor}.0${suffix}`,
    none: `${major}${minor}${patch}${suffix}`,
  }[open];
  const version = match === null ? undefined : parseVersion(written);
  if (version === undefined) throw new InvalidRange(`${JSON.stringify(text)} is not a constraint`);
  return { operator, version, open };
}

function isOpen(part: string): boolean {
  return /^\.?[xX*]?$/.test(part);
}

function equalOrTilde(version: Version, constraint: Constraint): boolean {
  return constraint.open === 'none'
    ? compareVersions(version, constraint.version) === 0
    : tilde(version, constraint);
}

function notEqual(version: Version, { version: other, open }: Constraint): boolean {
  if (open === 'none') return compareVersions(version, other) !== 0;
  if (version.major !== other.major) return true;
  if (open === 'minor') return false;
  if (version.minor !== other.minor) return true;
  if (open === 'patch') return version.prerelease !== other.prerelease;
  // The library's own reading of `!=*`: not 0.0.0.
  return compareVersions(version, other) !== 0;
}

function greater(version: Version, { version: other, open }: Constraint): boolean {
  if (open === 'none') return compareVersions(version, other) > 0;
  if (version.major !== other.major) return version.major > other.major;
  if (open === 'minor') return false;
  if (open === 'patch') return version.minor > other.minor;
  return compareVersions(version, other) > 0;
}

function atLeast(version: Version, constraint: Constraint): boolean {
  return compareVersions(version, constraint.version) >= 0;
}

function atMost(version: Version, { version: other, open }: Constraint): boolean {
  if (open === 'none') return compareVersions(version, other) <= 0;
  if (version.major !== other.major) return version.major < other.major;
  return open === 'minor' || version.minor <= other.minor;
}

function tilde(version: Version, { version: other, open }: Constraint): boolean {
  if (compareVersions(version, other) < 0) return false;
  const isZero = other.major === 0n && other.minor === 0n && other.patch === 0n;
  if (isZero && open !== 'minor' && open !== 'patch') return true;
  if (version.major !== other.major) return false;
  return open === 'minor' || version.minor === other.minor;
}

function caret(version: Version, { version: other, open }: Constraint): boolean {
  if (compareVersions(version, other) < 0) return false;
  if (other.major > 0n || open === 'minor') return version.major === other.major;
  if (version.major > 0n) return false;
  if (other.minor > 0n || open === 'patch') return version.minor === other.minor;
  return version.minor === 0n && version.patch === other.patch;
}
