/** The parts of the process that start and stop: in order, and in exactly the reverse order. */

import type { Logger } from '../api/logger.ts';

/** A part with a life. */
export interface Runnable {
  readonly name: string;
  /**
   * Resolves when the part does its work; the part then lives until {@link stop}. `signal` bounds the starting
   * only. A start that throws has released what it took.
   */
  start(signal: AbortSignal): Promise<void>;
  /** Ends the part; resolves when nothing of it is left. Called once, after a start that resolved. */
  stop(): Promise<void>;
  /** Once it has been told to start: `true` (or no such method), or why not. */
  ready?(): boolean | string;
}

/** Whether everything does its work; `failing` names what doesn't, with a reason where there is one. */
export interface Readiness {
  ready: boolean;
  failing: string[];
}

type Phase = 'new' | 'starting' | 'started' | 'stopping';

/** See the head of this file. */
export class Manager {
  readonly #logger: Logger;
  readonly #runnables: Runnable[] = [];
  readonly #started: Runnable[] = [];
  readonly #abortStart = new AbortController();
  #phase: Phase = 'new';
  #starting: Promise<void> = Promise.resolve();
  #stopping: Promise<string[]> | undefined;

  constructor(o: { logger: Logger }) {
    this.#logger = o.logger;
  }

  /** Adds a part, to be started after those added before. Throws once the manager has been started. */
  add(runnable: Runnable): void {
    if (this.#phase !== 'new') throw new Error(`${runnable.name} was added after the start`);
    this.#runnables.push(runnable);
  }

  /**
   * Starts each part when the one before it is up. When one fails, those before it stay up until {@link stop};
   * the error names the one that failed and has its error as cause.
   */
  start(signal: AbortSignal): Promise<void> {
    if (this.#phase !== 'new') return Promise.reject(new Error('the manager was started before'));
    this.#phase = 'starting';
    this.#starting = this.#startAll(AbortSignal.any([signal, this.#abortStart.signal]));
    return this.#starting;
  }

  /**
   * Stops what was started, last first, each after the one before it has ended; a start under way is aborted.
   * A part may take half of the time that is left (the last one all of it), so that one that hangs doesn't cost
   * the others their turn. Never throws: errors are logged; the answer names the parts that didn't end in time.
   */
  stop(deadlineMs: number): Promise<string[]> {
    this.#stopping ??= this.#stopAll(deadlineMs);
    return this.#stopping;
  }

  /** Ready when every part is up and says so; never before the start has finished nor once stopping began. */
  readiness(): Readiness {
    if (this.#phase === 'stopping') return { ready: false, failing: ['stopping'] };
    const failing = this.#started.flatMap((runnable) => {
      const answer = runnable.ready?.() ?? true;
      if (answer === true) return [];
      return [answer === false ? `${runnable.name}: not ready` : `${runnable.name}: ${answer}`];
    });
    // Those after it wait for it.
    const next = this.#runnables[this.#started.length];
    if (next !== undefined) failing.push(`${next.name}: ${this.#whyNotStarted(next)}`);
    return { ready: this.#phase === 'started' && failing.length === 0, failing };
  }

  #whyNotStarted(runnable: Runnable): string {
    const answer = this.#phase === 'starting' ? runnable.ready?.() : undefined;
    return typeof answer === 'string' ? answer : 'not started';
  }

  async #startAll(signal: AbortSignal): Promise<void> {
    for (const runnable of this.#runnables) {
      signal.throwIfAborted();
      try {
        await runnable.start(signal);
      } catch (cause) {
        throw new Error(`${runnable.name} did not start: ${textOf(cause)}`, { cause });
      }
      this.#started.push(runnable);
    }
    signal.throwIfAborted();
    this.#phase = 'started';
  }

  async #stopAll(deadlineMs: number): Promise<string[]> {
    const endsAtMs = performance.now() + deadlineMs;
    const leftMs = (): number => Math.max(0, endsAtMs - performance.now());
    this.#phase = 'stopping';
    this.#abortStart.abort(new Error('the manager was stopped while it started'));
    const startEnded = this.#starting.catch(() => {});
    const late = (await within(startEnded, leftMs() / 2)) ? [] : ['the start'];
    for (let runnable = this.#started.pop(); runnable !== undefined; runnable = this.#started.pop()) {
      const limitMs = this.#started.length === 0 ? leftMs() : leftMs() / 2;
      if (await within(this.#stopOne(runnable), limitMs)) continue;
      late.push(runnable.name);
      this.#logger.error(`${runnable.name} did not stop in time`);
    }
    return late;
  }

  async #stopOne(runnable: Runnable): Promise<void> {
    try {
      await runnable.stop();
    } catch (error) {
      this.#logger.error(`${runnable.name} failed to stop cleanly`, { error });
    }
  }
}

/** Whether the work ended within the limit. */
async function within(work: Promise<void>, limitMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), limitMs);
  });
  const inTime = await Promise.race([work.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
