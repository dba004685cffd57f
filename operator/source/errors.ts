/** What can go wrong between a URL and an artifact. */

/**
 * A failure of this room. `reason` is one of `REASON` in api/conditions; the message names the field or file and what
 * to do about it, and never holds a credential. `stalled` says that only a new spec can help: retrying is pointless.
 */
export class SourceError extends Error {
  readonly reason: string;
  readonly stalled: boolean;

  constructor(reason: string, message: string, options: { stalled?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SourceError';
    this.reason = reason;
    this.stalled = options.stalled ?? false;
  }
}

/** Why an artifact can't be opened. */
export type ArtifactProblem = 'not found' | 'verify' | 'unsafe' | 'too large' | 'unreachable';

/**
 * An artifact that can't be opened: gone from its server (`not found`), other bytes than its digest says (`verify`),
 * contents that must not be extracted (`unsafe`, `too large`), or no answer (`unreachable`).
 */
export class ArtifactUnavailable extends Error {
  readonly problem: ArtifactProblem;

  constructor(problem: ArtifactProblem, message: string, options: { cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ArtifactUnavailable';
    this.problem = problem;
  }
}

/** The text of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The code of a system error (`ENOENT`, `EEXIST` …), if it is one. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
