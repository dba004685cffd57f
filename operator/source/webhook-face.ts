/**
 * What git servers call when somebody pushed. Anybody who reaches the port may call it, so a refusal says nothing:
 *
 *   POST /hook/<digest>   200 a look at the repository is on its way; 400 an event that isn't wanted, from a caller
 *                         that has proven itself; 413 too large; 503 try again (the token can't be read just now)
 *   everything else       404, and a wrong proof too, after the same time
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import type { Logger } from '../api/logger.ts';
import { messageOf } from './errors.ts';
import { eventOf, isProven, isWantedEvent, type WebhookType } from './webhook.ts';

/** A hook, with the token as it is now. */
export interface Hook {
  /** `namespace/name` of its GitRepository. */
  key: string;
  type: WebhookType;
  /** Events that count; empty: all. */
  events: readonly string[];
  token: string;
}

/** What the face works with. */
export interface WebhookFaceOptions {
  /** The hook at a path; undefined when there is none (any more). Throws when that can't be told just now. */
  find: (path: string) => Promise<Hook | undefined>;
  /** Somebody pushed. */
  trigger: (key: string) => void;
  logger: Logger;
}

/** Flux's limit on a body. */
const MAX_BODY_BYTES = 3 * 1024 * 1024;
/** Bounds the memory that bodies take. */
const MAX_CONNECTIONS = 100;
const REQUEST_TIMEOUT_MS = 10_000;
/** Every refusal takes this long, whatever its cause: longer than any of the checks. */
const REFUSAL_MS = 100;

/** Adds the routes to a bare server (`inject` tests them without a port). */
export function webhookRoutes(app: FastifyInstance, o: WebhookFaceOptions): void {
  app.server.maxConnections = MAX_CONNECTIONS;
  app.server.requestTimeout = REQUEST_TIMEOUT_MS;
  // A signature is of the bytes as they came, whatever they are said to be.
  app.addHook('onRequest', async (request) => {
    delete request.raw.headers['content-type'];
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.setErrorHandler((error: { statusCode?: number }, _request, reply) => {
    const status = error.statusCode ?? 500;
    if (status >= 500) o.logger.error('a webhook could not be answered', { error: messageOf(error) });
    return reply.code(status).send();
  });
  app.all('*', { bodyLimit: MAX_BODY_BYTES }, async (request, reply) => {
    const refusedAtMs = performance.now() + REFUSAL_MS;
    const { method, url, headers } = request;
    const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    const answer = method === 'POST' ? await answerTo({ path: url, headers, body }, o) : 404;
    if (answer === 404) await sleep(Math.max(0, refusedAtMs - performance.now()));
    return reply.code(answer).send();
  });
}

async function answerTo(
  call: { path: string; headers: Parameters<typeof eventOf>[1]; body: Buffer },
  o: WebhookFaceOptions,
): Promise<200 | 400 | 404 | 503> {
  const hook = await o.find(call.path).catch((error: unknown) => {
    o.logger.error('the token of a webhook could not be read', { error: messageOf(error) });
    return 'unknown' as const;
  });
  if (hook === 'unknown') return 503;
  if (hook === undefined) return 404;
  const about = { gitRepository: hook.key, type: hook.type };
  if (!isProven(hook.type, hook.token, call)) {
    o.logger.info('a webhook call without a valid signature or token was refused', about);
    return 404;
  }
  const event = eventOf(hook.type, call.headers);
  if (!isWantedEvent(hook.type, event, hook.events)) {
    o.logger.info("a webhook call was refused: signet.dev/webhook-events doesn't list its event", {
      ...about,
      event,
    });
    return 400;
  }
  o.trigger(hook.key);
  o.logger.info('a webhook asked for a look at the repository', { ...about, event });
  return 200;
}
