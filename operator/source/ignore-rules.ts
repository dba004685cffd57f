/** Which files of a tree don't go into the artifact: Flux's rules, in gitignore syntax. */

import ignore from 'ignore';
import { REASON } from '../api/conditions.ts';
import { SourceError } from './errors.ts';
import { isFile, type SourceTree, type TreeEntry } from './source-tree.ts';

const SOURCE_IGNORE = '.sourceignore';
const SOURCE_IGNORE_LIMIT_BYTES = 1024 * 1024;

/** Dropped whatever the rest says, unless a later pattern takes one back with `!`. */
const VCS_PATTERNS = ['.git/', '.gitignore', '.gitmodules', '.gitattributes'];

/** Dropped only when neither a `.sourceignore` nor `spec.ignore` has a pattern. */
const DEFAULT_PATTERNS = [
  ...['*.jpg', '*.jpeg', '*.gif', '*.png', '*.wmv', '*.flv', '*.tar.gz', '*.zip'],
  ...[
    '.github/',
    '.circleci/',
    '.travis.yml',
    '.gitlab-ci.yml',
    'appveyor.yml',
    '.drone.yml',
    'cloudbuild.yaml',
  ],
  ...['codeship-services.yml', 'codeship-steps.yml'],
  ...['**/.goreleaser.yml', '**/.sops.yaml', '**/.flux.yaml'],
];

/** Consecutive patterns of one file that say the same thing: leave out, or take back. */
interface RuleGroup {
  /** The directory that the patterns are relative to, with `/` at its end; empty for the root. */
  scope: string;
  takesBack: boolean;
  matches(path: string): boolean;
}

/**
 * Ignore rules in the order given. As in Flux (go-git), the last pattern that matches a path or one of the directories
 * above it decides: unlike git itself, a file can be taken back from a directory that is left out.
 */
export class IgnoreRules {
  readonly #groups: RuleGroup[] = [];
  #patternCount = 0;

  /** True when no pattern was added. */
  get isEmpty(): boolean {
    return this.#patternCount === 0;
  }

  /** Adds the patterns of a gitignore text, relative to `scope` (a directory of the tree; empty for its root). */
  add(text: string, scope = ''): this {
    const prefix = scope === '' ? '' : `${scope}/`;
    let run: string[] = [];
    let takesBack = false;
    const flush = (): void => {
      if (run.length > 0) this.#groups.push(group(prefix, takesBack, run));
      run = [];
    };
    for (const line of text.split(/\r?\n/)) {
      if (line.trim() === '' || line.startsWith('#')) continue;
      this.#patternCount++;
      const negative = line.startsWith('!');
      if (negative !== takesBack) flush();
      takesBack = negative;
      run.push(negative ? line.slice(1) : line);
    }
    flush();
    return this;
  }

  /** What the last matching pattern says; undefined when none matches. */
  decide(path: string, isDirectory: boolean): 'left out' | 'taken back' | undefined {
    const subject = isDirectory ? `${path}/` : path;
    const rules = this.#groups.findLast(
      ({ scope, matches }) =>
        subject.length > scope.length && subject.startsWith(scope) && matches(subject.slice(scope.length)),
    );
    if (rules === undefined) return undefined;
    return rules.takesBack ? 'taken back' : 'left out';
  }
}

/**
 * The entries that the artifact holds, in tree order: what the rules leave of files, directories and submodules
 * (as empty directories). Rules: version control's own files; each `.sourceignore` in its directory; `spec.ignore`
 * last; Flux's defaults if neither of the two has a pattern.
 */
export async function selectEntries(
  tree: SourceTree,
  specIgnore: string | undefined,
  signal: AbortSignal,
): Promise<TreeEntry[]> {
  const own = new IgnoreRules();
  for (const [directory, text] of await sourceIgnoreFiles(tree, signal)) own.add(text, directory);
  if (specIgnore !== undefined) own.add(specIgnore);
  const always = new IgnoreRules().add(VCS_PATTERNS.join('\n'));
  if (own.isEmpty) always.add(DEFAULT_PATTERNS.join('\n'));
  return tree.entries.filter((entry) => {
    if (entry.kind === 'symlink') return false;
    const verdict = own.decide(entry.path, !isFile(entry)) ?? always.decide(entry.path, !isFile(entry));
    return verdict !== 'left out';
  });
}

/** Directory and text of each `.sourceignore`, outer ones first: a deeper one has the later word. */
async function sourceIgnoreFiles(tree: SourceTree, signal: AbortSignal): Promise<Array<[string, string]>> {
  const files = tree.entries.filter(
    (entry) => isFile(entry) && (entry.path === SOURCE_IGNORE || entry.path.endsWith(`/${SOURCE_IGNORE}`)),
  );
  const huge = files.find((entry) => entry.sizeBytes > SOURCE_IGNORE_LIMIT_BYTES);
  if (huge !== undefined)
    throw new SourceError(
      REASON.gitOperationFailed,
      `${huge.path} is larger than ${SOURCE_IGNORE_LIMIT_BYTES} bytes`,
    );
  if (files.length === 0) return [];
  const texts: Array<[string, string]> = [];
  for await (const { entry, content } of tree.read(files, signal)) {
    const chunks: Buffer[] = [];
    for await (const chunk of content) chunks.push(chunk);
    const directory = entry.path.slice(0, -SOURCE_IGNORE.length).replace(/\/$/, '');
    texts.push([directory, Buffer.concat(chunks).toString('utf8')]);
  }
  const depth = (path: string): number => (path === '' ? 0 : path.split('/').length);
  return texts.sort(([a], [b]) => depth(a) - depth(b));
}

/** Within a group the order doesn't matter, so one matcher (without `!`) answers for all of it. */
function group(scope: string, takesBack: boolean, patterns: string[]): RuleGroup {
  const matcher = ignore({ ignorecase: false, allowRelativePaths: true }).add(patterns);
  return { scope, takesBack, matches: (path) => matcher.ignores(path) };
}
