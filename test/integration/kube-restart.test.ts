import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Client } from 'undici';
import { ControlPlane } from '../../hack/cluster/control-plane.ts';
import { SILENT } from '../../operator/api/logger.ts';
import type { KubeObject } from '../../operator/api/objects.ts';
import { objectKey } from '../../operator/api/resources.ts';
import type { KubeClient } from '../../operator/kube/client.ts';
import { IdleTimeout, isGone } from '../../operator/kube/errors.ts';
import { type Informer, type InformerSpec, Informers } from '../../operator/kube/informers.ts';
import type { ReflectorPacing } from '../../operator/kube/reflector.ts';
import type { Observation } from '../../operator/kube/transport.ts';
import { type ApiProxy, startApiProxy } from '../support/api-proxy.ts';
import { eventually } from '../support/eventually.ts';
import { CONFIG_MAP, useClients } from '../support/kube.ts';
import { startTcpRelay, type TcpRelay } from '../support/tcp-relay.ts';

const { signal } = new AbortController();

const VERSIONS: InformerSpec<string> = {
  type: CONFIG_MAP,
  namespace: 'default',
  variant: 'version',
  keep: (object) => object.metadata.resourceVersion,
};

describe('following objects through trouble', () => {
  const connect = useClients();
  let controlPlane: ControlPlane;
  let informers: Informers[] = [];
  let relay: TcpRelay | undefined;
  let proxy: ApiProxy | undefined;

  before('a control plane of its own', async function () {
    this.timeout(15 * 60_000);
    controlPlane = await ControlPlane.start({ unsafeNoFsync: true, controllerManager: false });
  });
  after(() => controlPlane?.stop());

  afterEach(async () => {
    await Promise.all(informers.map((all) => all.stop()));
    informers = [];
    await relay?.close();
    relay = undefined;
    await proxy?.close();
    proxy = undefined;
  });

  const following = (
    client: KubeClient,
    pacing: Partial<ReflectorPacing> = {},
  ): { informers: Informers; errors: unknown[]; watching: () => number } => {
    const errors: unknown[] = [];
    let watching = 0;
    const all = new Informers({
      client,
      logger: SILENT,
      pacing,
      onState: (_, state) => {
        if (state.at === 'watching') watching += 1;
        if (state.at === 'waiting' && state.error !== undefined) errors.push(state.error);
      },
    });
    informers.push(all);
    return { informers: all, errors, watching: () => watching };
  };
  const configMap = (name: string, data: Record<string, string> = {}): KubeObject => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { namespace: 'default', name },
    data,
  });
  const count = (requests: Observation[], verb: string) =>
    requests.filter((request) => request.verb === verb && request.status === 200).length;

  /** The store holds exactly what a list shows, each object at its version. */
  const agrees = async (informer: Informer<string>, client: KubeClient): Promise<boolean> => {
    const { items } = await client.list(CONFIG_MAP, { namespace: 'default' });
    const expected = new Map(items.map((item) => [objectKey(item), item.metadata.resourceVersion]));
    assert.equal(informer.store.size, expected.size);
    for (const [key, version] of expected) assert.equal(informer.store.get(key), version, key);
    return true;
  };

  const viaRelay = async () => {
    relay = await startTcpRelay(new URL(controlPlane.server));
    const direct = connect(controlPlane.kubeconfig);
    const relayed = connect(controlPlane.kubeconfig, { override: { server: relay.url } });
    return { relay, direct: direct.client, ...relayed };
  };

  it('misses nothing when the API server is killed and started again mid-watch, and lists no more than once more', async () => {
    const { client, requests } = connect(controlPlane.kubeconfig);
    const { informers: all, watching } = following(client);
    const followers = Array.from({ length: 8 }, (_, index) => {
      return all.acquire({ ...VERSIONS, variant: `v${index}` }).informer;
    });
    const deleted = new Set<string>();
    followers[0]?.subscribe((event) => {
      if (event.type === 'deleted') deleted.add(event.key);
    });
    await Promise.all(followers.map((informer) => informer.synced(signal)));
    await eventually(() => watching() === 8, { what: 'eight open watches' });
    assert.equal(count(requests, 'list'), 8);

    const writer = connect(controlPlane.kubeconfig).client;
    let writing = true;
    let written = 0;
    const writes = (async () => {
      for (let i = 0; writing; i += 1) {
        try {
          await writer.create(CONFIG_MAP, configMap(`w${i}`), { timeoutMs: 5_000 });
          if (i % 3 === 0) await writer.delete(CONFIG_MAP, { namespace: 'default', name: `w${i}` });
          written += 1;
        } catch {
          await sleep(20);
        }
      }
    })();
    const writtenBeyond = (floor: number) => eventually(() => written > floor, { what: `${floor} writes` });
    await writtenBeyond(50);
    await controlPlane.killApiServer();
    const refused = () => requests.filter((request) => request.status === 0).length;
    await eventually(() => refused() >= 3 * 8, { what: 'each of them to have tried in vain' });
    await controlPlane.startApiServer();
    await writtenBeyond(written + 100);
    writing = false;
    await writes;

    for (const informer of followers) {
      await eventually(() => agrees(informer, writer), { what: 'the store to agree with a list' });
    }
    assert.ok(deleted.size > 0);
    // One list each at the start, and one each after the restart: the new server's watch cache begins later than our versions.
    const lists = count(requests, 'list');
    assert.ok(lists <= 16, `${lists} lists`);
    assert.ok(refused() < 20 * 8, `${refused()} requests to a server that was away`);
  });

  it('takes a real 410 Gone for a reason to list once, when it slept through a restart', async () => {
    const { relay: line, direct, client, requests } = await viaRelay();
    await direct.create(CONFIG_MAP, configMap('before'));
    const { informers: all, errors, watching } = following(client);
    const { informer } = all.acquire(VERSIONS);
    await informer.synced(signal);
    await eventually(() => watching() === 1, { what: 'the watch' });
    line.cut();
    await direct.create(CONFIG_MAP, configMap('meanwhile'));
    await direct.delete(CONFIG_MAP, { namespace: 'default', name: 'before' });
    await controlPlane.killApiServer();
    await controlPlane.startApiServer();
    line.mend();
    await eventually(() => agrees(informer, direct), { what: 'the store to agree with a list' });
    assert.equal(informer.store.get('default/before'), undefined);
    assert.ok(errors.some(isGone), 'the server answered 410');
    assert.equal(count(requests, 'list'), 2);
  });

  it('resumes a cut connection from its last event, without a list', async () => {
    const { relay: line, direct, client, requests } = await viaRelay();
    const { informers: all, watching } = following(client);
    const { informer } = all.acquire(VERSIONS);
    await informer.synced(signal);
    await eventually(() => watching() === 1, { what: 'the watch' });
    line.cut();
    await direct.create(CONFIG_MAP, configMap('while-cut'));
    line.mend();
    await eventually(() => informer.store.get('default/while-cut'), { what: 'what happened meanwhile' });
    assert.equal(count(requests, 'list'), 1);
    assert.ok(await agrees(informer, direct));
  });

  it('finds out that a line is dead by its silence, and catches up on a new one', async () => {
    const { relay: line, direct, client, requests } = await viaRelay();
    const {
      informers: all,
      errors,
      watching,
    } = following(client, { watchTimeoutMs: 1_000, idleMarginMs: 300 });
    const { informer } = all.acquire(VERSIONS);
    await informer.synced(signal);
    await eventually(() => watching() === 1, { what: 'the watch' });
    line.deaden();
    await direct.create(CONFIG_MAP, configMap('unheard'));
    await eventually(() => informer.store.get('default/unheard'), { what: 'what happened meanwhile' });
    assert.ok(errors.some((error) => error instanceof IdleTimeout));
    assert.equal(count(requests, 'list'), 1);
  });

  it('begins a list anew when etcd was compacted between two of its pages', async () => {
    const { client: direct } = connect(controlPlane.kubeconfig);
    for (const name of ['p1', 'p2', 'p3', 'p4']) await direct.create(CONFIG_MAP, configMap(name));
    proxy = await startApiProxy(controlPlane.kubeconfig);
    let interrupted = false;
    proxy.intervene(async ({ path }) => {
      if (interrupted || !path.includes('continue=')) return undefined;
      interrupted = true;
      await direct.create(CONFIG_MAP, configMap('p5'));
      // A server that was just started has no snapshot of the past in memory, so it asks etcd for the page.
      await controlPlane.killApiServer();
      await compactEtcd(controlPlane);
      await controlPlane.startApiServer();
      return undefined;
    });
    const { client, requests } = connect(controlPlane.kubeconfig, {
      override: { server: new URL(proxy.url) },
    });
    const { informers: all, errors } = following(client, { pageSize: 2 });
    const { informer } = all.acquire(VERSIONS);
    await informer.synced(signal);
    assert.ok(interrupted);
    assert.deepEqual(
      requests.filter((request) => request.status === 410).map((request) => request.verb),
      ['list'],
    );
    assert.ok(errors.some(isGone));
    assert.ok(await agrees(informer, direct));
  });

  it('delivers all of 5,000 objects, by watch and by list, keeping no more of them than it is told to', async function () {
    this.timeout(180_000);
    const objects = 5_000;
    const { client } = connect(controlPlane.kubeconfig, { connections: 12 });
    const { informers: all, watching } = following(client);
    const byWatch = all.acquire(VERSIONS).informer;
    const heard = new Set<string>();
    byWatch.subscribe((event) => void heard.add(event.key));
    await byWatch.synced(signal);
    await eventually(() => watching() === 1, { what: 'the watch' });
    const filler = 'x'.repeat(2_000);
    const names = Array.from({ length: objects }, (_, index) => `many-${index}`);
    const queue = names.values();
    await Promise.all(
      Array.from({ length: 12 }, async () => {
        for (const name of queue) await client.create(CONFIG_MAP, configMap(name, { filler }));
      }),
    );
    const missing = () => names.filter((name) => !heard.has(`default/${name}`));
    await eventually(() => missing().length === 0, { what: 'an event for each object' });
    await eventually(() => agrees(byWatch, client), { what: 'the store to agree with a list' });

    const heapBefore = collectedHeapBytes();
    const byList = all.acquire({ ...VERSIONS, variant: 'again' }).informer;
    await byList.synced(signal);
    const perObject = (collectedHeapBytes() - heapBefore) / byList.store.size;
    assert.ok(await agrees(byList, client));
    assert.ok(perObject < 1_000, `${Math.round(perObject)} bytes of heap per object of 2,000 bytes and more`);
  });
});

/** Drops all history from etcd, by its JSON gateway. */
async function compactEtcd(controlPlane: ControlPlane): Promise<void> {
  const socketPath = join(controlPlane.directory, 'etcd.sock');
  const client = new Client('http://localhost', { socketPath });
  try {
    const call = async (path: string, body: object): Promise<{ header?: { revision: string } }> => {
      const answer = await client.request({ method: 'POST', path, body: JSON.stringify(body) });
      const text = await answer.body.text();
      assert.equal(answer.statusCode, 200, `${path}: ${text}`);
      return JSON.parse(text) as { header?: { revision: string } };
    };
    const { header } = await call('/v3/kv/range', { key: 'AA==', limit: 1 });
    await call('/v3/kv/compaction', { revision: header?.revision, physical: true });
  } finally {
    await client.close();
  }
}

function collectedHeapBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  return process.memoryUsage().heapUsed;
}
