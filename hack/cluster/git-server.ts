import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { timingSafeEqual } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { git, isolatedGitEnvironment } from './git-process.ts';
import { findFreePort } from './ports.ts';

const MAX_CGI_HEADER_BYTES = 64 * 1024;

/** What the server serves and to whom. */
export interface GitServerOptions {
  /** Existing folder that holds the bare repositories. */
  readonly directory: string;
  /** Given, every request needs these (HTTP basic authentication). */
  readonly credentials?: { readonly username: string; readonly password: string };
  /** Default: a free one. */
  readonly port?: number;
  /** Called after each answered push (an unchanged or rejected one too), as a forge would call a webhook. */
  readonly onPush?: () => void;
}

/** One answered request. */
export interface GitRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly status: number;
}

/**
 * A smart-HTTP git server on 127.0.0.1: the real `git http-backend` behind node's HTTP server, fetch and push, for the
 * demo and the tests. What it accepts and answers is git's own doing.
 */
export class GitServer {
  readonly port: number;
  /** Every request answered so far, oldest first; a client may have its answer a moment before it is listed. */
  readonly requests: GitRequest[] = [];
  readonly #options: GitServerOptions;
  readonly #server: Server;
  readonly #backends = new Set<ChildProcessWithoutNullStreams>();

  private constructor(options: GitServerOptions, port: number) {
    this.#options = options;
    this.port = port;
    this.#server = createServer((request, response) => this.#serve(request, response));
  }

  /** Starts to listen. Rejects when the port is taken. */
  static async start(options: GitServerOptions): Promise<GitServer> {
    const server = new GitServer(options, options.port ?? (await findFreePort()));
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject);
      server.#server.listen(server.port, '127.0.0.1', () => resolve());
    });
    return server;
  }

  /** Makes an empty bare repository whose default branch is `main`; answers with its URL. */
  async createRepository(name: string): Promise<string> {
    const directory = join(this.#options.directory, `${name}.git`);
    mkdirSync(directory, { recursive: true });
    await git(directory, ['init', '--quiet', '--bare', '--initial-branch=main']);
    await git(directory, ['config', 'http.receivepack', 'true']);
    return this.url(name);
  }

  /** The URL of a repository, without credentials. */
  url(name: string): string {
    return `http://127.0.0.1:${this.port}/${name}.git`;
  }

  /** Ends open requests and stops to listen; the repositories stay. */
  async stop(): Promise<void> {
    for (const backend of this.#backends) backend.kill('SIGKILL');
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    response.once('close', () => {
      this.requests.push({
        method: request.method ?? '',
        url: request.url ?? '',
        status: response.statusCode,
      });
      if (request.method === 'POST' && request.url?.endsWith('/git-receive-pack')) this.#options.onPush?.();
    });
    if (!this.#isAllowed(request)) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
      return;
    }
    const backend = spawn('git', ['http-backend'], {
      env: this.#cgiEnvironment(request),
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#backends.add(backend);
    backend.once('close', () => this.#backends.delete(backend));
    backend.once('error', () => fail(response));
    backend.stderr.resume();
    // Either side may hang up in the middle: the other is ended, and that is no error of ours.
    pipeline(request, backend.stdin, () => undefined);
    response.once('close', () => backend.kill('SIGKILL'));
    relayCgiAnswer(backend, response);
  }

  // The Common Gateway Interface (RFC 3875), as git-http-backend(1) asks for it.
  #cgiEnvironment(request: IncomingMessage): NodeJS.ProcessEnv {
    const url = new URL(request.url ?? '/', 'http://127.0.0.1');
    const header = (name: string) => request.headers[name]?.toString();
    return {
      ...isolatedGitEnvironment,
      GIT_PROJECT_ROOT: this.#options.directory,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method,
      REMOTE_ADDR: '127.0.0.1',
      REMOTE_USER: this.#options.credentials?.username ?? 'anonymous',
      CONTENT_TYPE: header('content-type') ?? '',
      CONTENT_LENGTH: header('content-length'),
      HTTP_CONTENT_ENCODING: header('content-encoding'),
      GIT_PROTOCOL: header('git-protocol'),
    };
  }

  #isAllowed(request: IncomingMessage): boolean {
    const { credentials } = this.#options;
    if (credentials === undefined) return true;
    const expected = Buffer.from(`${credentials.username}:${credentials.password}`);
    const given = Buffer.from(
      /^Basic (\S+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '',
      'base64',
    );
    return given.length === expected.length && timingSafeEqual(given, expected);
  }
}

function relayCgiAnswer(backend: ChildProcessWithoutNullStreams, response: ServerResponse): void {
  let head: Buffer = Buffer.alloc(0);
  const onData = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0 && head.length < MAX_CGI_HEADER_BYTES) return;
    backend.stdout.off('data', onData);
    backend.stdout.off('end', onEnd);
    if (end < 0) return fail(response);
    const headers = head.subarray(0, end).toString('latin1').split('\r\n');
    for (const line of headers) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 1).trim();
      if (name === 'status') response.statusCode = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.write(head.subarray(end + 4));
    backend.stdout.pipe(response);
  };
  const onEnd = () => fail(response);
  backend.stdout.on('data', onData);
  backend.stdout.once('end', onEnd);
}

function fail(response: ServerResponse): void {
  if (response.headersSent) response.destroy();
  else response.writeHead(500).end();
}
