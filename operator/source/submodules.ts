/** `spec.recurseSubmodules`: what a tree's submodules hold, in their place. */

import { createHash } from 'node:crypto';
import { REASON } from '../api/conditions.ts';
import { type GitCredentials, withUserinfo } from './credentials.ts';
import { messageOf, SourceError } from './errors.ts';
import type { GitFetcher } from './git.ts';
import { type Mount, mountTrees } from './mounted-tree.ts';
import { parseRepositoryUrl } from './repository-url.ts';
import { isFile, type SourceTree, type TreeEntry } from './source-tree.ts';

/** The repository whose tree it is. */
export interface SubmoduleRequest {
  /** Of the GitRepository; submodules have caches below its own. */
  key: string;
  url: string;
  credentials?: GitCredentials | undefined;
  /** Which submodules are wanted, by their path. */
  wanted: (path: string) => boolean;
  signal: AbortSignal;
  /** For each submodule, in milliseconds. */
  timeoutMs: number;
}

type Git = Pick<GitFetcher, 'fetch' | 'tree' | 'readConfig' | 'keepSubmodules'>;

interface Visit extends SubmoduleRequest {
  git: Git;
  /** Where this tree is in the whole; empty for the outermost. */
  above: string;
  /** Ids of the caches in use. */
  used: Set<string>;
}

const MOST_SUBMODULES = 256;
const MODULES_FILE = '.gitmodules';
const MODULES_FILE_LIMIT_BYTES = 1024 * 1024;
const SCP_FORM = /^([^@/\s:]+@)?([^@:/\s]+):(?!\/\/)\/*(\S+)$/;

/**
 * The tree with the trees of its submodules, and of theirs. As in Flux, one that `.gitmodules` doesn't name stays an
 * empty directory. The names in `.gitmodules` are used nowhere; a URL is http, https or ssh, or relative to the
 * repository's own. Credentials go along to the same scheme, host and port only; the proxy is everybody's.
 * @throws SourceError naming the submodule
 */
export async function withSubmodules(git: Git, tree: SourceTree, o: SubmoduleRequest): Promise<SourceTree> {
  const used = new Set<string>();
  const whole = await visit(tree, { ...o, git, above: '', used });
  await git.keepSubmodules(o.key, used);
  return whole;
}

async function visit(tree: SourceTree, o: Visit): Promise<SourceTree> {
  const submodules = tree.entries.filter(
    ({ kind, path }) => kind === 'submodule' && o.wanted(o.above + path),
  );
  if (submodules.length === 0) return tree;
  const urls = await readModulesFile(tree, o);
  const mounts: Mount[] = [];
  for (const submodule of submodules) {
    const written = urls.get(submodule.path);
    if (written === undefined) continue;
    const path = o.above + submodule.path;
    const what = `submodule ${JSON.stringify(path)}`;
    try {
      mounts.push({ at: submodule.path, what, tree: await bring(submodule, written, o) });
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      const reason = error.reason === REASON.urlInvalid ? REASON.gitOperationFailed : error.reason;
      const message = error.message.replace(/^spec\.url/, 'its url');
      throw new SourceError(reason, `${what}: ${message}`, { cause: error });
    }
  }
  return mountTrees(tree, mounts);
}

async function bring({ path, oid: commit }: TreeEntry, written: string, o: Visit): Promise<SourceTree> {
  const url = absoluteUrl(written, o.url);
  // By path, not by URL: two submodules may want different commits of one repository.
  const id = createHash('sha256').update(`${o.above}${path}`).digest('hex').slice(0, 16);
  if (o.used.size >= MOST_SUBMODULES)
    throw new SourceError(
      REASON.gitOperationFailed,
      `the repository has more than ${MOST_SUBMODULES} submodules`,
    );
  o.used.add(id);
  const credentials = credentialsFor(url, o);
  const { signal, timeoutMs } = o;
  const request = { key: `${o.key}/submodules/${id}`, url, credentials, signal, timeoutMs };
  await o.git.fetch({ ...request, ref: { kind: 'commit', commit }, commit });
  const tree = await o.git.tree({ ...request, commit });
  return visit(tree, { ...o, url, credentials, above: `${o.above}${path}/` });
}

/** URLs by path. */
async function readModulesFile(tree: SourceTree, o: Visit): Promise<Map<string, string>> {
  const file = tree.entries.find((entry) => entry.path === MODULES_FILE && isFile(entry));
  if (file === undefined) return new Map();
  if (file.sizeBytes > MODULES_FILE_LIMIT_BYTES)
    throw unreadable(o.above, `it is larger than ${MODULES_FILE_LIMIT_BYTES} bytes`);
  const settings = await parse(await contentOf(tree, file, o.signal), o);
  const urls = new Map<string, string>();
  for (const [name, path] of settings) {
    const url = settings.get(name.replace(/\.path$/, '.url'));
    if (name.startsWith('submodule.') && name.endsWith('.path') && url !== undefined)
      urls.set(path.replace(/\/+$/, ''), url);
  }
  return urls;
}

async function parse(text: string, o: Visit): Promise<Map<string, string>> {
  try {
    return await o.git.readConfig(text, o.signal);
  } catch (error) {
    o.signal.throwIfAborted();
    throw unreadable(o.above, messageOf(error));
  }
}

async function contentOf(tree: SourceTree, file: TreeEntry, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const { content } of tree.read([file], signal))
    for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function unreadable(above: string, why: string): SourceError {
  return new SourceError(REASON.gitOperationFailed, `${above}${MODULES_FILE} cannot be read: ${why}`);
}

/** As git-submodule(1) has it: what begins with `./` or `../` is relative to the repository's URL. */
function absoluteUrl(written: string, base: string): string {
  if (/^\.\.?\//.test(written)) return new URL(written, `${base.replace(/\/+$/, '')}/`).href;
  const [, user = 'git@', host, path] = SCP_FORM.exec(written) ?? [];
  return host === undefined || path === undefined ? written : `ssh://${user}${host}/${path}`;
}

function credentialsFor(url: string, o: Visit): GitCredentials | undefined {
  const [there, here] = [parseRepositoryUrl(url), parseRepositoryUrl(o.url)];
  const isSameServer = there.transport === here.transport && there.host === here.host;
  if (isSameServer) return withUserinfo(here, o.credentials);
  return o.credentials?.proxy && { proxy: o.credentials.proxy };
}
