/**
 * A proxy on loopback in front of a real API server, for tests that must see or disturb single requests:
 * end the operator at a named point, answer 500 half-way, count what is asked. Everything else passes through.
 */

import { readFileSync } from 'node:fs';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { parse } from 'yaml';

/** A request as the proxy sees it, before it is passed on. */
export interface ProxiedRequest {
  method: string;
  /** Path with query. */
  path: string;
  body: string;
}

/**
 * What to do with a request: nothing (pass on), `hold` (pass on, but never return the answer), `drop` (neither pass on
 * nor answer), an answer of our own in its place, or to be told when the API server has answered, before its answer is
 * returned or, with `withhold`, instead of that. It may wait.
 */
export type Intervention =
  | undefined
  | 'hold'
  | 'drop'
  | { status: number; body: object; headers?: Record<string, string> }
  | { answered: () => void; withhold: boolean };

/** The proxy. `kubeconfig` is the text of a kubeconfig that goes through it, with the rights of the given one. */
export interface ApiProxy {
  url: string;
  kubeconfig: string;
  /** Called for each request; replaces the one before. */
  intervene(decide: (request: ProxiedRequest) => Intervention | Promise<Intervention>): void;
  close(): Promise<void>;
}

interface Upstream {
  url: URL;
  ca: Buffer;
  cert: Buffer;
  key: Buffer;
}

/** Starts a proxy that acts with the client certificate of a kubeconfig file. */
export async function startApiProxy(kubeconfigPath: string): Promise<ApiProxy> {
  const upstream = readUpstream(kubeconfigPath);
  let decide: (request: ProxiedRequest) => Intervention | Promise<Intervention> = () => undefined;
  const server = createServer((incoming, answer) => {
    forward({ incoming, answer, upstream, decide: (request) => decide(request) }).catch((error: unknown) => {
      answer.destroy(error instanceof Error ? error : undefined);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    kubeconfig: plainKubeconfig(url),
    intervene: (next) => {
      decide = next;
    },
    close: () => close(server),
  };
}

interface Exchange {
  incoming: IncomingMessage;
  answer: ServerResponse;
  upstream: Upstream;
  decide: (request: ProxiedRequest) => Intervention | Promise<Intervention>;
}

async function forward({ incoming, answer, upstream, decide }: Exchange): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const path = incoming.url ?? '/';
  const intervention = await decide({ method: incoming.method ?? 'GET', path, body: body.toString() });
  if (intervention === 'drop') return;
  if (typeof intervention === 'object' && 'status' in intervention) {
    answer.writeHead(intervention.status, { 'content-type': 'application/json', ...intervention.headers });
    answer.end(JSON.stringify(intervention.body));
    return;
  }
  const send = upstream.url.protocol === 'https:' ? httpsRequest : httpRequest;
  const outgoing = send(new URL(path, upstream.url), {
    method: incoming.method,
    headers: { ...incoming.headers, host: upstream.url.host },
    ca: upstream.ca,
    cert: upstream.cert,
    key: upstream.key,
  });
  outgoing.on('error', () => answer.destroy());
  answer.on('close', () => outgoing.destroy());
  outgoing.on('response', (response) => {
    if (typeof intervention === 'object') intervention.answered();
    if (intervention === 'hold' || (typeof intervention === 'object' && intervention.withhold)) {
      response.resume();
      return;
    }
    answer.writeHead(response.statusCode ?? 502, response.headers);
    response.on('error', () => answer.destroy());
    response.pipe(answer);
  });
  outgoing.end(body);
}

function readUpstream(kubeconfigPath: string): Upstream {
  const config = parse(readFileSync(kubeconfigPath, 'utf8')) as {
    clusters: [{ cluster: Record<string, string> }];
    users: [{ user: Record<string, string> }];
  };
  const { cluster } = config.clusters[0];
  const { user } = config.users[0];
  const data = (from: Record<string, string>, name: string): Buffer => {
    const file = from[name];
    return file === undefined ? Buffer.from(from[`${name}-data`] ?? '', 'base64') : readFileSync(file);
  };
  return {
    url: new URL(cluster.server ?? ''),
    ca: data(cluster, 'certificate-authority'),
    cert: data(user, 'client-certificate'),
    key: data(user, 'client-key'),
  };
}

function plainKubeconfig(server: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'proxy', cluster: { server } }],
    users: [{ name: 'proxy', user: {} }],
    contexts: [{ name: 'proxy', context: { cluster: 'proxy', user: 'proxy' } }],
    'current-context': 'proxy',
  });
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
