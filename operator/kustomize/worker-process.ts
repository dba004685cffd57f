import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Logger } from '../api/logger.ts';
import { BuildError } from './build-error.ts';
import { parseExactJson } from './exact-json.ts';

/** A request in the words of build-worker/main.go. */
export interface WorkerRequest {
  root: string;
  path: string;
  /** What to add to the kustomization file, in kustomize's words. */
  overlay: object;
  ignoreMissingComponents: boolean;
}

/** What a worker answers: the objects in kustomize's order, then its inputs or why it failed. */
export interface WorkerAnswer {
  objects: unknown[];
  inputs: { files: Record<string, string>; directories: Record<string, string>; absent: object } | null;
  error: { message: string; pathNotFound?: boolean } | null;
}

interface Pending {
  objects: unknown[];
  resolve(answer: WorkerAnswer): void;
  reject(error: unknown): void;
}

const COMPLAINT_LENGTH = 4096;

/**
 * One build worker: a process of its own with an empty environment, which serves one request at a time and ends by
 * `kill`, by its memory limit or by a bug, for good. Its answers come as a line an object and are parsed as they
 * arrive, so that a large build never holds up the event loop.
 */
export class WorkerProcess {
  /** Resolves when the process is gone; never rejects. */
  readonly ended: Promise<void>;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #memoryLimitMb: number;
  #pending: Pending | undefined;
  #partialLine: Buffer[] = [];
  #complaint = '';
  #endReason: unknown;
  #alive = true;

  constructor(options: { binary: string; memoryLimitMb: number; logger: Logger }) {
    const { binary, memoryLimitMb, logger } = options;
    this.#memoryLimitMb = memoryLimitMb;
    this.#child = spawn(binary, [String(memoryLimitMb)], { env: {}, cwd: '/', stdio: 'pipe' });
    this.#child.stdout.on('data', (chunk: Buffer) => this.#receive(chunk));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = (this.#complaint + text).slice(0, COMPLAINT_LENGTH);
      logger.debug('build worker', { output: text.trimEnd() });
    });
    this.#child.stdin.on('error', () => {}); // it has ended, which 'close' tells
    this.ended = new Promise((resolve) => {
      this.#child.on('error', (error) => {
        this.#end(new BuildError(`can't run the build worker ${binary}: ${error.message}`, { cause: error }));
        resolve();
      });
      this.#child.on('close', (code, signal) => {
        this.#end(new BuildError(this.#explainEnd(signal ?? `exit code ${code}`)));
        resolve();
      });
    });
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Sends a request; only when the one before is answered. Rejects with {@link BuildError} when the process ends. */
  run(request: WorkerRequest): Promise<WorkerAnswer> {
    return new Promise((resolve, reject) => {
      if (!this.#alive) return reject(this.#endReason);
      this.#complaint = '';
      this.#pending = { objects: [], resolve, reject };
      this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    });
  }

  /** Ends the process at once; what it was doing rejects with `reason`. */
  kill(reason: unknown): void {
    this.#end(reason);
    this.#child.kill('SIGKILL');
  }

  #end(reason: unknown): void {
    if (this.#alive) this.#endReason = reason;
    this.#alive = false;
    this.#pending?.reject(reason);
    this.#pending = undefined;
  }

  #receive(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      const line = Buffer.concat([...this.#partialLine, chunk.subarray(start, end)]).toString('utf8');
      this.#partialLine = [];
      start = end + 1;
      this.#receiveLine(line);
    }
    if (start < chunk.length) this.#partialLine.push(chunk.subarray(start));
  }

  #receiveLine(line: string): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    try {
      const answer = parseExactJson(line) as { object: unknown } | Omit<WorkerAnswer, 'objects'>;
      if ('object' in answer) {
        pending.objects.push(answer.object);
      } else {
        this.#pending = undefined;
        pending.resolve({ objects: pending.objects, ...answer });
      }
    } catch (error) {
      this.kill(new BuildError("can't read the build worker's answer", { cause: error }));
    }
  }

  #explainEnd(how: string): string {
    const fatal = /^(?:fatal error|runtime): .*/m.exec(this.#complaint)?.[0] ?? '';
    return /memory/.test(fatal)
      ? `the build needs more than the ${this.#memoryLimitMb} MiB of memory that it may use`
      : `the build worker ended unexpectedly (${how}${fatal && `, ${fatal}`}); the build can be tried again`;
  }
}
