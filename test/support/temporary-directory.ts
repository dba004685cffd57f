import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Gives each test of the surrounding `describe` an empty folder (mode 0700), removed after it. */
export function useTemporaryDirectory(): () => string {
  let current: string | undefined;

  beforeEach('a temporary directory', () => {
    current = mkdtempSync(join(tmpdir(), 'signet-test-'));
  });

  afterEach('remove the temporary directory', () => {
    if (current !== undefined) rmSync(current, { recursive: true, force: true, maxRetries: 3 });
    current = undefined;
  });

  return () => {
    if (current === undefined) throw new Error('there is a temporary directory only while a test runs');
    return current;
  };
}
