/** One call of the real `git`, cut off from the machine's and the users' configuration. */

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';

/** Which git, and what of the operator's own environment it may see. */
export interface GitTool {
  /** Path, or a name to look for in `searchPath`. */
  binary: string;
  /** `PATH` of git and of its helpers. */
  searchPath: string;
  /** Further variables, such as `HTTPS_PROXY`; git's own (`GIT_*`) are not overridden by these. */
  extra: Readonly<Record<string, string>>;
}

/** Settings as `git -c` takes them; a value may be a secret, for they travel in the environment. */
export type GitSettings = ReadonlyArray<readonly [key: string, value: string]>;

/** What a call of git needs. Nothing of our own environment is inherited. */
export interface GitCall {
  tool: GitTool;
  args: readonly string[];
  settings?: GitSettings;
  /** The home folder: empty, for libcurl looks for a `.netrc` there. A local call needs none. */
  home?: string;
  /** What this call's server needs, on top of (and instead of) what every call gets. */
  environment?: Readonly<Record<string, string>>;
  /** Its abort ends git and everything that git started. */
  signal: AbortSignal;
}

/**
 * git ended with another exit code than 0, or couldn't be started (`code` is then undefined). `stderr` is as git wrote
 * it: redact it before showing.
 */
export class GitExit extends Error {
  readonly code: number | undefined;
  readonly stderr: string;

  constructor(code: number | undefined, stderr: string) {
    super(`git ended with exit code ${code ?? 'none'}`);
    this.name = 'GitExit';
    this.code = code;
    this.stderr = stderr;
  }
}

/** A running git whose standard input and output are the caller's to use. */
export interface RunningGit {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Resolves when git and its children are gone; rejects with `GitExit`, or the signal's reason after an abort. */
  readonly ended: Promise<void>;
  /** Ends git and everything it started, now. */
  kill(): void;
}

const STDERR_LIMIT_BYTES = 64 * 1024;
const TERMINATION_GRACE_MS = 1_000;

/** What makes git deaf to its surroundings, in every call. */
const ALWAYS: GitSettings = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['core.askPass', ''],
  ['core.attributesFile', '/dev/null'],
  ['core.logAllRefUpdates', 'false'],
  ['credential.helper', ''],
  ['safe.directory', '*'],
  ['submodule.recurse', 'false'],
  ['fetch.recurseSubmodules', 'false'],
  ['gc.autoDetach', 'false'],
  ['maintenance.auto', 'false'],
];

/**
 * The environment of one call: no system or user configuration, no prompt, no credential helper, no hook, no
 * transport but HTTP(S) unless the call says so, messages in English.
 */
function isolatedEnvironment(call: GitCall): Record<string, string> {
  const settings = [...ALWAYS, ...(call.settings ?? [])];
  const home = call.home ?? '/dev/null';
  const environment: Record<string, string> = {
    ...call.tool.extra,
    PATH: call.tool.searchPath,
    HOME: home,
    XDG_CONFIG_HOME: home,
    LC_ALL: 'C',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_SYSTEM: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '',
    SSH_ASKPASS: '',
    GIT_SSH_COMMAND: 'false',
    GIT_ALLOW_PROTOCOL: 'http:https',
    GIT_PROTOCOL_FROM_USER: '0',
    GIT_CONFIG_COUNT: String(settings.length),
    ...call.environment,
  };
  for (const [index, [key, value]] of settings.entries()) {
    environment[`GIT_CONFIG_KEY_${index}`] = key;
    environment[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  return environment;
}

/** Starts git in a process group of its own, without a shell. */
export function startGit(call: GitCall): RunningGit {
  call.signal.throwIfAborted();
  const child = spawn(call.tool.binary, call.args, {
    cwd: '/',
    env: isolatedEnvironment(call),
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  let abandoned = false;
  let closed = false;
  child.once('close', () => {
    closed = true;
  });
  const kill = (): void => {
    if (abandoned || closed) return;
    abandoned = true;
    endProcessGroup(child);
  };
  call.signal.addEventListener('abort', kill, { once: true });
  const ended = exitOf(child)
    .catch((error: unknown) => {
      call.signal.throwIfAborted();
      if (abandoned) return;
      throw error;
    })
    .finally(() => call.signal.removeEventListener('abort', kill));
  // A git that dies early leaves a broken pipe behind; its exit code says why.
  child.stdin.on('error', () => {});
  // Whoever waits for `ended` later still gets the rejection; until then it isn't an unhandled one.
  ended.catch(() => {});
  return { stdin: child.stdin, stdout: child.stdout, ended, kill };
}

/**
 * Runs git to its end and answers its standard output.
 * @throws GitExit when it fails or writes more than `limitBytes`; the signal's reason when aborted.
 */
export async function runGit(call: GitCall & { limitBytes?: number; input?: string }): Promise<Buffer> {
  const git = startGit(call);
  git.stdin.end(call.input ?? '');
  const limitBytes = call.limitBytes ?? 64 * 1024 * 1024;
  const chunks: Buffer[] = [];
  let totalBytes = 0;
  git.stdout.on('data', (chunk: Buffer) => {
    totalBytes += chunk.length;
    if (totalBytes <= limitBytes) chunks.push(chunk);
    else git.kill();
  });
  await git.ended;
  if (totalBytes > limitBytes)
    throw new GitExit(undefined, `fatal: the answer is larger than ${limitBytes} bytes`);
  return Buffer.concat(chunks);
}

function exitOf(child: ChildProcessByStdio<Writable, Readable, Readable>): Promise<void> {
  const stderr: Buffer[] = [];
  let stderrBytes = 0;
  child.stderr.on('data', (chunk: Buffer) => {
    stderrBytes += chunk.length;
    if (stderrBytes <= STDERR_LIMIT_BYTES) stderr.push(chunk);
  });
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new GitExit(undefined, `fatal: cannot run git: ${error.message}`)));
    child.once('close', (code, signalName) => {
      if (code === 0) return resolve();
      const text = Buffer.concat(stderr).toString('utf8');
      reject(
        new GitExit(code ?? undefined, signalName === null ? text : `${text}\nfatal: ended by ${signalName}`),
      );
    });
  });
}

/** TERM lets git remove its lock files; KILL follows for whoever in the group doesn't listen. */
function endProcessGroup(child: ChildProcessByStdio<Writable, Readable, Readable>): void {
  const { pid } = child;
  if (pid === undefined) return;
  signalGroup(pid, 'SIGTERM');
  const timer = setTimeout(() => {
    signalGroup(pid, 'SIGKILL');
    // A descendant that left the group may hold the pipes open; nobody reads them any more.
    child.stdout.destroy();
    child.stderr.destroy();
  }, TERMINATION_GRACE_MS);
  child.once('close', () => {
    clearTimeout(timer);
    signalGroup(pid, 'SIGKILL');
  });
}

function signalGroup(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pid, name);
  } catch {
    // The group is gone already.
  }
}
