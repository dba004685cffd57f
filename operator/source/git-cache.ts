/** The bare repository that a GitRepository's objects are kept in between fetches. */

import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { GitExit, type GitTool, runGit } from './git-process.ts';

/** Where a fetch puts what it got: it keeps the commit alive, and is offered as `have` to the next fetch. */
export const HEAD_REF = 'refs/signet/head';

/** The folder beside a GitRepository's cache that holds those of its submodules. */
export const SUBMODULES = 'submodules';

/** Repacks once there are that many loose objects or packs; then nothing unreachable survives. */
const MAINTENANCE_SETTINGS = [
  ['gc.auto', '1000'],
  ['gc.autoPackLimit', '20'],
  ['gc.pruneExpire', 'now'],
  ['gc.cruftPacks', 'false'],
] as const;

/** One cache folder. Not safe for two users at once: the fetcher holds a lock around it. */
export class GitCache {
  readonly directory: string;
  readonly #tool: GitTool;

  constructor(directory: string, tool: GitTool) {
    this.directory = directory;
    this.#tool = tool;
  }

  /** `args` with this repository in front. */
  args(...args: string[]): string[] {
    return [`--git-dir=${this.directory}`, ...args];
  }

  /** Runs a local git command here. @throws GitExit */
  async run(args: string[], signal: AbortSignal): Promise<string> {
    const output = await runGit({ tool: this.#tool, args: this.args(...args), signal });
    return output.toString('utf8');
  }

  /**
   * Makes the folder ready: a missing one is created whole (a rename, so that there is no half-made one), and what a
   * killed git left behind (lock files, unfinished packs) is removed. Answers whether it was created.
   */
  async prepare(signal: AbortSignal): Promise<'created' | 'existing'> {
    if (await exists(join(this.directory, 'objects'))) {
      await this.#sweep();
      return 'existing';
    }
    const parent = dirname(this.directory);
    await mkdir(parent, { recursive: true, mode: 0o700 });
    const fresh = await mkdtemp(join(parent, '.new-'));
    try {
      const args = ['init', '--quiet', '--bare', '--template=', '--initial-branch=none', fresh];
      await runGit({ tool: this.#tool, args, signal });
      await rm(this.directory, { recursive: true, force: true });
      await rename(fresh, this.directory);
    } finally {
      await rm(fresh, { recursive: true, force: true });
    }
    return 'created';
  }

  /** A cache beside this one. */
  sibling(suffix: string): GitCache {
    return new GitCache(`${this.directory}.${suffix}`, this.#tool);
  }

  /** Makes `HEAD_REF` a commit, or an annotated tag, that is here. @throws GitExit */
  async pointHeadAt(commit: string, signal: AbortSignal): Promise<void> {
    await this.run(['update-ref', HEAD_REF, commit], signal);
  }

  /** Puts this cache in another's place. */
  async replace(other: GitCache): Promise<void> {
    await rm(other.directory, { recursive: true, force: true });
    await rename(this.directory, other.directory);
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Removes every other cache of the same repository: those of its former URLs, and unfinished ones. */
  async removeSiblings(): Promise<void> {
    const parent = dirname(this.directory);
    const kept = [basename(this.directory), SUBMODULES];
    for (const name of await readdir(parent))
      if (!kept.includes(name)) await rm(join(parent, name), { recursive: true, force: true });
  }

  /** The commit that `HEAD_REF` names (an annotated tag peeled), or undefined. */
  async head(signal: AbortSignal): Promise<string | undefined> {
    return this.#answer(['rev-parse', '--verify', '--quiet', `${HEAD_REF}^{commit}`], signal);
  }

  /** True when the commit and all objects of its tree are here. */
  async hasWhole(commit: string, signal: AbortSignal): Promise<boolean> {
    const tree = await this.#answer(['rev-parse', '--verify', '--quiet', `${commit}^{tree}`], signal);
    if (tree === undefined) return false;
    return (await this.#answer(['rev-list', '--objects', '--quiet', tree], signal)) !== undefined;
  }

  /** True when the annotated tag is here and stands for the commit. */
  async hasTag(tagObject: string, commit: string, signal: AbortSignal): Promise<boolean> {
    const peeled = await this.#answer(['rev-parse', '--verify', '--quiet', `${tagObject}^{commit}`], signal);
    return peeled === commit;
  }

  /** The annotated tag that `HEAD_REF` names, if it stands for the commit. */
  async tagAtHead(commit: string, signal: AbortSignal): Promise<string | undefined> {
    const tag = await this.#answer(['rev-parse', '--verify', '--quiet', `${HEAD_REF}^{tag}`], signal);
    return tag !== undefined && (await this.hasTag(tag, commit, signal)) ? tag : undefined;
  }

  /** An object's bytes. @throws GitExit */
  async read(type: 'commit' | 'tag', id: string, signal: AbortSignal): Promise<Buffer> {
    return runGit({ tool: this.#tool, args: this.args('cat-file', type, id), signal });
  }

  /** True when `commit` is in the history of what was fetched. */
  async inHistory(commit: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#answer(['merge-base', '--is-ancestor', commit, HEAD_REF], signal)) !== undefined;
  }

  /** The first line of the commit's message. */
  async subject(commit: string, signal: AbortSignal): Promise<string> {
    return (await this.run(['log', '-1', '--format=%s', commit], signal)).trim();
  }

  /** Keeps the folder's size within a constant factor of what is reachable. */
  async maintain(signal: AbortSignal): Promise<void> {
    const args = this.args('gc', '--auto', '--quiet');
    await runGit({ tool: this.#tool, args, settings: MAINTENANCE_SETTINGS, signal });
  }

  /** What git says; undefined when it says no (any failure but an abort). */
  async #answer(args: string[], signal: AbortSignal): Promise<string | undefined> {
    try {
      return (await this.run(args, signal)).trim();
    } catch (error) {
      if (error instanceof GitExit) return undefined;
      throw error;
    }
  }

  async #sweep(): Promise<void> {
    const leftovers = (await readdir(this.directory, { recursive: true })).filter((path) => {
      const name = basename(path);
      return name.endsWith('.lock') || name.endsWith('.keep') || name.startsWith('tmp_');
    });
    for (const path of leftovers) await rm(join(this.directory, path), { recursive: true, force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await readdir(path);
    return true;
  } catch {
    return false;
  }
}
