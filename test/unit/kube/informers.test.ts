import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import type { ResourceType } from '../../../operator/api/resources.ts';
import { KubeClient } from '../../../operator/kube/client.ts';
import { ApiError } from '../../../operator/kube/errors.ts';
import { type InformerEvent, type InformerSpec, Informers } from '../../../operator/kube/informers.ts';
import { eventually } from '../../support/eventually.ts';
import {
  answerJson,
  answerStatus,
  configMap,
  listOf,
  useFakeApiServer,
  watchLine,
} from '../../support/fake-api-server.ts';
import { recordingLogger } from '../../support/log.ts';

const CONFIG_MAP: ResourceType = {
  group: '',
  version: 'v1',
  kind: 'ConfigMap',
  plural: 'configmaps',
  namespaced: true,
};

const SPEC: InformerSpec<string> = {
  type: CONFIG_MAP,
  variant: 'version',
  keep: (object) => object.metadata.resourceVersion,
};

const told = ({ type, key, kept }: InformerEvent<string>) => `${type} ${key} ${kept}`;

describe('informers', () => {
  const fake = useFakeApiServer();
  let client: KubeClient;
  let informers: Informers;
  let logger: ReturnType<typeof recordingLogger>;
  let states: string[];
  let watch: ServerResponse | undefined;
  const { signal } = new AbortController();

  const push = (type: string, name: string, resourceVersion: string) =>
    void watch?.write(watchLine(type, configMap(name, resourceVersion)));
  const lists = () => fake().seen.filter((request) => request.query.get('watch') !== 'true').length;
  const watches = () => fake().seen.length - lists();

  beforeEach(() => {
    logger = recordingLogger();
    states = [];
    watch = undefined;
    client = new KubeClient({ config: fake().config });
    informers = new Informers({
      client,
      logger,
      onState: (type, state) => void states.push(`${type.plural} ${state.at}`),
      pacing: { minIntervalMs: 20, backoffInitialMs: 10, backoffMaxMs: 20 },
    });
    fake().script((request, answer) => {
      if (request.query.get('watch') === 'true') {
        watch = answer;
        answer.writeHead(200).flushHeaders();
      } else {
        answerJson(answer, listOf([configMap('a', '1'), configMap('b', '2')], '10'));
      }
    });
  });

  afterEach(async () => {
    await informers.stop();
    await client.close();
  });

  const synced = async () => {
    const { informer, release } = informers.acquire(SPEC);
    await informer.synced(signal);
    await eventually(() => watch, { what: 'the watch' });
    return { informer, release };
  };

  it('tell a subscriber of every change, in order, with what was there before', async () => {
    const { informer, release } = informers.acquire(SPEC);
    const events: InformerEvent<string>[] = [];
    informer.subscribe((event) => void events.push(event));
    assert.equal(informer.hasSynced, false);
    assert.equal(informer.store.size, 0);
    await informer.synced(signal);
    await eventually(() => watch, { what: 'the watch' });
    push('ADDED', 'c', '11');
    push('MODIFIED', 'a', '12');
    push('DELETED', 'b', '13');
    await eventually(() => events.length === 5, { what: 'five events' });
    assert.deepEqual(events.map(told), [
      'added default/a 1',
      'added default/b 2',
      'added default/c 11',
      'modified default/a 12',
      'deleted default/b 2',
    ]);
    const modified = events[3];
    assert.equal(modified?.type === 'modified' && modified.previous, '1');
    assert.equal(modified?.object?.metadata.resourceVersion, '12');
    assert.deepEqual(informer.store.list().sort(), ['11', '12']);
    release();
  });

  it('tell a late subscriber what is there, before anything new', async () => {
    const { informer } = await synced();
    const events: string[] = [];
    const unsubscribe = informer.subscribe((event) => void events.push(told(event)));
    assert.deepEqual(events, ['added default/a 1', 'added default/b 2']);
    push('MODIFIED', 'a', '12');
    await eventually(() => events.length === 3, { what: 'the event' });
    unsubscribe();
    push('MODIFIED', 'a', '13');
    await eventually(() => informer.store.get('default/a') === '13', { what: 'the store to follow' });
    assert.equal(events.length, 3);
  });

  it('survive a handler that throws, and one whose promise fails: the others hear, it is logged', async () => {
    const { informer } = await synced();
    const heard: string[] = [];
    informer.subscribe(() => {
      throw new Error('a bug in a handler');
    });
    informer.subscribe(async () => {
      throw new Error('a bug in an asynchronous handler');
    });
    informer.subscribe((event) => void heard.push(told(event)));
    push('MODIFIED', 'a', '12');
    push('MODIFIED', 'a', '13');
    await eventually(() => heard.at(-1) === 'modified default/a 13', { what: 'the events' });
    const messages = logger.lines
      .filter((line) => line.level === 'error')
      .map((line) => `${line.fields.error}`);
    assert.ok(messages.includes('Error: a bug in a handler'));
    assert.ok(messages.includes('Error: a bug in an asynchronous handler'));
    assert.equal(watches(), 1, 'the watch was not to blame');
  });

  it('pass over an object that keep throws for, and keep what they knew of it', async () => {
    const keep: InformerSpec<string>['keep'] = (object) => {
      if (object.metadata.resourceVersion === '12') throw new Error('unexpected shape');
      return object.metadata.resourceVersion;
    };
    const { informer } = informers.acquire({ ...SPEC, keep });
    await informer.synced(signal);
    await eventually(() => watch, { what: 'the watch' });
    push('MODIFIED', 'a', '12');
    push('MODIFIED', 'b', '13');
    await eventually(() => informer.store.get('default/b') === '13', { what: 'the next event' });
    assert.equal(informer.store.get('default/a'), '1');
    assert.match(logger.lines.find((line) => line.level === 'error')?.message ?? '', /ConfigMap\/default\/a/);
  });

  it('swap a relist in at once and tell only what differs', async () => {
    const { informer } = await synced();
    const seen: string[] = [];
    informer.subscribe((event) => void seen.push(`${told(event)} of ${informer.store.size}`));
    seen.length = 0;
    fake().script((request, answer) => {
      if (request.query.get('watch') === 'true') return void answer.writeHead(200).flushHeaders();
      answerJson(answer, listOf([configMap('a', '1'), configMap('c', '21'), configMap('d', '22')], '30'));
    });
    watch?.end(watchLine('ERROR', { kind: 'Status', code: 410 }));
    await eventually(() => seen.length === 3, { what: 'the relist' });
    assert.deepEqual(seen, [
      'deleted default/b 2 of 3',
      'added default/c 21 of 3',
      'added default/d 22 of 3',
    ]);
  });

  it('run keep once for each version of an object, over relists too', async () => {
    let kept = 0;
    const keep: InformerSpec<string>['keep'] = (object) => {
      kept += 1;
      return object.metadata.resourceVersion;
    };
    const { informer } = informers.acquire({ ...SPEC, keep });
    await informer.synced(signal);
    await eventually(() => watch, { what: 'the watch' });
    watch?.end(watchLine('ERROR', { kind: 'Status', code: 410 }));
    await eventually(() => watches() === 2, { what: 'the second watch' });
    assert.equal(kept, 2);
  });

  it('share one list and watch among equal specs, until the last user leaves', async () => {
    const first = informers.acquire(SPEC);
    const second = informers.acquire({ ...SPEC });
    await second.informer.synced(signal);
    await eventually(() => watches() === 1, { what: 'the watch' });
    assert.equal(first.informer, second.informer);
    assert.equal(lists(), 1);
    first.release();
    first.release();
    push('ADDED', 'c', '11');
    await eventually(() => second.informer.store.get('default/c'), { what: 'the other user to be served' });
    second.release();
    await eventually(() => states.includes('configmaps stopped'), { what: 'the informer to stop' });
    await eventually(() => watch?.socket === null || watch?.destroyed, { what: 'the watch to be closed' });
    const third = informers.acquire(SPEC);
    await third.informer.synced(signal);
    assert.equal(lists(), 2);
  });

  it('keep apart what differs in selection or in what is kept', async () => {
    const specs: InformerSpec<string>[] = [
      SPEC,
      { ...SPEC, namespace: 'default' },
      { ...SPEC, labelSelector: 'a=b' },
      { ...SPEC, metadataOnly: true },
      { ...SPEC, variant: 'other' },
      { ...SPEC, type: { ...CONFIG_MAP, group: 'x.io' } },
    ];
    const all = specs.map((spec) => informers.acquire(spec).informer);
    await Promise.all(all.map((informer) => informer.synced(signal)));
    assert.equal(new Set(all).size, specs.length);
  });

  it('say why they cannot follow, warn once, and are well again by themselves', async () => {
    let refused = true;
    fake().script((request, answer) => {
      if (refused)
        return answerStatus(answer, 403, { reason: 'Forbidden', message: 'configmaps is forbidden' });
      if (request.query.get('watch') === 'true') answer.writeHead(200).flushHeaders();
      else answerJson(answer, listOf([], '10'));
    });
    const { informer } = informers.acquire(SPEC);
    await eventually(() => lists() >= 3, { what: 'three attempts' });
    assert.ok(informer.failing instanceof ApiError);
    assert.equal(logger.lines.filter((line) => line.level === 'warn').length, 1);
    assert.match(
      logger.lines[0]?.message ?? '',
      /following configmaps was interrupted: configmaps is forbidden/,
    );
    refused = false;
    await informer.synced(signal);
    await eventually(() => informer.failing === undefined, { what: 'the informer to be well' });
  });

  it('let those who wait for the first list go when they abort or the informer stops', async () => {
    fake().script(() => {});
    const { informer, release } = informers.acquire(SPEC);
    const controller = new AbortController();
    const aborted = informer.synced(controller.signal);
    const stopped = informer.synced(signal);
    controller.abort(new Error('enough'));
    await assert.rejects(aborted, /^Error: enough$/);
    release();
    await assert.rejects(stopped, /informer of configmaps was stopped/);
    assert.equal(informer.hasSynced, false);
  });

  it('are stopped all together, and start no more', async () => {
    await synced();
    await informers.stop();
    const before = fake().seen.length;
    const { informer } = informers.acquire({ ...SPEC, variant: 'late' });
    await assert.rejects(informer.synced(signal), /was stopped/);
    assert.equal(fake().seen.length, before);
  });
});
