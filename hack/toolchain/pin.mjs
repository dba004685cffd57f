// What identifies a built tool: its version and a digest of everything that goes into the build.
// Plain Node 20, no dependency.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** @typedef {import('./recipes.mjs').Recipe} Recipe */

/**
 * @typedef {object} Pin
 * @property {string} version without a leading v
 * @property {string} digest first 12 hex digits of a SHA-256 over go.mod, go.sum, flags, platform and own sources
 * @property {string} goVersion the least Go version that go.mod asks for
 */

/** Flags of every build. Without `-buildvcs=false` the same pin would give other bytes in another checkout. */
export const buildFlags = ['-trimpath', '-buildvcs=false', '-mod=readonly'];

/**
 * The folder that built tools are kept in, shared by all checkouts of one user.
 * @param {NodeJS.ProcessEnv} environment
 */
export function cacheDirectory(environment) {
  const base =
    environment.SIGNET_CACHE_DIR ||
    join(environment.XDG_CACHE_HOME || join(environment.HOME || homedir(), '.cache'), 'signet');
  return join(base, 'tools');
}

/**
 * Reads a recipe's pin. Throws when its go.mod is missing or doesn't require the recipe's module.
 * @param {Recipe} recipe
 * @returns {Pin}
 */
export function readPin(recipe) {
  const manifestPath = join(recipe.directory, 'go.mod');
  if (!existsSync(manifestPath)) throw new Error(`${recipe.tool} can't be built: ${manifestPath} is missing`);
  const manifest = readFileSync(manifestPath, 'utf8');
  const version = requiredVersion(manifest, recipe.module);
  if (version === undefined) throw new Error(`${manifestPath} doesn't require ${recipe.module}`);
  const sumsPath = join(recipe.directory, 'go.sum');
  const digest = createHash('sha256')
    .update(
      JSON.stringify({
        manifest,
        sums: existsSync(sumsPath) ? readFileSync(sumsPath, 'utf8') : '',
        flags: [...buildFlags, linkerFlags(recipe, version)],
        packages: recipe.packages,
        overlay: recipe.overlay ?? {},
        platform: `${process.platform}/${process.arch}`,
        sources: recipe.digestSources === true ? sourcesOf(recipe.directory) : {},
      }),
    )
    .digest('hex')
    .slice(0, 12);
  return { version, digest, goVersion: /^go (\S+)/m.exec(manifest)?.[1] ?? '1.26' };
}

/**
 * The value of `go build -ldflags`.
 * @param {Recipe} recipe
 * @param {string} version
 */
export function linkerFlags(recipe, version) {
  return ['-s', '-w', ...(recipe.linkerVariables?.(version) ?? []).map((variable) => `-X ${variable}`)].join(
    ' ',
  );
}

/**
 * @param {string} manifest
 * @param {string} module
 */
function requiredVersion(manifest, module) {
  for (const line of manifest.split('\n')) {
    const words = line
      .trim()
      .replace(/^require\s+/, '')
      .split(/\s+/);
    if (words[0] === module && /^v\d/.test(words[1] ?? '')) return words[1]?.slice(1);
  }
  return undefined;
}

/**
 * @param {string} directory
 * @returns {Record<string, string>}
 */
function sourcesOf(directory) {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  const sources = names.filter((name) => name.endsWith('.go') && !name.endsWith('_test.go')).sort();
  return Object.fromEntries(sources.map((name) => [name, readFileSync(join(directory, name), 'utf8')]));
}
