import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import type { ResourceType } from '../../../operator/api/resources.ts';
import { KubeClient, type KubeClientOptions } from '../../../operator/kube/client.ts';
import {
  type ApiError,
  isConflict,
  isNotFound,
  RequestTimeout,
  TransportError,
} from '../../../operator/kube/errors.ts';
import type { Observation } from '../../../operator/kube/transport.ts';
import { eventually } from '../../support/eventually.ts';
import {
  answerJson,
  answerStatus,
  configMap,
  listOf,
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
const NAME = { namespace: 'default', name: 'a' };

describe('the client of the API server', () => {
  const fake = useFakeApiServer();
  let client: KubeClient;
  const connect = (o: Partial<KubeClientOptions> = {}): KubeClient => {
    client = new KubeClient({ config: fake().config, ...o });
    return client;
  };
  afterEach(() => client?.close());

  describe('when the API server asks for patience', () => {
    it('waits as long as Retry-After says, then asks again, for writes too', async () => {
      fake().script((request, answer) => {
        if (fake().seen.length === 1) answerStatus(answer, 429, { headers: { 'retry-after': '1' } });
        else answerJson(answer, JSON.parse(request.body));
      });
      const created = await connect().create(CONFIG_MAP, configMap('a', '1'));
      assert.equal(created.metadata.name, 'a');
      const [first, second] = fake().seen;
      assert.equal(fake().seen.length, 2);
      assert.ok((second?.atMs ?? 0) - (first?.atMs ?? 0) >= 990, 'it came back before it was asked to');
    });

    it('gives the answer to the caller when the wait would pass the time limit', async () => {
      fake().script((_, answer) => answerStatus(answer, 429, { headers: { 'retry-after': '60' } }));
      await assert.rejects(connect().get(CONFIG_MAP, NAME, { timeoutMs: 500 }), (error: ApiError) => {
        assert.equal(error.status, 429);
        assert.equal(error.retryAfterMs, 60_000);
        return true;
      });
      assert.equal(fake().seen.length, 1);
    });

    it("doesn't repeat a 429 that names no time: a refused eviction is for the caller to judge", async () => {
      fake().script((_, answer) => answerStatus(answer, 429, { message: 'disruption budget' }));
      await assert.rejects(connect().get(CONFIG_MAP, NAME), /disruption budget/);
      assert.equal(fake().seen.length, 1);
    });

    it('opens a watch of a fresh CRD whose storage is (re)initializing', async () => {
      fake().script((_, answer) => {
        if (fake().seen.length === 1) {
          const message = 'storage is (re)initializing';
          answerStatus(answer, 429, { message, headers: { 'retry-after': '1' } });
        } else {
          answer.end(watchLine('ADDED', configMap('a', '5')));
        }
      });
      const seen: string[] = [];
      for await (const event of connect().watch(CONFIG_MAP, watchOptions())) {
        seen.push(event.object.metadata.name);
      }
      assert.deepEqual(seen, ['a']);
    });

    it('stops waiting when the caller aborts', async () => {
      fake().script((_, answer) => answerStatus(answer, 429, { headers: { 'retry-after': '20' } }));
      const controller = new AbortController();
      const call = connect().get(CONFIG_MAP, NAME, { signal: controller.signal });
      await eventually(() => fake().seen.length === 1, { what: 'the request' });
      controller.abort(new Error('the caller had enough'));
      await assert.rejects(call, /the caller had enough/);
    });
  });

  describe('when a connection breaks', () => {
    it('repeats a read', async () => {
      fake().script((_, answer) => {
        if (fake().seen.length <= 2) answer.socket?.destroy();
        else answerJson(answer, configMap('a', '1'));
      });
      assert.equal((await connect().get(CONFIG_MAP, NAME))?.metadata.resourceVersion, '1');
      assert.equal(fake().seen.length, 3);
    });

    it('never repeats a write, which may have been carried out', async () => {
      fake().script((_, answer) => void answer.socket?.destroy());
      await assert.rejects(connect().create(CONFIG_MAP, configMap('a', '1')), TransportError);
      await assert.rejects(
        client.patch(CONFIG_MAP, NAME, { data: { a: '1' } }, { as: 'merge' }),
        TransportError,
      );
      assert.equal(fake().seen.length, 2);
    });

    it('gives up on a read that breaks every time, naming the call', async () => {
      fake().script((_, answer) => void answer.socket?.destroy());
      await assert.rejects(connect().get(CONFIG_MAP, NAME), (error: TransportError) => {
        assert.match(error.message, /^GET \/api\/v1\/namespaces\/default\/configmaps\/a: /);
        return error instanceof TransportError;
      });
      assert.equal(fake().seen.length, 4);
    });
  });

  it('ends a call at its time limit, naming it', async () => {
    fake().script(() => {});
    await assert.rejects(connect().get(CONFIG_MAP, NAME, { timeoutMs: 50 }), (error: Error) => {
      assert.ok(error instanceof RequestTimeout);
      assert.match(error.message, /^GET \/api\/v1\/.*configmaps\/a: no answer within 50 ms$/);
      return true;
    });
  });

  it('ends a call whose body stops half-way at its time limit', async () => {
    fake().script((_, answer) => {
      answer.writeHead(200);
      answer.write('{"apiVersion":');
    });
    await assert.rejects(connect().get(CONFIG_MAP, NAME, { timeoutMs: 100 }), RequestTimeout);
  });

  it("throws the caller's own abort reason and leaves no listener on its signal", async () => {
    fake().script((request, answer) => {
      if (request.path.endsWith('/a')) answerJson(answer, configMap('a', '1'));
    });
    const controller = new AbortController();
    for (let i = 0; i < 20; i += 1) {
      await connect().get(CONFIG_MAP, NAME, { signal: controller.signal });
      await client.close();
    }
    assert.equal(getEventListeners(controller.signal, 'abort').length, 0);
    const silent = connect().get(CONFIG_MAP, { ...NAME, name: 'silent' }, { signal: controller.signal });
    controller.abort(new Error('shutting down'));
    await assert.rejects(silent, /^Error: shutting down$/);
    await assert.rejects(client.get(CONFIG_MAP, NAME, { signal: controller.signal }), /shutting down/);
  });

  it('asks for the credentials again after a 401, and only once', async () => {
    let issued = 0;
    const authorization = async (o?: { fresh?: boolean }) => {
      if (o?.fresh) issued += 1;
      return `Bearer token-${issued}`;
    };
    fake().script((request, answer) => {
      if (request.headers.authorization === 'Bearer token-1') answerJson(answer, configMap('a', '1'));
      else answerStatus(answer, 401, { reason: 'Unauthorized', message: 'Unauthorized' });
    });
    await connect({ config: { ...fake().config, authorization } }).get(CONFIG_MAP, NAME);
    assert.deepEqual(
      fake().seen.map((request) => request.headers.authorization),
      ['Bearer token-0', 'Bearer token-1'],
    );
    issued = 5;
    await assert.rejects(client.get(CONFIG_MAP, NAME), /Unauthorized/);
    assert.equal(fake().seen.length, 4);
  });

  it('tells an object that is not there from a kind that is not there', async () => {
    fake().script((request, answer) => {
      if (request.path === '/api/v1/namespaces/default/configmaps/a') {
        answerStatus(answer, 404, { reason: 'NotFound', details: { name: 'a', kind: 'configmaps' } });
      } else {
        answer.writeHead(404, { 'content-type': 'text/plain' });
        answer.end('404 page not found\n');
      }
    });
    const unknown = { ...CONFIG_MAP, group: 'x.io', plural: 'foos' };
    assert.equal(await connect().get(CONFIG_MAP, NAME), undefined);
    assert.equal(await client.delete(CONFIG_MAP, NAME), 'not found');
    await assert.rejects(
      client.get(unknown, NAME),
      (error) => isNotFound(error) && /HTTP 404/.test(`${error}`),
    );
    await assert.rejects(client.delete(unknown, NAME), isNotFound);
  });

  it('names what refuses an object without a name or namespace, before any request', async () => {
    fake().script((_, answer) => answerJson(answer, configMap('a', '1')));
    await assert.rejects(
      connect().get(CONFIG_MAP, { name: 'a' }),
      /ConfigMap\/a: metadata.namespace is missing/,
    );
    await assert.rejects(
      client.delete(CONFIG_MAP, { namespace: 'default', name: '' }),
      /metadata.name is missing/,
    );
    assert.equal(fake().seen.length, 0);
  });

  it('keeps the fields that no schema knows, in both directions', async () => {
    fake().script((request, answer) => answerJson(answer, JSON.parse(request.body)));
    const odd = { ...configMap('a', '1'), imagePullPolcy: 'Always', nested: { unknown: [1, { x: null }] } };
    assert.deepEqual(await connect().create(CONFIG_MAP, odd), odd);
  });

  it('gives items of lists and watches the apiVersion and kind that the server leaves out', async () => {
    const { apiVersion: _, kind: __, ...bare } = configMap('a', '1');
    fake().script((request, answer) => {
      if (request.query.get('watch') === 'true') {
        answer.end(
          watchLine('ADDED', { ...bare, kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1' }),
        );
      } else {
        answerJson(answer, listOf([bare], '1'));
      }
    });
    const list = await connect().list(CONFIG_MAP);
    assert.deepEqual(list.items, [configMap('a', '1')]);
    for await (const event of client.watch(CONFIG_MAP, watchOptions({ metadataOnly: true }))) {
      assert.deepEqual(event.object, configMap('a', '1'));
    }
    assert.equal(
      fake().seen[1]?.headers.accept,
      'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
    );
  });

  it('treats a null list as an empty one', async () => {
    fake().script((_, answer) => answerJson(answer, { metadata: { resourceVersion: '1' }, items: null }));
    assert.deepEqual((await connect().list(CONFIG_MAP)).items, []);
  });

  it('acts in the name of another user over the same connections', async () => {
    fake().script((_, answer) => answerJson(answer, configMap('a', '1')));
    await connect({ connections: 1 }).get(CONFIG_MAP, NAME);
    await client.impersonating('system:serviceaccount:team:deployer').get(CONFIG_MAP, NAME);
    await client.get(CONFIG_MAP, NAME);
    assert.deepEqual(
      fake().seen.map((request) => request.headers['impersonate-user']),
      [undefined, 'system:serviceaccount:team:deployer', undefined],
    );
    assert.deepEqual(new Set(fake().seen.map((request) => request.connection)), new Set([1]));
  });

  it("puts requests below the server's own path, as gateways in front of many clusters want", async () => {
    fake().script((_, answer) => answerJson(answer, configMap('a', '1')));
    const server = new URL('/k8s/clusters/one/', fake().config.server);
    await connect({ config: { ...fake().config, server } }).get(CONFIG_MAP, NAME);
    assert.equal(fake().seen[0]?.path, '/k8s/clusters/one/api/v1/namespaces/default/configmaps/a');
  });

  it('opens no more than its connections for a hundred requests at once, and keeps them', async () => {
    fake().script((_, answer) => void setTimeout(() => answerJson(answer, configMap('a', '1')), 2));
    connect();
    for (let round = 0; round < 2; round += 1) {
      await Promise.all(Array.from({ length: 100 }, () => client.get(CONFIG_MAP, NAME)));
    }
    assert.equal(fake().seen.length, 200);
    assert.equal(Math.max(...fake().seen.map((request) => request.connection)), 12);
  });

  it('never lets watches take the connections of requests', async () => {
    fake().script((request, answer) => {
      if (request.query.get('watch') === 'true') answer.write(watchLine('ADDED', configMap('a', '1')));
      else answerJson(answer, configMap('a', '1'));
    });
    const controller = new AbortController();
    connect({ connections: 1 });
    const watches = Array.from({ length: 20 }, async () => {
      for await (const _ of client.watch(CONFIG_MAP, watchOptions({ signal: controller.signal })));
    });
    await eventually(() => fake().seen.length === 20, { what: '20 open watches' });
    assert.equal((await client.get(CONFIG_MAP, NAME, { timeoutMs: 5_000 }))?.metadata.name, 'a');
    controller.abort(new Error('enough'));
    for (const result of await Promise.allSettled(watches)) {
      assert.equal(result.status, 'rejected');
    }
  });

  it('closes the connection of a watch whose reader leaves the loop', async () => {
    let closed = false;
    fake().script((_, answer) => {
      answer.write(watchLine('ADDED', configMap('a', '1')));
      answer.on('close', () => {
        closed = true;
      });
    });
    for await (const event of connect().watch(CONFIG_MAP, watchOptions())) {
      assert.equal(event.type, 'ADDED');
      break;
    }
    await eventually(() => closed, { what: 'the connection to close' });
  });

  it('reports every request with verb, status and path, and none of its query', async () => {
    const observed: Observation[] = [];
    fake().script((request, answer) => {
      if (request.method === 'PUT') answerStatus(answer, 409, { reason: 'Conflict', message: 'modified' });
      else if (request.method === 'DELETE') answer.socket?.destroy();
      else if (request.query.get('watch') === 'true') answer.end();
      else answerJson(answer, listOf([], '1'));
    });
    connect({ observe: (observation) => void observed.push(observation) });
    await client.list(CONFIG_MAP, { labelSelector: 'a=b' });
    for await (const _ of client.watch(CONFIG_MAP, watchOptions()));
    await assert.rejects(client.replace(CONFIG_MAP, configMap('a', '1')), isConflict);
    await assert.rejects(client.delete(CONFIG_MAP, NAME), TransportError);
    assert.deepEqual(
      observed.map(({ verb, method, status, path }) => `${verb} ${method} ${status} ${path}`),
      [
        'list GET 200 /api/v1/configmaps',
        'watch GET 200 /api/v1/configmaps',
        'update PUT 409 /api/v1/namespaces/default/configmaps/a',
        'delete DELETE 0 /api/v1/namespaces/default/configmaps/a',
      ],
    );
  });
});

function watchOptions(more: object = {}) {
  const { signal } = new AbortController();
  return { resourceVersion: '1', timeoutSeconds: 60, idleTimeoutMs: 60_000, signal, ...more };
}
