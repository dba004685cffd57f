import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { StoredObject } from '../../operator/api/objects.ts';
import type { ClusterConfig } from '../../operator/kube/config.ts';

/** A request as the fake saw it. */
export interface SeenRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  body: string;
  /** The connection that it came on, numbered from 1. */
  connection: number;
  /** Milliseconds on the `performance` clock. */
  atMs: number;
}

/** How to answer a request. `answer.socket.destroy()` resets; not answering at all is silence. */
export type Script = (request: SeenRequest, answer: ServerResponse) => void | Promise<void>;

/** An HTTP server on loopback that misbehaves on command: for what a real API server can't be made to do. */
export interface FakeApiServer {
  config: ClusterConfig;
  /** All requests so far, oldest first. */
  seen: SeenRequest[];
  script(next: Script): void;
}

/** A fresh fake for each test of the surrounding `describe`. Its script throws until one is given. */
export function useFakeApiServer(): () => FakeApiServer {
  let current: (FakeApiServer & { close(): Promise<void> }) | undefined;
  beforeEach('a fake API server', async () => {
    current = await start();
  });
  afterEach('end the fake API server', async () => {
    await current?.close();
    current = undefined;
  });
  return () => {
    if (current === undefined) throw new Error('there is a fake API server only while a test runs');
    return current;
  };
}

/** Answers with JSON. */
export function answerJson(
  answer: ServerResponse,
  body: object,
  o: { status?: number; headers?: Record<string, string> } = {},
): void {
  answer.writeHead(o.status ?? 200, { 'content-type': 'application/json', ...o.headers });
  answer.end(JSON.stringify(body));
}

/** Answers with a `metav1.Status`. */
export function answerStatus(
  answer: ServerResponse,
  status: number,
  o: { reason?: string; message?: string; details?: object; headers?: Record<string, string> } = {},
): void {
  const { headers, ...body } = o;
  answerJson(
    answer,
    { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: status, ...body },
    { status, ...(headers === undefined ? {} : { headers }) },
  );
}

/** A list of `objects` at a resourceVersion. */
export function listOf(objects: object[], resourceVersion: string, more: object = {}): object {
  return { kind: 'List', apiVersion: 'v1', metadata: { resourceVersion, ...more }, items: objects };
}

/** A ConfigMap as an API server would give it. */
export function configMap(name: string, resourceVersion: string, more: object = {}): StoredObject {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { namespace: 'default', name, uid: `uid-${name}`, resourceVersion, ...more },
  };
}

/** One line of a watch. */
export function watchLine(type: string, object: object): string {
  return `${JSON.stringify({ type, object })}\n`;
}

async function start(): Promise<FakeApiServer & { close(): Promise<void> }> {
  const seen: SeenRequest[] = [];
  const connections = new WeakMap<object, number>();
  let opened = 0;
  let script: Script = (request) => {
    throw new Error(`no script for ${request.method} ${request.path}`);
  };
  const server = createServer((incoming, answer) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const url = new URL(incoming.url ?? '/', 'http://fake');
      const request: SeenRequest = {
        method: incoming.method ?? '',
        path: url.pathname,
        query: url.searchParams,
        headers: incoming.headers,
        body: Buffer.concat(chunks).toString(),
        connection: connections.get(incoming.socket) ?? 0,
        atMs: performance.now(),
      };
      seen.push(request);
      Promise.resolve()
        .then(() => script(request, answer))
        .catch((error: Error) => answerStatus(answer, 500, { message: error.message }));
    });
  });
  server.on('connection', (socket) => {
    opened += 1;
    connections.set(socket, opened);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    seen,
    script: (next) => {
      script = next;
    },
    config: {
      server: new URL(`http://127.0.0.1:${port}`),
      insecureSkipTlsVerify: false,
      authorization: async () => undefined,
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
