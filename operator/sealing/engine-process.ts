/** One process of the template engine (template-engine/main.go). */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';

/** What the engine says of one template. */
export interface EngineAnswer {
  /** Base64; absent when empty. */
  value?: string;
  generated?: boolean;
  failure?: string;
}

/** A request in the engine's words. */
export interface EngineRequest {
  /** Item → base64. */
  data: Readonly<Record<string, string>>;
  templates: readonly (readonly [key: string, text: string])[];
}

/** How far a process got that ended before it had answered everything. */
export class EngineEnded extends Error {
  override readonly name = 'EngineEnded';
  /** The answers that had come by then; the next template is the one that it was at. */
  readonly answered: number;

  constructor(message: string, answered: number) {
    super(message);
    this.answered = answered;
  }
}

interface Pending {
  request: EngineRequest;
  answers: EngineAnswer[];
  resolve(answers: EngineAnswer[]): void;
  reject(error: EngineEnded): void;
}

const LINE_FEED = 10;
const COMPLAINT_LENGTH = 512;

/**
 * Serves one request at a time, with an empty environment, until {@link EngineProcess.kill}, its memory limit or a bug
 * ends it for good. What it prints on standard error is looked at for the word memory and thrown away.
 */
export class EngineProcess {
  /** Resolves when the process is gone; never rejects. */
  readonly ended: Promise<void>;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #memoryLimitMb: number;
  #pending: Pending | undefined;
  #partialLine: Buffer[] = [];
  #complaint = '';
  #endReason: string | undefined;

  constructor(o: { binary: string; memoryLimitMb: number }) {
    this.#memoryLimitMb = o.memoryLimitMb;
    this.#child = spawn(o.binary, [String(o.memoryLimitMb)], { env: {}, cwd: '/', stdio: 'pipe' });
    this.#child.stdout.on('data', (chunk: Buffer) => this.#receive(chunk));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (this.#complaint.length < COMPLAINT_LENGTH) this.#complaint += text;
    });
    this.#child.stdin.on('error', () => {}); // it has ended, which 'close' tells
    this.ended = new Promise((resolve) => {
      this.#child.on('error', (error) => {
        this.#end(`the template engine ${o.binary} can't be run: ${error.message}`);
        resolve();
      });
      this.#child.on('close', () => {
        this.#end(this.#explainEnd());
        resolve();
      });
    });
  }

  get alive(): boolean {
    return this.#endReason === undefined;
  }

  /** One answer a template, in their order. Rejects with {@link EngineEnded} when the process ends before the last. */
  run(request: EngineRequest): Promise<EngineAnswer[]> {
    return new Promise((resolve, reject) => {
      if (this.#endReason !== undefined) return reject(new EngineEnded(this.#endReason, 0));
      this.#pending = { request, answers: [], resolve, reject };
      this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    });
  }

  /** Ends the process at once; what it was doing is rejected with `reason`. */
  kill(reason: string): void {
    this.#end(reason);
    this.#child.kill('SIGKILL');
  }

  #end(reason: string): void {
    this.#endReason ??= reason;
    const pending = this.#pending;
    this.#pending = undefined;
    this.#partialLine = [];
    pending?.reject(new EngineEnded(this.#endReason, pending.answers.length));
  }

  #receive(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
      const line = Buffer.concat([...this.#partialLine, chunk.subarray(start, end)]).toString();
      this.#partialLine = [];
      start = end + 1;
      this.#receiveLine(line);
    }
    if (start < chunk.length) this.#partialLine.push(chunk.subarray(start));
  }

  #receiveLine(line: string): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    pending.answers.push(JSON.parse(line) as EngineAnswer);
    if (pending.answers.length < pending.request.templates.length) return;
    this.#pending = undefined;
    pending.resolve(pending.answers);
  }

  #explainEnd(): string {
    return this.#complaint.includes('memory')
      ? `it needs more than the ${this.#memoryLimitMb} MiB of memory that templates may use`
      : 'the template engine ended unexpectedly';
  }
}
