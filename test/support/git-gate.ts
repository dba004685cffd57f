import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

/** What a gate does with a request before the git server sees it: answers itself (`true`), or lets it through. */
export type GateRule = (request: IncomingMessage, response: ServerResponse) => boolean;

/** How a gate stands in front of a git server. */
export interface GateOptions {
  /** The git server's port on 127.0.0.1. */
  port: number;
  rule?: GateRule;
  tls?: { certificatePem: string; keyPem: string; clientCaPem?: string };
  /** The connection is cut after that many bytes of a fetch's answer. */
  cutAfterBytes?: number;
}

/**
 * A reverse proxy in front of a git server: sees what git sends, counts what git gets, and behaves badly on request.
 */
export class GitGate {
  /** Headers of each request, oldest first. */
  readonly requests: Array<{ method: string; url: string; authorization: string | undefined }> = [];
  /** Of all answers' bodies. */
  sentBytes = 0;
  rule: GateRule;
  cutAfterBytes: number;
  readonly #server: Server;
  readonly #target: number;
  readonly #scheme: string;

  private constructor(o: GateOptions) {
    this.#target = o.port;
    this.rule = o.rule ?? (() => false);
    this.cutAfterBytes = o.cutAfterBytes ?? Number.POSITIVE_INFINITY;
    this.#scheme = o.tls === undefined ? 'http' : 'https';
    const answer = (incoming: IncomingMessage, response: ServerResponse): void =>
      this.#answer(incoming, response);
    this.#server = o.tls === undefined ? createServer(answer) : createTlsServer(tlsOptions(o.tls), answer);
  }

  static async start(o: GateOptions): Promise<GitGate> {
    const gate = new GitGate(o);
    await new Promise<void>((resolve) => gate.#server.listen(0, '127.0.0.1', resolve));
    return gate;
  }

  /** Scheme, host and port. */
  get origin(): string {
    return `${this.#scheme}://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #answer(incoming: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '', headers } = incoming;
    this.requests.push({ method, url, authorization: headers.authorization });
    if (this.rule(incoming, response)) return;
    const onward = request(
      { host: '127.0.0.1', port: this.#target, method, path: url, headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        let sent = 0;
        answer.on('data', (chunk: Buffer) => {
          sent += chunk.length;
          this.sentBytes += chunk.length;
          if (sent > this.cutAfterBytes) response.destroy();
          else response.write(chunk);
        });
        answer.on('end', () => response.end());
      },
    );
    onward.on('error', () => response.destroy());
    incoming.pipe(onward);
  }
}

function tlsOptions(tls: NonNullable<GateOptions['tls']>) {
  const { certificatePem: cert, keyPem: key, clientCaPem } = tls;
  return clientCaPem === undefined ? { cert, key } : { cert, key, ca: clientCaPem, requestCert: true };
}
