/** Puts drifted objects back: a queue by object in front of the drift monitor, and what is told of each repair. */

import type { Logger } from '../api/logger.ts';
import type { Owner } from '../apply/controls.ts';
import { type Drift, DriftMonitor, type DriftMonitorOptions, driftKey } from '../apply/drift.ts';
import type { HealResult } from '../apply/heal.ts';
import type { Runnable } from '../runtime/manager.ts';
import { type QueueStats, WorkQueue } from '../runtime/queue.ts';

/** What the healer works with. */
export interface DriftHealerOptions extends Omit<DriftMonitorOptions, 'onDrift'> {
  /** Objects healed at once. */
  concurrency: number;
  /** Whether what the owner applied is to be put back just now. A `gone` owner's objects are followed no longer. */
  stateOf: (owner: Owner) => 'active' | 'suspended' | 'gone';
  /** The owner has to be reconciled as a whole: the desired state of a Secret is kept nowhere. */
  reconcile: (owner: Owner) => void;
  /** An object was put back. */
  onHealed: (drift: Drift, result: HealResult) => void;
  logger: Logger;
}

/** See the head of this file. One object is never healed twice at once; a failure is tried again with back-off. */
export class DriftHealer implements Runnable {
  readonly name = 'drift';
  readonly monitor: DriftMonitor;
  readonly #o: DriftHealerOptions;
  readonly #queue = new WorkQueue();
  readonly #drifts = new Map<string, Drift>();
  readonly #shutdown = new AbortController();

  constructor(o: DriftHealerOptions) {
    this.#o = o;
    this.monitor = new DriftMonitor({ ...o, onDrift: (drift) => this.#add(drift) });
  }

  async start(): Promise<void> {
    for (let worker = 0; worker < this.#o.concurrency; worker += 1) void this.#work();
  }

  /** Resolves when no heal runs any more. */
  async stop(): Promise<void> {
    this.#shutdown.abort(new DOMException('the operator is shutting down', 'AbortError'));
    this.#queue.shutDown();
    await this.#queue.drain();
    this.monitor.stop();
  }

  /** For metrics. */
  get stats(): QueueStats {
    return this.#queue.stats;
  }

  #add(drift: Drift): void {
    const key = driftKey(drift);
    this.#drifts.set(key, drift);
    this.#queue.add(key);
  }

  async #work(): Promise<void> {
    const { signal } = this.#shutdown;
    for (let key = await this.#queue.get(signal); key !== undefined; key = await this.#queue.get(signal)) {
      const drift = this.#drifts.get(key);
      this.#drifts.delete(key);
      if (drift !== undefined) await this.#heal(key, drift, signal);
      this.#queue.done(key);
    }
  }

  async #heal(key: string, drift: Drift, signal: AbortSignal): Promise<void> {
    const { owner } = drift;
    const state = this.#o.stateOf(owner);
    if (state !== 'active') {
      // When it is resumed, a pass over all its objects comes.
      this.#queue.forget(key);
      if (state === 'gone') this.monitor.untrack(owner);
      return;
    }
    try {
      const result = await this.monitor.heal(drift, signal);
      this.#queue.forget(key);
      this.#conclude(key, drift, result);
    } catch (error) {
      if (signal.aborted) return;
      this.#drifts.set(key, this.#drifts.get(key) ?? drift);
      this.#queue.addRateLimited(key);
      this.#o.logger.error('an object could not be put back and will be tried again', {
        id: drift.id,
        error,
      });
    }
  }

  #conclude(key: string, drift: Drift, result: HealResult): void {
    switch (result.action) {
      case 'none':
      case 'transferred':
        return;
      case 'reconcile':
        this.#o.reconcile(drift.owner);
        return;
      case 'waiting':
        this.#drifts.set(key, this.#drifts.get(key) ?? drift);
        this.#queue.addAfter(key, result.retryAfterMs ?? 0);
        return;
      case 'created':
      case 'configured':
        this.#o.onHealed(drift, result);
    }
  }
}
