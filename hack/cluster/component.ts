import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { guard } from './guard.ts';

const TAIL_LINES = 25;

/** A program to run beside this process. */
export interface ComponentOptions {
  /** What messages call it. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment: nothing is inherited. */
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Standard output and error are appended here. */
  readonly logFile: string;
  /** Called once when it ends without having been asked to; the message holds the end of its log. */
  readonly onCrash?: (message: string) => void;
}

/** How a program ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/**
 * One running program, started without a shell in a process group of its own (a Ctrl-C at the terminal reaches only
 * us, who stop things in order), its output in a file, ended with this process at the latest.
 */
export class Component {
  readonly name: string;
  readonly pid: number;
  /** Resolves when it has ended, however. */
  readonly exited: Promise<Exit>;
  readonly #options: ComponentOptions;
  readonly #child: ChildProcess;
  #exit: Exit | undefined;
  #endWanted = false;

  private constructor(options: ComponentOptions, child: ChildProcess, pid: number) {
    this.name = options.name;
    this.pid = pid;
    this.#options = options;
    this.#child = child;
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#exit = { code, signal };
        guard.release(pid);
        if (!this.#endWanted) options.onCrash?.(this.describeExit());
        resolve(this.#exit);
      });
    });
  }

  /** Starts it. Rejects when the program can't be executed. */
  static async start(options: ComponentOptions): Promise<Component> {
    const log = openSync(options.logFile, 'a', 0o600);
    try {
      const child = spawn(options.command, options.args, {
        stdio: ['ignore', log, log],
        env: options.env ?? {},
        cwd: options.cwd,
        detached: true,
      });
      await once(child, 'spawn');
      if (child.pid === undefined) throw new Error(`${options.name} has no process id`);
      guard.watch(child.pid);
      return new Component(options, child, child.pid);
    } finally {
      closeSync(log);
    }
  }

  /** Whether it still runs. */
  get running(): boolean {
    return this.#exit === undefined;
  }

  /** Asks it to end (SIGTERM), kills it after the deadline, resolves when it has ended. */
  async stop(deadlineMs = 10_000): Promise<Exit> {
    this.#endWanted = true;
    this.signal('SIGTERM');
    const killer = setTimeout(() => this.signal('SIGKILL'), deadlineMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(killer);
    }
  }

  /** Kills it (SIGKILL) and resolves when it has ended. */
  async kill(): Promise<Exit> {
    this.#endWanted = true;
    this.signal('SIGKILL');
    return await this.exited;
  }

  /** Sends a signal; nothing happens when it has ended. */
  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  /** What it has logged so far. */
  readLog(): string {
    return readFileSync(this.#options.logFile, 'utf8');
  }

  /** One message for a person: how it ended, and the end of its log. */
  describeExit(): string {
    const how =
      this.#exit === undefined ? 'runs' : `ended with ${this.#exit.signal ?? `exit code ${this.#exit.code}`}`;
    const tail = this.readLog().trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
    return `${this.name} ${how}; the end of its log:\n${tail}`;
  }
}
