/** Programs that this machine lacks, as suites find out: their tests are pending, and a full run says so. */

const missing = new Map<string, string>();

/** Says on stderr what isn't tested for want of a program, and where to get it; once each. */
export function announceMissing(program: string, advice: string): void {
  if (missing.has(program)) return;
  missing.set(program, advice);
  process.stderr.write(`\n${program} is missing: ${advice}\n`);
}

/** True when a suite has announced a lack: only then may a test that a document names be pending. */
export function isAnythingMissing(): boolean {
  return missing.size > 0;
}
