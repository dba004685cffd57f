/** One signal for "too late" and "shutting down", without leaving a listener behind. */

/** A limit on one piece of work. {@link Deadline.dispose} must be called when the work has ended. */
export interface Deadline {
  readonly signal: AbortSignal;
  /** The time passed before the work ended. */
  readonly expired: boolean;
  dispose(): void;
}

/** A longer `setTimeout` fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** A signal that is aborted with `parent`, or after `limitMs` (absent: never). */
export function deadline(parent: AbortSignal, limitMs: number | undefined): Deadline {
  const controller = new AbortController();
  let expired = false;
  const abort = (): void => controller.abort(parent.reason);
  const expire = (): void => {
    expired = true;
    controller.abort(new DOMException('the time limit has passed', 'TimeoutError'));
  };
  const timer = limitMs === undefined ? undefined : setTimeout(expire, Math.min(limitMs, LONGEST_TIMER_MS));
  parent.addEventListener('abort', abort, { once: true });
  if (parent.aborted) abort();
  return {
    signal: controller.signal,
    get expired() {
      return expired;
    },
    dispose: () => {
      clearTimeout(timer);
      parent.removeEventListener('abort', abort);
    },
  };
}
