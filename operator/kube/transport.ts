/** HTTP to the API server: connections, credentials, time limits, and the retries that are always right. */

import type { Dispatcher } from 'undici';
import type { ClusterConfig } from './config.ts';
import { openConnections } from './connections.ts';
import { type ApiError, apiErrorFrom, type StatusBody, TransportError } from './errors.ts';
import { Retries } from './retries.ts';
import { type CallOptions, TimeLimit } from './time-limit.ts';

/** Kubernetes' verbs, as metrics name them. */
export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

/** One answered (or failed: `status` 0) request. A watch is reported when it opens. `path` has no query. */
export interface Observation {
  verb: Verb;
  method: string;
  status: number;
  durationMs: number;
  path: string;
}

/** A request as the transport sends it. `path` is absolute, without query. */
export interface HttpRequest {
  verb: Verb;
  method: Dispatcher.HttpMethod;
  path: string;
  query?: Readonly<Record<string, string | undefined>> | undefined;
  body?: string | undefined;
  contentType?: string | undefined;
  accept?: string | undefined;
  impersonate?: string | undefined;
}

/** The body of an opened watch. `abort` tears the connection down. */
export interface OpenStream {
  body: AsyncIterable<Buffer>;
  abort(): void;
}

const DEFAULT_CONNECTIONS = 12;

/** Options of a {@link Transport}. */
export interface TransportOptions {
  config: ClusterConfig;
  userAgent: string;
  connections?: number | undefined;
  observe?: ((observation: Observation) => void) | undefined;
}

/**
 * Keep-alive HTTP/1.1 connections to one API server: a bounded pool for requests, and an unbounded one for watches, so
 * that watches never starve requests. Throws {@link ApiError}, {@link TransportError}, {@link RequestTimeout}, or the
 * caller's own abort reason.
 */
export class Transport {
  readonly #config: ClusterConfig;
  readonly #userAgent: string;
  readonly #observe: (observation: Observation) => void;
  readonly #requests: () => Promise<Dispatcher>;
  readonly #watches: () => Promise<Dispatcher>;
  readonly #opened: Dispatcher[] = [];

  constructor(o: TransportOptions) {
    this.#config = o.config;
    this.#userAgent = o.userAgent;
    this.#observe = o.observe ?? (() => {});
    this.#requests = this.#lazily(o.connections ?? DEFAULT_CONNECTIONS);
    this.#watches = this.#lazily(undefined);
  }

  /** The parsed answer. Retries 429 and 503 that say when, reads whose connection broke, and a 401 after a token rotated. */
  async send<T>(request: HttpRequest, o: CallOptions = {}): Promise<T> {
    return (await this.#call(request, o, async (attempt) =>
      this.#exchange({ ...attempt, dispatcher: await this.#requests() }),
    )) as T;
  }

  /** Opens a watch: time limit and signal cover its beginning only; from then on the caller ends it with `abort`. */
  open(request: HttpRequest, o: CallOptions = {}): Promise<OpenStream> {
    return this.#call(request, o, async (attempt) =>
      this.#openStream({ ...attempt, dispatcher: await this.#watches() }),
    );
  }

  /** Breaks what is open, watches included. Calls under way fail. */
  async close(): Promise<void> {
    await Promise.all(this.#opened.map((dispatcher) => dispatcher.destroy()));
  }

  /** Opens once; a failure to open isn't remembered. */
  #lazily(connections: number | undefined): () => Promise<Dispatcher> {
    let opening: Promise<Dispatcher> | undefined;
    return () => {
      opening ??= openConnections(this.#config, connections).then(
        (dispatcher) => {
          this.#opened.push(dispatcher);
          return dispatcher;
        },
        (error: unknown) => {
          opening = undefined;
          throw error;
        },
      );
      return opening;
    };
  }

  async #call<T>(
    request: HttpRequest,
    o: CallOptions,
    work: (attempt: Omit<Attempt, 'dispatcher'>) => Promise<T>,
  ): Promise<T> {
    const limit = new TimeLimit(`${request.method} ${request.path}`, o);
    try {
      const retries = new Retries({ isRead: request.method === 'GET', limit, config: this.#config });
      return await retries.run((authorization) => work({ request, limit, authorization }));
    } catch (error) {
      throw limit.explain(error);
    } finally {
      limit.clear();
    }
  }

  async #exchange(attempt: Attempt): Promise<unknown> {
    const startedAtMs = performance.now();
    let status = 0;
    try {
      const response = await this.#dispatch(attempt);
      status = response.statusCode;
      const text = await response.body.text();
      if (status >= 400) throw errorAnswer(attempt.request, response, text);
      return parseJson(attempt.request, text);
    } catch (error) {
      throw attempt.limit.explain(error);
    } finally {
      this.#report(attempt.request, status, startedAtMs);
    }
  }

  async #openStream(attempt: Attempt): Promise<OpenStream> {
    const startedAtMs = performance.now();
    let status = 0;
    try {
      const response = await this.#dispatch(attempt);
      status = response.statusCode;
      if (status >= 400) throw errorAnswer(attempt.request, response, await response.body.text());
      const { body } = response;
      // An abort after the last read would otherwise surface as an unhandled 'error' event.
      body.on('error', () => {});
      return { body, abort: () => void body.destroy() };
    } catch (error) {
      throw attempt.limit.explain(error);
    } finally {
      this.#report(attempt.request, status, startedAtMs);
    }
  }

  #dispatch({ request, dispatcher, limit, authorization }: Attempt): Promise<Dispatcher.ResponseData> {
    const impersonate = request.impersonate ?? this.#config.impersonate;
    return dispatcher.request({
      origin: this.#config.server.origin,
      path: pathWithQuery(this.#config.server, request),
      method: request.method,
      signal: limit.signal,
      headers: {
        'user-agent': this.#userAgent,
        accept: request.accept ?? 'application/json',
        ...(request.body === undefined ? {} : { 'content-type': request.contentType ?? 'application/json' }),
        ...(authorization === undefined ? {} : { authorization }),
        ...(impersonate === undefined ? {} : { 'impersonate-user': impersonate }),
      },
      body: request.body ?? null,
    });
  }

  #report(request: HttpRequest, status: number, startedAtMs: number): void {
    const { verb, method, path } = request;
    this.#observe({ verb, method, path, status, durationMs: performance.now() - startedAtMs });
  }
}

interface Attempt {
  request: HttpRequest;
  dispatcher: Dispatcher;
  limit: TimeLimit;
  authorization: string | undefined;
}

function pathWithQuery(server: URL, request: HttpRequest): string {
  const base = server.pathname === '/' ? '' : server.pathname.replace(/\/$/, '');
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(request.query ?? {})) {
    if (value !== undefined) query.set(key, value);
  }
  return `${base}${request.path}${query.size === 0 ? '' : `?${query}`}`;
}

function errorAnswer(request: HttpRequest, response: Dispatcher.ResponseData, text: string): ApiError {
  let body: StatusBody | undefined;
  try {
    body = JSON.parse(text) as StatusBody;
  } catch {
    // Not a Status: an unknown path's plain text, or a proxy's page.
  }
  const retryAfter = response.headers['retry-after'];
  return apiErrorFrom({
    status: response.statusCode,
    body: body?.kind === 'Status' ? body : undefined,
    retryAfter: typeof retryAfter === 'string' ? retryAfter : undefined,
    fallback: `${request.method} ${request.path}: HTTP ${response.statusCode}${plainText(text)}`,
  });
}

/** A short plain-text answer is worth showing; a page isn't. */
function plainText(text: string): string {
  const line = text.trim();
  return line === '' || line.length > 200 || line.startsWith('<') ? '' : `: ${line}`;
}

function parseJson(request: HttpRequest, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TransportError(`${request.method} ${request.path}: the answer is not JSON`, { cause: error });
  }
}
