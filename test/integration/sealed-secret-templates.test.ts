import assert from 'node:assert/strict';
import { eventually, throughout } from '../support/eventually.ts';
import { UnsealingWorld } from '../support/unsealing.ts';
import { useWorld } from '../support/world.ts';

const LOOP = '{{ range 9000000000000000000 }}{{ end }}';
const base64 = (text: string) => Buffer.from(text).toString('base64');

describe('a SealedSecret with templates', function () {
  this.timeout(120_000);
  const world = useWorld();
  let here: UnsealingWorld;
  beforeEach(async () => {
    here = new UnsealingWorld(world());
    await here.start();
  });
  afterEach(() => here.stop());

  it('becomes a Secret of its items and what the templates render, put back like any other', async () => {
    const data = {
      url: 'db://{{ .user }}:{{ .password }}@{{ .host }}',
      host: 'db.example',
      password: null,
      user: 'loses',
    };
    await here.seal('db', { user: 'admin', password: 'hunter2' }, { spec: { template: { data } } });
    await here.synced('db', 'True');
    const values = { user: 'admin', host: 'db.example', url: 'db://admin:hunter2@db.example' };
    assert.deepEqual(await here.values('db'), values);
    await world().api.mergePatch(here.secretPath('db'), { data: { url: base64('edited') } });
    await eventually(async () => (await here.values('db'))?.url === values.url, {
      what: 'the rendered key to be put back',
    });
  });

  it('keeps what was generated, over edits elsewhere and restarts, until its spec changes or its key is gone', async () => {
    const data = { id: '{{ uuidv4 }}', at: '{{ now }}', fixed: 'for {{ .user }}' };
    await here.seal('made', { user: 'admin' }, { spec: { template: { data } } });
    await here.synced('made', 'True');
    const first = await here.values('made');
    assert.match(first?.id ?? '', /^[0-9a-f-]{36}$/);
    await world().api.mergePatch(here.secretPath('made'), {
      data: { fixed: base64('edited'), id: base64('mine') },
    });
    await eventually(async () => (await here.values('made'))?.fixed === 'for admin', {
      what: 'the fixed key to be put back',
    });
    assert.equal((await here.values('made'))?.id, 'mine');
    await here.stop();
    await here.start();
    await throughout(async () => assert.deepEqual(await here.values('made'), { ...first, id: 'mine' }), {
      what: 'all stays',
      forMs: 700,
    });
    await world().api.mergePatch(here.secretPath('made'), { data: { id: null } });
    const second = await eventually(async () => (await here.values('made'))?.id, {
      what: 'the missing key to be made',
    });
    assert.match(second, /^[0-9a-f-]{36}$/);
    assert.equal((await here.values('made'))?.at, first?.at);
    await here.seal('made', { user: 'root' }, { spec: { template: { data } } });
    await here.synced('made', 'True');
    const third = await eventually(
      async () => {
        const values = await here.values('made');
        return values?.fixed === 'for root' ? values : undefined;
      },
      { what: 'the changed spec' },
    );
    assert.notEqual(third.id, second);
    assert.notEqual(third.at, first?.at);
    const secret = await here.secret('made');
    await throughout(
      async () =>
        assert.equal((await here.secret('made'))?.metadata.resourceVersion, secret?.metadata.resourceVersion),
      { what: 'nothing is written again', forMs: 500 },
    );
  });

  it('keeps what Sealed Secrets generated when it takes over from it', async () => {
    const data = { id: '{{ uuidv4 }}' };
    const object = here.sealed('taken', { user: 'admin' }, { spec: { template: { data } } });
    await here.stop();
    const { metadata } = await here.apply(object);
    const { name, uid, generation = 1 } = metadata;
    const owner = { apiVersion: 'bitnami.com/v1alpha1', kind: 'SealedSecret', name, uid, controller: true };
    await here.makeSecret('taken', {
      metadata: { ownerReferences: [owner] },
      data: { user: base64('admin'), id: base64('theirs') },
    });
    const condition = {
      type: 'Synced',
      status: 'True',
      lastUpdateTime: '2026-01-01T00:00:00Z',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    };
    await world().api.mergePatch(`${world().path('bitnami.com/v1alpha1', 'sealedsecrets', 'taken')}/status`, {
      status: { observedGeneration: generation, conditions: [condition] },
    });
    await here.start();
    await eventually(
      () => here.operator.log().some(({ msg }) => /^reconciliation finished/.test(String(msg))),
      { what: 'the first pass' },
    );
    assert.deepEqual(await here.values('taken'), { user: 'admin', id: 'theirs' });
  });

  it('fails on templates that loop; neither objects with templates nor, behind any number, those without wait', async () => {
    const loop = async (name: string) =>
      await here.seal(name, { a: 'one' }, { spec: { template: { data: { t: LOOP } } } });
    const loops = Array.from({ length: 12 }, (_, at) => `loop-${at}`);
    for (const name of loops.slice(0, 3)) await loop(name);
    await here.seal('rendered', { a: 'one' }, { spec: { template: { data: { t: '{{ .a }}' } } } });
    await here.synced('rendered', 'True');
    for (const name of loops.slice(3)) await loop(name);
    for (let count = 0; count < 5; count++) {
      await here.seal(`db-${count}`, { a: 'one' });
      await here.synced(`db-${count}`, 'True');
    }
    const conditions = await Promise.all(
      loops.map(async (name) => (await here.read(name)).status?.conditions),
    );
    assert.ok(conditions.includes(undefined), 'the loops have not all ended yet');
    const { message } = await here.synced('loop-0', 'False');
    assert.equal(message, 'template: t: it takes longer than the 5s that templates may take (t)');
    assert.equal(await here.secret('loop-0'), undefined);
  });

  it('shows a decrypted value nowhere when a template fails', async () => {
    const value = 'hunter2-in-the-clear';
    const data = {
      t: '{{ fail .a }}',
      u: '{{ mustToDate "2006" .a }}',
      v: '{{ .a | atoi | div 1 }}{{ index .a 99 }}',
    };
    await here.seal('leak', { a: value }, { spec: { template: { data } } });
    const { message } = await here.synced('leak', 'False');
    assert.match(
      message ?? '',
      /^template: t:1:3: can't be executed \(t\)\ntemplate: u:1:3: can't be executed \(u\)/,
    );
    await eventually(async () => (await here.events('leak')).length > 0, { what: 'the event' });
    const everything = JSON.stringify([
      await here.read('leak'),
      await here.events('leak'),
      here.operator.output(),
    ]);
    const metrics = await (await fetch(here.operator.metricsUrl)).text();
    for (const form of [value, base64(value)])
      assert.ok(!everything.includes(form) && !metrics.includes(form));
  });
});
