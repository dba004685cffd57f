// Runs a program in the foreground: output straight through, signals passed on, exit code handed back.
// Plain Node 20, no dependency.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';

const SAME_SIGNAL_MS = 200;
/** @type {NodeJS.Signals[]} */
const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Runs a program and resolves to its exit code (128 + number when a signal ended it). SIGINT, SIGTERM and SIGHUP that
 * reach this process meanwhile are passed on; it ends when the program has. Rejects when the program can't be executed.
 * @param {string} program
 * @param {string[]} programArguments
 * @param {{ cwd: string, environment: NodeJS.ProcessEnv }} options
 * @returns {Promise<number>}
 */
export function runInForeground(program, programArguments, { cwd, environment }) {
  return new Promise((resolve, reject) => {
    // In a process group of its own: a Ctrl-C reaches us from the terminal and once more from npm, the program once.
    const child = spawn(program, programArguments, {
      cwd,
      env: environment,
      stdio: 'inherit',
      detached: true,
    });
    /** @type {Map<NodeJS.Signals, number>} */
    const lastForwarded = new Map();
    const forward = (/** @type {NodeJS.Signals} */ signal) => {
      const now = performance.now();
      if (now - (lastForwarded.get(signal) ?? Number.NEGATIVE_INFINITY) < SAME_SIGNAL_MS) return;
      lastForwarded.set(signal, now);
      child.kill(signal);
    };
    for (const signal of FORWARDED) process.on(signal, forward);
    const release = () => {
      for (const signal of FORWARDED) process.off(signal, forward);
    };
    child.once('error', (error) => {
      release();
      reject(error);
    });
    child.once('exit', (code, signal) => {
      release();
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
