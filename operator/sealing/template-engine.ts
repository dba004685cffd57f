/**
 * Rendering of `spec.template.data`: Go's own text/template with Sprig as Sealed Secrets restricts it, in helper
 * processes (template-engine/) that are ended when they take too long or too much memory.
 */

import { availableParallelism } from 'node:os';
import { type EngineAnswer, EngineEnded, EngineProcess, type EngineRequest } from './engine-process.ts';

/** What to render: each text with the same data. Keys and names are those of the Secret's items. */
export interface RenderRequest {
  /** What templates can refer to, as bytes. */
  data: ReadonlyMap<string, Buffer>;
  /** Key → Go template. */
  templates: ReadonlyMap<string, string>;
  signal?: AbortSignal | undefined;
}

/** A template's output. */
export interface Rendered {
  value: Buffer;
  /** Chance or the clock had a part in it: rendered again, it may be something else. */
  generated: boolean;
}

/** What rendering answers for each key: its output, or what is wrong with the template, without a value of the data. */
export type RenderResult = Map<string, Rendered | { failure: string }>;

/** What unsealing needs of {@link TemplateEngine}. */
export interface TemplateRenderer {
  render(request: RenderRequest): Promise<RenderResult>;
}

const DEFAULT_TIME_LIMIT_MS = 5_000;
const DEFAULT_MEMORY_LIMIT_MB = 384;
const IDLE_MS = 60_000;
const MAX_SIZE = 4;

/**
 * A few engine processes, started as they are needed and ended after a minute without work. One object's templates are
 * one turn at a process: a template that passes a limit fails alone, and takes its process with it.
 */
export class TemplateEngine implements TemplateRenderer {
  readonly #binary: string;
  readonly #size: number;
  readonly #timeLimitMs: number;
  readonly #memoryLimitMb: number;
  readonly #processes = new Set<EngineProcess>();
  readonly #idle: Array<{ process: EngineProcess; retirement: NodeJS.Timeout }> = [];
  readonly #waiting: Array<() => void> = [];
  #busy = 0;
  #reserved = 0;

  /** `binary`: the built engine, a path or a name on the search path. `size`: turns at once. Limits are for a turn. */
  constructor(o: { binary: string; size?: number; timeLimitMs?: number; memoryLimitMb?: number }) {
    this.#binary = o.binary;
    this.#size = o.size ?? Math.min(MAX_SIZE, availableParallelism());
    this.#timeLimitMs = o.timeLimitMs ?? DEFAULT_TIME_LIMIT_MS;
    this.#memoryLimitMb = o.memoryLimitMb ?? DEFAULT_MEMORY_LIMIT_MB;
  }

  /**
   * Takes one of as many places as there are turns at once; the answer gives it back. `undefined` when all are taken.
   * Where everyone who renders holds a place, nobody waits for a turn.
   */
  reserve(): (() => void) | undefined {
    if (this.#reserved >= this.#size) return undefined;
    this.#reserved++;
    return () => {
      this.#reserved--;
    };
  }

  /** Renders all templates. Rejects only with the signal's reason. The time limit doesn't count the wait for a turn. */
  async render({ data, templates, signal }: RenderRequest): Promise<RenderResult> {
    signal?.throwIfAborted();
    if (templates.size === 0) return new Map();
    await this.#turn(signal);
    try {
      return await this.#run([...templates], encoded(data), signal);
    } finally {
      this.#busy--;
      this.#waiting.shift()?.();
    }
  }

  /** Ends every process; resolves when none is left. */
  async close(): Promise<void> {
    for (const process of this.#processes) process.kill('the operator is shutting down');
    await Promise.all(Array.from(this.#processes, (process) => process.ended));
  }

  /** Resolves when fewer turns than allowed are taken, and takes one. */
  async #turn(signal: AbortSignal | undefined): Promise<void> {
    while (this.#busy >= this.#size) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      signal?.addEventListener('abort', () => resolve(), { once: true });
      await promise;
      if (signal?.aborted) {
        const place = this.#waiting.indexOf(resolve);
        if (place >= 0) this.#waiting.splice(place, 1);
        else this.#waiting.shift()?.(); // it was woken too: the turn is another's
        signal.throwIfAborted();
      }
    }
    this.#busy++;
  }

  async #run(
    templates: readonly (readonly [string, string])[],
    data: EngineRequest['data'],
    signal: AbortSignal | undefined,
  ): Promise<RenderResult> {
    const process = this.#take();
    let answers: EngineAnswer[] = [];
    const kill = () => process.kill('aborted');
    const limit = setTimeout(
      () => process.kill(`it takes longer than the ${this.#timeLimitMs / 1000}s that templates may take`),
      this.#timeLimitMs,
    );
    signal?.addEventListener('abort', kill, { once: true });
    try {
      answers = await process.run({ data, templates });
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof EngineEnded)) throw error;
      const [key = ''] = templates[error.answered] ?? [];
      return new Map([[key, { failure: `template: ${key}: ${error.message}` }]]);
    } finally {
      clearTimeout(limit);
      signal?.removeEventListener('abort', kill);
      this.#giveBack(process);
    }
    return new Map(templates.map(([key], at) => [key, resultOf(answers[at] ?? {})]));
  }

  #take(): EngineProcess {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      clearTimeout(idle.retirement);
      if (idle.process.alive) return idle.process;
    }
    const process = new EngineProcess({ binary: this.#binary, memoryLimitMb: this.#memoryLimitMb });
    this.#processes.add(process);
    void process.ended.then(() => this.#processes.delete(process));
    return process;
  }

  #giveBack(process: EngineProcess): void {
    if (!process.alive) return;
    const retirement = setTimeout(() => process.kill('idle'), IDLE_MS).unref();
    this.#idle.push({ process, retirement });
  }
}

/** A null prototype, since `__proto__` is a legal name. */
function encoded(data: ReadonlyMap<string, Buffer>): Record<string, string> {
  const values: Record<string, string> = Object.create(null);
  for (const [name, value] of data) values[name] = value.toString('base64');
  return values;
}

function resultOf({ value = '', generated = false, failure }: EngineAnswer): Rendered | { failure: string } {
  return failure === undefined ? { value: Buffer.from(value, 'base64'), generated } : { failure };
}
