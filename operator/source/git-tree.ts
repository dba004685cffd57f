/**
 * A commit's tree, read from the object database: `ls-tree` for the names, `cat-file --batch` for the bytes. Neither
 * applies `.gitattributes` (export-ignore, export-subst, line endings) nor any filter, as a checkout or `git archive`
 * would.
 */

import { REASON } from '../api/conditions.ts';
import { SourceError } from './errors.ts';
import type { GitCache } from './git-cache.ts';
import { GitExit, type GitTool, runGit, startGit } from './git-process.ts';
import type { FileContent, SourceTree, TreeEntry } from './source-tree.ts';

const LISTING_LIMIT_BYTES = 1024 * 1024 * 1024;
const KIND_BY_MODE: Readonly<Record<string, TreeEntry['kind']>> = {
  '100644': 'file',
  '100664': 'file',
  '100755': 'executable',
  '040000': 'directory',
  '120000': 'symlink',
  '160000': 'submodule',
};

interface TreeRequest {
  cache: GitCache;
  tool: GitTool;
  commit: string;
  signal: AbortSignal;
  /** Turns git's complaint about its objects into what is thrown. */
  damaged: (error: unknown) => Promise<SourceError>;
}

/**
 * The tree of `commit`.
 * @throws what `damaged` answers when objects are missing or broken, here and while files are read; SourceError for a
 * path that no checkout could have.
 */
export async function readTree(o: TreeRequest): Promise<SourceTree> {
  const listing = await listTree(o);
  return { entries: parseListing(listing), read: (files, signal) => readFiles(o, files, signal) };
}

async function listTree(o: TreeRequest): Promise<Buffer> {
  const args = o.cache.args('ls-tree', '-r', '-t', '-z', '--full-tree', '--long', o.commit);
  try {
    return await runGit({ tool: o.tool, args, signal: o.signal, limitBytes: LISTING_LIMIT_BYTES });
  } catch (error) {
    if (error instanceof GitExit) throw await o.damaged(error);
    throw error;
  }
}

/** `<mode> SP <type> SP <object> SP+ <size> TAB <path> NUL` (git-ls-tree(1)); the size of what isn't a blob is `-`. */
export function parseListing(listing: Buffer): TreeEntry[] {
  const entries: TreeEntry[] = [];
  for (let start = 0; start < listing.length; ) {
    const end = listing.indexOf(0, start);
    const line = listing.toString('utf8', start, end < 0 ? listing.length : end);
    start = end < 0 ? listing.length : end + 1;
    const tab = line.indexOf('\t');
    const [mode = '', , oid = '', size = '-'] = line.slice(0, tab).split(/ +/);
    const kind = KIND_BY_MODE[mode];
    if (kind === undefined) throw unusable(line.slice(tab + 1), `has the unknown mode ${mode}`);
    entries.push({
      path: checked(line.slice(tab + 1)),
      kind,
      oid,
      sizeBytes: size === '-' ? 0 : Number(size),
    });
  }
  return entries;
}

async function* readFiles(
  o: TreeRequest,
  files: readonly TreeEntry[],
  signal: AbortSignal,
): AsyncGenerator<FileContent> {
  if (files.length === 0) return;
  const git = startGit({ tool: o.tool, args: o.cache.args('cat-file', '--batch', '--buffer'), signal });
  // Feeding and reading go on side by side: a full pipe makes git wait, not us.
  const fed = feed(git.stdin, files);
  const output = new ByteReader(git.stdout);
  try {
    for (const entry of files) {
      const header = await output.line();
      if (header !== `${entry.oid} blob ${entry.sizeBytes}`)
        throw new GitExit(
          undefined,
          `fatal: ${header === '' ? `no object ${entry.oid}` : header} (${entry.path})`,
        );
      yield { entry, content: output.take(entry.sizeBytes) };
      await output.skip(1);
    }
    await fed;
    await output.end();
    await git.ended;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof GitExit) throw await o.damaged(await exitOrElse(git.ended, error));
    throw error;
  } finally {
    git.kill();
  }
}

/** git's own complaint says more than our surprise at what it answered. */
async function exitOrElse(ended: Promise<void>, otherwise: GitExit): Promise<unknown> {
  try {
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 1_000))]);
    return otherwise;
  } catch (error) {
    return error;
  }
}

async function feed(stdin: NodeJS.WritableStream, files: readonly TreeEntry[]): Promise<void> {
  for (const { oid } of files) {
    if (stdin.write(`${oid}\n`) || !stdin.writable) continue;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        stdin.off('drain', go).off('close', go);
        resolve();
      };
      stdin.on('drain', go).on('close', go);
    });
  }
  stdin.end();
}

/** Lines and counted bytes from a stream. Its end where more was due is a `GitExit`. */
class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: AsyncIterable<Buffer>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    for (;;) {
      const end = this.#rest.indexOf(0x0a);
      if (end >= 0) {
        const text = this.#rest.toString('utf8', 0, end);
        this.#rest = this.#rest.subarray(end + 1);
        return text;
      }
      this.#rest = Buffer.concat([this.#rest, await this.#next()]);
    }
  }

  async *take(countBytes: number): AsyncGenerator<Buffer> {
    for (let left = countBytes; left > 0; ) {
      if (this.#rest.length === 0) this.#rest = await this.#next();
      const piece = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }

  async skip(countBytes: number): Promise<void> {
    for await (const _ of this.take(countBytes));
  }

  /** Reads on to the end of the stream: a process only counts as ended when its output was used up. */
  async end(): Promise<void> {
    while ((await this.#chunks.next()).done !== true);
  }

  async #next(): Promise<Buffer> {
    const { value, done } = await this.#chunks.next();
    if (done === true) throw new GitExit(undefined, 'fatal: git ended before its answer did');
    return value;
  }
}

/** A hand-made tree may name anything; only what a checkout could have written goes further. */
function checked(path: string): string {
  const strange = path
    .split('/')
    .some((part) => part === '' || part === '.' || part === '..' || part.toLowerCase() === '.git');
  if (strange) throw unusable(path, 'is not a path that a checkout could have');
  return path;
}

function unusable(path: string, what: string): SourceError {
  return new SourceError(
    REASON.gitOperationFailed,
    `${JSON.stringify(path)} in the repository ${what}: remove it`,
  );
}
