// Loaded by mocha before the tests (.mocharc.json).
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { conformanceRows, type RanTest, unproven } from './conformance.ts';
import { stopSharedControlPlane } from './control-plane.ts';
import { isAnythingMissing } from './missing-programs.ts';

const TEST = join(import.meta.dirname, '..');
const SPEC = join(TEST, '../docs/spec');

/** mocha calls this once after the last test, whether tests failed or not. */
export async function mochaGlobalTeardown(): Promise<void> {
  await stopSharedControlPlane();
}

/** After a run of every test file, each title in a conformance table must have been the title of a test that passed. */
export const mochaHooks = {
  afterAll(this: Mocha.Context): void {
    const root = this.test?.parent;
    if (root === undefined || !hasEveryFile(root)) return;
    const ran: RanTest[] = [];
    root.eachTest((test) => {
      ran.push({
        title: test.title,
        fullTitle: test.fullTitle(),
        state: test.isPending() ? 'pending' : test.state,
      });
    });
    // A run of chosen titles (--grep) leaves tests that never began.
    if (ran.some(({ state }) => state === undefined)) return;
    const rows = readdirSync(SPEC)
      .filter((page) => page.endsWith('.md'))
      .flatMap((page) => conformanceRows(readFileSync(join(SPEC, page), 'utf8')));
    const missing = unproven(rows, ran, { acceptPending: isAnythingMissing() });
    if (missing.length > 0) {
      throw new Error(`docs/spec names tests that did not pass in this run:\n${missing.join('\n')}`);
    }
  },
};

function hasEveryFile(root: Mocha.Suite): boolean {
  const loaded = new Set(root.suites.map(({ file }) => file));
  return ['unit', 'integration']
    .flatMap((folder) =>
      readdirSync(join(TEST, folder), { recursive: true, encoding: 'utf8' }).map((path) =>
        join(TEST, folder, path),
      ),
    )
    .filter((path) => path.endsWith('.test.ts'))
    .every((path) => loaded.has(path));
}
