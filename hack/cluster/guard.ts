import { spawn } from 'node:child_process';
import type { Writable } from 'node:stream';

// Reads "+ PID" (watch), "- PID" (ended) and "d FOLDER" (ours) until its input ends, which it does however the parent
// ends, kill -9 included. Then it kills what is left, the last started first, and removes the folders.
const SCRIPT = `
trap '' INT TERM HUP
pids=''
folders=''
while read -r word value; do
  case "$word" in
    +) pids="$value $pids" ;;
    -) rest=''; for pid in $pids; do [ "$pid" = "$value" ] || rest="$rest $pid"; done; pids="$rest" ;;
    d) folders="$value $folders" ;;
  esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
for folder in $folders; do rm -rf "$folder"; rm -rf "$folder"; done
`;

/**
 * A tiny shell process that outlives this one just long enough to end what it started: no etcd is left behind by a
 * crash, a Ctrl-C, a `kill -9` or a debugger's stop button. Programs are ended by their process ids only. It starts
 * with the first watched process and ends with this process.
 */
class Guard {
  #input: Writable | undefined;

  /** From now on `pid` is killed when this process ends. */
  watch(pid: number): void {
    this.#send(`+ ${pid}`);
  }

  /** `pid` has ended: its number may be somebody else's soon. */
  release(pid: number): void {
    this.#send(`- ${pid}`);
  }

  /** From now on `folder` (no blanks in its path) is removed when this process ends. */
  adopt(folder: string): void {
    if (/\s/.test(folder)) throw new Error(`a guarded folder's path must hold no blanks: ${folder}`);
    this.#send(`d ${folder}`);
  }

  #send(line: string): void {
    this.#input ??= this.#start();
    this.#input.write(`${line}\n`);
  }

  #start(): Writable {
    const shell = spawn('/bin/sh', ['-c', SCRIPT], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
      cwd: '/',
      env: { PATH: process.env.PATH },
    });
    shell.unref();
    const input = shell.stdin;
    // The guard must not keep this process alive; the pipe is a socket, which can be unreferenced.
    if ('unref' in input && typeof input.unref === 'function') input.unref();
    input.on('error', () => undefined);
    return input;
  }
}

/** The guard of this process. */
export const guard = new Guard();
