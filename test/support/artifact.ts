import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** An extracted artifact of a test: a directory of its own. */
export interface TestArtifact {
  root: string;
  write(path: string, content: string): Promise<void>;
  read(path: string): Promise<string>;
  remove(path: string): Promise<void>;
  /** The paths of all files, sorted. */
  list(): Promise<string[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Makes an artifact of the given files (path -> content). */
export async function makeArtifact(files: Record<string, string>): Promise<TestArtifact> {
  const root = await realpath(await mkdtemp(join(tmpdir(), 'signet-artifact-')));
  const artifact: TestArtifact = {
    root,
    async write(path, content) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), content);
    },
    read: (path) => readFile(join(root, path), 'utf8'),
    remove: (path) => rm(join(root, path), { recursive: true }),
    async list() {
      const entries = await readdir(root, { recursive: true, withFileTypes: true });
      return entries
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
        .sort();
    },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
  for (const [path, content] of Object.entries(files)) await artifact.write(path, content);
  return artifact;
}
