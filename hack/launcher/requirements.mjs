// What a command needs of the machine, told in whole sentences. Plain Node 20, no dependency.
import { run } from '../toolchain/go.mjs';

const LEAST_NODE_MAJOR = 20;

/**
 * A program that has to be installed by hand.
 * @typedef {object} Requirement
 * @property {string} program
 * @property {string[]} versionArguments
 * @property {string} usedFor
 * @property {string} from where to get it
 */

/** @type {Record<string, Requirement>} */
export const requirements = {
  npm: {
    program: 'npm',
    versionArguments: ['--version'],
    usedFor: 'it installs the packages of package-lock.json, Node 24 among them',
    from: 'it comes with Node, https://nodejs.org',
  },
  git: {
    program: 'git',
    versionArguments: ['--version'],
    usedFor: 'the operator fetches with it, and the demo and the tests serve and commit with it',
    from: 'https://git-scm.com',
  },
  go: {
    program: 'go',
    versionArguments: ['version'],
    usedFor: 'the build worker, the local cluster and the tools of the tests are built with it',
    from: 'https://go.dev/dl',
  },
};

/**
 * What is missing for a command, one sentence each; empty when nothing is.
 * @param {string[]} names names of `requirements`
 * @param {{ environment: NodeJS.ProcessEnv, nodeVersion: string }} machine `nodeVersion` as process.versions.node gives it
 * @returns {Promise<string[]>}
 */
export async function findMissing(names, { environment, nodeVersion }) {
  const missing = [];
  if (Number.parseInt(nodeVersion, 10) < LEAST_NODE_MAJOR) {
    missing.push(
      `Node ${LEAST_NODE_MAJOR} or newer is needed to start; this is ${nodeVersion} (https://nodejs.org).`,
    );
  }
  for (const name of names) {
    const requirement = requirements[name];
    if (requirement === undefined) throw new Error(`no requirement is called "${name}"`);
    const { program, usedFor, from } = requirement;
    try {
      await run(program, requirement.versionArguments, { environment });
    } catch (error) {
      const absent = error instanceof Error && 'code' in error && error.code === 'ENOENT';
      const problem = absent ? 'is missing' : "doesn't run";
      missing.push(`${program} ${problem}: ${usedFor}. Get it from ${from}.`);
    }
  }
  return missing;
}
