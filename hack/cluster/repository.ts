import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { git } from './git-process.ts';

const IDENTITY = {
  GIT_AUTHOR_NAME: 'Ada Author',
  GIT_AUTHOR_EMAIL: 'ada@example.org',
  GIT_COMMITTER_NAME: 'Ada Author',
  GIT_COMMITTER_EMAIL: 'ada@example.org',
};

/**
 * A working copy with an explicit identity, made and driven by the real git; nothing of the user's configuration
 * plays a part. Every method rejects with git's own message.
 */
export class Repository {
  /** The work tree. */
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** A new repository with an empty history on branch `main`; `directory` is made. */
  static async init(directory: string): Promise<Repository> {
    mkdirSync(directory, { recursive: true });
    const repository = new Repository(directory);
    await repository.git('init', '--quiet', '--initial-branch=main');
    return repository;
  }

  /** A clone of `url` in `directory`, which must not exist yet. */
  static async clone(url: string, directory: string): Promise<Repository> {
    mkdirSync(dirname(directory), { recursive: true });
    await git(dirname(directory), ['clone', '--quiet', url, directory]);
    return new Repository(directory);
  }

  /** Runs any git command here. */
  async git(...args: string[]): Promise<string> {
    return await git(this.directory, args, IDENTITY);
  }

  /** Writes files (path -> content), folders included. */
  write(files: Record<string, string>): void {
    for (const [path, content] of Object.entries(files)) {
      const target = join(this.directory, path);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, content);
    }
  }

  /** Removes files from the work tree and the index. */
  async remove(...paths: string[]): Promise<void> {
    await this.git('rm', '-r', '--quiet', '--', ...paths);
  }

  /** Commits everything that changed; answers with the commit's id. Rejects when nothing changed. */
  async commit(message: string): Promise<string> {
    await this.git('add', '--all');
    await this.git('commit', '--quiet', '--message', message);
    return await this.head();
  }

  /** Commits the opposite of a commit; answers with the new commit's id. */
  async revert(commit = 'HEAD'): Promise<string> {
    await this.git('revert', '--no-edit', commit);
    return await this.head();
  }

  /** Pushes the current commit to a branch of `url`; with `force`, whatever is there. */
  async push(url: string, options: { branch?: string; force?: boolean } = {}): Promise<void> {
    const target = `HEAD:refs/heads/${options.branch ?? 'main'}`;
    await this.git('push', '--quiet', ...(options.force === true ? ['--force'] : []), url, target);
  }

  /** The current commit's id (40 hex digits). */
  async head(): Promise<string> {
    return await this.git('rev-parse', 'HEAD');
  }
}
