import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** A process as `ps` lists it. */
export interface ListedProcess {
  readonly pid: number;
  readonly parentPid: number;
  /** Program and arguments. */
  readonly commandLine: string;
}

/** Every process of this machine that runs (one that has ended and waits for its parent doesn't). */
export async function runningProcesses(): Promise<ListedProcess[]> {
  const options = { env: { PATH: process.env.PATH, LC_ALL: 'C' }, maxBuffer: 64 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,stat=,args='], options);
  return stdout.split('\n').flatMap((line) => {
    const [, pid, parentPid, state = 'Z', commandLine = ''] =
      /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? [];
    return state.startsWith('Z') ? [] : [{ pid: Number(pid), parentPid: Number(parentPid), commandLine }];
  });
}

/**
 * Collects what a process starts, and what that starts, for as long as it runs: also what its parent leaves behind.
 * What lives for less than `POLL_MS` may be missed.
 */
export class ProcessTree {
  readonly #root: number;
  readonly #seen = new Map<number, ListedProcess>();
  #watching = true;
  readonly #done: Promise<void>;

  /** Begins to watch what `root` starts. */
  constructor(root: number) {
    this.#root = root;
    this.#done = this.#watch();
  }

  /** What was started so far, running or not. */
  get started(): readonly ListedProcess[] {
    return [...this.#seen.values()];
  }

  /** Ends the watching. */
  async stop(): Promise<void> {
    this.#watching = false;
    await this.#done;
  }

  /** Those of the started that still run: by process id and command line, so that a reused id isn't mistaken. */
  async survivors(): Promise<ListedProcess[]> {
    const running = await runningProcesses();
    return running.filter(({ pid, commandLine }) => this.#seen.get(pid)?.commandLine === commandLine);
  }

  async #watch(): Promise<void> {
    while (this.#watching) {
      for (const listed of await runningProcesses()) {
        if (listed.parentPid === this.#root || this.#seen.has(listed.parentPid))
          this.#seen.set(listed.pid, listed);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

const POLL_MS = 50;
