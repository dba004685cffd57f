/** From a URL and a ref to a commit's tree, by the real `git`. */

import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { REASON } from '../api/conditions.ts';
import { formatDurationMs } from '../api/duration.ts';
import type { Logger } from '../api/logger.ts';
import { type GitCredentials, withUserinfo } from './credentials.ts';
import { messageOf, SourceError } from './errors.ts';
import { GitCache, HEAD_REF } from './git-cache.ts';
import { classify, gitFailure } from './git-failure.ts';
import { GitExit, type GitTool, runGit } from './git-process.ts';
import { fullRefName, type GitRef, revisionOf } from './git-ref.ts';
import { hasSecrets, withRemoteSession } from './git-remote.ts';
import { readTree } from './git-tree.ts';
import { KeyedLock } from './keyed-lock.ts';
import { probeRedirect } from './redirect.ts';
import { parseRepositoryUrl, type RepositoryUrl } from './repository-url.ts';
import type { SourceTree } from './source-tree.ts';

/** What a call about one GitRepository needs. */
export interface GitRequest {
  /** `gitrepository/<namespace>/<name>`: names the cache. */
  key: string;
  /** `spec.url`. */
  url: string;
  ref: GitRef;
  credentials?: GitCredentials | undefined;
  signal: AbortSignal;
  /** For all that the call does, in milliseconds. */
  timeoutMs: number;
}

/** What a ref means now. `ref` is the full name on the server, empty for a commit alone. */
export interface ResolvedRevision {
  revision: string;
  commit: string;
  ref: string;
}

/** What came into the cache: newer than what was resolved, if somebody pushed in between. */
export interface FetchedCommit {
  revision: string;
  commit: string;
  /** The first line of the commit's message. */
  subject: string;
}

interface Remote extends GitRequest {
  address: RepositoryUrl;
  /** Aborted by the caller or by the timeout. */
  deadline: AbortSignal;
}

const KEY = /^[a-z0-9]+(\/[a-z0-9]([a-z0-9.-]*[a-z0-9])?){2}$/;
const LS_REMOTE_LIMIT_BYTES = 128 * 1024 * 1024;
const MAX_REDIRECTS = 3;
/** As a depth: all of the history, whether the cache is shallow or not. */
const ALL_HISTORY = '--depth=2147483647';

/**
 * Talks to git servers and keeps one bare, shallow cache per GitRepository and URL below `cacheRoot`. Calls about the
 * same key wait for each other. Every failure is a `SourceError`, except an abort, which throws the signal's reason.
 */
export class GitFetcher {
  readonly #cacheRoot: string;
  readonly #tool: GitTool;
  readonly #logger: Logger;
  readonly #locks = new KeyedLock();
  /** Where servers said (to us, at the same host) that repositories are now, by their address. */
  readonly #moved = new Map<string, string>();

  constructor(o: {
    cacheRoot: string;
    gitBinary?: string;
    searchPath?: string;
    /** Variables for git, such as `HTTPS_PROXY`. */
    environment?: Readonly<Record<string, string>>;
    logger: Logger;
  }) {
    this.#cacheRoot = o.cacheRoot;
    this.#tool = {
      binary: o.gitBinary ?? 'git',
      searchPath: o.searchPath ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      extra: o.environment ?? {},
    };
    this.#logger = o.logger;
  }

  /**
   * What the ref means now: one `ls-remote`, nothing written. A commit id is answered without asking anybody.
   * @throws SourceError `EmptyGitRepository`, `AuthenticationFailed`, `GitOperationFailed`, `URLInvalid`.
   */
  async resolve(request: GitRequest): Promise<ResolvedRevision> {
    const { ref } = request;
    const name = fullRefName(ref);
    if (ref.kind === 'commit')
      return { revision: revisionOf(ref, ref.commit), commit: ref.commit, ref: name ?? '' };
    return this.#withDeadline(request, 'list the refs of', async (remote) => {
      const commit = await this.#lookUp(remote, name ?? '');
      return { revision: revisionOf(ref, commit), commit, ref: name ?? '' };
    });
  }

  /**
   * Brings the commit that `resolve` named into the cache: nothing is fetched when it is there already, else what is
   * new at depth 1. A cache that git can't work with is replaced by a fresh one, once.
   */
  async fetch(request: GitRequest & { commit: string }): Promise<FetchedCommit> {
    return this.#withDeadline(request, 'fetch from', (remote) =>
      this.#locks.run(request.key, async () => {
        const cache = this.#cache(request);
        const commit = await this.#bring(cache, remote, request.commit);
        await cache.removeSiblings();
        await this.#maintain(cache, remote);
        return {
          revision: revisionOf(request.ref, commit),
          commit,
          subject: await cache.subject(commit, remote.deadline),
        };
      }),
    );
  }

  /**
   * The tree of a fetched commit. A cache in which something turns out to be missing or damaged is deleted (so that
   * the next fetch is whole) and the failure thrown, here or while reading. Nothing else may be fetched for the key
   * while the tree is in use: one reconcile at a time does both.
   */
  async tree(o: { key: string; url: string; commit: string; signal: AbortSignal }): Promise<SourceTree> {
    const cache = this.#cache(o);
    const damaged = async (error: unknown): Promise<SourceError> => {
      await this.#locks.run(o.key, () => cache.remove());
      const reason =
        error instanceof GitExit
          ? gitFailure(error, { what: 'read', href: o.commit }).message
          : messageOf(error);
      return new SourceError(REASON.gitOperationFailed, `${reason} (the cache is fetched anew)`, {
        cause: error,
      });
    };
    return readTree({ cache, tool: this.#tool, commit: o.commit, signal: o.signal, damaged });
  }

  /** Forgets a GitRepository. */
  async remove(key: string): Promise<void> {
    const directory = this.#keyDirectory(key);
    await this.#locks.run(key, () => rm(directory, { recursive: true, force: true }));
  }

  async #lookUp(remote: Remote, name: string): Promise<string> {
    const filter = name.startsWith('refs/heads/')
      ? ['--heads']
      : name.startsWith('refs/tags/')
        ? ['--tags']
        : [];
    const refs = await this.#listRefs(remote, filter);
    const commit = refs.get(`${name}^{}`) ?? refs.get(name);
    if (commit === undefined) {
      const all = refs.size > 0 || filter.length === 0 ? refs : await this.#listRefs(remote, []);
      const { href } = remote.address;
      if (all.size === 0)
        throw new SourceError(
          REASON.emptyGitRepository,
          `git repository '${href}' is empty: push a commit to it`,
        );
      throw new SourceError(REASON.gitOperationFailed, `couldn't find remote ref '${name}' in '${href}'`);
    }
    if (commit.length !== 40)
      throw new SourceError(
        REASON.gitOperationFailed,
        `'${remote.address.href}' is a repository with SHA-256 object ids: only SHA-1 repositories are supported`,
        { stalled: true },
      );
    return commit;
  }

  async #listRefs(remote: Remote, filter: string[]): Promise<Map<string, string>> {
    const output = await this.#overNetwork(remote, (href) => [
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

  /** The commit that is in the cache now. */
  async #bring(cache: GitCache, remote: Remote, wanted: string): Promise<string> {
    const made = await this.#prepare(cache, remote);
    const needsHistory = remote.ref.kind === 'commit' && remote.ref.branch !== undefined;
    if (made === 'existing' && !needsHistory && (await cache.hasWhole(wanted, remote.deadline)))
      return wanted;
    try {
      return await this.#fetchInto(cache, remote);
    } catch (error) {
      if (made === 'created' || !(error instanceof GitExit) || classify(error) !== 'other') throw error;
      this.#logger.info('the git cache is unusable: fetching anew', {
        cache: remote.key,
        error: error.message,
      });
      return this.#fetchAnew(cache, remote);
    }
  }

  /** A folder that can't even be looked at is of no use. */
  async #prepare(cache: GitCache, remote: Remote): Promise<'created' | 'existing'> {
    try {
      return await cache.prepare(remote.deadline);
    } catch (error) {
      remote.deadline.throwIfAborted();
      this.#logger.info('the git cache is unusable: removing it', {
        cache: remote.key,
        error: messageOf(error),
      });
      await cache.remove();
      return cache.prepare(remote.deadline);
    }
  }

  /** Into a fresh cache, which takes the old one's place only when the fetch worked: the fault may be the server's. */
  async #fetchAnew(cache: GitCache, remote: Remote): Promise<string> {
    const fresh = new GitCache(`${cache.directory}.fresh`, this.#tool);
    await fresh.remove();
    try {
      await fresh.prepare(remote.deadline);
      const commit = await this.#fetchInto(fresh, remote);
      await fresh.replace(cache);
      return commit;
    } finally {
      await fresh.remove();
    }
  }

  async #fetchInto(cache: GitCache, remote: Remote): Promise<string> {
    const { ref, deadline } = remote;
    if (ref.kind === 'commit') {
      await this.#fetchCommit(cache, remote, ref);
      return ref.commit;
    }
    await this.#fetchRefs(cache, remote, '--depth=1', `+${fullRefName(ref)}:${HEAD_REF}`);
    const commit = await cache.head(deadline);
    if (commit === undefined)
      throw new SourceError(REASON.gitOperationFailed, `${fullRefName(ref)} does not name a commit`);
    return commit;
  }

  async #fetchCommit(
    cache: GitCache,
    remote: Remote,
    ref: { commit: string; branch?: string },
  ): Promise<void> {
    if (ref.branch !== undefined) {
      await this.#fetchRefs(cache, remote, ALL_HISTORY, `+refs/heads/${ref.branch}:${HEAD_REF}`);
      if (await cache.inHistory(ref.commit, remote.deadline)) return;
      throw new SourceError(
        REASON.gitOperationFailed,
        `commit ${ref.commit} (spec.ref.commit) is not in the history of branch '${ref.branch}' (spec.ref.branch)`,
      );
    }
    try {
      await this.#fetchRefs(cache, remote, '--depth=1', `+${ref.commit}:${HEAD_REF}`);
    } catch (error) {
      // A server that only serves what its refs name: the commit may still be in their history.
      if (!(error instanceof GitExit) || !error.stderr.includes('unadvertised object')) throw error;
      await this.#fetchRefs(
        cache,
        remote,
        ALL_HISTORY,
        '+refs/heads/*:refs/signet/heads/*',
        '+refs/tags/*:refs/signet/tags/*',
      );
      if (!(await cache.hasWhole(ref.commit, remote.deadline)))
        throw new SourceError(
          REASON.gitOperationFailed,
          `commit ${ref.commit} (spec.ref.commit) is in no branch or tag`,
        );
      await cache.run(['update-ref', HEAD_REF, ref.commit], remote.deadline);
    }
  }

  async #fetchRefs(cache: GitCache, remote: Remote, depth: string, ...refspecs: string[]): Promise<void> {
    const options = [
      '--quiet',
      '--no-tags',
      '--no-auto-maintenance',
      '--no-write-fetch-head',
      '--no-recurse-submodules',
    ];
    await this.#overNetwork(remote, (href) =>
      cache.args('fetch', ...options, depth, '--end-of-options', href, ...refspecs),
    );
  }

  async #maintain(cache: GitCache, remote: Remote): Promise<void> {
    try {
      await cache.maintain(remote.deadline);
    } catch (error) {
      remote.deadline.throwIfAborted();
      this.#logger.warn('cannot tidy up the git cache', { cache: remote.key, error: messageOf(error) });
    }
  }

  /** Runs git against the server, once more for each redirect to another place on the same host. */
  async #overNetwork(remote: Remote, args: (href: string) => string[]): Promise<Buffer> {
    const { credentials, deadline, address } = remote;
    let href = this.#moved.get(address.href) ?? address.href;
    for (let redirects = 0; ; redirects++) {
      try {
        return await withRemoteSession(join(this.#cacheRoot, '.tmp'), credentials, (session) =>
          runGit({
            tool: this.#tool,
            args: args(href),
            ...session,
            signal: deadline,
            limitBytes: LS_REMOTE_LIMIT_BYTES,
          }),
        );
      } catch (error) {
        this.#moved.delete(address.href);
        const redirected =
          error instanceof GitExit && classify(error) === 'redirect' && hasSecrets(credentials);
        if (!redirected || redirects === MAX_REDIRECTS) throw error;
        href = await probeRedirect(href, credentials, deadline);
        this.#moved.set(address.href, href);
      }
    }
  }

  async #withDeadline<T>(
    request: GitRequest,
    what: string,
    work: (remote: Remote) => Promise<T>,
  ): Promise<T> {
    const address = parseRepositoryUrl(request.url);
    if (address.transport === 'ssh')
      throw new SourceError(
        REASON.gitOperationFailed,
        'spec.url: ssh is not supported yet: use the https:// address',
        {
          stalled: true,
        },
      );
    const timeout = AbortSignal.timeout(request.timeoutMs);
    const deadline = AbortSignal.any([request.signal, timeout]);
    const credentials = withUserinfo(address, request.credentials);
    try {
      return await work({ ...request, credentials, address, deadline });
    } catch (error) {
      request.signal.throwIfAborted();
      if (timeout.aborted) {
        const limit = formatDurationMs(request.timeoutMs);
        throw new SourceError(
          REASON.gitOperationFailed,
          `failed to ${what} '${address.href}': no end within ${limit} (spec.timeout)`,
        );
      }
      if (error instanceof GitExit) throw gitFailure(error, { what, href: address.href, credentials });
      if (error instanceof SourceError) throw error;
      throw new SourceError(
        REASON.gitOperationFailed,
        `failed to ${what} '${address.href}': ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  #cache(o: { key: string; url: string }): GitCache {
    const { href } = parseRepositoryUrl(o.url);
    const digest = createHash('sha256').update(href).digest('hex').slice(0, 16);
    return new GitCache(join(this.#keyDirectory(o.key), `${digest}.git`), this.#tool);
  }

  #keyDirectory(key: string): string {
    if (!KEY.test(key)) throw new TypeError(`not the key of a cache: ${JSON.stringify(key)}`);
    return join(this.#cacheRoot, key);
  }
}
