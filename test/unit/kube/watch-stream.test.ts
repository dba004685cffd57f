import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError, IdleTimeout, isGone, TransportError } from '../../../operator/kube/errors.ts';
import type { OpenStream } from '../../../operator/kube/transport.ts';
import { type WatchEvent, watchEvents } from '../../../operator/kube/watch-stream.ts';
import { configMap, watchLine } from '../../support/fake-api-server.ts';

/** A connection that yields `chunks` and then closes, unless told to stay silent. */
function connection(
  chunks: Buffer[],
  o: { silentAfterwards?: boolean } = {},
): OpenStream & { open: boolean } {
  const ended = Promise.withResolvers<void>();
  const stream = {
    open: true,
    abort: () => {
      stream.open = false;
      ended.resolve();
    },
    body: (async function* () {
      yield* chunks;
      if (o.silentAfterwards) await ended.promise;
    })(),
  };
  return stream;
}

async function read(stream: OpenStream, o: { idleTimeoutMs?: number; signal?: AbortSignal } = {}) {
  const events: WatchEvent[] = [];
  const signal = o.signal ?? new AbortController().signal;
  const idleTimeoutMs = o.idleTimeoutMs ?? 10_000;
  for await (const event of watchEvents({ stream, idleTimeoutMs, signal, call: 'watch /things' })) {
    events.push(event);
  }
  return events;
}

describe('the stream of a watch', () => {
  it('gives the same events however the bytes are cut', async () => {
    const objects = ['grün', '日本', '🧭'].map((text, index) => ({
      ...configMap(`a${index}`, `${index}`),
      data: { text },
    }));
    const bytes = Buffer.from(objects.map((object) => watchLine('ADDED', object)).join(''));
    for (let size = 1; size <= bytes.length; size += 1) {
      const chunks: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
      const events = await read(connection(chunks));
      assert.deepEqual(
        events.map((event) => event.object),
        objects,
        `in chunks of ${size} bytes`,
      );
    }
  });

  it('ends quietly, and closes, when the server closes between two events', async () => {
    const stream = connection([Buffer.from(watchLine('ADDED', configMap('a', '1')))]);
    assert.equal((await read(stream)).length, 1);
    assert.equal(stream.open, false);
  });

  it('gives what came before a broken line, then says that the line is not JSON', async () => {
    const stream = connection([Buffer.from(`${watchLine('ADDED', configMap('a', '1'))}{"type":\n`)]);
    const events: WatchEvent[] = [];
    const { signal } = new AbortController();
    await assert.rejects(async () => {
      const all = watchEvents({ stream, idleTimeoutMs: 10_000, signal, call: 'watch /things' });
      for await (const event of all) events.push(event);
    }, TransportError);
    assert.equal(events.length, 1);
    assert.equal(stream.open, false);
  });

  it("throws an ERROR event as the API server's own error", async () => {
    const status = {
      kind: 'Status',
      code: 410,
      reason: 'Expired',
      message: 'too old resource version: 1 (9)',
    };
    const stream = connection([Buffer.from(watchLine('ERROR', status))]);
    await assert.rejects(read(stream), (error: ApiError) => {
      assert.ok(error instanceof ApiError && isGone(error));
      assert.equal(error.message, 'too old resource version: 1 (9)');
      assert.equal(error.reason, 'Expired');
      return true;
    });
    assert.equal(stream.open, false);
  });

  it('takes silence beyond the guard for a dead connection', async () => {
    const stream = connection([Buffer.from(watchLine('ADDED', configMap('a', '1')))], {
      silentAfterwards: true,
    });
    await assert.rejects(read(stream, { idleTimeoutMs: 30 }), IdleTimeout);
    assert.equal(stream.open, false);
  });

  it("doesn't take a slow reader for a silent server", async () => {
    const chunks = [1, 2, 3].map((i) => Buffer.from(watchLine('ADDED', configMap(`a${i}`, `${i}`))));
    const { signal } = new AbortController();
    let seen = 0;
    const stream = connection(chunks);
    for await (const _ of watchEvents({ stream, idleTimeoutMs: 20, signal, call: 'watch /things' })) {
      await sleep(50);
      seen += 1;
    }
    assert.equal(seen, 3);
  });

  it("ends with the caller's own reason when it aborts", async () => {
    const stream = connection([], { silentAfterwards: true });
    const controller = new AbortController();
    const reading = read(stream, { signal: controller.signal });
    controller.abort(new Error('shutting down'));
    await assert.rejects(reading, /^Error: shutting down$/);
    assert.equal(stream.open, false);
  });

  it('delivers nothing more once aborted, even what has arrived', async () => {
    const controller = new AbortController();
    const stream = connection([1, 2].map((i) => Buffer.from(watchLine('ADDED', configMap(`a${i}`, `${i}`)))));
    const { signal } = controller;
    const seen: string[] = [];
    await assert.rejects(async () => {
      for await (const event of watchEvents({ stream, idleTimeoutMs: 1_000, signal, call: 'watch' })) {
        seen.push(event.object.metadata.name);
        controller.abort(new Error('shutting down'));
      }
    }, /shutting down/);
    assert.deepEqual(seen, ['a1']);
  });
});
