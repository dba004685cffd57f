import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { git, isolatedGitEnvironment } from '../../hack/cluster/git-process.ts';

/** How big. */
export interface BigRepositoryOptions {
  /** The bare repository to fill; its branch `main` must not exist. */
  directory: string;
  files: number;
  /** Of incompressible content that former commits hold and the last one doesn't. */
  historyBytes: number;
  commits: number;
}

const IDENTITY = 'Ada Author <ada@example.org> 1700000000 +0000';

/**
 * Fills a repository by `git fast-import`: `commits` commits whose last one holds `files` manifests of 1 to 3 KB in
 * folders of 20, packed as a server would have it. The same options give the same commits.
 */
export async function fillBigRepository(o: BigRepositoryOptions): Promise<void> {
  const importer = spawn('git', ['fast-import', '--quiet'], {
    cwd: o.directory,
    env: isolatedGitEnvironment,
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  const ended = once(importer, 'close');
  const write = async (data: string | Buffer): Promise<void> => {
    if (!importer.stdin.write(data)) await once(importer.stdin, 'drain');
  };
  const file = async (path: string, content: Buffer): Promise<void> => {
    await write(`M 100644 inline ${path}\ndata ${content.length}\n`);
    await write(content);
    await write('\n');
  };
  for (let commit = 0; commit < o.commits; commit++) {
    await write(
      `commit refs/heads/main\ncommitter ${IDENTITY}\ndata 9\nCommit ${String(commit % 100).padStart(2, '0')}\n`,
    );
    if (commit === 0) for (let each = 0; each < o.files; each++) await file(pathOf(each), manifest(each));
    // Content that comes and goes: what a history is made of.
    await write('D media\n');
    if (commit === o.commits - 1) break;
    await file(`media/${commit}.bin`, noise(commit, Math.round(o.historyBytes / (o.commits - 1))));
  }
  importer.stdin.end();
  const [code] = await ended;
  if (code !== 0) throw new Error(`git fast-import ended with ${String(code)}`);
  await git(o.directory, ['repack', '-q', '-a', '-d', '--write-bitmap-index']);
}

/** The path of one of the files. */
export function pathOf(index: number): string {
  return `apps/team-${Math.floor(index / 400)}/app-${Math.floor(index / 20)}/manifest-${index % 20}.yaml`;
}

/** A manifest as people write them: much alike, never equal. */
export function manifest(index: number, version = 1): Buffer {
  const digest = createHash('sha256').update(`${index}/${version}`).digest('hex');
  const variables = Array.from({ length: 5 + (index % 20) }, (_, each) => {
    const value = createHash('sha256').update(`${index}/${each}`).digest('base64url');
    return `            - name: SETTING_${each}\n              value: ${value}\n`;
  });
  return Buffer.from(
    `apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-${index}
  labels:
    app.kubernetes.io/name: app-${index}
    app.kubernetes.io/version: "${version}"
spec:
  replicas: ${1 + (index % 5)}
  selector:
    matchLabels:
      app.kubernetes.io/name: app-${index}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: app-${index}
    spec:
      containers:
        - name: main
          image: registry.example.org/apps/app-${index}@sha256:${digest}
          env:
${variables.join('')}`,
  );
}

/** Bytes that don't compress, the same for the same seed. */
function noise(seed: number, length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let block = 0, bytes = 0; bytes < length; block++, bytes += 64)
    blocks.push(createHash('sha512').update(`${seed}/${block}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}
