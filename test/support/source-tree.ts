import { createHash } from 'node:crypto';
import type { SourceTree, TreeEntry } from '../../operator/source/source-tree.ts';

/** A file of a tree made by hand: its text, or what it is otherwise. */
export type HandMade = string | { kind: TreeEntry['kind']; content?: string };

/** A tree in memory, with the directories that its paths imply; `chunkBytes` is how its files are handed out. */
export function sourceTree(files: Record<string, HandMade>, chunkBytes = 65_536): SourceTree {
  const contents = new Map<string, Buffer>();
  const entries = new Map<string, TreeEntry>();
  for (const [path, made] of Object.entries(files)) {
    const { kind, content = '' } = typeof made === 'string' ? { kind: 'file' as const, content: made } : made;
    const parents = path.split('/').slice(0, -1);
    for (const [index] of parents.entries()) {
      const parent = parents.slice(0, index + 1).join('/');
      entries.set(parent, { path: parent, kind: 'directory', oid: '', sizeBytes: 0 });
    }
    const bytes = Buffer.from(content);
    const oid = createHash('sha1').update(bytes).digest('hex');
    contents.set(oid, bytes);
    entries.set(path, { path, kind, oid, sizeBytes: kind === 'directory' ? 0 : bytes.length });
  }
  return {
    entries: [...entries.values()].sort((a, b) => (a.path < b.path ? -1 : 1)),
    async *read(wanted) {
      for (const entry of wanted) yield { entry, content: inChunks(contents.get(entry.oid), chunkBytes) };
    },
  };
}

async function* inChunks(bytes: Buffer | undefined, chunkBytes: number): AsyncGenerator<Buffer> {
  if (bytes === undefined) throw new Error('no such object');
  for (let start = 0; start < bytes.length; start += chunkBytes)
    yield bytes.subarray(start, start + chunkBytes);
}
