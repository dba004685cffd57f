/** From a URL and a ref to a commit's tree, by the real `git`. */

import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { REASON } from '../api/conditions.ts';
import { formatDurationMs } from '../api/duration.ts';
import type { Logger } from '../api/logger.ts';
import { type GitCredentials, withUserinfo } from './credentials.ts';
import { messageOf, SourceError, systemErrorCode } from './errors.ts';
import { GitCache, SUBMODULES } from './git-cache.ts';
import { gitFailure } from './git-failure.ts';
import { bringCommit } from './git-fetch.ts';
import { GitNetwork, type Remote } from './git-network.ts';
import { GitExit, type GitTool, runGit } from './git-process.ts';
import { fullRefName, type GitRef, revisionOf, type WantedRef } from './git-ref.ts';
import { tagOfRange } from './git-tags.ts';
import { readTree } from './git-tree.ts';
import { KeyedLock } from './keyed-lock.ts';
import { parseRepositoryUrl } from './repository-url.ts';
import type { SourceTree } from './source-tree.ts';
import type { SshAlgorithms } from './ssh-session.ts';

/** What a call about one GitRepository needs. */
export interface GitRequest {
  /** `gitrepository/<namespace>/<name>`: names the cache; with `/submodules/<id>`, that of a submodule. */
  key: string;
  /** `spec.url`. */
  url: string;
  ref: WantedRef;
  credentials?: GitCredentials | undefined;
  signal: AbortSignal;
  /** For all that the call does, in milliseconds. */
  timeoutMs: number;
}

/** What a ref means now. */
export interface ResolvedRevision {
  revision: string;
  commit: string;
  /** What was asked for; for a range, the tag that it stands for now. */
  ref: GitRef;
  /** What the ref names on the server, where that isn't the commit itself: an annotated tag. */
  tagObject?: string;
}

/** What to bring: the answer of {@link GitFetcher.resolve}, and whom to ask. */
export type FetchRequest = Omit<GitRequest, 'ref'> &
  Pick<ResolvedRevision, 'ref' | 'commit'> & {
    /** An annotated tag that must come with its commit. */
    tagObject?: string | undefined;
  };

/** What came into the cache: newer than what was resolved, if somebody pushed in between. */
export interface FetchedCommit {
  revision: string;
  commit: string;
  /** The first line of the commit's message. */
  subject: string;
}

/** Git's own bytes, to verify signatures of. */
export interface RawObjects {
  commit: Buffer;
  tag: Buffer | undefined;
}

const KEY = /^[a-z0-9]+(\/[a-z0-9]([a-z0-9.-]*[a-z0-9])?){2}(\/submodules\/[0-9a-f]+)?$/;
const SHA1_LENGTH = 40;

/**
 * Talks to git servers and keeps one bare, shallow cache per GitRepository and URL below `cacheRoot`. Calls about the
 * same key wait for each other. Every failure is a `SourceError`, except an abort, which throws the signal's reason.
 */
export class GitFetcher {
  readonly #cacheRoot: string;
  readonly #tool: GitTool;
  readonly #logger: Logger;
  readonly #locks = new KeyedLock();
  readonly #network: GitNetwork;

  constructor(o: {
    cacheRoot: string;
    gitBinary?: string;
    searchPath?: string;
    /** Variables for git, such as `HTTPS_PROXY`. */
    environment?: Readonly<Record<string, string>>;
    ssh?: SshAlgorithms;
    logger: Logger;
  }) {
    this.#cacheRoot = o.cacheRoot;
    this.#tool = {
      binary: o.gitBinary ?? 'git',
      searchPath: o.searchPath ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      extra: o.environment ?? {},
    };
    this.#network = new GitNetwork(this.#tool, join(o.cacheRoot, '.tmp'), o.ssh);
    this.#logger = o.logger;
  }

  /**
   * What the ref means now: one `ls-remote`, nothing written. A commit id is answered without asking anybody.
   * @throws SourceError `EmptyGitRepository`, `AuthenticationFailed`, `GitOperationFailed`, `URLInvalid`.
   */
  async resolve(request: GitRequest): Promise<ResolvedRevision> {
    const { ref } = request;
    if (ref.kind === 'commit') return { revision: revisionOf(ref, ref.commit), commit: ref.commit, ref };
    return this.#withDeadline(request, 'list the refs of', async (remote) => {
      const refs = await this.#refs(remote, ref);
      const one = ref.kind === 'semver' ? await this.#newestTag(request, remote, refs, ref) : ref;
      const { commit, tagObject } = lookUp(refs, fullRefName(one) ?? '', remote);
      const resolved = { revision: revisionOf(one, commit), commit, ref: one };
      return tagObject === undefined ? resolved : { ...resolved, tagObject };
    });
  }

  /**
   * Brings the commit that `resolve` named into the cache: nothing is fetched when it is there already, else what is
   * new at depth 1. A cache that git can't work with is replaced by a fresh one, once.
   */
  async fetch(request: FetchRequest): Promise<FetchedCommit> {
    return this.#withDeadline(request, 'fetch from', (remote) =>
      this.#locks.run(request.key, async () => {
        const cache = this.#cache(request);
        const { ref, commit: wanted, tagObject } = request;
        const errand = { network: this.#network, remote, cache, ref, logger: this.#logger };
        const commit = await bringCommit({ ...errand, commit: wanted, tagObject });
        const subject = await cache.subject(commit, remote.deadline);
        await cache.removeSiblings();
        await this.#maintain(cache, remote.deadline);
        return { revision: revisionOf(ref, commit), commit, subject };
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

  /** A fetched commit as git keeps it, and the annotated tag that it was fetched by. @throws GitExit */
  async rawObjects(o: {
    key: string;
    url: string;
    commit: string;
    signal: AbortSignal;
  }): Promise<RawObjects> {
    const cache = this.#cache(o);
    const commit = await cache.read('commit', o.commit, o.signal);
    const tag = await cache.tagAtHead(o.commit, o.signal);
    return { commit, tag: tag === undefined ? undefined : await cache.read('tag', tag, o.signal) };
  }

  /** What a text in the syntax of git-config(1) sets, by name; included files are not read. @throws GitExit */
  async readConfig(text: string, signal: AbortSignal): Promise<Map<string, string>> {
    const args = ['config', '--file=-', '--no-includes', '--null', '--list'];
    const output = await runGit({ tool: this.#tool, args, input: text, signal });
    const settings = output.toString('utf8').split('\0').filter(Boolean);
    return new Map(
      settings.map((setting) => {
        const end = setting.indexOf('\n');
        return end < 0 ? [setting, ''] : [setting.slice(0, end), setting.slice(end + 1)];
      }),
    );
  }

  /** Removes the caches of a GitRepository's submodules but for these. */
  async keepSubmodules(key: string, ids: ReadonlySet<string>): Promise<void> {
    const directory = join(this.#keyDirectory(key), SUBMODULES);
    for (const id of await namesIn(directory))
      if (!ids.has(id)) await rm(join(directory, id), { recursive: true, force: true });
  }

  /** Forgets a GitRepository; `unless` has the last word, when nobody fetches for it. */
  async remove(key: string, unless: () => boolean = () => false): Promise<void> {
    const directory = this.#keyDirectory(key);
    await this.#locks.run(key, async () => {
      if (!unless()) await rm(directory, { recursive: true, force: true });
    });
  }

  /** The refs among which the wanted one is; never none. */
  async #refs(remote: Remote, ref: WantedRef): Promise<Map<string, string>> {
    const prefix = ref.kind === 'semver' ? 'refs/tags/' : (fullRefName(ref) ?? '');
    const under = (['heads', 'tags'] as const).find((group) => prefix.startsWith(`refs/${group}/`));
    const refs = await this.#network.listRefs(remote, under ?? 'everything');
    if (refs.size > 0) return refs;
    if ((await this.#network.listRefs(remote, 'everything')).size > 0) return refs;
    throw new SourceError(
      REASON.emptyGitRepository,
      `git repository '${remote.address.href}' is empty: push a commit to it`,
    );
  }

  async #newestTag(
    request: GitRequest,
    remote: Remote,
    refs: ReadonlyMap<string, string>,
    wanted: Extract<WantedRef, { kind: 'semver' }>,
  ): Promise<GitRef> {
    const scratch = this.#cache(request).sibling('tags');
    const tag = await tagOfRange({ ...wanted, refs, remote, scratch, network: this.#network });
    return { kind: 'tag', tag };
  }

  /** The commit is here whatever comes of it, so that a failure is no more than a line in the log. */
  async #maintain(cache: GitCache, deadline: AbortSignal): Promise<void> {
    try {
      await cache.maintain(deadline);
    } catch (error) {
      this.#logger.warn('cannot tidy up the git cache', { cache: cache.directory, error: messageOf(error) });
    }
  }

  async #withDeadline<T>(
    request: Omit<GitRequest, 'ref'>,
    what: string,
    work: (remote: Remote) => Promise<T>,
  ): Promise<T> {
    const address = parseRepositoryUrl(request.url);
    const timeout = AbortSignal.timeout(request.timeoutMs);
    const deadline = AbortSignal.any([request.signal, timeout]);
    const credentials = withUserinfo(address, request.credentials);
    try {
      return await work({ credentials, address, deadline, timeoutMs: request.timeoutMs });
    } catch (error) {
      request.signal.throwIfAborted();
      if (timeout.aborted) {
        const limit = formatDurationMs(request.timeoutMs);
        throw new SourceError(
          REASON.gitOperationFailed,
          `failed to ${what} '${address.href}': no end within ${limit} (spec.timeout)`,
        );
      }
      if (error instanceof GitExit) {
        const failure = gitFailure(error, { what, href: address.href, credentials });
        if (failure.reason === REASON.authenticationFailed) credentials?.onRefused?.();
        throw failure;
      }
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

/** The commit that a full ref name stands for, annotated tags peeled. */
function lookUp(
  refs: ReadonlyMap<string, string>,
  name: string,
  { address }: Remote,
): { commit: string; tagObject?: string } {
  const object = refs.get(name);
  const peeled = refs.get(`${name}^{}`);
  const commit = peeled ?? object;
  if (commit === undefined)
    throw new SourceError(
      REASON.gitOperationFailed,
      `couldn't find remote ref '${name}' in '${address.href}'`,
    );
  if (commit.length !== SHA1_LENGTH)
    throw new SourceError(
      REASON.gitOperationFailed,
      `'${address.href}' is a repository with SHA-256 object ids: only SHA-1 repositories are supported`,
      { stalled: true },
    );
  return peeled === undefined || object === undefined ? { commit } : { commit, tagObject: object };
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
