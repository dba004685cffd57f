import { spawn } from 'node:child_process';

/** The environment of every git we run: nothing of the machine's or the user's configuration, no prompt, English. */
export const isolatedGitEnvironment: NodeJS.ProcessEnv = {
  PATH: process.env.PATH,
  HOME: '/nonexistent',
  LC_ALL: 'C',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
};

/**
 * Runs the real git without a shell in `directory` and resolves to its standard output without the last line break.
 * Rejects with its error output.
 */
export function git(
  directory: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('git', args, {
      cwd: directory,
      env: { ...isolatedGitEnvironment, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(Buffer.concat(output).toString('utf8').replace(/\n$/, ''));
      else reject(new Error(`git ${args[0] ?? ''} failed: ${Buffer.concat(errors).toString('utf8').trim()}`));
    });
  });
}
