import assert from 'node:assert/strict';
import { ApiError } from '../../../operator/kube/errors.ts';
import {
  failed,
  postponed,
  StalledError,
  stalled,
  step,
  WaitingError,
  waiting,
} from '../../../operator/runtime/reconciler.ts';
import { bugFields, type Circumstances, standingOf, verdictOf } from '../../../operator/runtime/verdict.ts';

const USUAL: Circumstances = {
  failureReason: 'ReconciliationFailed',
  shuttingDown: false,
  gone: false,
  expiredAfterMs: undefined,
};

async function thrownBy(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

function abortError(): DOMException {
  return new DOMException('This operation was aborted', 'AbortError');
}

describe('end of a pass', () => {
  it("is a failure with the step's reason and the capability's message", async () => {
    const cause = new Error('no such branch');
    const error = await thrownBy(() => step('GitOperationFailed', () => Promise.reject(cause)));
    assert.equal((error as Error).cause, cause);
    assert.deepEqual(verdictOf(error, USUAL), {
      state: 'failed',
      reason: 'GitOperationFailed',
      message: 'no such branch',
      retryAfterMs: undefined,
    });
  });

  it('passes through a step when the reconciler itself decided it', async () => {
    assert.ok((await thrownBy(() => step('X', async () => waiting('A', 'b', 5)))) instanceof WaitingError);
    assert.ok((await thrownBy(() => step('X', async () => stalled('A', 'b')))) instanceof StalledError);
    const error = await thrownBy(() => step('X', async () => failed('A', 'b', { retryAfterMs: 7 })));
    assert.deepEqual(verdictOf(error, USUAL), {
      state: 'failed',
      reason: 'A',
      message: 'b',
      retryAfterMs: 7,
    });
  });

  it('is a postponement that says nothing of the object', async () => {
    const error = await thrownBy(() => step('X', async () => postponed('no place', 5)));
    const verdict = verdictOf(error, USUAL);
    assert.deepEqual(verdict, { state: 'postponed', message: 'no place', afterMs: 5 });
    assert.deepEqual(standingOf(verdict), { state: 'interrupted' });
  });

  it('has another text for the event where the step has one', async () => {
    const error = await thrownBy(async () => failed('X', 'bare', { eventMessage: 'introduced: bare' }));
    const { message, eventMessage } = verdictOf(error, USUAL) as { message: string; eventMessage?: string };
    assert.deepEqual([message, eventMessage], ['bare', 'introduced: bare']);
  });

  it('is a wait or a stall where the reconciler said so, even past its time', () => {
    const late = { ...USUAL, expiredAfterMs: 1_000 };
    assert.equal(verdictOf(new WaitingError('A', 'b', 5), late).state, 'waiting');
    assert.equal(verdictOf(new StalledError('A', 'b'), late).state, 'stalled');
  });

  it('says that the time ran out rather than that something was aborted', async () => {
    const late = { ...USUAL, expiredAfterMs: 30_000 };
    const wrapped = await thrownBy(() => step('BuildFailed', () => Promise.reject(abortError())));
    const verdict = verdictOf(wrapped, late);
    assert.deepEqual(verdict, {
      state: 'failed',
      reason: 'BuildFailed',
      message: 'timed out after 30s',
      retryAfterMs: undefined,
    });
    const bare = verdictOf(abortError(), late);
    assert.equal(bare.state === 'failed' && bare.reason, 'ReconciliationFailed');
  });

  it('is no failure when a shutdown cut it short, or when the object went away', () => {
    assert.equal(verdictOf(abortError(), { ...USUAL, shuttingDown: true }).state, 'interrupted');
    assert.equal(verdictOf(new Error('x'), { ...USUAL, gone: true }).state, 'gone');
  });

  it('is an ordinary failure when the API server refused outside any step', () => {
    const verdict = verdictOf(new ApiError({ status: 403, message: 'forbidden' }), USUAL);
    assert.equal(verdict.state, 'failed');
    assert.equal(verdict.state === 'failed' && verdict.message, 'forbidden');
  });

  it('is a bug when nothing expected it, whose text status does not repeat', () => {
    const verdict = verdictOf(thrownByParsing('{"password": hunter2}'), USUAL);
    assert.equal(verdict.state, 'bug');
    assert.ok(!JSON.stringify(verdict).includes('hunter2'));
    assert.match(verdict.state === 'bug' ? verdict.message : '', /internal error \(SyntaxError\)/);
  });

  it('logs of a bug where it came from, but no text that quotes data', () => {
    const fields = bugFields(thrownByParsing('{"password": hunter2}'));
    assert.match(fields.stacktrace ?? '', /at .*verdict\.test\.ts/);
    assert.ok(!JSON.stringify(fields).includes('hunter2'));
    assert.equal(bugFields(new TypeError('x is undefined')).error, 'TypeError: x is undefined');
    assert.equal(bugFields('text').error, 'a string was thrown');
  });
});

function thrownByParsing(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    return error;
  }
}
