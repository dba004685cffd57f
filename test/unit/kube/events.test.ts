import assert from 'node:assert/strict';
import { KubeClient } from '../../../operator/kube/client.ts';
import { type EventFacts, EventRecorder } from '../../../operator/kube/events.ts';
import { eventually } from '../../support/eventually.ts';
import { answerJson, answerStatus, useFakeApiServer } from '../../support/fake-api-server.ts';
import { recordingLogger } from '../../support/log.ts';

const OBJECT = {
  apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
  kind: 'Kustomization',
  metadata: { namespace: 'team', name: 'apps', uid: 'u1', resourceVersion: '7' },
};

const facts = (more: Partial<EventFacts> = {}): EventFacts => ({
  object: OBJECT,
  type: 'Normal',
  reason: 'ReconciliationSucceeded',
  message: 'done',
  ...more,
});

describe('the event recorder', () => {
  const fake = useFakeApiServer();
  let client: KubeClient;
  let recorder: EventRecorder;
  let logger: ReturnType<typeof recordingLogger>;
  let nowMs: number;
  const { signal } = new AbortController();

  const sent = () =>
    fake().seen.map((request) => ({
      method: request.method,
      path: request.path,
      ...JSON.parse(request.body),
    }));

  beforeEach(() => {
    nowMs = Date.UTC(2026, 0, 1);
    logger = recordingLogger();
    client = new KubeClient({ config: fake().config });
    recorder = new EventRecorder({ client, component: 'kustomize-controller', now: () => nowMs, logger });
    fake().script((request, answer) => answerJson(answer, JSON.parse(request.body)));
  });
  afterEach(() => client.close());

  it('counts a repetition on the event that is there instead of making another', async () => {
    recorder.record(facts());
    await recorder.flush(signal);
    nowMs += 60_000;
    recorder.record(facts());
    await recorder.flush(signal);
    const [created, patched] = sent();
    assert.equal(created.method, 'POST');
    assert.equal(created.count, 1);
    assert.equal(patched.method, 'PATCH');
    assert.equal(patched.path, `/api/v1/namespaces/team/events/${created.metadata.name}`);
    assert.equal(patched.count, 2);
    assert.equal(patched.lastTimestamp, '2026-01-01T00:01:00Z');
  });

  it('sends one event with its count for what repeats while the first is under way', async () => {
    for (let i = 0; i < 100; i += 1) recorder.record(facts());
    await recorder.flush(signal);
    assert.ok(fake().seen.length <= 2, `${fake().seen.length} requests`);
    assert.equal(sent().at(-1).count, 100);
  });

  it('makes a new event when the last is older than ten minutes, or anything else about it differs', async () => {
    recorder.record(facts());
    await recorder.flush(signal);
    nowMs += 11 * 60_000;
    recorder.record(facts());
    recorder.record(facts({ reason: 'Progressing' }));
    recorder.record(facts({ message: 'otherwise' }));
    recorder.record(facts({ type: 'Warning' }));
    recorder.record(facts({ annotations: { revision: 'main@sha1:1' } }));
    recorder.record(facts({ object: { ...OBJECT, metadata: { ...OBJECT.metadata, uid: 'u2' } } }));
    await recorder.flush(signal);
    assert.deepEqual(
      sent().map((event) => event.method),
      Array.from({ length: 7 }, () => 'POST'),
    );
    assert.equal(new Set(sent().map((event) => event.metadata.name)).size, 7);
  });

  it('makes a new event when the counted one has expired on the server', async () => {
    recorder.record(facts());
    await recorder.flush(signal);
    fake().script((request, answer) => {
      if (request.method === 'PATCH')
        answerStatus(answer, 404, { reason: 'NotFound', details: { name: 'x' } });
      else answerJson(answer, JSON.parse(request.body));
    });
    recorder.record(facts());
    await recorder.flush(signal);
    assert.deepEqual(
      sent().map((event) => [event.method, event.count]),
      [
        ['POST', 1],
        ['PATCH', 2],
        ['POST', 1],
      ],
    );
  });

  it('cuts a message at 1024 bytes, between two characters', async () => {
    for (const message of ['x'.repeat(1_024), 'ü'.repeat(600), '🧭'.repeat(400)])
      recorder.record(facts({ message }));
    await recorder.flush(signal);
    const messages: string[] = sent().map((event) => event.message);
    assert.equal(messages[0], 'x'.repeat(1_024));
    assert.match(messages[1] ?? '', /^ü+\.\.\.$/);
    assert.match(messages[2] ?? '', /^🧭+\.\.\.$/u);
    assert.ok(messages.every((message) => Buffer.byteLength(message) <= 1_024));
  });

  it('gives events of long-named objects names that the API server takes', async () => {
    const object = { ...OBJECT, metadata: { ...OBJECT.metadata, name: 'n'.repeat(253) } };
    recorder.record(facts({ object }));
    await recorder.flush(signal);
    assert.ok(sent()[0].metadata.name.length <= 253);
    assert.equal(sent()[0].involvedObject.name, object.metadata.name);
  });

  it('tries again when the API server is briefly unwell', async () => {
    fake().script((request, answer) => {
      if (fake().seen.length === 1) answerStatus(answer, 500, { message: 'etcd has no leader' });
      else answerJson(answer, JSON.parse(request.body));
    });
    recorder.record(facts());
    await recorder.flush(signal);
    assert.equal(fake().seen.length, 2);
    assert.equal(sent()[0].metadata.name, sent()[1].metadata.name, 'so that a lost answer makes no twin');
  });

  it('drops what the API server refuses for good, logs it and goes on', async () => {
    fake().script((request, answer) => {
      if (request.body.includes('"refused"'))
        answerStatus(answer, 403, { message: 'namespace is terminating' });
      else answerJson(answer, JSON.parse(request.body));
    });
    recorder.record(facts({ message: 'refused' }));
    recorder.record(facts({ message: 'fine' }));
    await recorder.flush(signal);
    assert.equal(fake().seen.length, 2);
    assert.match(logger.lines[0]?.message ?? '', /Kustomization\/team\/apps was dropped/);
  });

  it('bounds what waits for an API server that is away', async () => {
    fake().script(() => {});
    for (let i = 0; i < 1_200; i += 1) recorder.record(facts({ message: `event ${i}` }));
    assert.equal(logger.lines.length, 200, 'the oldest were dropped');
    const controller = new AbortController();
    const flushing = recorder.flush(controller.signal);
    await eventually(() => fake().seen.length === 1, { what: 'the first request' });
    controller.abort(new Error('shutting down'));
    await assert.rejects(flushing, /shutting down/);
  });

  it('sends nothing more after an aborted flush', async () => {
    fake().script(() => {});
    recorder.record(facts());
    await eventually(() => fake().seen.length === 1, { what: 'the first request' });
    await assert.rejects(recorder.flush(AbortSignal.abort(new Error('late'))), /late/);
    recorder.record(facts({ message: 'too late' }));
    await recorder.flush(signal);
    assert.equal(fake().seen.length, 1);
  });
});
