import assert from 'node:assert/strict';
import { eventually, throughout } from '../support/eventually.ts';
import { UnsealingWorld } from '../support/unsealing.ts';
import { useWorld } from '../support/world.ts';

const MANAGED = 'sealedsecrets.bitnami.com/managed';
const PATCH = 'sealedsecrets.bitnami.com/patch';
const SKIP_OWNER = 'sealedsecrets.bitnami.com/skip-set-owner-references';
const base64 = (text: string) => Buffer.from(text).toString('base64');

describe('a SealedSecret in a cluster', function () {
  this.timeout(120_000);
  const world = useWorld();
  let here: UnsealingWorld;
  beforeEach(async () => {
    here = new UnsealingWorld(world());
    await here.start();
  });
  afterEach(() => here.stop());

  const becomes = (name: string, values: Record<string, string> | undefined) =>
    eventually(
      async () => {
        assert.deepEqual(await here.values(name), values);
        return true;
      },
      { what: `the Secret ${name} to have its values`, timeoutMs: 15_000 },
    );
  const writesTo = (resource: string, name?: string) =>
    world().auditedWrites(
      ({ objectRef: at }) =>
        at?.namespace === world().namespace &&
        at?.resource === resource &&
        (name === undefined || at.name === name),
    );

  it('becomes a Secret of its own, says so, and is put back when edited or deleted', async () => {
    await here.seal('db', { user: 'admin', password: 'hunter2' });
    const condition = await here.synced('db', 'True');
    assert.equal(condition.reason, 'Unsealed');
    assert.equal(condition.message, '');
    await becomes('db', { user: 'admin', password: 'hunter2' });
    await world().api.mergePatch(here.secretPath('db'), {
      data: { user: base64('mallory'), extra: base64('x') },
    });
    await becomes('db', { user: 'admin', password: 'hunter2' });
    await world().api.mergePatch(here.secretPath('db'), {
      metadata: { labels: { stray: 'x' }, ownerReferences: null },
    });
    // Without its owner the Secret is nobody's: as upstream, it isn't taken back.
    await here.synced('db', 'False', /already exists and is not managed by SealedSecret/);
    await world().api.delete(here.secretPath('db'));
    await becomes('db', { user: 'admin', password: 'hunter2' });
    await here.synced('db', 'True');
    await eventually(
      async () =>
        (await here.events('db')).some(
          ({ reason, message }) => reason === 'Unsealed' && message === 'SealedSecret unsealed successfully',
        ),
      { what: 'the event' },
    );
  });

  it('tells of a failure bare in status and introduced in the event, and leaves the Secret as it was', async () => {
    await here.seal('db', { a: 'one' });
    await here.synced('db', 'True');
    const object = await here.read('db');
    await here.apply({ ...object, spec: { encryptedData: { a: 'AAAA*', b: 'AAAA' } } });
    const condition = await here.synced('db', 'False');
    assert.equal(
      condition.message,
      'illegal base64 data at input byte 4 (a)\nno key could decrypt secret (b)',
    );
    assert.equal(condition.reason, 'ErrUnsealFailed');
    assert.deepEqual(await here.values('db'), { a: 'one' });
    const event = await eventually(
      async () => (await here.events('db')).find(({ reason }) => reason === 'ErrUnsealFailed'),
      { what: 'the event' },
    );
    assert.equal(event.message, `Failed to unseal: ${condition.message}`);
    assert.equal(event.type, 'Warning');
  });

  it('heeds a changed scope annotation without a change of its spec', async () => {
    const wide = here.sealed(
      'db',
      { a: 'one' },
      { annotations: { 'sealedsecrets.bitnami.com/namespace-wide': 'true' } },
    );
    await here.apply({ ...wide, metadata: { ...wide.metadata, annotations: {} } });
    await here.synced('db', 'False', /no key could decrypt secret \(a\)/);
    await here.apply(wide);
    await here.synced('db', 'True');
    assert.deepEqual(await here.values('db'), { a: 'one' });
  });

  it('leaves a Secret that is in its way, and notices when the way is free or it may take the Secret over', async () => {
    await here.makeSecret('gone', { data: { theirs: base64('x') } });
    await here.makeSecret('given', { data: { theirs: base64('x') } });
    for (const name of ['gone', 'given']) {
      await here.seal(name, { a: 'one' });
      const { message, reason } = await here.synced(name, 'False');
      assert.equal(
        message,
        `failed update: Resource "${name}" already exists and is not managed by SealedSecret`,
      );
      assert.equal(reason, 'ErrUpdateFailed');
      const event = await eventually(
        async () => (await here.events(name)).find((each) => each.reason === 'ErrUpdateFailed'),
        { what: 'the event' },
      );
      assert.equal(event.message, `Resource "${name}" already exists and is not managed by SealedSecret`);
      assert.deepEqual(await here.values(name), { theirs: 'x' });
    }
    await world().api.delete(here.secretPath('gone'));
    await world().api.mergePatch(here.secretPath('given'), {
      metadata: { annotations: { [MANAGED]: 'true' } },
    });
    for (const name of ['gone', 'given']) {
      await here.synced(name, 'True');
      await becomes(name, { a: 'one' });
      const secret = await here.secret(name);
      assert.equal(secret?.metadata.ownerReferences?.[0]?.kind, 'SealedSecret');
      assert.equal(secret?.metadata.annotations?.[MANAGED], undefined);
    }
  });

  it('adds to a Secret that is annotated for it, puts its keys back, and leaves it deleted', async () => {
    await here.makeSecret('shared', {
      type: 'example.org/typed',
      metadata: { annotations: { [PATCH]: 'true' } },
      data: { theirs: base64('x') },
    });
    await here.seal('shared', { a: 'one' });
    await here.synced('shared', 'True');
    await becomes('shared', { theirs: 'x', a: 'one' });
    assert.equal((await here.secret('shared'))?.metadata.ownerReferences, undefined);
    await world().api.mergePatch(here.secretPath('shared'), {
      data: { a: base64('edited'), theirs: base64('y') },
    });
    await becomes('shared', { theirs: 'y', a: 'one' });
    await world().api.delete(here.secretPath('shared'));
    await here.synced('shared', 'False', /was deleted and is not made again/);
    await here.seal('shared', { a: 'two' });
    await here.synced('shared', 'False', /was deleted and is not made again/);
    await here.stop();
    await here.start();
    await here.synced('shared', 'False', /was deleted and is not made again/);
    await throughout(async () => assert.equal(await here.secret('shared'), undefined), {
      what: 'the Secret stays deleted',
      forMs: 500,
    });
    await here.makeSecret('shared', {
      metadata: { annotations: { [PATCH]: 'true' } },
      data: { theirs: base64('z') },
    });
    await here.synced('shared', 'True');
    await becomes('shared', { theirs: 'z', a: 'two' });
  });

  it('owns from then on a Secret that is annotated for patching and as managed', async () => {
    await here.makeSecret('both', {
      metadata: { annotations: { [PATCH]: 'true', [MANAGED]: 'true' } },
      data: { theirs: base64('x') },
    });
    await here.seal('both', { a: 'one' });
    await here.synced('both', 'True');
    await becomes('both', { theirs: 'x', a: 'one' });
    assert.equal((await here.secret('both'))?.metadata.ownerReferences?.[0]?.name, 'both');
    await world().api.delete(here.secretPath('both'));
    await becomes('both', { a: 'one' });
  });

  it('makes a Secret without an owner once, and says that it is unmanaged from then on', async () => {
    const metadata = { annotations: { [SKIP_OWNER]: 'true' } };
    await here.seal('free', { a: 'one' }, { spec: { template: { metadata } } });
    await here.synced('free', 'False', /is not managed by SealedSecret/);
    await becomes('free', { a: 'one' });
    assert.equal((await here.secret('free'))?.metadata.ownerReferences, undefined);
    const kept = { annotations: { [SKIP_OWNER]: 'true', [MANAGED]: 'true' } };
    await here.seal('kept', { a: 'one' }, { spec: { template: { metadata: kept } } });
    await here.synced('kept', 'True');
    await world().api.delete(here.secretPath('kept'));
    await becomes('kept', { a: 'one' });
  });

  it('explains in its event that the Secret is immutable, keeps it, and recovers when it is deleted', async () => {
    await here.seal('fixed', { a: 'one' }, { spec: { template: { immutable: true } } });
    await here.synced('fixed', 'True');
    await here.seal('fixed', { a: 'two' }, { spec: { template: { immutable: true } } });
    const { message } = await here.synced('fixed', 'False');
    assert.match(message ?? '', /^Secret "fixed" is invalid: .*field is immutable when `immutable` is set/);
    const event = await eventually(
      async () => (await here.events('fixed')).find(({ reason }) => reason === 'ErrUpdateFailed'),
      { what: 'the event' },
    );
    assert.match(event.message, /^Error updating .*\/fixed: the target Secret is immutable\./);
    assert.deepEqual(await here.values('fixed'), { a: 'one' });
    await world().api.delete(here.secretPath('fixed'));
    await here.synced('fixed', 'True');
    await becomes('fixed', { a: 'two' });
  });

  it('keeps a Secret whose type it may not change', async () => {
    await here.seal('typed', { a: 'one' });
    await here.synced('typed', 'True');
    await here.seal('typed', { a: 'two' }, { spec: { template: { type: 'example.org/other' } } });
    await here.synced('typed', 'False', /type: Invalid value: .*field is immutable/);
    assert.deepEqual(await here.values('typed'), { a: 'one' });
  });

  it('writes nothing after a restart with nothing changed', async () => {
    await here.makeSecret('shared', {
      metadata: { annotations: { [PATCH]: 'true' } },
      data: { theirs: base64('x') },
    });
    await here.seal('shared', { a: 'one' });
    await here.seal('plain', { a: 'one' });
    const template = {
      metadata: { labels: { app: 'x' }, annotations: { note: 'y' } },
      type: 'example.org/typed',
      data: { id: '{{ uuidv4 }}', both: '{{ .a }}-{{ .id }}' },
    };
    await here.seal('made', { a: 'one' }, { spec: { template } });
    for (const name of ['shared', 'plain', 'made']) await here.synced(name, 'True');
    await here.stop();
    const before = world().auditedWrites().length;
    await here.start();
    await eventually(
      () => here.operator.log().filter(({ msg }) => /^reconciliation finished/.test(String(msg))).length >= 3,
      { what: 'the passes after the restart' },
    );
    await throughout(
      () => {
        const writes = world()
          .auditedWrites()
          .slice(before)
          .filter(
            ({ objectRef }) =>
              objectRef?.namespace === world().namespace && /secrets|events/.test(objectRef?.resource ?? ''),
          );
        assert.deepEqual(
          writes.map(({ verb, requestURI }) => `${verb} ${requestURI}`),
          [],
        );
      },
      { what: 'nothing is written', forMs: 500 },
    );
  });

  it('writes a Secret once, and its status once, for each change', async () => {
    for (const count of [1, 2]) {
      await here.seal('db', { a: `value ${count}` });
      await becomes('db', { a: `value ${count}` });
      await here.synced('db', 'True');
    }
    await throughout(
      () => {
        assert.equal(writesTo('secrets', 'db').length, 2);
        assert.equal(
          writesTo('sealedsecrets', 'db').filter(({ objectRef }) => objectRef?.subresource === 'status')
            .length,
          2,
        );
      },
      { what: 'no more is written', forMs: 500 },
    );
  });
});

describe('a SealedSecret where recreating is off', function () {
  this.timeout(120_000);
  const world = useWorld();

  it('is unsealed without any watch on Secrets, and a deleted Secret stays deleted', async () => {
    const here = new UnsealingWorld(world(), ['--skip-recreate']);
    await here.start();
    try {
      await here.seal('db', { a: 'one' });
      await here.synced('db', 'True');
      await world().api.delete(here.secretPath('db'));
      await throughout(async () => assert.equal(await here.secret('db'), undefined), {
        what: 'the Secret stays deleted',
        forMs: 500,
      });
      await here.seal('db', { a: 'two' });
      await eventually(async () => (await here.values('db'))?.a === 'two', { what: 'the changed Secret' });
    } finally {
      await here.stop();
    }
  });
});
