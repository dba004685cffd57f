// Finds or builds binaries: from the per-user cache, else an installed one of the right version, else by Go.
// Plain Node 20, no dependency.
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, delimiter, dirname, isAbsolute, join } from 'node:path';
import { findShortages, inspectMachine, isOlder, run } from './go.mjs';
import { withLock } from './lock.mjs';
import { buildFlags, cacheDirectory, linkerFlags, readPin } from './pin.mjs';
import { recipeOf } from './recipes.mjs';

/** @typedef {import('./recipes.mjs').Recipe} Recipe */
/** @typedef {import('./pin.mjs').Pin} Pin */

/**
 * @typedef {object} Context
 * @property {NodeJS.ProcessEnv} environment PATH, HOME, Go's settings, SIGNET_CACHE_DIR, XDG_CACHE_HOME, KUBEBUILDER_ASSETS, SIGNET_SKIP_TOOL_CHECKS
 * @property {(line: string) => void} log progress: what is built and how long it took; silent when everything is there
 * @property {AbortSignal | undefined} [signal] ends a running build
 * @property {(binary: string) => Recipe} [findRecipe] the catalogue, when it isn't the project's own
 */

/**
 * @typedef {object} Job
 * @property {Recipe} recipe
 * @property {Pin} pin
 * @property {string} folder where the recipe's binaries lie in the cache
 * @property {string[]} binaries
 */

const STILL_BUILDING_MS = 30_000;
const PROBE_TIMEOUT_MS = 10_000;

/**
 * Sees to it that the named binaries exist and answers with their absolute paths.
 *
 * Looks in the cache, then for installed ones of exactly the pinned version (KUBEBUILDER_ASSETS, PATH), and builds the
 * rest. Runs that overlap, in one process or several, build each tool once. Throws when a name is unknown, when Go, disk or memory
 * don't suffice, and when a build fails (with the end of Go's output).
 * @param {string[]} binaries
 * @param {Context} context
 * @returns {Promise<Record<string, string>>}
 */
export async function ensureBinaries(binaries, context) {
  const cache = cacheDirectory(context.environment);
  /** @type {Record<string, string>} */
  const found = {};
  /** @type {Map<string, Job>} */
  const jobs = new Map();
  for (const binary of new Set(binaries)) {
    const recipe = (context.findRecipe ?? recipeOf)(binary);
    const pin = readPin(recipe);
    const folder = join(cache, recipe.tool, `${pin.version}-${pin.digest}`);
    const present = isExecutable(join(folder, binary))
      ? join(folder, binary)
      : await findInstalled({ binary, recipe, version: pin.version, environment: context.environment });
    if (present !== undefined) {
      found[binary] = present;
      continue;
    }
    const job = jobs.get(recipe.tool) ?? { recipe, pin, folder, binaries: [] };
    job.binaries.push(binary);
    jobs.set(recipe.tool, job);
  }
  if (jobs.size > 0) await checkMachine([...jobs.values()], cache, context.environment);
  for (const job of jobs.values()) {
    await build(job, context);
    for (const binary of job.binaries) found[binary] = join(job.folder, binary);
  }
  return found;
}

/**
 * An installed binary of exactly this version, or undefined.
 * @param {{ binary: string, recipe: Recipe, version: string, environment: NodeJS.ProcessEnv }} wanted
 * @returns {Promise<string | undefined>}
 */
export async function findInstalled({ binary, recipe, version, environment }) {
  const versionArguments = recipe.versionArguments?.[binary];
  if (versionArguments === undefined) return undefined;
  const folders = [environment.KUBEBUILDER_ASSETS ?? '', ...(environment.PATH ?? '').split(delimiter)];
  for (const path of folders.filter((folder) => isAbsolute(folder)).map((folder) => join(folder, binary))) {
    if (!isExecutable(path)) continue;
    try {
      const printed = await run(path, versionArguments, {
        environment: { PATH: environment.PATH, HOME: environment.HOME },
        timeoutMs: PROBE_TIMEOUT_MS,
      });
      if (namesVersion(`${printed.stdout}\n${printed.stderr}`, version)) return path;
    } catch {
      // One that can't even print its version is no candidate.
    }
  }
  return undefined;
}

/**
 * Whether a program's version output names exactly this version: 1.32.4 isn't 1.32.40, 1.32.4-rc.1 or 11.32.4.
 * @param {string} printed
 * @param {string} version
 */
export function namesVersion(printed, version) {
  const escaped = version.replaceAll(/[.+]/g, '\\$&');
  return new RegExp(`(?:^|[\\s"':/(])v?${escaped}(?![\\w.+-])`, 'm').test(printed);
}

/**
 * @param {Job[]} jobs
 * @param {string} cache
 * @param {NodeJS.ProcessEnv} environment
 */
async function checkMachine(jobs, cache, environment) {
  mkdirSync(cache, { recursive: true });
  const machine = await inspectMachine({ environment, directories: [cache] });
  const newest = jobs.reduce((a, b) => (isOlder(a.pin.goVersion, b.pin.goVersion) ? b : a));
  const shortages = findShortages(
    {
      goVersion: newest.pin.goVersion,
      goVersionAskedBy: join(newest.recipe.directory, 'go.mod'),
      diskMb: jobs.reduce((sum, job) => sum + job.recipe.diskMb, 0),
      memoryMb: Math.max(...jobs.map((job) => job.recipe.memoryMb)),
    },
    machine,
  );
  if (shortages.length === 0 || environment.SIGNET_SKIP_TOOL_CHECKS === '1') return;
  const tools = jobs.map((job) => job.recipe.tool).join(', ');
  throw new Error(
    `These tools have to be built first: ${tools}.\n${shortages.join('\n')}\n` +
      '(SIGNET_SKIP_TOOL_CHECKS=1 tries it all the same.)',
  );
}

/**
 * @param {Job} job
 * @param {Context} context
 */
async function build(job, context) {
  const parent = dirname(job.folder);
  const title = `${job.recipe.tool} ${job.pin.version}`;
  await withLock(
    join(parent, '.lock'),
    async () => {
      const missing = job.binaries.filter((binary) => !isExecutable(join(job.folder, binary)));
      if (missing.length === 0) return;
      removeLeftovers(parent);
      const startedAt = performance.now();
      const seconds = () => `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
      context.log(`building ${title} (${missing.join(', ')})`);
      const reminder = setInterval(
        () => context.log(`still building ${title}: ${seconds()}`),
        STILL_BUILDING_MS,
      );
      const workspace = mkdtempSync(join(parent, '.build-'));
      try {
        const built = await compile({ job, binaries: missing, workspace, context });
        mkdirSync(job.folder, { recursive: true });
        for (const [binary, path] of Object.entries(built)) renameSync(path, join(job.folder, binary));
      } catch (error) {
        throw new Error(
          `${title} couldn't be built: ${error instanceof Error ? error.message : String(error)}`,
          { cause: error },
        );
      } finally {
        clearInterval(reminder);
        rmSync(workspace, { recursive: true, force: true });
      }
      context.log(`built ${title} in ${seconds()}`);
    },
    {
      onWait: (owner) => context.log(`waiting for process ${owner.pid}, which is building ${title}`),
      signal: context.signal,
    },
  );
}

/**
 * Compiles all binaries in one call, so that what they share is compiled once.
 * @param {{ job: Job, binaries: string[], workspace: string, context: Context }} what
 * @returns {Promise<Record<string, string>>} where each was put
 */
async function compile({ job, binaries, workspace, context }) {
  const { recipe, pin } = job;
  const { GOOS: _os, GOARCH: _arch, ...inherited } = context.environment;
  const environment = { ...inherited, CGO_ENABLED: '0', GOWORK: 'off' };
  const out = join(workspace, 'out');
  mkdirSync(out);
  const cwd =
    recipe.copyModule === true ? await copyModule({ recipe, workspace, environment }) : recipe.directory;
  const packages = binaries.map((binary) => recipe.packages[binary] ?? binary);
  const [single] = binaries;
  // Several are named by go, after the last part of their packages' paths.
  const names = packages.length === 1 ? binaries : packages.map((path) => basename(path));
  const target = packages.length === 1 && single !== undefined ? join(out, single) : `${out}/`;
  const flags = [...buildFlags, '-ldflags', linkerFlags(recipe, pin.version), '-o', target];
  await run('go', ['build', ...flags, ...packages], { cwd, environment, signal: context.signal });
  return Object.fromEntries(binaries.map((binary, index) => [binary, join(out, names[index] ?? binary)]));
}

/**
 * @param {{ recipe: Recipe, workspace: string, environment: NodeJS.ProcessEnv }} what
 * @returns {Promise<string>} the folder to build in
 */
async function copyModule({ recipe, workspace, environment }) {
  // Inside the pin's folder, so that go.sum there vouches for what is downloaded.
  const { stdout } = await run('go', ['mod', 'download', '-json', recipe.module], {
    cwd: recipe.directory,
    environment,
  });
  const copy = join(workspace, 'module');
  cpSync(JSON.parse(stdout).Dir, copy, { recursive: true });
  // The module cache is read-only, and its modes were copied too.
  for (const name of ['', ...readdirSync(copy, { recursive: true, encoding: 'utf8' })])
    chmodSync(join(copy, name), 0o755);
  for (const [path, content] of Object.entries(recipe.overlay ?? {})) {
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    writeFileSync(join(copy, path), content);
  }
  return copy;
}

/**
 * Only called with the lock held: whatever lies there was left by a build that was killed.
 * @param {string} parent
 */
function removeLeftovers(parent) {
  for (const name of readdirSync(parent)) {
    if (name.startsWith('.build-')) rmSync(join(parent, name), { recursive: true, force: true });
  }
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
