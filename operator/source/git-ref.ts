/** `spec.ref` of a GitRepository: which commit is wanted, and how a revision is spelt. */

import { REASON } from '../api/conditions.ts';
import { messageOf, SourceError } from './errors.ts';
import { VersionRange } from './semver.ts';

/** `spec.ref`, as the CRD has it. */
export interface GitRefSpec {
  branch?: string;
  tag?: string;
  semver?: string;
  name?: string;
  commit?: string;
}

/**
 * One ref. `branch`, `tag` and `name` are looked up on the server; a `commit` is already an answer (with `branch`, its
 * history must contain it).
 */
export type GitRef =
  | { kind: 'branch'; branch: string }
  | { kind: 'tag'; tag: string }
  | { kind: 'name'; name: string }
  | { kind: 'commit'; commit: string; branch?: string };

/** What `spec.ref` selects: a ref, or the tag of the newest version within a range (`text` is how it was written). */
export type WantedRef = GitRef | { kind: 'semver'; text: string; range: VersionRange };

const DEFAULT_BRANCH = 'master';
const FULL_COMMIT = /^[0-9a-f]{40}$/;
/** What git-check-ref-format(1) forbids in a ref: ` ~^:?*[\`, `..`, `@{`, `//`, odd ends. */
const FORBIDDEN_IN_REF = /[\s~^:?*[\\]|\.\.|@\{|\/\/|\.lock(\/|$)|(^|\/)\.|[./]$|^\/|^@$/;

/**
 * The effective ref, with Flux's precedence: commit, name, tag, semver, branch; branch `master` when nothing is set.
 * @throws SourceError `GitOperationFailed`, stalled, naming the field, for what isn't supported or can't be a ref. A
 * ref that looks like a command line option is refused too, though none is ever put where git would read one.
 */
export function selectRef(spec: GitRefSpec | undefined): WantedRef {
  const { branch, tag, semver, name, commit } = spec ?? {};
  if (isSet(commit)) {
    if (!FULL_COMMIT.test(commit))
      throw refused(`spec.ref.commit '${commit}' is not a full commit id: write all 40 hexadecimal digits`);
    return isSet(branch)
      ? { kind: 'commit', commit, branch: checked('branch', branch) }
      : { kind: 'commit', commit };
  }
  if (isSet(name)) {
    if (!name.startsWith('refs/'))
      throw refused(`spec.ref.name '${name}' is not a full ref: write it out, as refs/heads/main`);
    return { kind: 'name', name: checked('name', name) };
  }
  if (isSet(tag)) return { kind: 'tag', tag: checked('tag', tag) };
  if (isSet(semver)) return { kind: 'semver', text: semver, range: rangeOf(semver) };
  return { kind: 'branch', branch: isSet(branch) ? checked('branch', branch) : DEFAULT_BRANCH };
}

/** The full name of the ref on the server; none for a commit alone. */
export function fullRefName(ref: GitRef): string | undefined {
  switch (ref.kind) {
    case 'branch':
      return `refs/heads/${ref.branch}`;
    case 'tag':
      return `refs/tags/${ref.tag}`;
    case 'name':
      return ref.name;
    case 'commit':
      return ref.branch === undefined ? undefined : `refs/heads/${ref.branch}`;
  }
}

/** `status.artifact.revision` in Flux's spelling: `main@sha1:<hex>`, `refs/heads/main@sha1:<hex>`, `sha1:<hex>`. */
export function revisionOf(ref: GitRef, commit: string): string {
  const label = labelOf(ref);
  return label === undefined ? `sha1:${commit}` : `${label}@sha1:${commit}`;
}

function labelOf(ref: GitRef): string | undefined {
  switch (ref.kind) {
    case 'tag':
      return ref.tag;
    case 'name':
      return ref.name;
    default:
      return ref.branch;
  }
}

function rangeOf(text: string): VersionRange {
  try {
    return new VersionRange(text);
  } catch (error) {
    throw refused(
      `semver parse error: spec.ref.semver ${JSON.stringify(text)} is not a range: ${messageOf(error)}`,
    );
  }
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== '';
}

function checked(field: 'branch' | 'tag' | 'name', value: string): string {
  if (value.startsWith('-'))
    throw refused(`spec.ref.${field} '${value}' looks like a command line option: rename it`);
  // biome's rule against control characters in patterns is why these are looked at one by one.
  const control = [...value].some((character) => character < ' ' || character === '\u007f');
  if (control || FORBIDDEN_IN_REF.test(value))
    throw refused(
      `spec.ref.${field} ${JSON.stringify(value)} cannot be a git ref (see git-check-ref-format)`,
    );
  return value;
}

function refused(message: string): SourceError {
  return new SourceError(REASON.gitOperationFailed, message, { stalled: true });
}
