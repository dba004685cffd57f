import assert from 'node:assert/strict';
import { RECONCILE_REQUEST_ANNOTATION } from '../../../operator/api/names.ts';
import type { Condition, CustomResource } from '../../../operator/api/objects.ts';
import { ApiError } from '../../../operator/kube/errors.ts';
import { fluxPolicy } from '../../../operator/runtime/condition-policy.ts';
import { isOlder, LastWritten } from '../../../operator/runtime/last-written.ts';
import { ObjectGone, Pass, type StatusPort } from '../../../operator/runtime/pass.ts';

interface Status {
  conditions?: Condition[];
  observedGeneration?: number;
  lastHandledReconcileAt?: string;
  inventory?: string[];
  revision?: string;
}
type Gadget = CustomResource<{ size: number }, Status>;

const POLICY = fluxPolicy<Status>({
  summary: 'Ready',
  successReason: 'Succeeded',
  failureReason: 'Failed',
  progressMessage: 'working',
});
const DONE = { state: 'ready', message: 'done' } as const;

function gadget(o: { version?: string; uid?: string; status?: Status; requestedAt?: string } = {}): Gadget {
  const { version = '1', uid = 'u', requestedAt } = o;
  return {
    apiVersion: 'test.signet.dev/v1',
    kind: 'Gadget',
    metadata: {
      name: 'a',
      uid,
      resourceVersion: version,
      generation: 1,
      ...(requestedAt === undefined ? {} : { annotations: { [RECONCILE_REQUEST_ANNOTATION]: requestedAt } }),
    },
    spec: { size: 1 },
    ...(o.status === undefined ? {} : { status: o.status }),
  };
}

/** An API server of one object, with optimistic locking. */
class OneObject implements StatusPort<{ size: number }, Status> {
  object: Gadget | undefined;
  writes = 0;
  unreachable = false;

  constructor(object: Gadget) {
    this.object = object;
  }

  async save(object: Gadget, status: Status): Promise<Gadget> {
    await Promise.resolve();
    if (this.unreachable) throw new Error('unreachable');
    const live = this.object;
    if (live === undefined) throw new ApiError({ status: 404, message: 'not found' });
    if (live.metadata.resourceVersion !== object.metadata.resourceVersion) {
      throw new ApiError({ status: 409, reason: 'Conflict', message: 'modified' });
    }
    this.writes += 1;
    const version = String(Number(live.metadata.resourceVersion) + 1);
    this.object = { ...live, metadata: { ...live.metadata, resourceVersion: version }, status };
    return this.object;
  }

  async read(): Promise<Gadget | undefined> {
    await Promise.resolve();
    return this.object;
  }
}

function passOver(object: Gadget, port: OneObject, owed?: ReadonlyMap<string, unknown>) {
  return new Pass<{ size: number }, Status>({ object, policy: POLICY, port, owed });
}

describe('pass', () => {
  it('writes recorded facts onto the object as it is by then, when it was changed during the pass', async () => {
    const read = gadget({ status: { inventory: ['old'] } });
    const server = new OneObject(gadget({ version: '7', status: { inventory: ['old'], revision: 'r1' } }));
    const pass = passOver(read, server);
    pass.record({ inventory: ['old', 'new'] });
    await pass.write(DONE);
    assert.deepEqual(server.object?.status?.inventory, ['old', 'new']);
    assert.equal(server.object?.status?.revision, 'r1', 'what the pass did not record is left');
    assert.equal(pass.unwritten, undefined);
  });

  it('acknowledges the request that it began with, not one that came meanwhile', async () => {
    const server = new OneObject(gadget({ version: '2', requestedAt: 'second' }));
    await passOver(gadget({ requestedAt: 'first' }), server).write(DONE);
    assert.equal(server.object?.status?.lastHandledReconcileAt, 'first');
  });

  it('removes a field that is recorded as null or undefined', async () => {
    const server = new OneObject(gadget({ status: { inventory: ['a'], revision: 'r' } }));
    const pass = passOver(gadget({ status: { inventory: ['a'], revision: 'r' } }), server);
    pass.record({ inventory: null, revision: undefined });
    await pass.write(DONE);
    assert.deepEqual(Object.keys(server.object?.status ?? {}).sort(), ['conditions', 'observedGeneration']);
  });

  it('hands facts that it could not write to the next pass, which sees them and writes them', async () => {
    const server = new OneObject(gadget());
    server.unreachable = true;
    const first = passOver(gadget(), server);
    first.record({ inventory: ['a'] });
    await assert.rejects(first.write(DONE), /unreachable/);
    server.unreachable = false;
    const second = passOver(gadget(), server, first.unwritten);
    assert.deepEqual(second.object.status?.inventory, ['a']);
    await second.write({ state: 'failed', reason: 'X', message: 'x' });
    assert.deepEqual(server.object?.status?.inventory, ['a']);
    assert.equal(second.unwritten, undefined);
  });

  it('begins by writing what an earlier pass could not, and says nothing else of it', async () => {
    const server = new OneObject(gadget({ status: { inventory: ['old'] } }));
    const pass = passOver(gadget(), server, new Map([['inventory', ['old', 'new']]]));
    await pass.begin();
    assert.deepEqual(server.object?.status?.inventory, ['old', 'new']);
    assert.equal(pass.unwritten, undefined);
    await pass.begin();
    assert.equal(server.writes, 1, 'nothing is owed any more');
  });

  it('does not begin while what an earlier pass found out cannot be written', async () => {
    const server = new OneObject(gadget());
    server.unreachable = true;
    const pass = passOver(gadget(), server, new Map([['inventory', ['new']]]));
    await assert.rejects(pass.begin(), /unreachable/);
    assert.deepEqual(pass.unwritten?.get('inventory'), ['new']);
  });

  it('still owes a fact that was recorded while a write was under way', async () => {
    const server = new OneObject(gadget());
    const pass = passOver(gadget(), server);
    pass.record({ inventory: ['a'] });
    const writing = pass.write({ state: 'progressing' });
    await Promise.resolve();
    pass.record({ inventory: ['a', 'b'] });
    await writing;
    assert.deepEqual(server.object?.status?.inventory, ['a']);
    assert.deepEqual(pass.unwritten?.get('inventory'), ['a', 'b']);
  });

  it('writes one after the other when several are asked for at once', async () => {
    const server = new OneObject(gadget());
    const pass = passOver(gadget(), server);
    pass.record({ revision: 'r' });
    await Promise.all([
      pass.write({ state: 'progressing' }),
      pass.write({ state: 'progressing' }),
      pass.write(DONE),
    ]);
    assert.equal(server.writes, 3);
    assert.equal(server.object?.status?.observedGeneration, 1);
  });

  it('writes nothing to another object that took the name, nor to none', async () => {
    const replaced = new OneObject(gadget({ uid: 'v', version: '9' }));
    const pass = passOver(gadget(), replaced);
    pass.record({ inventory: ['a'] });
    await assert.rejects(pass.write(DONE), ObjectGone);
    assert.equal(pass.gone, true);
    assert.equal(pass.unwritten, undefined);
    assert.equal(replaced.writes, 0);
    const deleted = new OneObject(gadget());
    deleted.object = undefined;
    await assert.rejects(passOver(gadget(), deleted).write(DONE), ObjectGone);
  });

  it('gives up after a few conflicts in a row, and still owes its facts', async () => {
    const server = new OneObject(gadget({ version: '2' }));
    server.read = async () => gadget({ version: '1' });
    const pass = passOver(gadget(), server);
    pass.record({ inventory: ['a'] });
    await assert.rejects(pass.write(DONE), /modified/);
    assert.deepEqual(pass.unwritten?.get('inventory'), ['a']);
  });
});

describe('last written object', () => {
  it('stands in for an older one of the store, until the store has caught up', () => {
    const last = new LastWritten<Gadget>();
    const written = gadget({ version: '10', status: { inventory: ['new'] } });
    last.remember('a', written, gadget({ version: '9' }));
    assert.equal(last.newest('a', gadget({ version: '9' })), written);
    const later = gadget({ version: '11' });
    assert.equal(last.newest('a', later), later);
    assert.equal(last.size, 0);
  });

  it('is not kept when the watch was faster than the answer', () => {
    const last = new LastWritten<Gadget>();
    last.remember('a', gadget({ version: '10' }), gadget({ version: '10' }));
    last.remember('b', gadget({ version: '10' }), gadget({ version: '12' }));
    last.remember('c', gadget({ version: '10' }), undefined);
    assert.equal(last.size, 0);
  });

  it('gives way to another object of the name, and to none', () => {
    const last = new LastWritten<Gadget>();
    last.remember('a', gadget({ version: '10' }), gadget({ version: '9' }));
    const replaced = gadget({ uid: 'v', version: '8' });
    assert.equal(last.newest('a', replaced), replaced);
    last.remember('b', gadget({ version: '10' }), gadget({ version: '9' }));
    assert.equal(last.newest('b', undefined), undefined);
    assert.equal(last.size, 0);
  });

  it('compares resourceVersions as numbers of any length', () => {
    assert.equal(isOlder('9', '10'), true);
    assert.equal(isOlder('10', '9'), false);
    assert.equal(isOlder('10', '10'), false);
    assert.equal(isOlder('18446744073709551614', '18446744073709551615'), true);
  });
});
