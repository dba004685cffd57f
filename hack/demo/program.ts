import { spawn } from 'node:child_process';

/** How to run a program. */
export interface RunOptions {
  readonly arguments: readonly string[];
  /** The whole environment: nothing is inherited. */
  readonly environment: NodeJS.ProcessEnv;
  readonly directory: string;
  /** Given to its standard input; without it that is empty. */
  readonly input?: string;
  readonly signal: AbortSignal;
}

/**
 * Runs a program without a shell and resolves to its standard output. Rejects with its error output, never with what
 * it was given; an abort kills it and rejects with the abort's reason.
 */
export function run(program: string, options: RunOptions): Promise<string> {
  const { signal } = options;
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const child = spawn(program, options.arguments, {
      cwd: options.directory,
      env: options.environment,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    const kill = () => child.kill('SIGKILL');
    signal.addEventListener('abort', kill, { once: true });
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    child.once('error', reject);
    child.once('close', (code) => {
      signal.removeEventListener('abort', kill);
      if (code === 0) return resolve(Buffer.concat(output).toString('utf8'));
      const said = Buffer.concat(errors).toString('utf8').trim();
      const name = program.split('/').at(-1);
      reject(signal.aborted ? signal.reason : new Error(`${name} ended with exit code ${code}: ${said}`));
    });
    // A program that ends without reading its input is judged by its exit code.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
  });
}
