/** Where artifacts are kept: one folder per object, files that are only ever replaced whole. */

import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { REASON } from '../api/conditions.ts';
import { type FormerArchive, FormerArchiveLost, type WrittenArchive, writeArchive } from './archive.ts';
import {
  type Artifact,
  type ArtifactOwner,
  artifactDirectory,
  type DigestAlgorithm,
  digestFile,
  isArtifactPath,
  parseDigest,
} from './artifact.ts';
import { messageOf, SourceError, systemErrorCode } from './errors.ts';
import { selectEntries } from './ignore-rules.ts';
import { KeyedLock } from './keyed-lock.ts';
import type { SourceTree, TreeEntry } from './source-tree.ts';

/** What may go into one artifact, before compression. */
export interface ArtifactLimits {
  maxEntries: number;
  maxBytes: number;
}

/** A tree to publish. */
export interface Publication extends ArtifactOwner {
  revision: string;
  /** Names the file. */
  commit: string;
  tree: SourceTree;
  /** `spec.ignore`. */
  ignore?: string | undefined;
  metadata?: Record<string, string>;
  signal: AbortSignal;
}

const DEFAULT_LIMITS: ArtifactLimits = { maxEntries: 500_000, maxBytes: 1024 * 1024 * 1024 };
const TEMPORARY_PREFIX = '.tmp-';

/** Artifacts below `root`. One process writes to a root at a time. */
export class ArtifactStore {
  readonly root: string;
  readonly #advertisedAddress: string;
  readonly #retentionTtlMs: number;
  readonly #retentionRecords: number;
  readonly #digestAlgorithm: DigestAlgorithm;
  readonly #limits: ArtifactLimits;
  readonly #now: () => number;
  readonly #locks = new KeyedLock();
  /** What the last archive of each object was made of: forgotten with the process. */
  readonly #newest = new Map<string, FormerArchive>();

  constructor(o: {
    root: string;
    /** Host (and port) that clients reach the artifact server at. */
    advertisedAddress: string;
    retentionTtlMs?: number;
    retentionRecords?: number;
    digestAlgorithm?: DigestAlgorithm;
    limits?: Partial<ArtifactLimits>;
    now?: () => number;
  }) {
    this.root = o.root;
    this.#advertisedAddress = o.advertisedAddress;
    this.#retentionTtlMs = o.retentionTtlMs ?? 60_000;
    this.#retentionRecords = o.retentionRecords ?? 2;
    this.#digestAlgorithm = o.digestAlgorithm ?? 'sha256';
    this.#limits = { ...DEFAULT_LIMITS, ...o.limits };
    this.#now = o.now ?? Date.now;
  }

  /**
   * Writes the tree's artifact: a temporary file, synced, renamed into place. A reader sees the whole of it or nothing.
   * @throws SourceError `ArchiveOperationFailed` for the disk, and for a tree beyond the limits; what the tree throws.
   */
  async publish(o: Publication): Promise<Artifact> {
    const directory = artifactDirectory(o);
    const entries = await selectEntries(o.tree, o.ignore, o.signal);
    this.#checkLimits(entries);
    const path = `${directory}/${o.commit}.tar.gz`;
    if (!isArtifactPath(path)) throw new TypeError(`not a commit id: ${o.commit}`);
    const written = await this.#locks.run(directory, () => this.#write(path, entries, o));
    return {
      path,
      url: this.#urlOf(path),
      revision: o.revision,
      digest: written.digest,
      lastUpdateTime: new Date(this.#now()).toISOString().replace(/\.\d+Z$/, 'Z'),
      size: written.sizeBytes,
      ...(o.metadata === undefined ? {} : { metadata: o.metadata }),
    };
  }

  /** Compares the stored file with the artifact's digest, reading all of it. */
  async verify(
    artifact: Pick<Artifact, 'path' | 'digest'>,
    signal?: AbortSignal,
  ): Promise<'present' | 'missing' | 'corrupt'> {
    const file = this.locate(artifact.path);
    const digest = parseDigest(artifact.digest);
    if (file === undefined || digest === undefined) return 'missing';
    try {
      return (await digestFile(file, digest.algorithm, signal)) === artifact.digest ? 'present' : 'corrupt';
    } catch (error) {
      signal?.throwIfAborted();
      if (systemErrorCode(error) === 'ENOENT') return 'missing';
      throw storageError('read', artifact.path, error);
    }
  }

  /** The artifact with the URL that it has at today's advertised address. */
  readvertise<T extends Pick<Artifact, 'path' | 'url'>>(artifact: T): T {
    return { ...artifact, url: this.#urlOf(artifact.path) };
  }

  /** The file of an artifact path, whether it exists or not; undefined for what isn't an artifact path. */
  locate(path: string): string | undefined {
    return isArtifactPath(path) ? join(this.root, path) : undefined;
  }

  /**
   * Removes old artifacts of one object by Flux's rule: all but `keep` that are older than the retention time, then
   * the oldest beyond the number of records (`keep` counts). Answers the paths removed.
   */
  async collectGarbage(o: ArtifactOwner & { keep?: Pick<Artifact, 'path'> | undefined }): Promise<string[]> {
    const directory = artifactDirectory(o);
    const keep = o.keep?.path;
    return this.#locks.run(directory, async () => {
      const others = (await this.#list(directory)).filter(({ path }) => path !== keep);
      const young = others.filter(({ modifiedMs }) => this.#now() - modifiedMs <= this.#retentionTtlMs);
      const records = Math.max(0, this.#retentionRecords - (keep === undefined ? 0 : 1));
      const kept = new Set(young.sort((a, b) => b.modifiedMs - a.modifiedMs).slice(0, records));
      const garbage = others.filter((file) => !kept.has(file)).map(({ path }) => path);
      for (const path of garbage) await rm(join(this.root, path), { force: true });
      return garbage;
    });
  }

  /** Removes everything of an object that is gone; `unless` has the last word, when nobody writes. */
  async removeAll(owner: ArtifactOwner, unless: () => boolean = () => false): Promise<void> {
    const directory = artifactDirectory(owner);
    await this.#locks.run(directory, async () => {
      if (unless()) return;
      this.#newest.delete(directory);
      await rm(join(this.root, directory), { recursive: true, force: true });
    });
  }

  async #write(path: string, entries: readonly TreeEntry[], o: Publication): Promise<WrittenArchive> {
    const directory = join(this.root, artifactDirectory(o));
    const temporary = join(directory, `${TEMPORARY_PREFIX}${randomUUID()}`);
    try {
      await mkdir(directory, { recursive: true, mode: 0o755 });
      await removeUnfinished(directory);
      const written = await this.#archive(temporary, entries, o);
      const file = join(this.root, path);
      await rename(temporary, file);
      this.#newest.set(artifactDirectory(o), { file, members: written.members });
      return written;
    } catch (error) {
      await rm(temporary, { force: true });
      o.signal.throwIfAborted();
      throw error instanceof SourceError ? error : storageError('write', path, error);
    }
  }

  /** Takes over what hasn't changed since the artifact before, if that one still is what it was. */
  async #archive(
    temporary: string,
    entries: readonly TreeEntry[],
    { tree, signal, ...owner }: Publication,
  ): Promise<WrittenArchive> {
    const directory = artifactDirectory(owner);
    const write = (former: FormerArchive | undefined): Promise<WrittenArchive> => {
      const to = createWriteStream(temporary, { mode: 0o644, flush: true });
      return writeArchive({ tree, entries, to, digestAlgorithm: this.#digestAlgorithm, former, signal });
    };
    try {
      return await write(this.#newest.get(directory));
    } catch (error) {
      if (!(error instanceof FormerArchiveLost)) throw error;
      this.#newest.delete(directory);
      return write(undefined);
    }
  }

  async #list(directory: string): Promise<Array<{ path: string; modifiedMs: number }>> {
    const files: Array<{ path: string; modifiedMs: number }> = [];
    for (const name of await namesIn(join(this.root, directory))) {
      const path = `${directory}/${name}`;
      if (isArtifactPath(path)) files.push({ path, modifiedMs: (await stat(join(this.root, path))).mtimeMs });
    }
    return files;
  }

  #checkLimits(entries: readonly TreeEntry[]): void {
    const { maxEntries, maxBytes } = this.#limits;
    const advice = 'leave files out by spec.ignore or a .sourceignore file';
    if (entries.length > maxEntries)
      throw tooMuch(
        `the repository has ${entries.length} files and directories, more than ${maxEntries}: ${advice}`,
      );
    let totalBytes = 0;
    for (const entry of entries) {
      totalBytes += entry.sizeBytes;
      if (totalBytes > maxBytes)
        throw tooMuch(
          `the repository's files are larger than ${maxBytes} bytes (at ${entry.path}): ${advice}`,
        );
      if (entry.path.includes('\uFFFD'))
        throw tooMuch(`the name of ${JSON.stringify(entry.path)} is not UTF-8: rename it, or ${advice}`);
    }
  }

  #urlOf(path: string): string {
    return `http://${this.#advertisedAddress}/${path}`;
  }
}

/** What a writer that was killed left behind. The object's lock is held: there is no other writer. */
async function removeUnfinished(directory: string): Promise<void> {
  for (const name of await namesIn(directory))
    if (name.startsWith(TEMPORARY_PREFIX)) await rm(join(directory, name), { force: true });
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

function tooMuch(message: string): SourceError {
  return new SourceError(REASON.archiveOperationFailed, message);
}

function storageError(what: string, path: string, error: unknown): SourceError {
  return new SourceError(
    REASON.archiveOperationFailed,
    `cannot ${what} artifact ${path}: ${messageOf(error)}`,
    { cause: error },
  );
}
