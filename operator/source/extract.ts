/** Unpacking an artifact that somebody else may have made. */

import { createReadStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { type Header, extract as tarExtract } from 'tar-stream';
import { ArtifactUnavailable, messageOf } from './errors.ts';

/** What an archive may unpack to. */
export interface ExtractLimits {
  maxEntries: number;
  maxBytes: number;
}

const BUFFERED_BYTES = 1024 * 1024;
const WRITES_AT_ONCE = 16;

interface TarEntry extends AsyncIterable<Uint8Array> {
  header: Header;
}

/**
 * Unpacks a tar.gz into `directory`, an empty one: regular files (0400, executables 0500) and directories (0700), each
 * name once. Whatever happens, nothing is written elsewhere.
 * @throws ArtifactUnavailable `unsafe` for a link, a device, a name that is absolute, has `..` or occurs twice, or a
 * damaged archive; `too large` beyond the limits; the signal's reason when aborted.
 */
export async function extractArchive(o: {
  file: string;
  directory: string;
  limits: ExtractLimits;
  signal: AbortSignal;
}): Promise<void> {
  const tar = tarExtract();
  const unpacked = (async () => {
    let totalBytes = 0;
    let count = 0;
    const target = new Target(o.directory);
    try {
      for await (const entry of tar as AsyncIterable<TarEntry>) {
        if (++count > o.limits.maxEntries) throw tooLarge(`more than ${o.limits.maxEntries} entries`);
        totalBytes += entry.header.size;
        if (totalBytes > o.limits.maxBytes) throw tooLarge(`more than ${o.limits.maxBytes} bytes`);
        await target.unpack(entry);
      }
    } finally {
      await target.settled();
    }
    target.check();
  })();
  const results = await Promise.allSettled([
    unpacked.catch((error: unknown) => {
      tar.destroy(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }),
    pipeline(createReadStream(o.file), createGunzip(), tar as unknown as NodeJS.WritableStream, {
      signal: o.signal,
    }),
  ]);
  o.signal.throwIfAborted();
  for (const result of results) if (result.status === 'rejected') throw asUnavailable(result.reason);
}

/** The folder that is unpacked into. Small files are written a few at a time, while the archive is read on. */
class Target {
  readonly #root: string;
  readonly #made = new Set<string>();
  readonly #writing = new Set<Promise<void>>();
  #failure: { error: unknown } | undefined;

  constructor(root: string) {
    this.#root = root;
  }

  async unpack(entry: TarEntry): Promise<void> {
    this.check();
    const { name, type, mode, size } = entry.header;
    const path = join(this.#root, safePath(name));
    if (type === 'directory') {
      await this.#makeDirectory(path);
      for await (const _ of entry);
      return;
    }
    if (type !== 'file' && type !== 'contiguous-file') throw unsafe(`${JSON.stringify(name)} is a ${type}`);
    await this.#makeDirectory(dirname(path));
    const options = { flag: 'wx', mode: (mode & 0o100) === 0 ? 0o400 : 0o500 };
    if (size > BUFFERED_BYTES) return writeFile(path, entry, options);
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry) chunks.push(chunk);
    if (this.#writing.size >= WRITES_AT_ONCE) await Promise.race(this.#writing);
    this.#begin(writeFile(path, Buffer.concat(chunks), options));
  }

  /** Resolves when nothing is being written any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#writing);
  }

  /** @throws the first failure of a write */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  #begin(write: Promise<void>): void {
    const writing: Promise<void> = write
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#writing.delete(writing));
    this.#writing.add(writing);
  }

  async #makeDirectory(path: string): Promise<void> {
    if (this.#made.has(path)) return;
    await mkdir(path, { recursive: true, mode: 0o700 });
    this.#made.add(path);
  }
}

/** The name, if it stays inside. `./` in front and a `/` at the end are usual in archives. */
function safePath(name: string): string {
  const path = name.replace(/^(\.\/)+/, '').replace(/\/+$/, '');
  const parts = path.split('/');
  if (name.startsWith('/') || name.includes('\0') || parts.includes('..'))
    throw unsafe(`${JSON.stringify(name)} leads out of the archive`);
  return path;
}

function asUnavailable(error: unknown): ArtifactUnavailable {
  if (error instanceof ArtifactUnavailable) return error;
  return new ArtifactUnavailable('unsafe', `the archive cannot be unpacked: ${messageOf(error)}`, {
    cause: error,
  });
}

function unsafe(what: string): ArtifactUnavailable {
  return new ArtifactUnavailable('unsafe', `the archive must not be unpacked: ${what}`);
}

function tooLarge(what: string): ArtifactUnavailable {
  return new ArtifactUnavailable('too large', `the archive unpacks to ${what}`);
}
