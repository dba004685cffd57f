import assert from 'node:assert/strict';
import { KeyRenewal, type KeyRenewalOptions } from '../../../operator/sealing/key-renewal.ts';
import type { SealingKey } from '../../../operator/sealing/key-secret.ts';
import { eventually, throughout } from '../../support/eventually.ts';
import { newSealingKey, recordingLogger } from '../../support/sealing.ts';

const HOUR_MS = 3_600_000;
const NOW_MS = Date.UTC(2026, 10, 21, 12);

type Newest = SealingKey & Required<Pick<SealingKey, 'certificate'>>;

/** A ring of one key whose successor appears as soon as it is made. */
class FakeRing {
  made = 0;
  failures = 0;
  nowMs = NOW_MS;
  #newest: Newest | undefined;
  #handler: () => void = () => {};
  readonly #template: Newest;

  constructor(template: SealingKey) {
    assert.ok(template.certificate !== undefined);
    this.#template = { ...template, certificate: template.certificate };
  }

  holds(since: { certificateMs: number; secretMs: number } | undefined): this {
    this.#newest =
      since === undefined
        ? undefined
        : {
            ...this.#template,
            fingerprint: `SHA256:${this.made}-${since.certificateMs}`,
            certificate: { ...this.#template.certificate, notBefore: new Date(since.certificateMs) },
            createdAtMs: since.secretMs,
          };
    this.#handler();
    return this;
  }

  newest(): Newest | undefined {
    return this.#newest;
  }

  onChange(handler: () => void): () => void {
    this.#handler = handler;
    return () => {};
  }

  async makeNext(): Promise<void> {
    if (this.failures > 0) {
      this.failures -= 1;
      throw new Error('the API server is away');
    }
    this.made += 1;
    this.holds({ certificateMs: this.nowMs, secretMs: this.nowMs });
  }
}

describe('sealing key renewal', () => {
  let template: SealingKey;
  let renewal: KeyRenewal | undefined;
  const log = recordingLogger();
  before(async () => {
    template = await newSealingKey();
  });
  afterEach(async () => {
    await renewal?.stop();
  });

  const begin = async (ring: FakeRing, options: Partial<KeyRenewalOptions> = {}): Promise<KeyRenewal> => {
    renewal = new KeyRenewal({
      ...{ ring, periodMs: 720 * HOUR_MS, logger: log.logger, now: () => ring.nowMs },
      ...options,
    });
    await renewal.start();
    return renewal;
  };
  const made = (ring: FakeRing, count: number) =>
    eventually(() => ring.made === count, { what: `${count} keys to be made` });
  const staysAt = (ring: FakeRing, count: number) =>
    throughout(() => assert.equal(ring.made, count), { what: `stays at ${count} keys made`, forMs: 100 });
  const aged = (hours: number) => ({
    certificateMs: NOW_MS - hours * HOUR_MS,
    secretMs: NOW_MS - hours * HOUR_MS,
  });

  it('makes a successor once when the newest key has the age of the period', async () => {
    const ring = new FakeRing(template).holds(aged(721));
    await begin(ring);
    await made(ring, 1);
    await staysAt(ring, 1);
  });

  it('leaves a younger key alone, and an older one too when the period is 0', async () => {
    const young = new FakeRing(template).holds(aged(719));
    await begin(young);
    await staysAt(young, 0);
    await renewal?.stop();
    const old = new FakeRing(template).holds(aged(10_000));
    await begin(old, { periodMs: 0 });
    await staysAt(old, 0);
  });

  it('waits out the rest of the period, also across timers that cannot be set that far', async () => {
    const ring = new FakeRing(template).holds({ certificateMs: NOW_MS, secretMs: NOW_MS });
    await begin(ring);
    await staysAt(ring, 0);
    ring.nowMs += 721 * HOUR_MS;
    ring.holds({ certificateMs: NOW_MS, secretMs: NOW_MS });
    await made(ring, 1);
  });

  it('counts the age of a certificate that was brought along from when its Secret was made', async () => {
    const ring = new FakeRing(template).holds({
      certificateMs: NOW_MS - 5_000 * HOUR_MS,
      secretMs: NOW_MS - HOUR_MS,
    });
    await begin(ring);
    await staysAt(ring, 0);
  });

  it('makes a key at once when the newest is from before the cutoff time, and none when it is from after', async () => {
    const before = new FakeRing(template).holds(aged(2));
    await begin(before, { cutoffTimeMs: NOW_MS - HOUR_MS });
    await made(before, 1);
    await renewal?.stop();
    const after = new FakeRing(template).holds(aged(0.5));
    await begin(after, { cutoffTimeMs: NOW_MS - HOUR_MS });
    await staysAt(after, 0);
  });

  it('waits for a cutoff time that lies ahead', async () => {
    const ring = new FakeRing(template).holds(aged(2));
    await begin(ring, { cutoffTimeMs: NOW_MS + HOUR_MS });
    await staysAt(ring, 0);
  });

  it('makes a key at once when asked to', async () => {
    const ring = new FakeRing(template).holds(aged(2));
    const asked = await begin(ring, { periodMs: 0 });
    asked.renewNow();
    await made(ring, 1);
    await staysAt(ring, 1);
  });

  it('makes a first key when none is left, after time to put another in its place', async () => {
    const ring = new FakeRing(template).holds(aged(2));
    await begin(ring, { replacementPatienceMs: 40 });
    ring.holds(undefined);
    await staysAt(ring, 0);
    ring.nowMs += 41;
    ring.holds(undefined);
    await made(ring, 1);
  });

  it('makes none when none is left and first keys are forbidden', async () => {
    const ring = new FakeRing(template).holds(aged(2));
    await begin(ring, { createFirstKey: false, replacementPatienceMs: 0 });
    ring.holds(undefined);
    await staysAt(ring, 0);
  });

  it('says so when a key cannot be made, and tries again', async () => {
    const ring = new FakeRing(template).holds(aged(721));
    ring.failures = 1;
    await begin(ring);
    await eventually(() => log.lines.some((line) => line.includes('no new sealing key could be made')), {
      what: 'a log line',
    });
    await staysAt(ring, 0);
    ring.nowMs += 31_000;
    ring.holds(aged(721));
    await made(ring, 1);
  });
});
