/**
 * What `kubeseal` calls through the API server's service proxy. Everyone who may reach the Service may call it,
 * so no answer says more than whether an object can be decrypted, and no template is ever rendered here.
 */

import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import type { Logger } from '../api/logger.ts';
import type { JsonObject } from '../api/objects.ts';
import { apiVersionOf, SEALED_SECRET } from '../api/resources.ts';
import type { KeyRing } from './key-ring.ts';
import type { ScopedMeta } from './scope.ts';
import { canUnseal } from './unseal.ts';

/** The API server's own limit on a request. */
const MAX_BODY_BYTES = 3 * 1024 * 1024;
/** Parsing YAML blocks the event loop for about a millisecond a kilobyte; `kubeseal` always sends JSON. */
const MAX_YAML_BYTES = 128 * 1024;
const MAX_YAML_ALIASES = 100;
/** More at once are told to come back, so that verifying never crowds out reconciling. */
const MAX_VERIFICATIONS = 2;
const RETRY_AFTER_SECONDS = 1;
const REQUEST_TIMEOUT_MS = 120_000;

/** What the face shows: the keys in force. */
export interface SealingFaceOptions {
  keys: Pick<KeyRing, 'keys' | 'newest'>;
  logger: Logger;
}

/**
 * The routes, without a port (`inject` tests them):
 *
 *   GET, HEAD /v1/cert.pem   200 the newest certificate, `application/x-pem-file`; 500 when there is no key
 *   POST /v1/verify          200 decryptable, 409 not; 500 not one SealedSecret; 413 too large;
 *                            415 compressed; 429 with Retry-After when busy. Never a body
 *   POST /v1/rotate          501
 *   GET, HEAD /healthz       200 `ok`
 */
export function sealingFace(options: SealingFaceOptions): FastifyInstance {
  const app = Fastify({ bodyLimit: MAX_BODY_BYTES, requestTimeout: REQUEST_TIMEOUT_MS });
  // kubeseal's bodies come without a Content-Type; what other clients write there, well-formed or not, counts no more.
  app.addHook('onRequest', async (request) => {
    delete request.raw.headers['content-type'];
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.setNotFoundHandler((_request, reply) => reply.code(404).send());
  app.setErrorHandler((error: { statusCode?: number }, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status >= 500) options.logger.error('request failed', { path: request.routeOptions.url, error });
    return reply.code(status).send();
  });

  app.get('/healthz', (_request, reply) => reply.type('text/plain; charset=utf-8').send('ok\n'));
  app.get('/v1/cert.pem', (_request, reply) => {
    const certificate = options.keys.newest()?.certificate;
    if (certificate === undefined) return reply.code(500).type('text/plain').send('cannot get certificate\n');
    return reply.type('application/x-pem-file').send(certificate.pem);
  });
  app.post('/v1/verify', verifyHandler(options));
  app.post('/v1/rotate', (_request, reply) => reply.code(501).send());
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

type VerifyHandler = (
  request: { body: unknown; headers: Record<string, unknown> },
  reply: FastifyReply,
) => Promise<FastifyReply>;

function verifyHandler({ keys }: SealingFaceOptions): VerifyHandler {
  let underWay = 0;
  return async (request, reply) => {
    if ((request.headers['content-encoding'] ?? 'identity') !== 'identity') return reply.code(415).send();
    if (underWay >= MAX_VERIFICATIONS) {
      return reply.code(429).header('Retry-After', String(RETRY_AFTER_SECONDS)).send();
    }
    underWay++;
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    try {
      const claim = await readSealedSecret(request.body);
      if (claim === undefined) return reply.code(500).send();
      if (claim === 'undecryptable') return reply.code(409).send();
      const isDecryptable = await canUnseal({
        ...claim,
        keys: keys.keys().map((key) => key.privateKey),
        signal: gone.signal,
      });
      return reply.code(isDecryptable ? 200 : 409).send();
    } catch (error) {
      if (gone.signal.aborted) return reply;
      throw error;
    } finally {
      underWay--;
    }
  };
}

/**
 * Reads one SealedSecret, JSON or YAML, sent by anyone. `undefined` when it isn't one. As with upstream, items
 * that aren't a map count as none.
 */
async function readSealedSecret(
  body: unknown,
): Promise<{ metadata: ScopedMeta; encryptedData: JsonObject } | 'undecryptable' | undefined> {
  const object = Buffer.isBuffer(body) ? await parseObject(body) : undefined;
  if (object?.kind !== SEALED_SECRET.kind || object.apiVersion !== apiVersionOf(SEALED_SECRET))
    return undefined;
  const metadata = asObject(object.metadata);
  const spec = asObject(object.spec);
  // The deprecated form isn't unsealed, so it doesn't verify.
  if ((spec.data ?? null) !== null) return 'undecryptable';
  return {
    metadata: {
      name: asText(metadata.name),
      namespace: asText(metadata.namespace),
      annotations: asObject(metadata.annotations) as Record<string, string>,
    },
    encryptedData: asObject(spec.encryptedData),
  };
}

async function parseObject(body: Buffer): Promise<JsonObject | undefined> {
  const text = body.toString();
  try {
    return asObject(JSON.parse(text));
  } catch {
    return body.length > MAX_YAML_BYTES ? undefined : await parseYaml(text);
  }
}

/** Loaded when needed: `kubeseal` never sends YAML. Several documents, and anything unreadable, are `undefined`. */
async function parseYaml(text: string): Promise<JsonObject | undefined> {
  const { parseDocument } = await import('yaml');
  try {
    const document = parseDocument(text, { version: '1.1', uniqueKeys: false });
    return document.errors.length > 0
      ? undefined
      : asObject(document.toJS({ maxAliasCount: MAX_YAML_ALIASES }));
  } catch {
    return undefined;
  }
}

function asObject(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
