/** The process's two small HTTP servers: metrics, and health. Addresses are written as Go's. */

import { isIPv6 } from 'node:net';
import { type FastifyInstance, fastify } from 'fastify';
import type { Registry } from 'prom-client';
import type { Readiness, Runnable } from './manager.ts';

/** Where to listen. Without a host: on every interface, IPv4 and IPv6. Port 0: any that is free. */
export interface BindAddress {
  host?: string;
  port: number;
}

/**
 * Reads Go's `host:port` (`:8080`, `127.0.0.1:0`, `[::1]:9440`); `undefined` for `0`, which turns a server off as
 * in controller-runtime. Throws naming the text.
 */
export function parseBindAddress(text: string): BindAddress | undefined {
  if (text === '0') return undefined;
  const [, host = '', digits = ''] = /^(.*):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  const bare = /^\[(.*)\]$/.exec(host)?.[1];
  if (digits === '' || port > 65_535 || (bare === undefined ? /[:\s/[\]]/.test(host) : !isIPv6(bare))) {
    throw new Error(`"${text}" is no address to listen on: write host:port, :port or [IPv6]:port`);
  }
  return host === '' ? { port } : { host: bare ?? host, port };
}

/** An HTTP server as a part of the process. Never ready before it listens. */
export class HttpServer implements Runnable {
  readonly name: string;
  readonly #bind: BindAddress;
  readonly #app: FastifyInstance;

  /** `routes` are added to a bare server; it logs nothing and closes idle connections when it stops. */
  constructor(o: { name: string; bind: BindAddress; routes: (app: FastifyInstance) => void }) {
    this.name = o.name;
    this.#bind = o.bind;
    this.#app = fastify({ forceCloseConnections: true });
    o.routes(this.#app);
  }

  /** Throws when the address can't be had, naming it. */
  async start(): Promise<void> {
    await this.#app
      .listen({ host: this.#bind.host ?? '::', port: this.#bind.port })
      .catch((error: unknown) => {
        // A machine without IPv6 has no `::`.
        if (this.#bind.host !== undefined || codeOf(error) !== 'EAFNOSUPPORT') throw error;
        return this.#app.listen({ host: '0.0.0.0', port: this.#bind.port });
      });
  }

  async stop(): Promise<void> {
    await this.#app.close();
  }

  /** The port it listens on; throws before the start. */
  get port(): number {
    const [address] = this.#app.addresses();
    if (address === undefined || typeof address === 'string')
      throw new Error(`${this.name} does not listen yet`);
    return address.port;
  }

  /** The server without a port, for tests: fastify's `inject`. */
  get app(): FastifyInstance {
    return this.#app;
  }
}

/** `GET /metrics` in Prometheus' text format. */
export function metricsServer(o: { bind: BindAddress; registry: Registry }): HttpServer {
  return new HttpServer({
    name: 'metrics server',
    bind: o.bind,
    routes: (app) => {
      app.get('/metrics', async (_request, reply) => {
        return reply.type(o.registry.contentType).send(await o.registry.metrics());
      });
    },
  });
}

/**
 * `GET /healthz`: 200 while the process answers at all (a restart would help if it doesn't). `GET /readyz`: 200
 * when everything does its work, else 503 naming what doesn't, a line each.
 */
export function healthServer(o: { bind: BindAddress; readiness: () => Readiness }): HttpServer {
  return new HttpServer({
    name: 'health server',
    bind: o.bind,
    routes: (app) => {
      app.get('/healthz', async (_request, reply) => reply.type('text/plain').send('ok\n'));
      app.get('/readyz', async (_request, reply) => {
        const { ready, failing } = o.readiness();
        if (ready) return reply.type('text/plain').send('ok\n');
        const lines = failing.map((name) => `[-]${name}\n`).join('');
        return reply.code(503).type('text/plain').send(`${lines}not ready\n`);
      });
    },
  });
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
