/** The series of the sealed-secrets controller, under its own names and labels: its dashboards and alerts go on working. */

import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

const PREFIX = 'sealed_secrets_controller_';
const CONDITION_VALUE: Readonly<Record<string, number>> = { True: 1, Unknown: 0, False: -1 };

/** Why unsealing failed: decrypting or rendering, writing the Secret, somebody else's Secret, writing the status. */
export type UnsealErrorReason = 'unseal' | 'update' | 'unmanaged' | 'status';
const REASONS: readonly UnsealErrorReason[] = ['unseal', 'update', 'unmanaged', 'status'];

/** One condition of one SealedSecret, as the cluster has it. */
export interface ObservedCondition {
  namespace: string;
  name: string;
  /** The SealedSecret's label `app.kubernetes.io/instance`; may be empty. */
  instance: string;
  type: string;
  status: string;
}

/** See the head of this file. Registers on an existing registry; once in a process. */
export class SealedSecretsMetrics {
  readonly #unseals: Counter;
  readonly #errors: Counter<'reason' | 'namespace'>;
  readonly #requests: Counter<'path' | 'code' | 'method'>;
  readonly #durations: Histogram<'path' | 'method'>;

  /** `conditions` is asked at each scrape; without it, `condition_info` is left out. */
  constructor(o: { registry: Registry; revision: string; conditions?: () => Iterable<ObservedCondition> }) {
    const registers = [o.registry];
    // Its value is 0 upstream; what counts is the label.
    new Gauge({
      name: `${PREFIX}build_info`,
      help: 'Build information',
      labelNames: ['revision'],
      registers,
    }).set({ revision: o.revision }, 0);
    this.#unseals = new Counter({
      name: `${PREFIX}unseal_requests_total`,
      help: 'Passes over SealedSecrets',
      registers,
    });
    this.#errors = new Counter({
      name: `${PREFIX}unseal_errors_total`,
      help: 'Passes over SealedSecrets that failed, by reason and namespace',
      labelNames: ['reason', 'namespace'],
      registers,
    });
    for (const reason of REASONS) this.#errors.inc({ reason, namespace: '' }, 0);
    this.#requests = new Counter({
      name: `${PREFIX}http_requests_total`,
      help: 'HTTP requests, by path, status code and method',
      labelNames: ['path', 'code', 'method'],
      registers,
    });
    this.#durations = new Histogram({
      name: `${PREFIX}http_request_duration_seconds`,
      help: 'How long HTTP requests took',
      labelNames: ['path', 'method'],
      registers,
    });
    if (o.conditions !== undefined) collectConditions(registers, o.conditions);
  }

  /** A pass over a SealedSecret begins. */
  unsealing(): void {
    this.#unseals.inc();
  }

  /** A pass failed. */
  failed(reason: UnsealErrorReason, namespace: string): void {
    this.#errors.inc({ reason, namespace });
  }

  /** An HTTP request was answered. */
  answered(o: { path: string; method: string; status: number; durationMs: number }): void {
    const { path, method } = o;
    this.#requests.inc({ path, code: String(o.status), method });
    this.#durations.observe({ path, method }, o.durationMs / 1_000);
  }
}

function collectConditions(registers: Registry[], conditions: () => Iterable<ObservedCondition>): void {
  new Gauge({
    name: `${PREFIX}condition_info`,
    help: 'Conditions of SealedSecrets: -1 False, 0 Unknown, 1 True',
    labelNames: ['namespace', 'name', 'condition', 'ss_app_kubernetes_io_instance'],
    registers,
    collect() {
      this.reset();
      for (const { namespace, name, type, instance, status } of conditions()) {
        const labels = { namespace, name, condition: type, ss_app_kubernetes_io_instance: instance };
        this.set(labels, CONDITION_VALUE[status] ?? 0);
      }
    },
  });
}
