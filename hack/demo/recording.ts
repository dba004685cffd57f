import { Agent, request } from 'undici';
import type { StoredObject } from '../../operator/api/objects.ts';
import type { ApiAccess, RawApi } from '../cluster/raw-api.ts';

/** One watch event, as the API server announced it. */
export interface Announcement {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: StoredObject;
  /** When it arrived, on the clock of `performance.now()`. */
  readonly atMs: number;
  /** Its place in the recording. */
  readonly index: number;
}

/** What to wait for. */
export interface WaitFor {
  /** As it is to stand in a failure: "Deployment web with 3 replicas". */
  readonly what: string;
  readonly matches: (announcement: Announcement) => boolean;
  /** Look at what was announced from this place on (see `position`). */
  readonly from: number;
  /** Its reason is handed on beside what was waited for. */
  readonly signal: AbortSignal;
}

/**
 * Writes down everything that the API server announces on watches of some collections, in the order of arrival, so
 * that a story can be told and timed by what the cluster saw. It knows nothing of the operator.
 */
export class Recording {
  readonly #announcements: Announcement[] = [];
  readonly #agent: Agent;
  readonly #access: ApiAccess;
  readonly #stopped = new AbortController();
  #wake = Promise.withResolvers<void>();
  #failure: Error | undefined;

  private constructor(access: ApiAccess) {
    this.#access = access;
    const { caPem, certificatePem, keyPem } = access;
    this.#agent = new Agent({
      bodyTimeout: 0,
      connect: {
        ca: caPem,
        ...(certificatePem === undefined ? {} : { cert: certificatePem }),
        ...(keyPem === undefined ? {} : { key: keyPem }),
      },
    });
  }

  /** Lists each collection (a path) for where to begin, and resolves when its watch is open. */
  static async start(api: RawApi, collections: readonly string[]): Promise<Recording> {
    const recording = new Recording(api.access);
    try {
      await Promise.all(collections.map((path) => recording.#follow(api, path)));
      return recording;
    } catch (error) {
      await recording.stop();
      throw error;
    }
  }

  /** The place of the next announcement: "from now on". */
  get position(): number {
    return this.#announcements.length;
  }

  /** Resolves to the first announcement that matches, be it there already or still to come. */
  async first(wanted: WaitFor): Promise<Announcement> {
    let next = wanted.from;
    const aborted = Promise.withResolvers<void>();
    const onAbort = () => aborted.resolve();
    wanted.signal.addEventListener('abort', onAbort, { once: true });
    try {
      for (;;) {
        for (; next < this.#announcements.length; next += 1) {
          const announcement = this.#announcements[next];
          if (announcement !== undefined && wanted.matches(announcement)) return announcement;
        }
        if (this.#failure !== undefined) throw this.#failure;
        if (wanted.signal.aborted) {
          const { reason } = wanted.signal;
          const why = reason instanceof Error ? reason.message : String(reason);
          throw new Error(`waited for ${wanted.what}: ${why}`, { cause: reason });
        }
        await Promise.race([this.#wake.promise, aborted.promise]);
      }
    } finally {
      wanted.signal.removeEventListener('abort', onAbort);
    }
  }

  /** Closes the watches. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#agent.destroy();
  }

  async #follow(api: RawApi, path: string): Promise<void> {
    const list = await api.get(path);
    if (list === undefined) throw new Error(`the API server doesn't serve ${path}`);
    const { resourceVersion } = (list as unknown as StoredObject).metadata;
    const query = `?watch=true&resourceVersion=${encodeURIComponent(resourceVersion)}`;
    const response = await request(new URL(path + query, this.#access.server), {
      dispatcher: this.#agent,
      signal: this.#stopped.signal,
      headers: { accept: 'application/json' },
    });
    if (response.statusCode !== 200) throw new Error(`watch of ${path}: status ${response.statusCode}`);
    void this.#read(response.body).then(
      () => this.#fail(new Error(`the API server closed the watch of ${path}`)),
      (error: unknown) => this.#fail(new Error(`the watch of ${path} broke`, { cause: error })),
    );
  }

  async #read(body: AsyncIterable<Buffer>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of body) {
      const atMs = performance.now();
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#add(JSON.parse(line) as Pick<Announcement, 'type' | 'object'>, atMs);
    }
  }

  #add({ type, object }: { type: string; object: StoredObject }, atMs: number): void {
    if (type !== 'ADDED' && type !== 'MODIFIED' && type !== 'DELETED') {
      throw new Error(`the API server ended a watch with ${type}`);
    }
    this.#announcements.push({ type, object, atMs, index: this.#announcements.length });
    this.#wakeAll();
  }

  #fail(error: Error): void {
    if (this.#stopped.signal.aborted) return;
    this.#failure ??= error;
    this.#wakeAll();
  }

  #wakeAll(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}
