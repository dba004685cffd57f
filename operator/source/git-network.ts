/** What is asked of a git server: its refs, and objects for a cache. */

import { rm } from 'node:fs/promises';
import type { GitCredentials } from './credentials.ts';
import type { GitCache } from './git-cache.ts';
import { classify } from './git-failure.ts';
import { GitExit, type GitTool, runGit } from './git-process.ts';
import { hasSecrets, withRemoteSession } from './git-remote.ts';
import { probeRedirect } from './redirect.ts';
import type { RepositoryUrl } from './repository-url.ts';
import type { SshAlgorithms } from './ssh-session.ts';

/** A server's repository and what it takes to be let in. */
export interface Remote {
  address: RepositoryUrl;
  credentials?: GitCredentials | undefined;
  /** Aborted by the caller or by the timeout. */
  deadline: AbortSignal;
  /** The timeout alone, for a git that nobody is left to abort. */
  timeoutMs: number;
}

const OUTPUT_LIMIT_BYTES = 128 * 1024 * 1024;
const MAX_REDIRECTS = 3;
const FETCH_OPTIONS = [
  '--quiet',
  '--no-tags',
  '--no-auto-maintenance',
  '--no-write-fetch-head',
  '--no-recurse-submodules',
];

/** Calls of git over the network. They throw `GitExit`, the deadline's reason, or a `SourceError` about a redirect. */
export class GitNetwork {
  readonly #tool: GitTool;
  readonly #temporaryRoot: string;
  readonly #ssh: SshAlgorithms;
  /** Where servers said that repositories are now (on the same host), by their address. */
  readonly #moved = new Map<string, string>();
  #cleaned: Promise<void> | undefined;

  /** `temporaryRoot` is ours alone: what an earlier process left in it is removed. */
  constructor(tool: GitTool, temporaryRoot: string, ssh: SshAlgorithms = {}) {
    this.#tool = tool;
    this.#ssh = ssh;
    this.#temporaryRoot = temporaryRoot;
  }

  /** Object ids by full ref name (`<tag>^{}` for what an annotated tag points at), only of what `under` says. */
  async listRefs(remote: Remote, under: 'heads' | 'tags' | 'everything'): Promise<Map<string, string>> {
    const filter = under === 'everything' ? [] : [`--${under}`];
    const output = await this.#run(remote, (href) => [
      'ls-remote',
      '--quiet',
      ...filter,
      '--end-of-options',
      href,
    ]);
    const refs = new Map<string, string>();
    for (const line of output.toString('utf8').split('\n')) {
      const tab = line.indexOf('\t');
      if (tab > 0) refs.set(line.slice(tab + 1), line.slice(0, tab));
    }
    return refs;
  }

  /**
   * Fetches refspecs into the cache, which takes part in telling the server what isn't needed. `commitsOnly` leaves out
   * trees and files where the server can; such a cache is of no use for anything else.
   */
  async fetch(
    remote: Remote,
    cache: GitCache,
    o: { depth: number; refspecs: string[]; commitsOnly?: boolean },
  ): Promise<void> {
    const options = [...FETCH_OPTIONS, `--depth=${o.depth}`];
    if (o.commitsOnly === true) options.push('--filter=tree:0');
    await this.#run(remote, (href) =>
      cache.args('fetch', ...options, '--end-of-options', href, ...o.refspecs),
    );
  }

  /** Runs git against the server, once more for each redirect to another place on the same host. */
  async #run(remote: Remote, args: (href: string) => string[]): Promise<Buffer> {
    const { address, credentials, deadline: signal } = remote;
    this.#cleaned ??= rm(this.#temporaryRoot, { recursive: true, force: true });
    await this.#cleaned;
    let href = this.#moved.get(address.href) ?? address.href;
    for (let redirects = 0; ; redirects++) {
      try {
        return await withRemoteSession(this.#temporaryRoot, { ...remote, ssh: this.#ssh }, (session) =>
          runGit({ tool: this.#tool, args: args(href), ...session, signal, limitBytes: OUTPUT_LIMIT_BYTES }),
        );
      } catch (error) {
        this.#moved.delete(address.href);
        const redirected = error instanceof GitExit && classify(error) === 'redirect';
        if (!redirected || !hasSecrets(credentials) || redirects === MAX_REDIRECTS) throw error;
        href = await probeRedirect(href, credentials, signal);
        this.#moved.set(address.href, href);
      }
    }
  }
}
