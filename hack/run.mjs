#!/usr/bin/env node
// The entrance behind the npm scripts, from a clone in which nothing was installed: checks what the machine has to
// have, runs `npm ci` when the lock file changed, builds the tools that the command uses, goes on under Node 24.
//
//   node hack/run.mjs COMMAND [ARGUMENT]...        COMMAND as in `commands` below
//
// Plain Node 20, no dependency. The exit code is the command's own.
import { readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { runInForeground } from './launcher/child.mjs';
import { ensureInstalled } from './launcher/install.mjs';
import { findMissing } from './launcher/requirements.mjs';
import { projectRoot } from './toolchain/recipes.mjs';
import { ensureTools } from './tools.mjs';

/**
 * One program of a command.
 * @typedef {object} Step
 * @property {string} name what a failure is reported as
 * @property {string[]} command a script for Node 24, or a program of node_modules/.bin, and its arguments
 */

/**
 * @typedef {object} Command
 * @property {string[]} needs names of requirements besides npm
 * @property {string} [tools] group of tools to build first
 * @property {Record<string, string>} [environment] added to the environment
 * @property {(given: string[]) => Step[]} steps all are run, whatever the ones before said
 */

// `biome ci` colours every character, into a file too.
const colors = process.stdout.isTTY === true ? [] : ['--colors=off'];

const checks = [
  { name: 'types', command: ['tsc', '--noEmit'] },
  { name: 'lint', command: ['biome', 'ci', '--error-on-warnings', ...colors] },
  { name: 'generated files', command: ['hack/generate.ts', '--check'] },
];

/** @param {string[]} given */
const tests = (given) => {
  const namesFiles = given.some((argument) => argument.endsWith('.test.ts'));
  const files = namesFiles ? [] : ['test/unit/**/*.test.ts', 'test/integration/**/*.test.ts'];
  return { name: 'tests', command: ['mocha', ...files, ...given] };
};

const benchmarks = () =>
  readdirSync(join(projectRoot, 'test', 'bench'))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.slice(0, -'.ts'.length))
    .sort();

/** @type {Record<string, Command>} */
const commands = {
  demo: {
    needs: ['git', 'go'],
    tools: 'demo',
    steps: (given) => [{ name: 'demo', command: ['hack/demo/main.ts', ...given] }],
  },
  start: {
    needs: ['git', 'go'],
    tools: 'start',
    steps: (given) => [{ name: 'operator', command: ['operator/main.ts', ...given] }],
  },
  test: { needs: ['git', 'go'], tools: 'test', steps: (given) => [...checks, tests(given)] },
  'test:long': {
    needs: ['git', 'go'],
    tools: 'test',
    environment: { SIGNET_TEST_LONG: '1' },
    steps: (given) => [tests(given)],
  },
  // Beside other projects' own controllers, which take minutes to build.
  'test:compat': {
    needs: ['git', 'go'],
    tools: 'compat',
    steps: (given) => [
      { name: 'compatibility tests', command: ['mocha', 'test/compat/**/*.test.ts', ...given] },
    ],
  },
  // A benchmark by its file's name in test/bench, without the ending; all of them without a name.
  bench: {
    needs: ['git', 'go'],
    tools: 'demo',
    steps: ([name, ...given]) =>
      (name === undefined ? benchmarks() : [name]).map((each) => ({
        name: `benchmark ${each}`,
        command: [`test/bench/${each}.ts`, ...given],
      })),
  },
  types: { needs: [], steps: (given) => [{ name: 'types', command: ['tsc', '--noEmit', ...given] }] },
  lint: {
    needs: ['git'],
    steps: (given) => [{ name: 'lint', command: ['biome', 'check', '--error-on-warnings', ...given] }],
  },
  format: {
    needs: ['git'],
    steps: (given) => [{ name: 'format', command: ['biome', 'check', '--write', ...given] }],
  },
  generate: { needs: [], steps: (given) => [{ name: 'generate', command: ['hack/generate.ts', ...given] }] },
  tools: { needs: ['go'], steps: (given) => [{ name: 'tools', command: ['hack/tools.mjs', ...given] }] },
};

/** @param {string} line */
const log = (line) => process.stderr.write(`${line}\n`);

/**
 * @param {string} name
 * @param {string[]} given
 * @returns {Promise<number>} the exit code
 */
async function main(name, given) {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    log(`usage: node hack/run.mjs ${Object.keys(commands).join('|')} [ARGUMENT]...`);
    return 2;
  }
  const environment = { ...process.env, ...command.environment };
  const missing = await findMissing(['npm', ...command.needs], {
    environment,
    nodeVersion: process.versions.node,
  });
  if (missing.length > 0) {
    for (const sentence of missing) log(sentence);
    return 1;
  }
  const tools = await prepare(command, environment);
  return await runSteps(command.steps(given), {
    ...environment,
    PATH: `${join(projectRoot, 'node_modules', '.bin')}${delimiter}${environment.PATH ?? ''}`,
    ...(tools['kustomize-build-worker'] === undefined
      ? {}
      : { SIGNET_BUILD_WORKER: environment.SIGNET_BUILD_WORKER ?? tools['kustomize-build-worker'] }),
    ...(tools['template-engine'] === undefined
      ? {}
      : { SIGNET_TEMPLATE_ENGINE: environment.SIGNET_TEMPLATE_ENGINE ?? tools['template-engine'] }),
  });
}

/**
 * @param {Command} command
 * @param {NodeJS.ProcessEnv} environment
 * @returns {Promise<Record<string, string>>} the tools
 */
async function prepare(command, environment) {
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort(new Error('interrupted'));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    await ensureInstalled(projectRoot, { environment, log, signal: interrupted.signal });
    if (command.tools === undefined) return {};
    return await ensureTools(command.tools, { environment, log, signal: interrupted.signal });
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

/**
 * @param {Step[]} steps
 * @param {NodeJS.ProcessEnv} environment
 */
async function runSteps(steps, environment) {
  const failures = [];
  let exitCode = 0;
  for (const { name, command } of steps) {
    const [first = '', ...rest] = command;
    const isScript = first.includes('/');
    const code = await runInForeground(isScript ? 'node' : first, isScript ? command : rest, {
      cwd: projectRoot,
      environment,
    });
    if (code === 0) continue;
    failures.push(name);
    exitCode = exitCode === 0 ? code : exitCode;
    // 128 and up: ended by a signal, somebody wants us to stop.
    if (code > 128) break;
  }
  if (failures.length > 0 && steps.length > 1) log(`failed: ${failures.join(', ')}`);
  return exitCode;
}

try {
  process.exitCode = await main(process.argv[2] ?? '', process.argv.slice(3));
} catch (error) {
  log(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
