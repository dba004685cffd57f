import { createHash } from 'node:crypto';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * Everything that a build looked at, by path from the artifact's root (the root itself is `.`): equal inputs give an
 * equal build. Digests are SHA-256, hexadecimal; an empty one says that only the existence mattered.
 */
export interface InputClosure {
  /** Files, with the digest of their content. */
  files: Record<string, string>;
  /** Directories, with the digest of their entries' names and types. */
  directories: Record<string, string>;
  /** Names looked for in vain. */
  absent: string[];
}

type Kind = 'file' | 'directory' | 'absent' | 'other';

/**
 * True when a build of the artifact at `root` would look at exactly what the build that gave `closure` did: every file
 * with its content, every listing, every absent name. A symbolic link anywhere on the way counts as a change, since a
 * build refuses it. Never throws: what can't be read has changed.
 */
export async function closureUnchanged(closure: InputClosure, root: string): Promise<boolean> {
  const kinds = new Map<string, Promise<Kind>>();
  const checks = [
    ...closure.absent.map((path) => async () => (await kindOf(path)) === 'absent'),
    ...Object.entries(closure.directories).map(
      ([path, digest]) =>
        async () =>
          (await kindOf(path)) === 'directory' &&
          (digest === '' || digest === (await listingDigest(join(root, path)))),
    ),
    ...Object.entries(closure.files).map(
      ([path, digest]) =>
        async () =>
          (await kindOf(path)) === 'file' &&
          (digest === '' || digest === (await fileDigest(join(root, path)))),
    ),
  ];
  return allHold(checks).catch(() => false);

  function kindOf(path: string): Promise<Kind> {
    const known = kinds.get(path) ?? look(path);
    kinds.set(path, known);
    return known;
  }

  async function look(path: string): Promise<Kind> {
    const parent = path === '.' ? 'directory' : await kindOf(dirname(path));
    if (parent === 'directory') return kindAt(join(root, path));
    return parent === 'other' ? 'other' : 'absent';
  }
}

async function kindAt(path: string): Promise<Kind> {
  try {
    const info = await lstat(path);
    if (info.isDirectory()) return 'directory';
    return info.isFile() ? 'file' : 'other';
  } catch (error) {
    return isNotThere(error) ? 'absent' : 'other';
  }
}

/** Few at a time: a closure may have thousands of files, and the thread pool has other work. Stops at the first false. */
async function allHold(checks: ReadonlyArray<() => Promise<boolean>>): Promise<boolean> {
  const rest = checks.values();
  let holds = true;
  const take = async (): Promise<void> => {
    for (const check of rest) {
      if (holds && !(await check())) holds = false;
      if (!holds) return;
    }
  };
  await Promise.all(Array.from({ length: 8 }, take));
  return holds;
}

async function fileDigest(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

/** The build worker's own form (`confined.list` in build-worker/): one line an entry, sorted by the names' bytes. */
async function listingDigest(path: string): Promise<string> {
  const entries = await readdir(path, { withFileTypes: true, encoding: 'buffer' });
  const hash = createHash('sha256');
  for (const entry of entries.sort((a, b) => Buffer.compare(a.name, b.name))) {
    hash.update(entry.name).update(`\0${entry.isDirectory()}${entry.isFile()}\n`);
  }
  return hash.digest('hex');
}

function isNotThere(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENAMETOOLONG';
}
