/** Following a kind: the state machine that turns lists and watches into one gapless stream of changes. */

import type { StoredObject } from '../api/objects.ts';
import type { ResourceType } from '../api/resources.ts';
import { Backoff, jittered, pause } from './backoff.ts';
import type { KubeClient, Selection } from './client.ts';
import { ApiError, isGone } from './errors.ts';
import type { WatchEvent } from './watch-stream.ts';

/** Where the reflector's findings go. Neither side may throw: it would count as a failure of the connection. */
export interface ReflectorSink {
  /** A list begins; nothing of it counts before `done`. A list that fails is just dropped. */
  beginList(): { page(objects: StoredObject[]): void; done(): void };
  /** One change, in order. */
  apply(event: WatchEvent): void;
}

/** What the reflector is doing; `waiting` after a failure or between two watches. */
export type ReflectorState =
  | { at: 'listing' }
  | { at: 'watching' }
  | { at: 'waiting'; delayMs: number; error?: unknown };

/** The machine's times; the defaults are what production uses. */
export interface ReflectorPacing {
  /** How long the server may keep a watch open, ±10 %. */
  watchTimeoutMs: number;
  /** How much longer than that silence is tolerated. */
  idleMarginMs: number;
  /** From the start of one watch to the start of the next. */
  minIntervalMs: number;
  backoffInitialMs: number;
  backoffMaxMs: number;
  /** Objects in one page of a list. */
  pageSize: number;
}

const PACING: ReflectorPacing = {
  watchTimeoutMs: 300_000,
  idleMarginMs: 5_000,
  minIntervalMs: 1_000,
  backoffInitialMs: 250,
  backoffMaxMs: 10_000,
  pageSize: 500,
};

/** Options of a {@link Reflector}. */
export interface ReflectorOptions extends Selection {
  client: KubeClient;
  type: ResourceType;
  metadataOnly?: boolean | undefined;
  sink: ReflectorSink;
  onState: (state: ReflectorState) => void;
  pacing?: Partial<ReflectorPacing> | undefined;
}

/** The two states in which there is something to do, each with exactly what it needs. */
type Position = { at: 'list' } | { at: 'watch'; resourceVersion: string };

/** Where to go on, after how long, and why. */
interface Step {
  next: Position;
  delayMs: number;
  error?: unknown;
}

/**
 *            ┌── failed: back-off ──┐
 *            ▼                      │
 *   ──────▶ list ───────────────────┘
 *            │  ▲
 *       done │  │ 410 Gone
 *            ▼  │
 *           watch ─── closed: minimum interval; failed: back-off ──┐
 *            ▲                                                     │
 *            └─────────── from the last resourceVersion ───────────┘
 *
 * Promises: every change reaches the sink, in order, or is part of a later list. It ends only by abort, whatever the
 * server does. Repeated failures are spaced by a growing, jittered delay (or the server's Retry-After, if longer);
 * progress (an event, a bookmark, a watch that lasted) resets it.
 * Assumes that the API server keeps resourceVersions of one kind comparable, and sends bookmarks (else a quiet watch
 * costs a list now and then).
 */
export class Reflector {
  readonly #o: ReflectorOptions;
  readonly #pacing: ReflectorPacing;
  readonly #backoff: Backoff;
  #progressSinceList = false;

  constructor(o: ReflectorOptions) {
    this.#o = o;
    this.#pacing = { ...PACING, ...o.pacing };
    this.#backoff = new Backoff({
      initialMs: this.#pacing.backoffInitialMs,
      maxMs: this.#pacing.backoffMaxMs,
    });
  }

  /** Runs until `signal` aborts, then resolves. */
  async run(signal: AbortSignal): Promise<void> {
    let position: Position = { at: 'list' };
    while (!signal.aborted) {
      const step: Step =
        position.at === 'list'
          ? await this.#list(signal)
          : await this.#watch(position.resourceVersion, signal);
      position = step.next;
      if (signal.aborted || step.delayMs <= 0) continue;
      const { delayMs, error } = step;
      this.#o.onState({ at: 'waiting', delayMs, ...(error === undefined ? {} : { error }) });
      await pause(delayMs, signal).catch(() => {});
    }
  }

  async #list(signal: AbortSignal): Promise<Step> {
    this.#o.onState({ at: 'listing' });
    try {
      const resourceVersion = await this.#readPages(signal);
      this.#progressSinceList = false;
      return { next: { at: 'watch', resourceVersion }, delayMs: 0 };
    } catch (error) {
      return { next: { at: 'list' }, delayMs: this.#failureDelayMs(error), error };
    }
  }

  /** All pages show the same moment, whose resourceVersion is answered. */
  async #readPages(signal: AbortSignal): Promise<string> {
    const { client, type, sink, namespace, labelSelector, fieldSelector, metadataOnly } = this.#o;
    const receiver = sink.beginList();
    const selection = { namespace, labelSelector, fieldSelector, metadataOnly };
    let token: string | undefined;
    for (;;) {
      const page = await client.list(type, {
        ...selection,
        limit: this.#pacing.pageSize,
        continue: token,
        signal,
      });
      receiver.page(page.items);
      token = page.metadata.continue;
      if (token !== undefined && token !== '') continue;
      const { resourceVersion } = page.metadata;
      if (resourceVersion === undefined) throw new Error(`list of ${type.plural}: no resourceVersion`);
      receiver.done();
      return resourceVersion;
    }
  }

  async #watch(from: string, signal: AbortSignal): Promise<Step> {
    const startedAtMs = performance.now();
    let openedAtMs = Number.POSITIVE_INFINITY;
    let resourceVersion = from;
    let error: unknown;
    const onOpen = () => {
      openedAtMs = performance.now();
      this.#o.onState({ at: 'watching' });
    };
    try {
      for await (const event of this.#openWatch({ resourceVersion, onOpen, signal })) {
        this.#progressed();
        resourceVersion = event.object.metadata.resourceVersion;
        if (event.type !== 'BOOKMARK') this.#o.sink.apply(event);
      }
    } catch (thrown) {
      error = thrown;
    }
    const nowMs = performance.now();
    if (nowMs - openedAtMs >= this.#pacing.minIntervalMs) this.#progressed();
    return this.#afterWatch({
      resourceVersion,
      restMs: startedAtMs + this.#pacing.minIntervalMs - nowMs,
      error,
    });
  }

  #afterWatch(o: { resourceVersion: string; restMs: number; error: unknown }): Step {
    const { resourceVersion, restMs, error } = o;
    const again: Position = { at: 'watch', resourceVersion };
    if (error === undefined) return { next: again, delayMs: restMs };
    if (!isGone(error)) {
      return { next: again, delayMs: Math.max(restMs, this.#failureDelayMs(error)), error };
    }
    // A second 410 with nothing in between would be a relist storm.
    return {
      next: { at: 'list' },
      delayMs: this.#progressSinceList ? 0 : this.#failureDelayMs(error),
      error,
    };
  }

  #openWatch(o: {
    resourceVersion: string;
    onOpen: () => void;
    signal: AbortSignal;
  }): AsyncIterable<WatchEvent> {
    const { client, type, namespace, labelSelector, fieldSelector, metadataOnly } = this.#o;
    const timeoutSeconds = Math.max(1, Math.round(jittered(this.#pacing.watchTimeoutMs, 0.1) / 1_000));
    return client.watch(type, {
      namespace,
      labelSelector,
      fieldSelector,
      metadataOnly,
      timeoutSeconds,
      idleTimeoutMs: timeoutSeconds * 1_000 + this.#pacing.idleMarginMs,
      ...o,
    });
  }

  #progressed(): void {
    this.#progressSinceList = true;
    this.#backoff.reset();
  }

  #failureDelayMs(error: unknown): number {
    const askedMs = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
    return Math.max(askedMs, this.#backoff.next());
  }
}
