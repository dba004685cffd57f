import assert from 'node:assert/strict';
import { RateLimit } from '../../../operator/sealing/rate-limit.ts';

describe('the rate limit', () => {
  it('lets one more than the burst through at once, then one for each interval', () => {
    const limit = new RateLimit({ perSecond: 2, burst: 2 });
    const allowed = (nowMs: number) => limit.take('a', nowMs).allowed;
    assert.deepEqual([allowed(0), allowed(0), allowed(0), allowed(0)], [true, true, true, false]);
    assert.deepEqual([allowed(499), allowed(500), allowed(501), allowed(1_000)], [false, true, false, true]);
    assert.deepEqual([9_000, 9_000, 9_000, 9_000].map(allowed), [true, true, true, false]);
  });

  it('tells what is left and how long to wait, in whole seconds rounded up', () => {
    const limit = new RateLimit({ perSecond: 2, burst: 2 });
    const { remaining, resetSeconds, retryAfterSeconds } = limit.take('a', 0);
    assert.deepEqual([remaining, resetSeconds, retryAfterSeconds], [2, 1, 0]);
    limit.take('a', 0);
    limit.take('a', 0);
    const refused = limit.take('a', 1);
    assert.deepEqual([refused.remaining, refused.resetSeconds, refused.retryAfterSeconds], [0, 2, 1]);
  });

  it('forgets the client longest unseen when there are too many', () => {
    const limit = new RateLimit({ perSecond: 1, burst: 0 });
    limit.take('first', 0);
    for (let client = 0; client < 65_535; client += 1) limit.take(`client ${client}`, 0);
    assert.equal(limit.take('first', 0).allowed, false);
    for (let client = 0; client < 65_536; client += 1) limit.take(`other ${client}`, 0);
    assert.equal(limit.take('first', 0).allowed, true);
  });

  it('never refuses for a rounding error: exactly burst + 1 at once, whatever the clock shows', () => {
    for (let n = 0; n < 2_000; n += 1) {
      const limit = new RateLimit({ perSecond: 1 / 60, burst: n % 3 });
      const nowMs = 1_000 + n * 7_777.123_456_7;
      const allowed = Array.from({ length: 5 }, () => limit.take('a', nowMs).allowed);
      assert.equal(allowed.filter(Boolean).length, (n % 3) + 1, `at ${nowMs}`);
    }
  });
});
