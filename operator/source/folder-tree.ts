/** A folder of plain files, an extracted artifact, as a tree. */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { SourceTree, TreeEntry } from './source-tree.ts';

const EXECUTABLE = 0o100;

/**
 * The folder's files and directories, by name. `id` tells its contents from others'. It must not change while the tree
 * is in use. @throws what reading the folder throws
 */
export async function folderTree(folder: string, id: string): Promise<SourceTree> {
  const entries: TreeEntry[] = [];
  const list = async (directory: string): Promise<void> => {
    const found = await readdir(join(folder, directory), { withFileTypes: true });
    for (const { name } of found.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))) {
      const path = directory === '' ? name : `${directory}/${name}`;
      const entry = await entryOf(join(folder, path), { path, oid: nameOf(id, path) });
      entries.push(entry);
      if (entry.kind === 'directory') await list(path);
    }
  };
  await list('');
  return { entries, read: (files, signal) => readFiles(folder, files, signal) };
}

/** One file, as a tree that holds it under a name. @throws what reading it throws */
export async function fileTree(file: string, o: { id: string; name: string }): Promise<SourceTree> {
  const entry = await entryOf(file, { path: o.name, oid: nameOf(o.id, '') });
  return {
    entries: [entry],
    async *read(files, signal) {
      for (const wanted of files) yield { entry: wanted, content: createReadStream(file, { signal }) };
    },
  };
}

async function entryOf(file: string, names: Pick<TreeEntry, 'path' | 'oid'>): Promise<TreeEntry> {
  const found = await stat(file);
  if (found.isDirectory()) return { ...names, kind: 'directory', sizeBytes: 0 };
  return { ...names, kind: (found.mode & EXECUTABLE) === 0 ? 'file' : 'executable', sizeBytes: found.size };
}

async function* readFiles(folder: string, files: readonly TreeEntry[], signal: AbortSignal) {
  for (const entry of files)
    yield { entry, content: createReadStream(join(folder, entry.path), { signal }) as AsyncIterable<Buffer> };
}

function nameOf(id: string, path: string): string {
  return createHash('sha256').update(`${id}\0${path}`).digest('hex');
}
