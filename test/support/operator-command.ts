/** The operator's command line, run to its end: for what it prints and how it exits. */

import { execFile } from 'node:child_process';

/** A run that ended. */
export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

const ENTRY = new URL('../../operator/main.ts', import.meta.url).pathname;
const LIMIT_MS = 30_000;

/** Runs the operator with nothing in its environment but the search path and `env`; one that doesn't end is killed. */
export function runOperatorCommand(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env.PATH ?? '', ...env }, timeout: LIMIT_MS };
    execFile(process.execPath, [ENTRY, ...args], options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}
