// Sees to it that node_modules holds what package-lock.json says. Plain Node 20, no dependency.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../toolchain/go.mjs';
import { withLock } from '../toolchain/lock.mjs';

/** @typedef {{ version?: string, integrity?: string, optional?: boolean }} LockedPackage */

/**
 * Whether node_modules is what the lock file says. npm ends each install with a record of what it put there; a package
 * that differs from the lock file, is missing (unless optional: made for another platform) or is too much means no.
 * @param {string} root
 */
export function isInstalled(root) {
  const record = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(record) || !existsSync(join(root, 'node_modules', '.bin', 'node'))) return false;
  const wanted = readPackages(join(root, 'package-lock.json'));
  const present = readPackages(record);
  for (const [path, locked] of Object.entries(wanted)) {
    if (path === '' || (locked.optional === true && present[path] === undefined)) continue;
    if (present[path]?.version !== locked.version || present[path]?.integrity !== locked.integrity)
      return false;
  }
  return Object.keys(present).every((path) => wanted[path] !== undefined);
}

/**
 * Runs `npm ci` when it is needed; two commands started at once install once. Rejects with npm's output when it fails.
 * @param {string} root
 * @param {{ environment: NodeJS.ProcessEnv, log: (line: string) => void, signal?: AbortSignal }} context
 */
export async function ensureInstalled(root, { environment, log, signal }) {
  if (isInstalled(root)) return;
  await withLock(
    join(root, '.signet', 'install.lock'),
    async () => {
      if (isInstalled(root)) return;
      const startedAt = performance.now();
      log('installing npm packages (npm ci): node_modules differs from package-lock.json');
      await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
        cwd: root,
        environment,
        signal,
      });
      if (!isInstalled(root)) {
        throw new Error(
          'npm ci ended well, yet node_modules lacks Node 24 (node_modules/.bin/node) or differs from ' +
            'package-lock.json. Check that npm may run the install script of the package "node" (ignore-scripts).',
        );
      }
      log(`installed npm packages in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
    },
    { onWait: (owner) => log(`waiting for process ${owner.pid}, which installs npm packages`), signal },
  );
}

/**
 * @param {string} path
 * @returns {Record<string, LockedPackage>}
 */
function readPackages(path) {
  return JSON.parse(readFileSync(path, 'utf8')).packages ?? {};
}
