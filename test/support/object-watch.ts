/** A raw watch of one object, for tests that measure when something came about. */

import { Agent, request } from 'undici';
import type { RawApi } from '../../hack/cluster/raw-api.ts';
import type { JsonObject } from '../../operator/api/objects.ts';

/** An event with the moment it arrived (`performance.now()`). */
export interface TimedEvent {
  readonly type: string;
  readonly object: JsonObject;
  readonly atMs: number;
}

/** Follows one object from the moment {@link ObjectWatch.open} resolves. */
export class ObjectWatch {
  readonly #agent: Agent;
  readonly #events: TimedEvent[] = [];
  #notify: () => void = () => {};

  private constructor(agent: Agent) {
    this.#agent = agent;
  }

  /** `path` of the collection, e.g. `/api/v1/namespaces/default/configmaps`. */
  static async open(api: RawApi, path: string, name: string): Promise<ObjectWatch> {
    const { access } = api;
    const agent = new Agent({
      bodyTimeout: 0,
      connect: { ca: access.caPem, cert: access.certificatePem ?? '', key: access.keyPem ?? '' },
    });
    const list = await api.get(path);
    const { resourceVersion } = (list?.metadata ?? {}) as { resourceVersion?: string };
    const url = new URL(path, access.server);
    url.search = `watch=true&fieldSelector=metadata.name%3D${name}&resourceVersion=${resourceVersion}`;
    const response = await request(url, { dispatcher: agent });
    const watch = new ObjectWatch(agent);
    void watch.#read(response.body).catch(() => {});
    return watch;
  }

  /** The first event, seen or to come, that `wanted` accepts; all before it are forgotten. */
  async next(wanted: (event: TimedEvent) => boolean, timeoutMs = 30_000): Promise<TimedEvent> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) {
        if (wanted(event)) return event;
      }
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw new Error(`no such event within ${timeoutMs} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#notify = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #read(body: AsyncIterable<Buffer>): Promise<void> {
    let rest = '';
    for await (const chunk of body) {
      const atMs = performance.now();
      const lines = (rest + chunk.toString('utf8')).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const { type, object } = JSON.parse(line) as { type: string; object: JsonObject };
        this.#events.push({ type, object, atMs });
      }
      this.#notify();
    }
  }
}
