import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { eventually, throughout } from '../support/eventually.ts';
import { type SourceScene, useSource } from '../support/source-scene.ts';
import { useWorld } from '../support/world.ts';

const TOKEN = 'a token that both sides know';
const BODY = JSON.stringify({ ref: 'refs/heads/main' });

function asked(type: string, events?: string): Record<string, string> {
  const annotations = { 'signet.dev/webhook': type, 'signet.dev/webhook-secret': 'hook' };
  return events === undefined ? annotations : { ...annotations, 'signet.dev/webhook-events': events };
}

function signed(token = TOKEN): Record<string, string> {
  return { 'x-hub-signature-256': `sha256=${createHmac('sha256', token).update(BODY).digest('hex')}` };
}

/** A GitRepository with a webhook, its first commit published; answers with the path. */
async function listening(scene: SourceScene, annotations: Record<string, string>): Promise<string> {
  await scene.createSecret('hook', { token: TOKEN });
  const first = await scene.push({ 'a.yaml': 'a: 1\n' });
  await scene.create({ annotations });
  const repository = await scene.untilPublished(first);
  return repository.status?.webhookPath ?? assert.fail('status names no path');
}

function call(scene: SourceScene, path: string, headers: Record<string, string>): Promise<Response> {
  return fetch(`${scene.webhookUrl}${path}`, { method: 'POST', headers, body: BODY });
}

describe('a webhook', () => {
  const world = useWorld();
  const source = useSource(world);

  it('publishes a push at once, on the path that Flux would give it', async () => {
    const scene = source();
    const path = await listening(scene, asked('github'));
    const digest = createHash('sha256').update(`${TOKEN}app${world().namespace}`).digest('hex');
    assert.equal(path, `/hook/${digest}`);
    const second = await scene.push({ 'a.yaml': 'a: 2\n' });
    const answer = await call(scene, path, { ...signed(), 'x-github-event': 'push' });
    assert.deepEqual([answer.status, await answer.text()], [200, '']);
    const { metadata } = await scene.untilPublished(second);
    assert.equal(metadata.annotations?.['reconcile.fluxcd.io/requestedAt'], undefined);
  });

  it('answers a wrong signature, an unknown path and another method in the same way', async () => {
    const scene = source();
    const path = await listening(scene, asked('github'));
    const before = scene.lookUps();
    const answers = await Promise.all([
      call(scene, path, signed('another token')),
      call(scene, path, {}),
      call(scene, `/hook/${'0'.repeat(64)}`, signed()),
      call(scene, '/', signed()),
      fetch(`${scene.webhookUrl}${path}`),
    ]);
    for (const answer of answers) {
      assert.deepEqual([answer.status, await answer.text()], [404, '']);
      assert.deepEqual([...answer.headers.keys()].sort(), [...(answers[0]?.headers.keys() ?? [])].sort());
    }
    await throughout(() => scene.lookUps() === before, { what: 'no look at the repository', forMs: 300 });
  });

  it('lets only the listed events count', async () => {
    const scene = source();
    const path = await listening(scene, asked('gitlab', 'push hook, Tag Push Hook'));
    const before = scene.lookUps();
    const token = { 'x-gitlab-token': TOKEN };
    const note = await call(scene, path, { ...token, 'x-gitlab-event': 'Note Hook' });
    assert.equal(note.status, 400);
    assert.equal(scene.lookUps(), before);
    const push = await call(scene, path, { ...token, 'x-gitlab-event': 'Push Hook' });
    assert.equal(push.status, 200);
    await eventually(() => scene.lookUps() > before, { what: 'a look at the repository' });
  });

  it('makes few passes of a burst, and the last push is in the last of them', async () => {
    const scene = source();
    const path = await listening(scene, asked('generic'));
    const before = scene.lookUps();
    const last = await scene.push({ 'a.yaml': 'a: 3\n' });
    const answers = await Promise.all(Array.from({ length: 50 }, () => call(scene, path, {})));
    assert.ok(answers.every(({ status }) => status === 200));
    await scene.untilPublished(last);
    assert.ok(scene.lookUps() - before < 25, `${scene.lookUps() - before} looks for 50 calls`);
  });

  it('moves to another path when the token is rotated, and the old one leads nowhere', async () => {
    const scene = source();
    const path = await listening(scene, asked('generic'));
    await world().api.mergePatch(world().path('v1', 'secrets', 'hook'), { stringData: { token: 'rotated' } });
    const after = await scene.until(
      'another path',
      (r) => ![path, undefined].includes(r.status?.webhookPath),
    );
    assert.equal((await call(scene, path, {})).status, 404);
    assert.equal((await call(scene, after.status?.webhookPath ?? '', {})).status, 200);
  });

  it('says what is missing, and follows the repository all the same', async () => {
    const scene = source();
    const first = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create({ annotations: asked('github') });
    const repository = await scene.untilPublished(first);
    assert.equal(repository.status?.webhookPath, undefined);
    const event = await scene.untilEvent('WebhookFailed');
    assert.match(event.message, /Secret .*\/hook, which the annotation signet.dev\/webhook-secret names/);
    await scene.createSecret('hook', { token: TOKEN });
    await scene.until('the webhook to be ready', (r) => r.status?.webhookPath !== undefined);
    await scene.patch({ metadata: { annotations: { 'signet.dev/webhook': null } } });
    await scene.until('the webhook to be gone', (r) => r.status?.webhookPath === undefined);
  });

  it('listens on no port before somebody asks', async () => {
    const scene = source();
    const first = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    await scene.untilPublished(first);
    await assert.rejects(fetch(scene.webhookUrl), /fetch failed/);
  });
});
