/** As much of GitHub's API as a GitHub App needs to log in, on loopback. */

import { generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { CertifiedKey } from '../../hack/cluster/certificates.ts';

const TEN_MINUTES_S = 600;

/** Who may have a token. */
export interface GitHubApiOptions {
  /** App id or client id. */
  issuer: string;
  /** Ids of installations by the path of their owner: `orgs/acme`, `users/ada`. */
  installations: Readonly<Record<string, number>>;
  /** The clock; milliseconds since 1970. */
  now?: () => number;
  tls?: CertifiedKey;
}

/** See the head of this file. */
export class GitHubApi {
  /** `<method> <path>` of each request, in order. */
  readonly requests: string[] = [];
  /** Every token that was given out, in order. */
  readonly tokens: string[] = [];
  /** The app's key, PEM. */
  readonly privateKey: string;
  readonly #publicKey: KeyObject;
  readonly #o: GitHubApiOptions;
  readonly #server: Server;

  private constructor(o: GitHubApiOptions) {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    this.privateKey = privateKey.export({ type: 'pkcs1', format: 'pem' }).toString();
    this.#publicKey = publicKey;
    this.#o = o;
    const answer = (request: IncomingMessage, response: ServerResponse): void =>
      this.#answer(request, response);
    const { tls } = o;
    this.#server =
      tls === undefined
        ? createServer(answer)
        : createTlsServer({ cert: tls.certificatePem, key: tls.keyPem }, answer);
  }

  static async start(o: GitHubApiOptions): Promise<GitHubApi> {
    const api = new GitHubApi(o);
    await new Promise<void>((resolve) => api.#server.listen(0, '127.0.0.1', resolve));
    return api;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `${this.#o.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/api/v3`;
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.requests.push(`${request.method} ${request.url}`);
    const [status, body] = this.#respond(request);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }

  #respond({ method, url = '', headers }: IncomingMessage): [status: number, body: object] {
    if (headers['user-agent'] === undefined) return [403, { message: 'User-Agent is required' }];
    if (!this.#isProof(headers.authorization)) return [401, { message: 'A JSON web token is wrong' }];
    const [, owner] = /^\/api\/v3\/((?:orgs|users)\/[^/]+)\/installation$/.exec(url) ?? [];
    const id = owner === undefined ? undefined : this.#o.installations[owner];
    if (method === 'GET' && id !== undefined) return [200, { id }];
    const [, wanted] = /^\/api\/v3\/app\/installations\/(\d+)\/access_tokens$/.exec(url) ?? [];
    const isInstalled = Object.values(this.#o.installations).includes(Number(wanted));
    if (method !== 'POST' || !isInstalled) return [404, { message: 'Not Found' }];
    const token = `ghs_token${this.tokens.length + 1}`;
    this.tokens.push(token);
    return [201, { token, expires_at: new Date(this.#now() + 3_600_000).toISOString() }];
  }

  /** RS256 by the app's key, of this app, begun already and good for ten minutes at most. */
  #isProof(authorization: string | undefined): boolean {
    const [, header = '', claims = '', signature = ''] =
      /^Bearer ([^.]+)\.([^.]+)\.([^.]+)$/.exec(authorization ?? '') ?? [];
    const signed = Buffer.from(`${header}.${claims}`);
    if (!verify('sha256', signed, this.#publicKey, Buffer.from(signature, 'base64url'))) return false;
    const { alg } = JSON.parse(Buffer.from(header, 'base64url').toString());
    const { iat, exp, iss } = JSON.parse(Buffer.from(claims, 'base64url').toString());
    const nowS = this.#now() / 1000;
    const isTimely = iat <= nowS && exp > nowS && exp - iat <= TEN_MINUTES_S;
    return alg === 'RS256' && iss === this.#o.issuer && isTimely;
  }

  #now(): number {
    return (this.#o.now ?? Date.now)();
  }
}
