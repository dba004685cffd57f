// A lock between processes of one user: a file that holds its owner's identity. Plain Node 20, no dependency.
import { randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 200;
const FOREIGN_LOCK_LIFE_MS = 60 * 60 * 1000;

/**
 * @typedef {object} Owner
 * @property {number} pid
 * @property {string} host
 * @property {string} started when that process started, where the system tells (tells a re-used pid apart), else ''
 */

/**
 * Runs `work` while holding the lock file at `path`, and gives the lock back however `work` ends.
 *
 * A lock whose process is dead is taken over; one of another host (a cache on a shared disk) after an hour. Two
 * waiters may in a very narrow race both take a dead process's lock over: the lock saves work, what it guards must be
 * safe without it (here: a build that ends in an atomic rename).
 * @template T
 * @param {string} path
 * @param {() => Promise<T>} work
 * @param {{ onWait?: (owner: Owner) => void, signal?: AbortSignal | undefined }} [options] `onWait` is called once, when another process holds the lock
 * @returns {Promise<T>}
 */
export async function withLock(path, work, options = {}) {
  mkdirSync(dirname(path), { recursive: true });
  let told = false;
  while (!tryAcquire(path)) {
    const owner = readOwner(path);
    if (owner !== undefined && isDead(owner, path)) {
      takeAway(path, owner);
      continue;
    }
    if (owner !== undefined && !told) {
      told = true;
      options.onWait?.(owner);
    }
    await sleep(POLL_MS, undefined, options.signal === undefined ? {} : { signal: options.signal });
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

/** @param {string} path */
function tryAcquire(path) {
  const mine = `${path}.${randomUUID()}`;
  const owner = { pid: process.pid, host: hostname(), started: startOf(process.pid) };
  writeFileSync(mine, JSON.stringify(owner));
  try {
    // A link appears with its whole content or not at all; an exclusive open would show an empty file for a moment.
    linkSync(mine, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(mine, { force: true });
  }
}

/**
 * @param {string} path
 * @returns {Owner | undefined} undefined: the lock was given back meanwhile
 */
function readOwner(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) return { pid: 0, host: hostname(), started: '' };
    throw error;
  }
}

/**
 * @param {Owner} owner
 * @param {string} path
 */
function isDead(owner, path) {
  if (owner.host !== hostname()) return ageMs(path) > FOREIGN_LOCK_LIFE_MS;
  if (owner.pid <= 0) return true;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    return codeOf(error) === 'ESRCH';
  }
  return startOf(owner.pid) !== owner.started;
}

/** @param {string} path */
function ageMs(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

/**
 * @param {string} path
 * @param {Owner} dead
 */
function takeAway(path, dead) {
  const moved = `${path}.${randomUUID()}`;
  try {
    renameSync(path, moved);
    const owner = JSON.parse(readFileSync(moved, 'utf8'));
    // Another waiter was faster and holds the lock by now: give it back.
    if (owner.pid !== dead.pid || owner.started !== dead.started) linkSync(moved, path);
  } catch (error) {
    if (!(error instanceof SyntaxError) && !['ENOENT', 'EEXIST'].includes(codeOf(error) ?? '')) throw error;
  } finally {
    rmSync(moved, { force: true });
  }
}

/** @param {number} pid */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, the command's name, may hold blanks and brackets; the start time is the 22nd.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
