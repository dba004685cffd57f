/** The artifacts over HTTP, as Flux's own controllers and ours fetch them. */

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { Logger } from '../api/logger.ts';
import type { ArtifactStore } from './artifact-store.ts';
import { messageOf } from './errors.ts';

const HEADERS_TIMEOUT_MS = 10_000;
const STOP_GRACE_MS = 5_000;

/**
 * Serves GET and HEAD of exactly the store's artifact paths; anything else is 404 (other methods 405). A request's path
 * is compared with the form that artifact paths have and never decoded or joined, so none leads elsewhere.
 */
export class ArtifactServer {
  readonly name = 'artifact-server';
  readonly #store: ArtifactStore;
  readonly #address: string;
  readonly #logger: Logger;
  #server: Server | undefined;

  constructor(o: {
    store: ArtifactStore;
    /** `:9090` (every interface) or `host:port`; port 0 takes a free one. */
    address: string;
    logger: Logger;
  }) {
    this.#store = o.store;
    this.#address = o.address;
    this.#logger = o.logger;
  }

  /** The port that is listened on; undefined before the start. */
  get port(): number | undefined {
    const address = this.#server?.address();
    return isAddressInfo(address) ? address.port : undefined;
  }

  /** Resolves when listening. @throws the system's error, e.g. when the address is taken */
  async start(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        this.#logger.debug('an artifact was not sent whole', { error: messageOf(error) });
        response.destroy();
      });
    });
    server.headersTimeout = HEADERS_TIMEOUT_MS;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listenOptions(this.#address), resolve);
    });
    this.#server = server;
  }

  /** Stops listening; answers under way get a moment to end. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const late = setTimeout(() => server.closeAllConnections(), STOP_GRACE_MS);
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeIdleConnections();
    });
    clearTimeout(late);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
      return;
    }
    const path = (request.url ?? '').replace(/\?.*$/, '');
    const file = path.startsWith('/') ? await openArtifact(this.#store, path.slice(1)) : undefined;
    if (file === undefined) {
      response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('artifact not found\n');
      return;
    }
    try {
      await send(file, request, response);
    } finally {
      await file.close();
    }
  }
}

async function openArtifact(store: ArtifactStore, path: string): Promise<FileHandle | undefined> {
  const located = store.locate(path);
  if (located === undefined) return undefined;
  try {
    return await open(located, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch {
    return undefined;
  }
}

async function send(file: FileHandle, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { size, mtimeMs, mtime, ino } = await file.stat();
  const etag = `"${ino.toString(16)}-${size.toString(16)}-${Math.round(mtimeMs * 1000).toString(16)}"`;
  const headers = { etag, 'last-modified': mtime.toUTCString(), 'x-content-type-options': 'nosniff' };
  if (request.headers['if-none-match'] === etag) {
    response.writeHead(304, headers).end();
    return;
  }
  response.writeHead(200, { ...headers, 'content-type': 'application/gzip', 'content-length': size });
  if (request.method === 'HEAD' || size === 0) {
    response.end();
    return;
  }
  await pipeline(file.createReadStream({ autoClose: false, end: size - 1 }), response);
}

function listenOptions(address: string): { host?: string; port: number } {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  const port = Number(address.slice(colon + 1));
  return host === '' ? { port } : { host, port };
}

function isAddressInfo(address: AddressInfo | string | null | undefined): address is AddressInfo {
  return typeof address === 'object' && address !== null;
}
