/** Unpacking an artifact that somebody else may have made. */

import { createReadStream } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
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
    for await (const entry of tar as AsyncIterable<TarEntry>) {
      if (++count > o.limits.maxEntries) throw tooLarge(`more than ${o.limits.maxEntries} entries`);
      totalBytes += entry.header.size;
      if (totalBytes > o.limits.maxBytes) throw tooLarge(`more than ${o.limits.maxBytes} bytes`);
      await unpack(entry, o.directory);
    }
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

async function unpack(entry: TarEntry, directory: string): Promise<void> {
  const { name, type, mode } = entry.header;
  const target = join(directory, safePath(name));
  if (type === 'directory') {
    await mkdir(target, { recursive: true, mode: 0o700 });
    for await (const _ of entry);
    return;
  }
  if (type !== 'file' && type !== 'contiguous-file') throw unsafe(`${JSON.stringify(name)} is a ${type}`);
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  const file = await open(target, 'wx', (mode & 0o100) === 0 ? 0o400 : 0o500);
  try {
    for await (const chunk of entry) await file.writeFile(chunk);
  } finally {
    await file.close();
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
