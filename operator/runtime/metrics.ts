/** The metrics registry: controller-runtime's, client-go's and Flux's series under their own names and labels. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { QueueObserver, QueueStats } from './queue.ts';

/** How a pass ended, as `controller_runtime_reconcile_total` counts it. */
export type ReconcileResult = 'success' | 'requeue_after' | 'requeue' | 'error';

/** What one controller reports. */
export interface ControllerMetrics {
  readonly queue: QueueObserver;
  started(): void;
  /** `name` and `namespace` are the object's; `terminal`: no retry; `bug`: an error that no step owned. */
  finished(o: {
    result: ReconcileResult;
    durationMs: number;
    kind: string;
    name: string;
    namespace: string;
    terminal?: boolean;
    bug?: boolean;
  }): void;
  /** The object is gone: its own series go too. */
  forget(o: { kind: string; name: string; namespace: string }): void;
}

/** One request to the API server, as the client reports it; `status` is 0 when there was no answer. */
export interface RequestObservation {
  status: number;
  method: string;
}

/** controller-runtime's buckets of `controller_runtime_reconcile_time_seconds`. */
const RECONCILE_BUCKETS = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5,
  1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60,
];

/** client-go's `ExponentialBuckets(10e-9, 10, 12)`. */
const QUEUE_BUCKETS = Array.from({ length: 12 }, (_, i) => Number(`1e${i - 8}`));

/** Flux's `ExponentialBucketsRange(10e-3, 1800, 10)`. */
const GOTK_BUCKETS = Array.from({ length: 10 }, (_, i) => 0.01 * (1800 / 0.01) ** (i / 9));

/** A registry with the standard series; more can be registered on {@link Metrics.registry} by their owners. */
export class Metrics {
  readonly registry = new Registry();
  readonly #reconcileTotal: Counter<'controller' | 'result'>;
  readonly #reconcileErrors: Counter<'controller'>;
  readonly #terminalErrors: Counter<'controller'>;
  readonly #panics: Counter<'controller'>;
  readonly #reconcileTime: Histogram<'controller'>;
  readonly #activeWorkers: Gauge<'controller'>;
  readonly #maxConcurrent: Gauge<'controller'>;
  readonly #gotkDuration: Histogram<'kind' | 'name' | 'namespace'>;
  readonly #queueAdds: Counter<'name' | 'controller'>;
  readonly #queueRetries: Counter<'name' | 'controller'>;
  readonly #queueDuration: Histogram<'name' | 'controller'>;
  readonly #workDuration: Histogram<'name' | 'controller'>;
  readonly #requests: Counter<'code' | 'method' | 'host'>;
  readonly #queues = new Map<string, () => QueueStats>();

  /** `processMetrics: false` leaves out the series about the process, which take a timer. */
  constructor(o: { processMetrics?: boolean } = {}) {
    const registers = [this.registry];
    const controller = ['controller'] as const;
    const queue = ['name', 'controller'] as const;
    if (o.processMetrics !== false) collectDefaultMetrics({ register: this.registry });
    this.#reconcileTotal = new Counter({
      name: 'controller_runtime_reconcile_total',
      help: 'Passes over objects, by how they ended',
      labelNames: ['controller', 'result'],
      registers,
    });
    this.#reconcileErrors = new Counter({
      name: 'controller_runtime_reconcile_errors_total',
      help: 'Passes that ended in an error',
      labelNames: controller,
      registers,
    });
    this.#terminalErrors = new Counter({
      name: 'controller_runtime_terminal_reconcile_errors_total',
      help: 'Passes that ended in an error that only a new spec can mend',
      labelNames: controller,
      registers,
    });
    this.#panics = new Counter({
      name: 'controller_runtime_reconcile_panics_total',
      help: 'Passes that ended in an error that nothing expected',
      labelNames: controller,
      registers,
    });
    this.#reconcileTime = new Histogram({
      name: 'controller_runtime_reconcile_time_seconds',
      help: 'Length of a pass',
      labelNames: controller,
      buckets: RECONCILE_BUCKETS,
      registers,
    });
    this.#activeWorkers = new Gauge({
      name: 'controller_runtime_active_workers',
      help: 'Workers that are at a pass now',
      labelNames: controller,
      registers,
    });
    this.#maxConcurrent = new Gauge({
      name: 'controller_runtime_max_concurrent_reconciles',
      help: 'Workers that there are',
      labelNames: controller,
      registers,
    });
    this.#gotkDuration = new Histogram({
      name: 'gotk_reconcile_duration_seconds',
      help: 'Length of a pass over one object',
      labelNames: ['kind', 'name', 'namespace'],
      buckets: GOTK_BUCKETS,
      registers,
    });
    this.#queueAdds = new Counter({
      name: 'workqueue_adds_total',
      help: 'Keys added to the queue',
      labelNames: queue,
      registers,
    });
    this.#queueRetries = new Counter({
      name: 'workqueue_retries_total',
      help: 'Keys added to the queue after a failure',
      labelNames: queue,
      registers,
    });
    this.#queueDuration = new Histogram({
      name: 'workqueue_queue_duration_seconds',
      help: 'How long a key waited for a worker',
      labelNames: queue,
      buckets: QUEUE_BUCKETS,
      registers,
    });
    this.#workDuration = new Histogram({
      name: 'workqueue_work_duration_seconds',
      help: 'How long a worker held a key',
      labelNames: queue,
      buckets: QUEUE_BUCKETS,
      registers,
    });
    this.#requests = new Counter({
      name: 'rest_client_requests_total',
      help: 'Requests to the API server, by status code, method and host',
      labelNames: ['code', 'method', 'host'],
      registers,
    });
    this.#collectQueues('workqueue_depth', 'Keys that wait for a worker', (stats) => stats.depth);
    this.#collectQueues(
      'workqueue_unfinished_work_seconds',
      'Time that the keys in work have been worked on, in sum',
      (stats) => stats.runningMs.reduce((sum, ms) => sum + ms, 0) / 1_000,
    );
    this.#collectQueues(
      'workqueue_longest_running_processor_seconds',
      'Time that the key longest in work has been worked on',
      (stats) => Math.max(0, ...stats.runningMs) / 1_000,
    );
  }

  /** The series of one controller. `queueStats` is asked at each scrape. */
  controller(o: { name: string; concurrency: number; queueStats: () => QueueStats }): ControllerMetrics {
    const controller = o.name;
    const queue = { name: o.name, controller };
    this.#queues.set(o.name, o.queueStats);
    this.#maxConcurrent.set({ controller }, o.concurrency);
    this.#activeWorkers.set({ controller }, 0);
    this.#reconcileErrors.inc({ controller }, 0);
    return {
      queue: {
        added: () => this.#queueAdds.inc(queue),
        taken: (waitedMs) => this.#queueDuration.observe(queue, waitedMs / 1_000),
        finished: (workedMs) => this.#workDuration.observe(queue, workedMs / 1_000),
        retried: () => this.#queueRetries.inc(queue),
      },
      started: () => this.#activeWorkers.inc({ controller }),
      finished: ({ result, durationMs, kind, name, namespace, terminal, bug }) => {
        this.#activeWorkers.dec({ controller });
        this.#reconcileTotal.inc({ controller, result });
        this.#reconcileTime.observe({ controller }, durationMs / 1_000);
        this.#gotkDuration.observe({ kind, name, namespace }, durationMs / 1_000);
        if (result === 'error') this.#reconcileErrors.inc({ controller });
        if (terminal === true) this.#terminalErrors.inc({ controller });
        if (bug === true) this.#panics.inc({ controller });
      },
      forget: (labels) => this.#gotkDuration.remove(labels),
    };
  }

  /** What the API client reports its requests to; `host` is the server's. */
  requestObserver(host: string): (request: RequestObservation) => void {
    return ({ status, method }) => {
      this.#requests.inc({ code: status === 0 ? '<error>' : String(status), method, host });
    };
  }

  #collectQueues(name: string, help: string, read: (stats: QueueStats) => number): void {
    const queues = this.#queues;
    new Gauge({
      name,
      help,
      labelNames: ['name', 'controller'],
      registers: [this.registry],
      collect() {
        for (const [queue, stats] of queues) this.set({ name: queue, controller: queue }, read(stats()));
      },
    });
  }
}
