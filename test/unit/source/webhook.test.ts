import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { type FastifyInstance, fastify } from 'fastify';
import { SILENT } from '../../../operator/api/logger.ts';
import {
  eventOf,
  isProven,
  isWantedEvent,
  type WebhookType,
  webhookPath,
  webhookType,
} from '../../../operator/source/webhook.ts';
import { type Hook, webhookRoutes } from '../../../operator/source/webhook-face.ts';

const TOKEN = "It's a Secret to Everybody";
const body = Buffer.from('Hello, World!');

function hmac(algorithm: string, token = TOKEN): string {
  return createHmac(algorithm, token).update(body).digest('hex');
}

function proven(type: WebhookType, headers: Record<string, string>): boolean {
  return isProven(type, TOKEN, { headers, body });
}

describe('proof of a webhook caller', () => {
  it("takes the signature of GitHub's own documentation", () => {
    const signature = 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
    assert.equal(proven('github', { 'x-hub-signature-256': signature }), true);
  });

  it('knows the header of each type and takes it from no other', () => {
    const signatures: Record<string, string> = {
      'x-hub-signature-256': `sha256=${hmac('sha256')}`,
      'x-hub-signature': `sha1=${hmac('sha1')}`,
      'x-gitea-signature': hmac('sha256'),
      'x-forgejo-signature': hmac('sha256'),
      'x-signature': `sha512=${hmac('sha512')}`,
      'x-gitlab-token': TOKEN,
    };
    const taken = (type: WebhookType): string[] =>
      Object.keys(signatures).filter((name) => proven(type, { [name]: signatures[name] ?? '' }));
    assert.deepEqual(taken('github'), ['x-hub-signature-256', 'x-hub-signature']);
    assert.deepEqual(taken('bitbucket'), ['x-hub-signature-256', 'x-hub-signature']);
    assert.deepEqual(taken('gitea'), ['x-hub-signature-256', 'x-gitea-signature']);
    assert.deepEqual(taken('forgejo'), ['x-hub-signature-256', 'x-gitea-signature', 'x-forgejo-signature']);
    assert.deepEqual(taken('generic-hmac'), ['x-signature']);
    assert.deepEqual(taken('gitlab'), ['x-gitlab-token']);
  });

  it('takes the path alone as the proof of a generic caller', () => {
    assert.equal(proven('generic', {}), true);
  });

  it('refuses what is not a signature of this body by this token', () => {
    const wrong = [
      '',
      'sha256=',
      `sha256=${hmac('sha256', 'another token')}`,
      `sha1=${hmac('sha256')}`,
      `md5=${createHmac('md5', TOKEN).update(body).digest('hex')}`,
      `sha256=${hmac('sha256').slice(0, 40)}`,
      `sha256=${hmac('sha256')}00`,
      `sha256=${'z'.repeat(64)}`,
    ];
    for (const signature of wrong)
      assert.equal(proven('github', { 'x-hub-signature-256': signature }), false, signature);
    assert.equal(proven('gitlab', { 'x-gitlab-token': `${TOKEN} ` }), false);
    assert.equal(proven('gitlab', {}), false);
  });

  it('does not fall back to the weaker signature when the stronger one is wrong', () => {
    const headers = { 'x-hub-signature-256': 'sha256=00', 'x-hub-signature': `sha1=${hmac('sha1')}` };
    assert.equal(proven('github', headers), false);
  });

  it('gives the path that Flux gives a Receiver of the same name and token', () => {
    // printf '%s' tokenappns | sha256sum
    assert.equal(
      webhookPath({ token: 'token', name: 'app', namespace: 'ns' }),
      '/hook/d9acf55b1c9783c6eecb83c57bbe62b9dd1eebc35c2dc2a2f85c7ecd6e9b98e7',
    );
  });

  it('reads types and events in any letter case', () => {
    assert.equal(webhookType('GitHub'), 'github');
    assert.equal(webhookType('svn'), undefined);
    assert.equal(eventOf('gitlab', { 'x-gitlab-event': 'Push Hook' }), 'Push Hook');
    assert.equal(isWantedEvent('gitlab', 'Push Hook', ['push hook']), true);
    assert.equal(isWantedEvent('github', 'issues', ['push', 'ping']), false);
    assert.equal(isWantedEvent('github', 'issues', []), true);
    assert.equal(isWantedEvent('generic', undefined, ['push']), true);
  });
});

describe('the webhook face', () => {
  let app: FastifyInstance;
  let triggered: string[];
  const hook: Hook = { key: 'ns/app', type: 'github', events: [], token: TOKEN };

  beforeEach(() => {
    triggered = [];
    app = fastify();
    const find = async (path: string): Promise<Hook | undefined> => {
      if (path === '/hook/broken') throw new Error('no route to the API server');
      return path === '/hook/known' ? hook : undefined;
    };
    webhookRoutes(app, { find, trigger: (key) => triggered.push(key), logger: SILENT });
  });
  afterEach(() => app.close());

  it('checks the bytes as they came, whatever type they are said to be of', async () => {
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'nonsense', '']) {
      const headers = { 'x-hub-signature-256': `sha256=${hmac('sha256')}`, 'content-type': type };
      const answer = await app.inject({ method: 'POST', url: '/hook/known', headers, payload: body });
      assert.equal(answer.statusCode, 200, type);
    }
    assert.deepEqual(triggered, ['ns/app', 'ns/app', 'ns/app', 'ns/app']);
  });

  it('refuses a body of more than 3 MiB on known and unknown paths alike', async () => {
    const payload = Buffer.alloc(3 * 1024 * 1024 + 1);
    for (const url of ['/hook/known', '/hook/unknown'])
      assert.equal((await app.inject({ method: 'POST', url, payload })).statusCode, 413);
    assert.deepEqual(triggered, []);
  });

  it('asks the caller to come back when the token cannot be read', async () => {
    const answer = await app.inject({ method: 'POST', url: '/hook/broken', payload: body });
    assert.deepEqual([answer.statusCode, answer.body], [503, '']);
  });

  it('takes no less time to refuse an unknown path than a wrong signature', async () => {
    const times: number[] = [];
    for (const url of ['/hook/known', '/hook/unknown']) {
      const startedAtMs = performance.now();
      const answer = await app.inject({ method: 'POST', url, payload: body });
      times.push(performance.now() - startedAtMs);
      assert.deepEqual([answer.statusCode, answer.body], [404, '']);
    }
    assert.ok(
      times.every((ms) => ms >= 95),
      `refused after ${times.join(' and ')} ms`,
    );
  });
});
