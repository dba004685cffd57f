/**
 * What `kubeseal` calls through the API server's service proxy. Everyone who may reach the Service may call it,
 * so no answer says more than whether an object can be decrypted, and no template is ever rendered here.
 */

import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Logger } from '../api/logger.ts';
import { type Claim, canOpen, type Opening, readClaim, reseal } from './claim.ts';
import type { KeyRing } from './key-ring.ts';
import { RateLimit } from './rate-limit.ts';

/** The API server's own limit on a request. */
const MAX_BODY_BYTES = 3 * 1024 * 1024;
/** More at once are told to come back, so that verifying never crowds out reconciling. */
const MAX_OPENING = 2;
const RETRY_AFTER_SECONDS = 1;
const DEFAULT_TIMEOUT_MS = 120_000;
const DEFAULT_RATE = { perSecond: 2, burst: 2 };

/** What the face shows and to how many. */
export interface SealingFaceOptions {
  /** The keys in force. */
  keys: Pick<KeyRing, 'keys' | 'newest'>;
  logger: Logger;
  /** Of verify and rotate, for each path and client. */
  rate?: { perSecond: number; burst: number };
  readTimeoutMs?: number;
  writeTimeoutMs?: number;
  acceptDeprecatedV1Data?: boolean;
  /** What `/readyz` says; without: always ready. */
  ready?: () => boolean;
  /** Hears of every request that was answered. `path` is one of the routes. */
  observe?: (request: { path: string; method: string; status: number; durationMs: number }) => void;
}

/**
 * The routes, without a port (`inject` tests them):
 *
 *   GET, HEAD /v1/cert.pem   200 the newest certificate, `application/x-pem-file`; 500 when there is no key
 *   POST /v1/verify          200 decryptable, 409 not; 500 not one SealedSecret; no body
 *   POST /v1/rotate          200 the object sealed with the newest key, as JSON; 500 anything else, no body
 *   GET, HEAD /healthz       200 `ok` as soon as it listens
 *   GET, HEAD /readyz        200 `ok`, 503 `not ready`
 *
 * Verify and rotate also answer 413 too large, 415 compressed, 429 with Retry-After when there are too many,
 * 503 when the write timeout is over. The rate counts for each path and client. The client is the nearest peer and
 * the last address in `X-Forwarded-For`, the one that this peer wrote: who comes through the API server can't
 * choose it. Who reaches the port directly can; how much is decrypted at once is bounded for all together.
 */
export function sealingFace(options: SealingFaceOptions): FastifyInstance {
  const app = Fastify({
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: options.readTimeoutMs ?? DEFAULT_TIMEOUT_MS,
  });
  // kubeseal's bodies come without a Content-Type; what other clients write there, well-formed or not, counts no more.
  app.addHook('onRequest', async (request) => {
    delete request.raw.headers['content-type'];
  });
  app.addHook('onResponse', async (request, reply) => {
    const path = request.routeOptions.url;
    if (path === undefined) return;
    const { statusCode: status, elapsedTime: durationMs } = reply;
    options.observe?.({ path, method: request.method.toLowerCase(), status, durationMs });
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.setNotFoundHandler((_request, reply) => reply.code(404).send());
  app.setErrorHandler((error: { statusCode?: number }, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status >= 500) options.logger.error('request failed', { path: request.routeOptions.url, error });
    return reply.code(status).send();
  });

  app.get('/healthz', (_request, reply) => plain(reply, 200, 'ok\n'));
  app.get('/readyz', (_request, reply) =>
    (options.ready?.() ?? true) ? plain(reply, 200, 'ok\n') : plain(reply, 503, 'not ready\n'),
  );
  app.get('/v1/cert.pem', (_request, reply) => {
    const certificate = options.keys.newest()?.certificate;
    if (certificate === undefined) return plain(reply, 500, 'cannot get certificate\n');
    return reply.type('application/x-pem-file').send(certificate.pem);
  });
  const onRequest = rateLimited(new RateLimit(options.rate ?? DEFAULT_RATE));
  const open = openingHandler(options);
  app.post('/v1/verify', { onRequest }, open(verify));
  app.post(
    '/v1/rotate',
    { onRequest },
    open((claim, opening, reply) => rotate(claim, opening, reply, options.keys)),
  );
  return app;
}

/** {@link sealingFace} on a TCP address. */
export class SealingServer {
  readonly name = 'sealed-secrets-http';
  readonly #app: FastifyInstance;
  readonly #address: string;

  /** `address` is Go's `host:port`: no host means every interface, port 0 any free one. */
  constructor(options: SealingFaceOptions & { address: string }) {
    this.#app = sealingFace(options);
    this.#address = options.address;
  }

  /** Resolves when it listens; rejects when the address can't be had. */
  async start(): Promise<void> {
    const colon = this.#address.lastIndexOf(':');
    const host = this.#address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
    // Node takes an empty host for every interface, IPv6 where there is any.
    await this.#app.listen({ host, port: Number(this.#address.slice(colon + 1)) });
  }

  /** The port that it listens on, once started. */
  get port(): number | undefined {
    const address = this.#app.addresses()[0];
    return typeof address === 'object' ? address.port : undefined;
  }

  /** Answers what is under way, then closes. */
  async stop(): Promise<void> {
    await this.#app.close();
  }
}

function plain(reply: FastifyReply, status: number, text: string): FastifyReply {
  return reply.code(status).type('text/plain; charset=utf-8').send(text);
}

/** Refuses before the body is read. */
function rateLimited(limit: RateLimit): (request: FastifyRequest, reply: FastifyReply) => Promise<unknown> {
  return async (request, reply) => {
    const forwarded = [request.headers['x-forwarded-for'] ?? ''].flat().join(',');
    const client = forwarded
      .slice(forwarded.lastIndexOf(',') + 1)
      .trim()
      .toLowerCase();
    const key = JSON.stringify([request.routeOptions.url, request.ip, client]);
    const answer = limit.take(key, performance.now());
    reply.headers({
      'X-RateLimit-Limit': answer.limit,
      'X-RateLimit-Remaining': answer.remaining,
      'X-RateLimit-Reset': answer.resetSeconds,
    });
    if (answer.allowed) return undefined;
    return plain(reply.header('Retry-After', answer.retryAfterSeconds), 429, 'limit exceeded\n');
  };
}

type Answer = (claim: Claim, opening: Opening, reply: FastifyReply) => Promise<FastifyReply>;

async function verify(claim: Claim, opening: Opening, reply: FastifyReply): Promise<FastifyReply> {
  return reply.code((await canOpen(claim, opening)) ? 200 : 409).send();
}

async function rotate(
  claim: Claim,
  opening: Opening,
  reply: FastifyReply,
  keys: Pick<KeyRing, 'newest'>,
): Promise<FastifyReply> {
  const newest = keys.newest();
  const resealed =
    newest === undefined ? undefined : await reseal(claim, newest.certificate.publicKey, opening);
  if (resealed === undefined) return reply.code(500).send();
  return reply.type('application/json').send(JSON.stringify(resealed));
}

/** What verify and rotate have in common: they open a claim, a few at once, while the client is there. */
function openingHandler(
  options: SealingFaceOptions,
): (answer: Answer) => (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply> {
  const { keys, acceptDeprecatedV1Data = true, writeTimeoutMs = DEFAULT_TIMEOUT_MS } = options;
  let underWay = 0;
  return (answer) => async (request, reply) => {
    if ((request.headers['content-encoding'] ?? 'identity') !== 'identity') return reply.code(415).send();
    if (underWay >= MAX_OPENING) return reply.code(429).header('Retry-After', RETRY_AFTER_SECONDS).send();
    underWay++;
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    const late = AbortSignal.timeout(writeTimeoutMs);
    try {
      const claim = await readClaim(request.body);
      if (claim === undefined) return reply.code(500).send();
      const openingKeys = keys.keys().map((key) => key.privateKey);
      const signal = AbortSignal.any([gone.signal, late]);
      return await answer(claim, { keys: openingKeys, acceptDeprecatedV1Data, signal }, reply);
    } catch (error) {
      return brokenOff(error, reply, { gone: gone.signal, late });
    } finally {
      underWay--;
    }
  };
}

/** Nothing to somebody who has gone, 503 when time is up; anything else is thrown on. */
function brokenOff(
  error: unknown,
  reply: FastifyReply,
  signals: { gone: AbortSignal; late: AbortSignal },
): FastifyReply {
  if (signals.gone.aborted) return reply;
  if (signals.late.aborted) return reply.code(503).send();
  throw error;
}
