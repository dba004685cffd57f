import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import type { ResourceType } from '../../../operator/api/resources.ts';
import { KubeClient } from '../../../operator/kube/client.ts';
import { ApiError, IdleTimeout } from '../../../operator/kube/errors.ts';
import { Reflector, type ReflectorPacing, type ReflectorState } from '../../../operator/kube/reflector.ts';
import { eventually } from '../../support/eventually.ts';
import {
  answerJson,
  answerStatus,
  configMap,
  listOf,
  type SeenRequest,
  useFakeApiServer,
  watchLine,
} from '../../support/fake-api-server.ts';

const CONFIG_MAP: ResourceType = {
  group: '',
  version: 'v1',
  kind: 'ConfigMap',
  plural: 'configmaps',
  namespaced: true,
};

const QUICK: Partial<ReflectorPacing> = {
  minIntervalMs: 100,
  backoffInitialMs: 20,
  backoffMaxMs: 80,
  watchTimeoutMs: 60_000,
  idleMarginMs: 100,
};

const isWatch = (request: SeenRequest) => request.query.get('watch') === 'true';

describe('the reflector', () => {
  const fake = useFakeApiServer();
  let controller: AbortController;
  let running: Promise<void> | undefined;
  let client: KubeClient;
  let deliveries: string[];
  let states: ReflectorState[];

  const lists = () => fake().seen.filter((request) => !isWatch(request));
  const watches = () => fake().seen.filter(isWatch);
  const errors = () =>
    states.flatMap((state) => (state.at === 'waiting' && state.error ? [state.error] : []));

  const start = (pacing: Partial<ReflectorPacing> = {}): void => {
    client = new KubeClient({ config: fake().config });
    const reflector = new Reflector({
      client,
      type: CONFIG_MAP,
      labelSelector: 'team=a',
      sink: {
        beginList: () => {
          const names: string[] = [];
          return {
            page: (objects) => void names.push(...objects.map((object) => object.metadata.name)),
            done: () => void deliveries.push(`list ${names.join(',')}`),
          };
        },
        apply: ({ type, object }) => void deliveries.push(`${type} ${object.metadata.name}`),
      },
      onState: (state) => void states.push(state),
      pacing: { ...QUICK, ...pacing },
    });
    running = reflector.run(controller.signal);
  };

  /** Lists `a` at version 10; watches are answered one after another by `script`, later ones stay open. */
  const watchScript = (...script: ((answer: ServerResponse) => void)[]): void => {
    fake().script((request, answer) => {
      if (!isWatch(request)) answerJson(answer, listOf([configMap('a', '5')], '10'));
      else (script[watches().length - 1] ?? ((open) => void open.writeHead(200).flushHeaders()))(answer);
    });
  };

  beforeEach(() => {
    controller = new AbortController();
    deliveries = [];
    states = [];
    running = undefined;
  });

  afterEach('ends by abort', async () => {
    controller.abort(new Error('the test is over'));
    await running;
    await client.close();
  });

  it('reads a list page by page, then watches from where the list ends', async () => {
    fake().script((request, answer) => {
      if (isWatch(request)) return void answer.writeHead(200).flushHeaders();
      const token = request.query.get('continue');
      if (token === null) answerJson(answer, listOf([configMap('a', '5')], '10', { continue: 'two' }));
      else answerJson(answer, listOf([configMap('b', '6')], '10'));
    });
    start({ pageSize: 1 });
    await eventually(() => watches().length === 1, { what: 'the watch' });
    assert.deepEqual(deliveries, ['list a,b']);
    assert.deepEqual(
      lists().map((request) => [request.query.get('limit'), request.query.get('continue')]),
      [
        ['1', null],
        ['1', 'two'],
      ],
    );
    const query = watches()[0]?.query;
    assert.equal(query?.get('resourceVersion'), '10');
    assert.equal(query?.get('allowWatchBookmarks'), 'true');
    assert.equal(query?.get('labelSelector'), 'team=a');
  });

  it('goes on from the last event or bookmark after a clean close, without a list', async () => {
    watchScript(
      (answer) => {
        answer.write(watchLine('MODIFIED', configMap('a', '11')));
        answer.end(watchLine('BOOKMARK', { kind: 'ConfigMap', metadata: { resourceVersion: '42' } }));
      },
      (answer) => void answer.end(watchLine('DELETED', configMap('a', '43'))),
    );
    start();
    await eventually(() => watches().length === 3, { what: 'the third watch' });
    assert.deepEqual(deliveries, ['list a', 'MODIFIED a', 'DELETED a']);
    assert.deepEqual(
      watches().map((request) => request.query.get('resourceVersion')),
      ['10', '42', '43'],
    );
    assert.equal(lists().length, 1);
    assert.deepEqual(errors(), []);
  });

  it('keeps its distance from a server that closes every watch at once', async () => {
    watchScript(...Array.from({ length: 5 }, () => (answer: ServerResponse) => void answer.end()));
    start({ minIntervalMs: 60 });
    await eventually(() => watches().length >= 5, { what: 'the fifth watch' });
    const times = watches().map((request) => request.atMs);
    // Each starts 60 ms after the one before; one may be late at the server, but not the whole row early.
    const tookMs = (times[4] ?? 0) - (times[0] ?? 0);
    assert.ok(tookMs >= 120, `five watches came within ${tookMs} ms`);
    assert.equal(lists().length, 1);
  });

  it('lists again, once and at once, after 410 Gone', async () => {
    const gone = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' };
    watchScript((answer) => {
      answer.write(watchLine('MODIFIED', configMap('a', '11')));
      answer.end(watchLine('ERROR', gone));
    });
    start({ backoffInitialMs: 60_000 });
    await eventually(() => watches().length === 2, { what: 'the second watch' });
    assert.deepEqual(deliveries, ['list a', 'MODIFIED a', 'list a']);
    assert.equal(lists().length, 2);
  });

  it('takes 410 as an HTTP status for the same', async () => {
    watchScript((answer) => answerStatus(answer, 410, { reason: 'Expired' }));
    start();
    await eventually(() => watches().length === 2, { what: 'the second watch' });
    assert.equal(lists().length, 2);
  });

  it('spaces lists when every watch answers 410: no relist storm', async () => {
    watchScript(...Array.from({ length: 50 }, () => (answer: ServerResponse) => answerStatus(answer, 410)));
    start({ backoffInitialMs: 40, backoffMaxMs: 40 });
    await eventually(() => lists().length >= 5, { what: 'the fifth list' });
    const times = lists().map((request) => request.atMs);
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    assert.ok(Math.min(...gaps) >= 15, `lists came ${Math.min(...gaps)} ms apart`);
  });

  it('resumes a broken watch from its last event, without a list', async () => {
    watchScript((answer) => {
      answer.write(watchLine('ADDED', configMap('b', '12')), () => answer.socket?.destroy());
    });
    start();
    await eventually(() => watches().length === 2, { what: 'the second watch' });
    assert.equal(watches()[1]?.query.get('resourceVersion'), '12');
    assert.equal(lists().length, 1);
    assert.deepEqual(deliveries, ['list a', 'ADDED b']);
  });

  it('notices a half-open connection and resumes on a new one', async () => {
    watchScript(
      (answer) => void answer.write(watchLine('ADDED', configMap('b', '12'))),
      (answer) => void answer.write(watchLine('ADDED', configMap('c', '13'))),
    );
    // The server's own limit is at least a second.
    start({ watchTimeoutMs: 1_000, idleMarginMs: 50 });
    await eventually(() => deliveries.includes('ADDED c'), { what: 'the event on the second connection' });
    assert.ok(errors()[0] instanceof IdleTimeout, `${errors()[0]}`);
    assert.equal(watches()[1]?.query.get('resourceVersion'), '12');
    assert.notEqual(watches()[0]?.connection, watches()[1]?.connection);
    assert.equal(lists().length, 1);
  });

  it('waits as a 429 of a watch asks, then watches on from the same version', async () => {
    watchScript((answer) => answerStatus(answer, 429, { headers: { 'retry-after': '1' } }));
    start();
    await eventually(() => watches().length === 2, { what: 'the second watch' });
    const [first, second] = watches();
    assert.ok((second?.atMs ?? 0) - (first?.atMs ?? 0) >= 990);
    assert.equal(second?.query.get('resourceVersion'), '10');
    assert.equal(lists().length, 1);
  });

  it('delivers nothing of a list that fails half-way, and begins it anew', async () => {
    let failures = 0;
    fake().script((request, answer) => {
      if (isWatch(request)) return void answer.writeHead(200).flushHeaders();
      if (request.query.get('continue') === null) {
        answerJson(answer, listOf([configMap('a', '5')], '10', { continue: 'two' }));
      } else if (failures === 0) {
        failures += 1;
        answerStatus(answer, 410, { reason: 'Expired', message: 'the continue token is too old' });
      } else {
        answerJson(answer, listOf([configMap('b', '6')], '10'));
      }
    });
    start();
    await eventually(() => watches().length === 1, { what: 'the watch' });
    assert.deepEqual(deliveries, ['list a,b']);
    assert.equal(lists().length, 4);
  });

  it('goes on trying whatever the answer, and says why', async () => {
    const refusals = [403, 404, 500, 401, 503];
    fake().script((request, answer) => {
      if (isWatch(request)) return void answer.writeHead(200).flushHeaders();
      const status = refusals[lists().length - 1];
      if (status !== undefined) answerStatus(answer, status, { message: `refused with ${status}` });
      else answerJson(answer, listOf([], '10'));
    });
    start();
    await eventually(() => watches().length === 1, { what: 'the watch' });
    assert.deepEqual(
      errors().map((error) => (error as ApiError).status),
      refusals,
    );
    assert.ok(errors().every((error) => error instanceof ApiError));
    assert.deepEqual(states.at(-1), { at: 'watching' });
  });

  it('survives answers that are not JSON, in lists and in watches', async () => {
    fake().script((request, answer) => {
      if (!isWatch(request)) {
        if (lists().length === 1) answer.end('<html>bad gateway</html>');
        else answerJson(answer, listOf([configMap('a', '5')], '10'));
      } else if (watches().length === 1) answer.end('{"type":"ADDED","object":{}\n');
      else answer.write(watchLine('ADDED', configMap('b', '12')));
    });
    start();
    await eventually(() => deliveries.includes('ADDED b'), { what: 'the event' });
    assert.deepEqual(deliveries, ['list a', 'ADDED b']);
    assert.equal(errors().length, 2);
  });

  it('spreads the time limits of its watches, so that many never reconnect in step', async () => {
    watchScript(...Array.from({ length: 8 }, () => (answer: ServerResponse) => void answer.end()));
    start({ minIntervalMs: 1, watchTimeoutMs: 300_000 });
    await eventually(() => watches().length >= 8, { what: 'the eighth watch' });
    const limits = watches().map((request) => Number(request.query.get('timeoutSeconds')));
    assert.ok(limits.every((limit) => limit >= 270 && limit <= 330));
    assert.ok(new Set(limits).size > 1, `all of them ${limits[0]} s`);
  });

  it('ends by abort in each of its states', async () => {
    const silent = () => {};
    const refuse = (_: SeenRequest, answer: ServerResponse) =>
      answerStatus(answer, 503, { headers: { 'retry-after': '30' } });
    const open = (request: SeenRequest, answer: ServerResponse) =>
      isWatch(request) ? void answer.writeHead(200).flushHeaders() : answerJson(answer, listOf([], '1'));
    for (const script of [silent, refuse, open]) {
      fake().script(script);
      controller = new AbortController();
      const before = fake().seen.length;
      start({ backoffInitialMs: 60_000 });
      await eventually(() => fake().seen.length > before, { what: 'a request' });
      controller.abort(new Error('enough'));
      await running;
      await client.close();
    }
  });
});
