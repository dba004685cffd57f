#!/usr/bin/env node
// Builds the programs that Signet's demo, tests and benchmarks run (etcd, kube-apiserver, kubectl, kubeseal, …) from
// pinned Go modules into a per-user cache, once.
//
//   npm run tools -- [GROUP | BINARY]...     default: test. Prints each binary's name and path
//
// Cache: $SIGNET_CACHE_DIR, else $XDG_CACHE_HOME/signet, else ~/.cache/signet; in it tools/<tool>/<version>-<digest>/.
// An installed program of exactly the pinned version ($KUBEBUILDER_ASSETS, PATH) is used instead of building one.
// Plain Node 20, no dependency: also imported as a library, before and after `npm ci`.
import { pathToFileURL } from 'node:url';
import { ensureBinaries } from './toolchain/build.mjs';
import { groups } from './toolchain/recipes.mjs';

/** @typedef {{ log?: (line: string) => void, signal?: AbortSignal | undefined, environment?: NodeJS.ProcessEnv }} EnsureOptions */

/**
 * Sees to it that the binaries of a group (or the named ones) exist; answers name -> absolute path.
 * Progress goes to `log` (default: standard error). Throws with what is missing and what to do.
 * @param {string | string[]} wanted a group's name, or names of groups and binaries
 * @param {EnsureOptions} [options]
 * @returns {Promise<Record<string, string>>}
 */
export function ensureTools(wanted, options = {}) {
  const binaries = [wanted].flat().flatMap((name) => groups[name] ?? [name]);
  return ensureBinaries(binaries, {
    environment: options.environment ?? process.env,
    log: options.log ?? ((line) => process.stderr.write(`${line}\n`)),
    signal: options.signal,
  });
}

/**
 * The absolute path of one binary, built when it isn't there.
 * @param {string} binary
 * @param {EnsureOptions} [options]
 * @returns {Promise<string>}
 */
export async function toolPath(binary, options) {
  const path = (await ensureTools([binary], options))[binary];
  if (path === undefined) throw new Error(`${binary} wasn't built`);
  return path;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupted.abort());
  try {
    const wanted = process.argv.slice(2);
    const tools = await ensureTools(wanted.length === 0 ? ['test'] : wanted, { signal: interrupted.signal });
    for (const [name, path] of Object.entries(tools)) process.stdout.write(`${name}\t${path}\n`);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
