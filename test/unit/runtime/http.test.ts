import assert from 'node:assert/strict';
import { SILENT } from '../../../operator/api/logger.ts';
import { healthServer, metricsServer, parseBindAddress } from '../../../operator/runtime/http.ts';
import { Manager, type Runnable } from '../../../operator/runtime/manager.ts';
import { Metrics } from '../../../operator/runtime/metrics.ts';

const never = new AbortController().signal;
const LOOPBACK = { host: '127.0.0.1', port: 0 };

describe('address to listen on', () => {
  const readable: [string, ReturnType<typeof parseBindAddress>][] = [
    [':8080', { port: 8080 }],
    ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
    ['localhost:9440', { host: 'localhost', port: 9440 }],
    ['[::1]:9440', { host: '::1', port: 9440 }],
    ['[::]:80', { host: '::', port: 80 }],
    ['0', undefined],
  ];
  for (const [text, address] of readable) {
    it(`reads ${text} as Go does`, () => assert.deepEqual(parseBindAddress(text), address));
  }
  for (const text of ['', '8080', ':', ':x', ':65536', '::1:80', 'http://a:80', '[127.0.0.1]:80', 'a b:80']) {
    it(`refuses ${JSON.stringify(text)}, repeating it`, () => {
      assert.throws(
        () => parseBindAddress(text),
        (error: Error) => error.message.includes(`"${text}"`),
      );
    });
  }
});

describe('health server', () => {
  it('is alive before it is ready, and says what is not ready', async () => {
    let synced = false;
    const gadgets: Runnable = {
      name: 'gadgets',
      start: async () => {},
      stop: async () => {},
      ready: () => synced || 'waiting for the list of gadgets',
    };
    const manager = new Manager({ logger: SILENT });
    const server = healthServer({ bind: LOOPBACK, readiness: () => manager.readiness() });
    manager.add(server);
    manager.add(gadgets);
    const status = async (path: string): Promise<{ code: number; text: string }> => {
      const answer = await server.app.inject(path);
      return { code: answer.statusCode, text: answer.payload };
    };
    assert.equal((await status('/healthz')).code, 200);
    assert.equal((await status('/readyz')).code, 503);
    await manager.start(never);
    assert.equal((await fetch(`http://127.0.0.1:${server.port}/healthz`)).status, 200);
    const unready = await fetch(`http://127.0.0.1:${server.port}/readyz`);
    assert.equal(unready.status, 503);
    assert.equal(await unready.text(), '[-]gadgets: waiting for the list of gadgets\nnot ready\n');
    synced = true;
    assert.equal((await fetch(`http://127.0.0.1:${server.port}/readyz`)).status, 200);
    assert.deepEqual(await manager.stop(10_000), []);
  });

  it('fails its start when the address is taken', async () => {
    const first = healthServer({ bind: LOOPBACK, readiness: () => ({ ready: true, failing: [] }) });
    await first.start();
    const second = healthServer({
      bind: { ...LOOPBACK, port: first.port },
      readiness: () => ({ ready: true, failing: [] }),
    });
    await assert.rejects(second.start(), /EADDRINUSE/);
    await first.stop();
  });

  it('listens on every interface where no host is given', async () => {
    const server = healthServer({ bind: { port: 0 }, readiness: () => ({ ready: true, failing: [] }) });
    await server.start();
    assert.equal((await fetch(`http://127.0.0.1:${server.port}/readyz`)).status, 200);
    await server.stop();
  });
});

describe('metrics server', () => {
  it("serves controller-runtime's, client-go's and Flux's series under their names and labels", async () => {
    const metrics = new Metrics();
    const stats = { depth: 3, processing: 1, delayed: 0, runningMs: [1_500] };
    const gadgets = metrics.controller({ name: 'gadgets', concurrency: 4, queueStats: () => stats });
    gadgets.queue.added();
    gadgets.queue.taken(5);
    gadgets.queue.finished(7);
    gadgets.queue.retried();
    const object = { kind: 'Gadget', name: 'a', namespace: 'n' };
    gadgets.started();
    gadgets.finished({ ...object, result: 'success', durationMs: 20 });
    gadgets.started();
    gadgets.finished({ ...object, result: 'error', durationMs: 20, terminal: true, bug: true });
    gadgets.started();
    metrics.requestObserver('api.example')({ method: 'GET', status: 200 });
    metrics.requestObserver('api.example')({ method: 'PATCH', status: 0 });
    const answer = await metricsServer({ bind: LOOPBACK, registry: metrics.registry }).app.inject('/metrics');
    assert.equal(answer.statusCode, 200);
    assert.match(String(answer.headers['content-type']), /^text\/plain; version=0\.0\.4/);
    const lines = new Set(answer.payload.split('\n'));
    const queue = '{name="gadgets",controller="gadgets"}';
    for (const line of [
      'controller_runtime_reconcile_total{controller="gadgets",result="success"} 1',
      'controller_runtime_reconcile_total{controller="gadgets",result="error"} 1',
      'controller_runtime_reconcile_errors_total{controller="gadgets"} 1',
      'controller_runtime_terminal_reconcile_errors_total{controller="gadgets"} 1',
      'controller_runtime_reconcile_panics_total{controller="gadgets"} 1',
      'controller_runtime_reconcile_time_seconds_bucket{le="0.025",controller="gadgets"} 2',
      'controller_runtime_active_workers{controller="gadgets"} 1',
      'controller_runtime_max_concurrent_reconciles{controller="gadgets"} 4',
      `workqueue_depth${queue} 3`,
      `workqueue_adds_total${queue} 1`,
      `workqueue_retries_total${queue} 1`,
      `workqueue_queue_duration_seconds_sum${queue} 0.005`,
      `workqueue_work_duration_seconds_sum${queue} 0.007`,
      `workqueue_unfinished_work_seconds${queue} 1.5`,
      `workqueue_longest_running_processor_seconds${queue} 1.5`,
      'gotk_reconcile_duration_seconds_bucket{le="0.01",kind="Gadget",name="a",namespace="n"} 0',
      'gotk_reconcile_duration_seconds_bucket{le="1800",kind="Gadget",name="a",namespace="n"} 2',
      'rest_client_requests_total{code="200",method="GET",host="api.example"} 1',
      'rest_client_requests_total{code="<error>",method="PATCH",host="api.example"} 1',
    ]) {
      assert.ok(lines.has(line), `no line ${line}`);
    }
    assert.match(answer.payload, /^process_resident_memory_bytes /m);
    gadgets.forget(object);
    assert.ok(!(await metrics.registry.metrics()).includes('gotk_reconcile_duration_seconds_bucket'));
  });
});
