// Calls of the Go toolchain, and the checks made before the first one. Plain Node 20, no dependency.
import { spawn } from 'node:child_process';
import { statfsSync } from 'node:fs';
import { freemem, tmpdir } from 'node:os';

/**
 * What a set of builds takes.
 * @typedef {object} Need
 * @property {string} goVersion the least Go version
 * @property {string} goVersionAskedBy the file that asks for it
 * @property {number} diskMb
 * @property {number} memoryMb
 */

/**
 * What the machine has.
 * @typedef {object} Machine
 * @property {string} goVersion for instance 1.26.8
 * @property {string} goToolchain Go's GOTOOLCHAIN setting
 * @property {{ path: string, freeMb: number }[]} disks one for each folder that a build writes to
 * @property {number} freeMemoryMb
 */

/**
 * Runs a program without a shell and resolves to what it printed. Rejects with the end of its error output when it
 * fails, and with a message that names the program when there is none.
 * @param {string} program
 * @param {string[]} programArguments
 * @param {{ cwd?: string, environment: NodeJS.ProcessEnv, signal?: AbortSignal | undefined, timeoutMs?: number }} options
 * @returns {Promise<{ stdout: string, stderr: string }>}
 */
export function run(program, programArguments, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, programArguments, {
      cwd: options.cwd,
      env: options.environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: options.signal,
      timeout: options.timeoutMs,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk) => {
      stderr += chunk;
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve({ stdout, stderr });
      else {
        const call = [program, ...programArguments].join(' ');
        reject(new Error(`${call} ended with ${signal ?? `exit code ${code}`}:\n${stderr.slice(-4000)}`));
      }
    });
  });
}

/**
 * Looks at this machine. Throws when there is no Go on the PATH.
 * @param {{ environment: NodeJS.ProcessEnv, directories: string[] }} options `directories` (existing) are written to besides Go's caches
 * @returns {Promise<Machine>}
 */
export async function inspectMachine({ environment, directories }) {
  /** @type {Record<string, string>} */
  let go;
  try {
    // Outside of any module: inside one, go would answer for (or fetch) the toolchain that the module asks for.
    const { stdout } = await run(
      'go',
      ['env', '-json', 'GOVERSION', 'GOTOOLCHAIN', 'GOCACHE', 'GOMODCACHE'],
      {
        cwd: tmpdir(),
        environment: { ...environment, GOWORK: 'off' },
      },
    );
    go = JSON.parse(stdout);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new Error(
        'Go is missing: no "go" on the PATH. Signet builds the local cluster and its tools from Go modules; ' +
          'install Go 1.26 or newer (https://go.dev/dl).',
      );
    }
    throw error;
  }
  return {
    goVersion: (go.GOVERSION ?? '').replace(/^go/, ''),
    goToolchain: go.GOTOOLCHAIN ?? '',
    disks: [...directories, go.GOCACHE ?? '', go.GOMODCACHE ?? '', tmpdir()]
      .map((path) => ({ path, freeMb: freeMb(path) }))
      .filter((disk) => disk.freeMb !== undefined)
      .map(({ path, freeMb: free }) => ({ path, freeMb: free ?? 0 })),
    freeMemoryMb: Math.floor((process.availableMemory?.() ?? freemem()) / 2 ** 20),
  };
}

/**
 * What is missing for a set of builds, one sentence each; empty when nothing is.
 * @param {Need} need
 * @param {Machine} machine
 * @returns {string[]}
 */
export function findShortages(need, machine) {
  const shortages = [];
  if (isOlder(machine.goVersion, need.goVersion) && !canFetchToolchain(machine)) {
    const way =
      machine.goToolchain === 'local'
        ? ', or set GOTOOLCHAIN=auto, which lets this Go fetch it (now GOTOOLCHAIN=local forbids that)'
        : '';
    shortages.push(
      `Go ${need.goVersion} or newer is needed (${need.goVersionAskedBy}); the Go on the PATH is ${machine.goVersion}. ` +
        `Install it from https://go.dev/dl${way}.`,
    );
  }
  const tightest = machine.disks.toSorted((a, b) => a.freeMb - b.freeMb)[0];
  if (tightest !== undefined && tightest.freeMb < need.diskMb) {
    shortages.push(
      `The builds need about ${need.diskMb} MB of disk; ${tightest.path} is on one with ${tightest.freeMb} MB free. ` +
        'Free some, or point GOCACHE, GOMODCACHE, TMPDIR and SIGNET_CACHE_DIR at another.',
    );
  }
  if (machine.freeMemoryMb < need.memoryMb) {
    shortages.push(
      `The builds need about ${need.memoryMb} MB of free memory; there are ${machine.freeMemoryMb} MB. ` +
        'End something else first.',
    );
  }
  return shortages;
}

/**
 * Whether version `a` is older than version `b` (numbers separated by dots).
 * @param {string} a
 * @param {string} b
 */
export function isOlder(a, b) {
  const left = a.split('.').map((part) => Number.parseInt(part, 10));
  const right = b.split('.').map((part) => Number.parseInt(part, 10));
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** @param {Machine} machine */
function canFetchToolchain(machine) {
  return !isOlder(machine.goVersion, '1.21') && /(^|\+)(auto|path)$/.test(machine.goToolchain);
}

/** @param {string} path */
function freeMb(path) {
  // Go makes its cache folders at the first build: the nearest existing parent is on the same disk.
  for (let folder = path; folder !== ''; folder = folder.slice(0, Math.max(folder.lastIndexOf('/'), 0))) {
    try {
      const disk = statfsSync(folder);
      return Math.floor((disk.bavail * disk.bsize) / 2 ** 20);
    } catch {
      // not there yet
    }
  }
  return undefined;
}
