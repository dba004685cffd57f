import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { toolPath } from '../../hack/tools.mjs';
import { FINALIZER } from '../../operator/api/names.ts';
import type { Condition, CustomResource, StoredObject } from '../../operator/api/objects.ts';
import {
  EVENT,
  GIT_REPOSITORY,
  KUSTOMIZATION,
  type ResourceType,
  SEALED_SECRET,
} from '../../operator/api/resources.ts';
import type { KubeClient } from '../../operator/kube/client.ts';
import { isConflict, isInvalid, isNotFound } from '../../operator/kube/errors.ts';
import { EventRecorder } from '../../operator/kube/events.ts';
import { addFinalizer, removeFinalizer } from '../../operator/kube/finalizers.ts';
import { patchStatus, putStatus } from '../../operator/kube/status.ts';
import { createCustom, MINIMAL_GIT_REPOSITORY, MINIMAL_KUSTOMIZATION } from '../support/custom-objects.ts';
import { CONFIG_MAP, useClients } from '../support/kube.ts';
import { recordingLogger } from '../support/log.ts';
import { useWorld } from '../support/world.ts';

interface Status {
  observedGeneration?: number;
  lastAppliedRevision?: string;
  lastAttemptedRevision?: string;
  conditions?: Condition[];
  inventory?: { entries: { id: string; v: string }[] };
}
type Kustomization = CustomResource<unknown, Status>;

interface EventBody {
  involvedObject: object;
  type: string;
  reason: string;
  count: number;
  source: { component: string };
  reportingComponent: string;
  firstTimestamp: string;
  lastTimestamp: string;
}

const MANAGER = 'gotk-kustomize-controller';
const { signal } = new AbortController();
const ready = (status: 'True' | 'False', lastTransitionTime: string): Condition => ({
  type: 'Ready',
  status,
  reason: 'Succeeded',
  message: 'done',
  lastTransitionTime,
});

describe('the status writer', () => {
  const world = useWorld();
  const connect = useClients();
  let client: KubeClient;
  let object: Kustomization;
  const name = () => ({ namespace: world().namespace, name: 'a' });
  const read = async () => (await client.get<Kustomization>(KUSTOMIZATION, name())) as Kustomization;
  const write = (status: Status, onto = object) =>
    patchStatus(client, { type: KUSTOMIZATION, object: onto, status, fieldManager: MANAGER, signal });

  beforeEach(async () => {
    await createCustom(world(), KUSTOMIZATION, MINIMAL_KUSTOMIZATION);
    client = connect(world().kubeconfig).client;
    object = await read();
  });

  it('writes what changed, clears what went and leaves the spec and the generation alone', async () => {
    const first = await write({
      observedGeneration: 1,
      lastAppliedRevision: 'main@sha1:1',
      lastAttemptedRevision: 'main@sha1:1',
      conditions: [ready('True', '2026-01-01T00:00:00Z')],
      inventory: { entries: [{ id: 'team_a__ConfigMap', v: 'v1' }] },
    });
    assert.ok(first);
    const second = await write({ observedGeneration: 1, lastAttemptedRevision: 'main@sha1:2' }, first);
    assert.deepEqual(second?.status, { observedGeneration: 1, lastAttemptedRevision: 'main@sha1:2' });
    const stored = await read();
    assert.deepEqual(stored.status, second?.status);
    assert.deepEqual(stored.spec, object.spec);
    assert.equal(stored.metadata.generation, 1);
    const manager = stored.metadata.managedFields?.find((entry) => entry.subresource === 'status');
    assert.equal(manager?.manager, MANAGER);
  });

  it('clears a field that another manager wrote', async () => {
    const patch = { status: { lastAppliedRevision: 'from a predecessor', observedGeneration: -1 } };
    const options = { as: 'merge', subresource: 'status', fieldManager: 'predecessor' } as const;
    object = await client.patch<Kustomization>(KUSTOMIZATION, name(), patch, options);
    await write({ observedGeneration: 1 });
    assert.deepEqual((await read()).status, { observedGeneration: 1 });
  });

  it('sends nothing when only the times of conditions differ', async () => {
    const written = await write({
      observedGeneration: 1,
      conditions: [ready('True', '2026-01-01T00:00:00Z')],
    });
    const later = { observedGeneration: 1, conditions: [ready('True', '2026-02-02T00:00:00Z')] };
    assert.equal(await write(later, written), undefined);
    assert.equal((await read()).metadata.resourceVersion, written?.metadata.resourceVersion);
  });

  it('refuses to write over a change that it has not seen', async () => {
    const annotated = { metadata: { annotations: { 'reconcile.fluxcd.io/requestedAt': 'now' } } };
    await client.patch(KUSTOMIZATION, name(), annotated, { as: 'merge' });
    await assert.rejects(write({ observedGeneration: 1 }), isConflict);
    assert.equal((await read()).status?.observedGeneration, object.status?.observedGeneration);
    await write({ observedGeneration: 1 }, await read());
    assert.equal((await read()).status?.observedGeneration, 1);
  });

  it('never brings an object back that was deleted', async () => {
    await client.delete(KUSTOMIZATION, name());
    await assert.rejects(write({ observedGeneration: 1 }), isNotFound);
    await createCustom(world(), KUSTOMIZATION, MINIMAL_KUSTOMIZATION);
    await assert.rejects(write({ observedGeneration: 1 }), isConflict);
  });

  it('puts a whole status onto what it reads, again after a conflict', async () => {
    const spec = { encryptedData: {} };
    await createCustom(world(), SEALED_SECRET, spec);
    let runs = 0;
    let interference: Promise<unknown> = Promise.resolve();
    const interfering: KubeClient['replace'] = async (type, body, o) => {
      await interference;
      return client.replace(type, body, o);
    };
    const disturbed = new Proxy(client, {
      get: (target, property) => {
        if (property === 'replace') return interfering;
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const written = await putStatus<Status>(disturbed, {
      type: SEALED_SECRET,
      name: name(),
      mutate: (current) => {
        runs += 1;
        if (runs <= 2) {
          const annotations = { run: String(runs) };
          interference = client.patch(SEALED_SECRET, name(), { metadata: { annotations } }, { as: 'merge' });
        }
        return { ...current.status, observedGeneration: 1 };
      },
      fieldManager: 'controller',
      signal,
    });
    assert.equal(runs, 3);
    assert.equal(written?.status?.observedGeneration, 1);
    assert.equal(written?.metadata.annotations?.run, '2', 'the other writer keeps what it wrote');
    const entry = written?.metadata.managedFields?.find((field) => field.subresource === 'status');
    assert.equal(`${entry?.manager} ${entry?.operation}`, 'controller Update');
  });

  it('puts nothing when there is nothing to say, or nothing to say it of', async () => {
    await createCustom(world(), SEALED_SECRET, { encryptedData: {} });
    const put = (target: string, mutate: () => Status | undefined) =>
      putStatus<Status>(client, {
        type: SEALED_SECRET,
        name: { ...name(), name: target },
        mutate,
        fieldManager: 'controller',
        signal,
      });
    assert.equal(await put('a', () => undefined), undefined);
    assert.ok(await put('a', () => ({ observedGeneration: 1 })));
    assert.equal(await put('a', () => ({ observedGeneration: 1 })), undefined);
    assert.equal(await put('none', () => ({ observedGeneration: 1 })), undefined);
  });
});

describe('finalizers', () => {
  // Before the world ends: a namespace can't end while one is left.
  afterEach(() => setByOther(null).catch(() => {}));
  const world = useWorld();
  const connect = useClients();
  let client: KubeClient;
  const name = () => ({ namespace: world().namespace, name: 'a' });
  const read = async () => (await client.get(KUSTOMIZATION, name())) as StoredObject;
  const setByOther = (finalizers: string[] | null) =>
    client.patch<StoredObject>(KUSTOMIZATION, name(), { metadata: { finalizers } }, { as: 'merge' });
  const add = (object: StoredObject) => addFinalizer(client, KUSTOMIZATION, object, FINALIZER, signal);
  const remove = (object: StoredObject) => removeFinalizer(client, KUSTOMIZATION, object, FINALIZER, signal);

  beforeEach(async () => {
    await createCustom(world(), KUSTOMIZATION, MINIMAL_KUSTOMIZATION);
    client = connect(world().kubeconfig).client;
  });

  it('are added beside those of others, once', async () => {
    await setByOther(['example.com/other']);
    const added = await add(await read());
    assert.deepEqual(added.metadata.finalizers, ['example.com/other', FINALIZER]);
    assert.equal((await add(added)).metadata.resourceVersion, added.metadata.resourceVersion);
  });

  it('never overwrite one that was added since the object was read', async () => {
    const outdated = await read();
    await setByOther(['example.com/other']);
    assert.deepEqual((await add(outdated)).metadata.finalizers, ['example.com/other', FINALIZER]);
    const withBoth = await read();
    await setByOther(['example.com/other', FINALIZER, 'example.com/third']);
    const removed = await remove(withBoth);
    assert.deepEqual(removed?.metadata.finalizers, ['example.com/other', 'example.com/third']);
  });

  it('never restore one that its owner removed since the object was read', async () => {
    const outdated = await setByOther(['example.com/other', FINALIZER]);
    await setByOther([FINALIZER]);
    const removed = await remove(outdated);
    assert.equal(removed?.metadata.finalizers?.length ?? 0, 0);
  });

  it('let a deleted object go with the last of them, and only then', async () => {
    const object = await setByOther([FINALIZER, 'example.com/other']);
    await client.delete(KUSTOMIZATION, name());
    assert.deepEqual((await remove(object))?.metadata.finalizers, ['example.com/other']);
    await setByOther(null);
    assert.equal(await client.get(KUSTOMIZATION, name()), undefined);
    assert.equal(await remove(object), undefined, 'removing from what is gone is fine');
    const asFirstRead = { ...object, metadata: { ...object.metadata, finalizers: [] } };
    await assert.rejects(add(asFirstRead), isNotFound);
  });

  it('are never touched on a namesake that took the place of the object', async () => {
    const first = await read();
    await client.delete(KUSTOMIZATION, name());
    await createCustom(world(), KUSTOMIZATION, MINIMAL_KUSTOMIZATION);
    await setByOther([FINALIZER]);
    const claimed = { ...first, metadata: { ...first.metadata, finalizers: [FINALIZER] } };
    assert.equal(await remove(claimed), undefined);
    assert.deepEqual((await read()).metadata.finalizers, [FINALIZER]);
  });

  it("aren't added to what is being deleted", async () => {
    await setByOther(['example.com/other']);
    await client.delete(KUSTOMIZATION, name());
    await assert.rejects(add(await read()), isInvalid);
  });
});

describe('events on a real API server', () => {
  const world = useWorld();
  const connect = useClients();
  let client: KubeClient;
  let logger: ReturnType<typeof recordingLogger>;
  let recorder: EventRecorder;
  const name = () => ({ namespace: world().namespace, name: 'a' });
  const eventsOf = async (object: StoredObject, namespace = world().namespace) => {
    const fieldSelector = `involvedObject.uid=${object.metadata.uid}`;
    return (await client.list<StoredObject<EventBody>>(EVENT, { namespace, fieldSelector })).items;
  };
  const create = async (type: ResourceType, spec = MINIMAL_GIT_REPOSITORY) => {
    await createCustom(world(), type, spec);
    return (await client.get(type, name())) as StoredObject;
  };

  beforeEach(() => {
    client = connect(world().kubeconfig).client;
    logger = recordingLogger();
    recorder = new EventRecorder({ client, component: 'source-controller', logger });
  });

  it('say all that kubectl and the flux CLI look for', async () => {
    const object = await create(GIT_REPOSITORY);
    const annotations = { 'source.toolkit.fluxcd.io/revision': 'main@sha1:1' };
    recorder.record({
      object,
      type: 'Normal',
      reason: 'NewArtifact',
      message: 'stored artifact',
      annotations,
    });
    await recorder.flush(signal);
    const [event] = await eventsOf(object);
    assert.ok(event, JSON.stringify(logger.lines));
    assert.deepEqual(event.involvedObject, {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      namespace: world().namespace,
      name: 'a',
      uid: object.metadata.uid,
      resourceVersion: object.metadata.resourceVersion,
    });
    assert.equal(event.type, 'Normal');
    assert.equal(event.reason, 'NewArtifact');
    assert.equal(event.source.component, 'source-controller');
    assert.equal(event.reportingComponent, 'source-controller');
    assert.equal(event.count, 1);
    assert.equal(event.firstTimestamp, event.lastTimestamp);
    assert.deepEqual(event.metadata.annotations, annotations);

    const run = promisify(execFile);
    const kubectl = await toolPath('kubectl');
    const args = ['--kubeconfig', world().kubeconfig, '-n', world().namespace, 'events', '--for'];
    const { stdout } = await run(kubectl, [...args, 'gitrepositories.source.toolkit.fluxcd.io/a']);
    assert.match(stdout, /Normal\s+NewArtifact\s+GitRepository\/a\s+stored artifact/);
  });

  it('are counted when they repeat, and stay one', async () => {
    const object = await create(GIT_REPOSITORY);
    for (let i = 0; i < 3; i += 1) {
      recorder.record({ object, type: 'Warning', reason: 'GitOperationFailed', message: 'no route to host' });
      await recorder.flush(signal);
    }
    const events = await eventsOf(object);
    assert.equal(events.length, 1);
    assert.equal(events[0]?.count, 3);
    const kubectl = await toolPath('kubectl');
    const args = ['--kubeconfig', world().kubeconfig, '-n', world().namespace, 'events'];
    const { stdout } = await promisify(execFile)(kubectl, args);
    assert.match(stdout, /\(x3 over /);
  });

  it('of cluster-scoped objects are in the namespace default', async () => {
    const namespaces = {
      group: '',
      version: 'v1',
      kind: 'Namespace',
      plural: 'namespaces',
      namespaced: false,
    };
    const object = (await client.get(namespaces, { name: world().namespace })) as StoredObject;
    recorder.record({ object, type: 'Normal', reason: 'Noted', message: 'a namespace' });
    await recorder.flush(signal);
    assert.equal((await eventsOf(object, 'default')).length, 1, JSON.stringify(logger.lines));
  });

  it('that the API server refuses are dropped and logged, and no more', async () => {
    const mayNothing = connect(world().controlPlane.kubeconfigForUser({ name: 'nobody' })).client;
    const muted = new EventRecorder({ client: mayNothing, component: 'source-controller', logger });
    const object = await create(GIT_REPOSITORY);
    muted.record({ object, type: 'Normal', reason: 'NewArtifact', message: 'stored artifact' });
    await muted.flush(signal);
    assert.match(logger.lines[0]?.message ?? '', /event NewArtifact of GitRepository\/.*\/a was dropped/);
    assert.equal((await eventsOf(object)).length, 0);
    assert.ok(await client.list(CONFIG_MAP, { limit: 1 }));
  });
});
