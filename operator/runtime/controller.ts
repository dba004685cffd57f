/**
 * The controller shell: how a controller runs, for every kind. {@link Controller.#handle} is the whole of it,
 * top to bottom; what an object's pass is in the kind's {@link Reconciler}, what status says in its policy,
 * what enqueues it in its predicate.
 */

import { randomUUID } from 'node:crypto';
import { formatDurationMs } from '../api/duration.ts';
import type { Logger } from '../api/logger.ts';
import type { CustomResource, StoredObject } from '../api/objects.ts';
import { parseKey, type ResourceType } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { isNotFound } from '../kube/errors.ts';
import type { EventRecorder } from '../kube/events.ts';
import { addFinalizer, removeFinalizer } from '../kube/finalizers.ts';
import { type Informer, type InformerEvent, type Informers, listReadiness } from '../kube/informers.ts';
import type { Store } from '../kube/store.ts';
import type { ConditionPolicy } from './condition-policy.ts';
import { deadline } from './deadline.ts';
import { type EnqueuePredicate, hasFinalizer } from './enqueue-predicate.ts';
import { LastWritten } from './last-written.ts';
import type { Runnable } from './manager.ts';
import type { ControllerMetrics, Metrics, ReconcileResult } from './metrics.ts';
import { type Indexes, ownKind } from './own-kind.ts';
import { ObjectGone, Pass } from './pass.ts';
import { WorkQueue } from './queue.ts';
import { passLogFields, type ReconcileContext, type ReconcileEvent, type Reconciler } from './reconciler.ts';
import type { BackOffLimits } from './retry-delay.ts';
import { type StatusWrite, statusPort } from './status-port.ts';
import { bugFields, standingOf, type Verdict, verdictOf } from './verdict.ts';

/** What makes a controller of one kind. */
export interface ControllerOptions<Spec, Status extends object> {
  /** In metrics and logs, e.g. `kustomization`. */
  name: string;
  type: ResourceType;
  reconciler: Reconciler<Spec, Status>;
  policy: ConditionPolicy<Status>;
  shouldEnqueue: EnqueuePredicate<CustomResource<Spec, Status>>;
  /** Passes at once. */
  concurrency: number;
  /** Required where the reconciler finalizes. */
  finalizer?: string;
  /** An object that is left alone: no pass, only the reconcile request is acknowledged. */
  suspended?: (object: CustomResource<Spec, Status>) => boolean;
  fieldManager: string;
  statusWrite: StatusWrite;
  /** The limit of a pass in milliseconds; without: none. */
  timeoutMs?: (object: CustomResource<Spec, Status>) => number;
  backOff?: BackOffLimits;
  /** Added to every event about the object. */
  eventAnnotations?: (object: CustomResource<Spec, Status>) => Record<string, string>;
  /** Watch this namespace only. */
  namespace?: string | undefined;
  /** Hears of each status write that failed, conflicts and objects that are gone apart. */
  onStatusFailed?: ((object: CustomResource<Spec, Status>) => void) | undefined;
  /** Watch only objects with these labels. */
  labelSelector?: string | undefined;
  indexes?: Indexes<Spec, Status>;
  client: KubeClient;
  informers: Informers;
  recorder: Pick<EventRecorder, 'record'>;
  metrics: Metrics;
  logger: Logger;
}

/** How one turn at a key ended, for the metrics. */
interface End {
  result: ReconcileResult;
  terminal?: boolean;
  bug?: boolean;
}

/** Facts that couldn't be written, and the object that they are about. */
interface Owed {
  uid: string;
  facts: ReadonlyMap<string, unknown>;
}

const DONE: End = { result: 'success' };

/** See the head of this file. Passes over different objects run side by side; never two over one. */
export class Controller<Spec, Status extends object> implements Runnable {
  readonly name: string;
  readonly #o: ControllerOptions<Spec, Status>;
  readonly #queue: WorkQueue;
  readonly #metrics: ControllerMetrics;
  readonly #written = new LastWritten<CustomResource<Spec, Status>>();
  readonly #owed = new Map<string, Owed>();
  readonly #shutdown = new AbortController();
  #informer: Informer<CustomResource<Spec, Status>> | undefined;
  #release: () => void = () => {};

  constructor(o: ControllerOptions<Spec, Status>) {
    if (o.reconciler.finalize !== undefined && o.finalizer === undefined) {
      throw new Error(`the ${o.name} reconciler finalizes, but has no finalizer`);
    }
    this.name = o.name;
    this.#o = o;
    const queueStats = () => this.#queue.stats;
    this.#metrics = o.metrics.controller({ name: o.name, concurrency: o.concurrency, queueStats });
    this.#queue = new WorkQueue({
      observer: this.#metrics.queue,
      ...(o.backOff === undefined ? {} : { backOff: o.backOff }),
    });
  }

  /** Resolves when the first list is in the store and the workers run. */
  async start(signal: AbortSignal): Promise<void> {
    const { informer, release } = this.#o.informers.acquire(ownKind(this.#o));
    this.#informer = informer;
    const unsubscribe = informer.subscribe((event) => this.#observe(event));
    this.#release = () => {
      unsubscribe();
      release();
    };
    try {
      await informer.synced(signal);
    } catch (error) {
      this.#release();
      throw error;
    }
    for (let worker = 0; worker < this.#o.concurrency; worker += 1) void this.#work();
  }

  /** Aborts the passes that run; resolves when they have ended and written their facts. */
  async stop(): Promise<void> {
    this.#shutdown.abort(new DOMException('the operator is shutting down', 'AbortError'));
    this.#queue.shutDown();
    this.#release();
    await this.#queue.drain();
  }

  ready(): boolean | string {
    return listReadiness(this.#informer, this.#o.type.plural);
  }

  /** Asks for a pass over an object, now or after `afterMs`; the earliest of several wins. */
  enqueue(key: string, afterMs = 0): void {
    this.#queue.addAfter(key, afterMs);
  }

  /** The objects of the kind, as last seen. Throws before the start. */
  get store(): Store<CustomResource<Spec, Status>> {
    if (this.#informer === undefined) throw new Error(`the ${this.name} controller has not been started`);
    return this.#informer.store;
  }

  #observe(event: InformerEvent<CustomResource<Spec, Status>>): void {
    const { type, key } = event;
    if (type === 'modified' && event.previous !== undefined) {
      // Lets go of our last write as soon as the store has caught up with it.
      this.#written.newest(key, event.kept);
      if (!this.#o.shouldEnqueue(event.previous, event.kept)) return;
    }
    this.#queue.add(key);
  }

  async #work(): Promise<void> {
    const { signal } = this.#shutdown;
    for (let key = await this.#queue.get(signal); key !== undefined; key = await this.#queue.get(signal)) {
      const startedAtMs = performance.now();
      this.#metrics.started();
      const end = await this.#turn(key);
      const durationMs = performance.now() - startedAtMs;
      const { kind } = this.#o.type;
      const { name, namespace = '' } = parseKey(key);
      this.#metrics.finished({ ...end, durationMs, kind, name, namespace });
      if (!this.store.get(key)) this.#metrics.forget({ kind, name, namespace });
      this.#queue.done(key);
    }
  }

  /** One turn at a key; never throws: what breaks a turn off (the way to the API server, mostly) repeats it. */
  async #turn(key: string): Promise<End> {
    const reconcileId = randomUUID();
    const { group, kind } = this.#o.type;
    const logger = this.#o.logger.child(
      passLogFields({ controller: this.name, group, kind, ...parseKey(key), reconcileId }),
    );
    try {
      return await this.#handle(key, logger, reconcileId);
    } catch (error) {
      if (error instanceof ObjectGone || isNotFound(error) || this.#shutdown.signal.aborted) return DONE;
      const retryMs = this.#queue.addRateLimited(key);
      logger.error(`the pass broke off, next try in ${formatDurationMs(retryMs)}`, bugFields(error));
      return { result: 'error' };
    }
  }

  async #handle(key: string, logger: Logger, reconcileId: string): Promise<End> {
    const object = this.#written.newest(key, this.store.get(key));
    if (object === undefined) return this.#forget(key);

    const { finalizer } = this.#o;
    const deleting = object.metadata.deletionTimestamp !== undefined;
    const held = finalizer !== undefined && hasFinalizer(object, finalizer);
    if (deleting && !held) return DONE;
    if (finalizer !== undefined && !held) return this.#hold(key, object, finalizer);

    const pass = this.#pass(key, object);
    try {
      if (!deleting && this.#o.suspended?.(object) === true) {
        this.#queue.forget(key);
        await pass.write({ state: 'suspended' });
        return DONE;
      }
      if (!deleting) await pass.begin();
      const startedAtMs = performance.now();
      const verdict = await this.#attempt(pass, logger, reconcileId, deleting);
      const standing = standingOf(verdict);
      if (standing !== undefined) await pass.write(standing);
      if (verdict.state === 'finalized' && finalizer !== undefined) await this.#letGo(key, object, finalizer);
      return this.#conclude({ key, object: pass.object, verdict, logger, startedAtMs });
    } finally {
      this.#owe(key, object, pass.unwritten);
    }
  }

  /** What follows from a pass's end: the one place that decides on retries, events and results. */
  #conclude(o: {
    key: string;
    object: CustomResource<Spec, Status>;
    verdict: Verdict;
    logger: Logger;
    startedAtMs: number;
  }): End {
    const { key, object, verdict, logger } = o;
    const took = formatDurationMs(performance.now() - o.startedAtMs);
    switch (verdict.state) {
      case 'ready': {
        const { requeueAfterMs } = verdict.outcome;
        this.#queue.forget(key);
        if (requeueAfterMs !== undefined) this.#queue.addAfter(key, requeueAfterMs);
        const next = requeueAfterMs === undefined ? '' : `, next run in ${formatDurationMs(requeueAfterMs)}`;
        logger.info(`reconciliation finished in ${took}${next}`);
        return { result: requeueAfterMs === undefined ? 'success' : 'requeue_after' };
      }
      case 'waiting':
        this.#queue.forget(key);
        this.#queue.addAfter(key, verdict.afterMs);
        logger.info(verdict.message, { reason: verdict.reason });
        return { result: 'requeue_after' };
      case 'postponed':
        this.#queue.addAfter(key, verdict.afterMs);
        logger.debug(verdict.message);
        return { result: 'requeue_after' };
      case 'failed':
      case 'bug': {
        const retryMs = this.#retry(key, verdict.state === 'failed' ? verdict.retryAfterMs : undefined);
        const bug = verdict.state === 'bug' ? bugFields(verdict.error) : { error: verdict.message };
        const next = `next try in ${formatDurationMs(retryMs)}`;
        logger.error(`reconciliation failed after ${took}, ${next}`, { reason: verdict.reason, ...bug });
        const message = (verdict.state === 'failed' ? verdict.eventMessage : undefined) ?? verdict.message;
        this.#event(object, { type: 'Warning', reason: verdict.reason, message });
        return { result: 'error', bug: verdict.state === 'bug' };
      }
      case 'stalled':
        this.#queue.forget(key);
        logger.error('reconciliation stalled', { reason: verdict.reason, error: verdict.message });
        this.#event(object, { type: 'Warning', reason: verdict.reason, message: verdict.message });
        return { result: 'error', terminal: true };
      case 'finalized':
        this.#queue.forget(key);
        logger.info(`finalized in ${took}`);
        return DONE;
      case 'interrupted':
      case 'gone':
        return DONE;
    }
  }

  /** Runs the reconciler within its limits and judges how it ended. Never throws. */
  async #attempt(
    pass: Pass<Spec, Status>,
    logger: Logger,
    reconcileId: string,
    deleting: boolean,
  ): Promise<Verdict> {
    const { reconciler, policy, timeoutMs } = this.#o;
    const { object } = pass;
    const limitMs = timeoutMs?.(object);
    const limit = deadline(this.#shutdown.signal, limitMs);
    const context: ReconcileContext<Status> = {
      signal: limit.signal,
      logger,
      reconcileId,
      record: (facts) => pass.record(facts),
      checkpoint: () => pass.write({ state: 'progressing' }),
      progress: (reason, message) => pass.progress(reason, message),
      claim: (type, fact) => pass.claim(type, fact),
      event: (event) => this.#event(pass.object, event),
    };
    try {
      if (!deleting) return { state: 'ready', outcome: await reconciler.reconcile(object, context) };
      await reconciler.finalize?.(object, context);
      return { state: 'finalized' };
    } catch (error) {
      return verdictOf(error, {
        failureReason: policy.failureReason,
        shuttingDown: this.#shutdown.signal.aborted,
        gone: pass.gone,
        expiredAfterMs: limit.expired ? limitMs : undefined,
      });
    } finally {
      limit.dispose();
    }
  }

  /** A pass on the newest object known, with the facts that an earlier one couldn't write. */
  #pass(key: string, object: CustomResource<Spec, Status>): Pass<Spec, Status> {
    const owed = this.#owed.get(key);
    return new Pass({
      object,
      policy: this.#o.policy,
      port: statusPort<Spec, Status>({
        ...this.#o,
        onWritten: (written) => this.#remember(key, written),
      }),
      owed: owed?.uid === object.metadata.uid ? owed.facts : undefined,
    });
  }

  /** The object takes our finalizer; the watch brings it back for its first pass. */
  async #hold(key: string, object: CustomResource<Spec, Status>, finalizer: string): Promise<End> {
    const { client, type } = this.#o;
    const held = await addFinalizer(client, type, object, finalizer, this.#shutdown.signal);
    this.#remember(key, held);
    this.#queue.forget(key);
    return DONE;
  }

  async #letGo(key: string, object: CustomResource<Spec, Status>, finalizer: string): Promise<void> {
    const { client, type } = this.#o;
    const freed = await removeFinalizer(client, type, object, finalizer, this.#shutdown.signal);
    if (freed !== undefined) this.#remember(key, freed);
  }

  #remember(key: string, written: StoredObject): void {
    this.#written.remember(key, written as CustomResource<Spec, Status>, this.store.get(key));
  }

  #retry(key: string, retryAfterMs: number | undefined): number {
    if (retryAfterMs === undefined) return this.#queue.addRateLimited(key);
    this.#queue.addAfter(key, retryAfterMs);
    return retryAfterMs;
  }

  #event(object: CustomResource<Spec, Status>, event: ReconcileEvent): void {
    const annotations = { ...this.#o.eventAnnotations?.(object), ...event.annotations };
    this.#o.recorder.record({ object, ...event, annotations });
  }

  #owe(
    key: string,
    object: CustomResource<Spec, Status>,
    facts: ReadonlyMap<string, unknown> | undefined,
  ): void {
    if (facts === undefined) this.#owed.delete(key);
    else this.#owed.set(key, { uid: object.metadata.uid, facts });
  }

  /** The object is gone, and with it everything that is remembered of it. */
  #forget(key: string): End {
    this.#queue.forget(key);
    this.#owed.delete(key);
    return DONE;
  }
}
