/** Artifacts as folders: what a build reads. */

import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../api/logger.ts';
import { type Artifact, digestFile, parseDigest } from './artifact.ts';
import type { ArtifactStore } from './artifact-store.ts';
import { download } from './download.ts';
import { ArtifactUnavailable, messageOf, systemErrorCode } from './errors.ts';
import { type ExtractLimits, extractArchive } from './extract.ts';

/** An extracted artifact. The folder is shared: read it, don't write to it. */
export interface OpenArtifact {
  directory: string;
  /** To be called when done with it; calling again does nothing. */
  release(): void;
}

/** An extracted folder, or one on its way. */
interface Extraction {
  readonly digest: string;
  readonly directory: string;
  readonly done: Promise<void>;
  users: number;
}

/** Where a reader works and what it may take up. */
export interface ArtifactReaderOptions {
  /** Whose files are read directly instead of over HTTP. */
  store?: ArtifactStore;
  /** A folder of our own; what an earlier process left in it is removed. */
  cacheRoot: string;
  /** How many folders that nobody uses are kept for the next pass. */
  maxIdle?: number;
  /** Of the compressed artifact. */
  maxDownloadBytes?: number;
  limits?: Partial<ExtractLimits>;
  logger: Logger;
}

const DEFAULT_LIMITS: ExtractLimits = { maxEntries: 500_000, maxBytes: 1024 * 1024 * 1024 };

/**
 * Opens artifacts, each digest extracted once however many ask for it and whenever. A folder appears whole (a rename)
 * and goes when nobody uses it and `maxIdle` others were used later.
 */
export class ArtifactReader {
  readonly #o: ArtifactReaderOptions;
  readonly #limits: ExtractLimits;
  readonly #maxIdle: number;
  /** By digest, least recently used first. */
  readonly #extractions = new Map<string, Extraction>();
  readonly #stopped = new AbortController();
  #ready: Promise<void> | undefined;

  constructor(o: ArtifactReaderOptions) {
    this.#o = o;
    this.#limits = { ...DEFAULT_LIMITS, ...o.limits };
    this.#maxIdle = o.maxIdle ?? 16;
  }

  /**
   * The artifact's files.
   * @throws ArtifactUnavailable when it is gone, isn't what its digest says, or must not be extracted; the signal's
   * reason when aborted (others who wait for the same artifact still get it).
   */
  async open(
    artifact: Pick<Artifact, 'url' | 'digest' | 'path'>,
    signal: AbortSignal,
  ): Promise<OpenArtifact> {
    signal.throwIfAborted();
    const extraction = this.#extractions.get(artifact.digest) ?? this.#begin(artifact);
    this.#extractions.delete(extraction.digest);
    this.#extractions.set(extraction.digest, extraction);
    extraction.users++;
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      extraction.users--;
      this.#trim();
    };
    try {
      await untilAborted(extraction.done, signal);
    } catch (error) {
      release();
      throw error;
    }
    return { directory: extraction.directory, release };
  }

  /** Ends what is under way and removes every folder. */
  async close(): Promise<void> {
    this.#stopped.abort(new Error('the artifact reader is closed'));
    await Promise.allSettled([...this.#extractions.values()].map(({ done }) => done));
    await rm(this.#o.cacheRoot, { recursive: true, force: true });
  }

  #begin(artifact: Pick<Artifact, 'url' | 'digest' | 'path'>): Extraction {
    const directory = join(this.#o.cacheRoot, randomUUID());
    const done = this.#extract(artifact, directory);
    const extraction: Extraction = { digest: artifact.digest, directory, done, users: 0 };
    this.#extractions.set(artifact.digest, extraction);
    // A failure is for those who asked; whoever asks later tries again.
    done.catch(() => this.#extractions.delete(artifact.digest));
    return extraction;
  }

  async #extract(artifact: Pick<Artifact, 'url' | 'digest' | 'path'>, directory: string): Promise<void> {
    this.#ready ??= this.#prepare();
    await this.#ready;
    const signal = this.#stopped.signal;
    const work = `${directory}.unfinished`;
    try {
      const files = join(work, 'files');
      await mkdir(files, { recursive: true, mode: 0o700 });
      const archive = await this.#obtain(artifact, join(work, 'artifact.tar.gz'), signal);
      await extractArchive({ file: archive, directory: files, limits: this.#limits, signal });
      await rename(files, directory);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  /** A file with the artifact's bytes, checked against its digest: a copy of our own, for the store's may be replaced. */
  async #obtain(
    artifact: Pick<Artifact, 'url' | 'digest' | 'path'>,
    file: string,
    signal: AbortSignal,
  ): Promise<string> {
    const digest = parseDigest(artifact.digest);
    if (digest === undefined)
      throw new ArtifactUnavailable(
        'verify',
        `the digest ${JSON.stringify(artifact.digest)} is not a sha256, sha384 or sha512 one`,
      );
    const local = this.#o.store?.locate(artifact.path);
    if (local !== undefined && (await copyIfThere(local, file))) {
      if ((await digestFile(file, digest.algorithm, signal)) === artifact.digest) return file;
      this.#o.logger.warn('a stored artifact is not what its digest says', { path: artifact.path });
    }
    const { algorithm } = digest;
    const actual = await download({
      url: artifact.url,
      file,
      algorithm,
      signal,
      maxBytes: this.#o.maxDownloadBytes ?? 512 * 1024 * 1024,
    });
    if (actual !== artifact.digest)
      throw new ArtifactUnavailable(
        'verify',
        `failed to verify archive: computed digest doesn't match '${artifact.digest}' (${artifact.url})`,
      );
    return file;
  }

  async #prepare(): Promise<void> {
    await rm(this.#o.cacheRoot, { recursive: true, force: true });
    await mkdir(this.#o.cacheRoot, { recursive: true, mode: 0o700 });
  }

  #trim(): void {
    const idle = [...this.#extractions.values()].filter(({ users }) => users === 0);
    for (const extraction of idle.slice(0, Math.max(0, idle.length - this.#maxIdle))) {
      this.#extractions.delete(extraction.digest);
      extraction.done
        .then(() => rm(extraction.directory, { recursive: true, force: true }))
        .catch((error: unknown) =>
          this.#o.logger.warn('cannot remove an extracted artifact', { error: messageOf(error) }),
        );
    }
  }
}

async function copyIfThere(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
