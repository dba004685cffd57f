/** How errors of the source room end a pass. */

import { REASON } from '../api/conditions.ts';
import { failed, stalled, step } from '../runtime/reconciler.ts';
import { SourceError } from '../source/errors.ts';

/** A step of the source room: its errors bring their own reason, and say when only a new spec can help. */
export function sourceStep<T>(work: () => Promise<T>): Promise<T> {
  return step(REASON.gitOperationFailed, async () => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      const { reason, message } = error;
      return error.stalled
        ? stalled(reason, message, { cause: error })
        : failed(reason, message, { cause: error });
    }
  });
}
