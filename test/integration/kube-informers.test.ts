import assert from 'node:assert/strict';
import { SILENT } from '../../operator/api/logger.ts';
import type { JsonObject } from '../../operator/api/objects.ts';
import { type InformerEvent, type InformerSpec, Informers } from '../../operator/kube/informers.ts';
import { eventually, throughout } from '../support/eventually.ts';
import { CONFIG_MAP, useClients } from '../support/kube.ts';
import { useWorld } from '../support/world.ts';

const { signal } = new AbortController();

describe('informers on a real API server', () => {
  const world = useWorld();
  const connect = useClients();
  let informers: Informers | undefined;
  afterEach(() => informers?.stop());

  const spec = (more: Partial<InformerSpec<string>> = {}): InformerSpec<string> => ({
    type: CONFIG_MAP,
    namespace: world().namespace,
    labelSelector: 'team=a',
    variant: 'version',
    keep: (object) => object.metadata.resourceVersion,
    ...more,
  });
  const create = (name: string, metadata: JsonObject = { labels: { team: 'a' } }) =>
    world().api.create(world().path('v1', 'configmaps'), {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, ...metadata },
    });
  const patch = (name: string, body: JsonObject) =>
    world().api.mergePatch(world().path('v1', 'configmaps', name), body);

  const follow = async (more: Partial<InformerSpec<string>> = {}) => {
    const { client, requests } = connect(world().kubeconfig);
    let watching = false;
    informers = new Informers({
      client,
      logger: SILENT,
      onState: (_, state) => {
        watching = state.at === 'watching';
      },
    });
    const { informer } = informers.acquire(spec(more));
    const events: InformerEvent<string>[] = [];
    informer.subscribe((event) => void events.push(event));
    await informer.synced(signal);
    await eventually(() => watching, { what: 'the watch to be open' });
    const key = (name: string) => `${world().namespace}/${name}`;
    return { informer, events, requests, key };
  };

  it('see a removed label as a deletion, and drop the object although it lives on', async () => {
    await create('a');
    const { informer, events, key } = await follow();
    assert.equal(informer.store.size, 1);
    await patch('a', { metadata: { labels: { team: null } } });
    await eventually(() => informer.store.get(key('a')) === undefined, { what: 'the store to drop it' });
    assert.deepEqual(
      events.map((event) => `${event.type} ${event.key}`),
      [`added ${key('a')}`, `deleted ${key('a')}`],
    );
    assert.ok(await world().api.get(world().path('v1', 'configmaps', 'a')), 'it lives on');
    await patch('a', { metadata: { labels: { team: 'a' } } });
    await eventually(() => informer.store.get(key('a')), { what: 'it to be seen again' });
  });

  it('know nothing of a label that was removed before they began', async () => {
    await create('a', { labels: { team: 'b' } });
    const { informer } = await follow();
    assert.equal(informer.store.size, 0);
  });

  it('follow metadata alone and hand over whole objects only as they come', async () => {
    const { events, informer, key } = await follow({ metadataOnly: true, variant: 'metadata' });
    await create('a');
    await eventually(() => informer.store.get(key('a')), { what: 'the object' });
    assert.deepEqual(Object.keys(events[0]?.object ?? {}).sort(), ['apiVersion', 'kind', 'metadata']);
    assert.equal(events[0]?.object?.kind, 'ConfigMap');
  });

  it('take an object that was deleted and made anew for what it now is', async () => {
    const { informer, key } = await follow({
      keep: (object) => object.metadata.uid,
      variant: 'uid',
    });
    const first = await create('a');
    await world().api.delete(world().path('v1', 'configmaps', 'a'));
    const second = await create('a');
    const uid = (object: JsonObject) => (object.metadata as JsonObject).uid;
    assert.notEqual(uid(first), uid(second));
    await eventually(() => informer.store.get(key('a')) === uid(second), { what: 'the second object' });
  });

  it('send nothing but their watch while nothing happens', async () => {
    await create('a');
    const { informer, requests } = await follow();
    await informer.synced(signal);
    const verbs = () => requests.map((request) => request.verb);
    assert.deepEqual(verbs(), ['list', 'watch']);
    await throughout(() => requests.length === 2, { what: 'no request', forMs: 3_000 });
    await create('b');
    await eventually(() => informer.store.size === 2, { what: 'the watch to be alive' });
    assert.deepEqual(verbs(), ['list', 'watch']);
  });

  it('reopen a watch that the server ends in good order, without a list and without a gap', async () => {
    const { client, requests } = connect(world().kubeconfig);
    informers = new Informers({
      client,
      logger: SILENT,
      pacing: { watchTimeoutMs: 1_000, minIntervalMs: 200 },
    });
    const { informer } = informers.acquire(spec());
    await informer.synced(signal);
    let created = 0;
    await eventually(
      async () => {
        created += 1;
        await create(`c${created}`);
        return requests.filter((request) => request.verb === 'watch').length >= 4;
      },
      { what: 'the fourth watch' },
    );
    await eventually(() => informer.store.size === created, { what: `all ${created} objects` });
    assert.equal(requests.filter((request) => request.verb === 'list').length, 1);
  });
});
