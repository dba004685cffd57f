import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import type { JsonObject, KubeObject } from '../../operator/api/objects.ts';
import { KubeClient } from '../../operator/kube/client.ts';
import { loadClusterConfig } from '../../operator/kube/config.ts';
import { Informers } from '../../operator/kube/informers.ts';
import { decrypt, encrypt } from '../../operator/sealing/hybrid.ts';
import { KeyRing, type KeyRingOptions } from '../../operator/sealing/key-ring.ts';
import { bySecretCreation } from '../../operator/sealing/key-secret.ts';
import { eventually, throughout } from '../support/eventually.ts';
import { newSealingKey, recordingLogger } from '../support/sealing.ts';
import { useWorld } from '../support/world.ts';

const LABEL = 'sealedsecrets.bitnami.com/sealed-secrets-key';
const PREFIX = 'sealed-secrets-key';
const YEAR_MS = 365 * 24 * 3_600_000;

describe('the sealing keys', function () {
  this.timeout(60_000);
  const world = useWorld();
  const started: Array<{ ring: KeyRing; informers: Informers; client: KubeClient }> = [];
  const log = recordingLogger();

  afterEach(async () => {
    for (const { ring, informers, client } of started.splice(0)) {
      await ring.stop();
      await informers.stop();
      await client.close();
    }
    log.lines.length = 0;
  });

  /** A ring with a client and informers of its own, as another replica would have. */
  const newRing = (kubeconfig = world().kubeconfig, o: Partial<KeyRingOptions> = {}): KeyRing => {
    const client = new KubeClient({ config: loadClusterConfig({ kubeconfig }) });
    const informers = new Informers({ client, logger: log.logger });
    const ring = new KeyRing({
      client,
      informers,
      namespace: world().namespace,
      keyPrefix: PREFIX,
      keySize: 2048,
      keyTtlMs: YEAR_MS,
      commonName: '',
      logger: log.logger,
      ...o,
    });
    started.push({ ring, informers, client });
    return ring;
  };
  const startRing = async (kubeconfig?: string): Promise<KeyRing> => {
    const ring = newRing(kubeconfig);
    await ring.start(AbortSignal.timeout(30_000));
    return ring;
  };
  const secrets = async (): Promise<KubeObject[]> =>
    ((await world().api.get(world().path('v1', 'secrets'))) as unknown as { items: KubeObject[] }).items;
  const path = (name: string) => world().path('v1', 'secrets', name);
  const store = async (secret: KubeObject): Promise<void> => {
    await world().api.create(world().path('v1', 'secrets'), {
      ...secret,
      metadata: { ...secret.metadata, namespace: world().namespace },
    } as unknown as JsonObject);
  };
  const fingerprints = (ring: KeyRing) =>
    ring
      .keys()
      .map(({ fingerprint }) => fingerprint)
      .sort();
  const holds = (ring: KeyRing, ...expected: string[]) =>
    eventually(
      () => {
        assert.deepEqual(fingerprints(ring), expected.sort());
        return true;
      },
      { what: 'the ring to hold just these keys' },
    );

  it('begin with exactly one when three replicas start at once', async () => {
    const rings = await Promise.all([startRing(), startRing(), startRing()]);
    const [first] = await secrets();
    assert.equal((await secrets()).length, 1);
    const certificate = rings[0]?.newest()?.certificate.pem;
    assert.ok(certificate !== undefined);
    for (const ring of rings) {
      assert.equal(ring.newest()?.certificate.pem, certificate);
      assert.equal(ring.keys().length, 1);
    }
    assert.match(first?.metadata.name ?? '', /^sealed-secrets-key[bcdfghjklmnpqrstvwxz2456789]{5}$/);
    assert.equal(first?.type, 'kubernetes.io/tls');
    assert.deepEqual(first?.metadata.labels, { [LABEL]: 'active' });
    const data = first?.data as Record<string, string>;
    assert.match(Buffer.from(data['tls.key'] ?? '', 'base64').toString(), /^-----BEGIN RSA PRIVATE KEY-----/);
    const { validFromDate, validToDate } = new X509Certificate(certificate);
    assert.equal(validToDate.getTime() - validFromDate.getTime(), YEAR_MS);
  });

  it('are loaded, not made anew, at the next start', async () => {
    const [one] = fingerprints(await startRing());
    assert.deepEqual(fingerprints(await startRing()), [one]);
    assert.equal((await secrets()).length, 1);
  });

  it('get a name in each namespace that a backup of another cannot meet', async () => {
    await startRing();
    const [here] = await secrets();
    const other = `${world().namespace}-b`;
    await world().api.create('/api/v1/namespaces', {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: other },
    });
    const client = new KubeClient({ config: loadClusterConfig({ kubeconfig: world().kubeconfig }) });
    const informers = new Informers({ client, logger: log.logger });
    const options = {
      keyPrefix: PREFIX,
      keySize: 2048,
      keyTtlMs: YEAR_MS,
      commonName: '',
      logger: log.logger,
    };
    const ring = new KeyRing({ client, informers, namespace: other, ...options });
    started.push({ ring, informers, client });
    await ring.start(AbortSignal.timeout(30_000));
    assert.notEqual(ring.newest()?.secretName, here?.metadata.name);
    await world().api.delete(`/api/v1/namespaces/${other}`);
  });

  it('are used at once when one is restored, and those who wait for it are told', async () => {
    const ring = await startRing();
    const own = fingerprints(ring);
    const restored = await newSealingKey({ name: 'restored', notBefore: new Date('2020-01-01T00:00:00Z') });
    const label = Buffer.from('a/b');
    const sealed = encrypt(restored.privateKey.publicKey, Buffer.from('v'), label);
    const open = () => decrypt({ sealed, label, keys: ring.keys().map(({ privateKey }) => privateKey) });
    assert.equal(await open(), undefined);
    const told = new Promise<void>((resolve) => ring.onChange(resolve));
    await store(restored.secret);
    await told;
    assert.equal((await open())?.plaintext.toString(), 'v');
    assert.deepEqual(fingerprints(ring), [...own, restored.fingerprint].sort());
    assert.equal(ring.newest()?.fingerprint, own[0], 'an older certificate was served');
  });

  it('are dropped when relabelled or removed, and taken up again', async () => {
    const [first, second] = await Promise.all([newSealingKey({ name: 'a' }), newSealingKey({ name: 'b' })]);
    await Promise.all([store(first.secret), store(second.secret)]);
    const ring = await startRing();
    await holds(ring, first.fingerprint, second.fingerprint);
    await world().api.mergePatch(path('a'), { metadata: { labels: { [LABEL]: 'compromised' } } });
    await holds(ring, second.fingerprint);
    await world().api.mergePatch(path('a'), { metadata: { labels: { [LABEL]: 'active' } } });
    await holds(ring, first.fingerprint, second.fingerprint);
    await world().api.delete(path('b'));
    await holds(ring, first.fingerprint);
    assert.deepEqual(
      (await secrets()).map(({ metadata }) => metadata.name),
      ['a'],
    );
  });

  it('are served by the newest certificate, whenever it comes', async () => {
    const old = await newSealingKey({ name: 'old', notBefore: new Date('2024-01-01T00:00:00Z') });
    const next = await newSealingKey({ name: 'new', notBefore: new Date('2025-01-01T00:00:00Z') });
    await store(old.secret);
    const ring = await startRing();
    assert.equal(ring.newest()?.secretName, 'old');
    await store(next.secret);
    await eventually(() => ring.newest()?.secretName === 'new', { what: 'the newer certificate' });
  });

  it('count once when they are in two Secrets', async () => {
    const key = await newSealingKey({ name: 'a' });
    await store(key.secret);
    await store({ ...key.secret, metadata: { ...key.secret.metadata, name: 'b' } });
    const ring = await startRing();
    assert.deepEqual(fingerprints(ring), [key.fingerprint]);
    await world().api.delete(path('a'));
    await throughout(() => assert.deepEqual(fingerprints(ring), [key.fingerprint]), {
      what: 'stays in force by its other Secret',
      forMs: 300,
    });
  });

  it('include the legacy one named as the prefix, whatever its label', async () => {
    const key = await newSealingKey();
    await store({ ...key.secret, metadata: { name: PREFIX, labels: { [LABEL]: 'compromised' } } });
    const ring = await startRing();
    assert.deepEqual(fingerprints(ring), [key.fingerprint]);
    assert.equal((await secrets()).length, 1);
  });

  it('leave out Secrets that hold no usable key, and say so without their content', async () => {
    const good = await newSealingKey({ name: 'good' });
    const garbage = (name: string, key: string): KubeObject => ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name, labels: { [LABEL]: 'active' } },
      type: 'Opaque',
      data: { 'tls.key': Buffer.from(key).toString('base64'), 'tls.crt': '' },
    });
    await Promise.all([store(good.secret), store(garbage('garbage', 's3cret-garbage'))]);
    const ring = await startRing();
    await store(garbage('later', 's3cret-later'));
    await eventually(() => log.lines.some((line) => line.includes('"later"')), { what: 'a log line' });
    assert.deepEqual(fingerprints(ring), [good.fingerprint]);
    assert.ok(log.lines.some((line) => /error.*"garbage".*not an unencrypted private key/.test(line)));
    assert.ok(!log.lines.some((line) => line.includes('s3cret')), 'the content of a key Secret was logged');
    await world().api.mergePatch(path('later'), { data: good.secret.data as JsonObject });
    await throughout(() => assert.equal(ring.keys().length, 1), { what: 'stays one key', forMs: 300 });
  });

  it('begin anew beside one that was set aside as compromised, also when that happened to the first', async () => {
    const ring = await startRing();
    const [first] = await secrets();
    await world().api.mergePatch(path(first?.metadata.name ?? ''), {
      metadata: { labels: { [LABEL]: 'compromised' } },
    });
    await holds(ring);
    assert.equal(ring.newest(), undefined);
    assert.equal(ring.ready(), 'no sealing key');
    const rings = await Promise.all([startRing(), startRing()]);
    assert.equal((await secrets()).length, 2);
    for (const next of rings) {
      assert.notEqual(next.newest()?.secretName, first?.metadata.name);
      assert.deepEqual(fingerprints(next), fingerprints(rings[0] as KeyRing));
    }
    await holds(ring, ...fingerprints(rings[0] as KeyRing));
  });

  it('get exactly one successor when several replicas renew at once, beside the old one', async () => {
    const rings = await Promise.all([startRing(), startRing(), startRing()]);
    const [first] = fingerprints(rings[0] as KeyRing);
    const signal = AbortSignal.timeout(30_000);
    // Certificates start on whole seconds.
    await eventually(() => Date.now() % 1_000 < 100, { what: 'a new second' });
    await Promise.all(rings.map((ring) => ring.makeNext(signal)));
    assert.equal((await secrets()).length, 2);
    const successor = rings[0]?.newest();
    assert.notEqual(successor?.fingerprint, first);
    for (const ring of rings) {
      await eventually(() => ring.newest()?.fingerprint === successor?.fingerprint, {
        what: 'the successor',
      });
      assert.equal(ring.keys().length, 2);
    }
  });

  it('are made with the labels and annotations asked for, and logged with their certificate', async () => {
    const ring = newRing(world().kubeconfig, {
      labels: { app: 'sealing', [LABEL]: 'passive' },
      annotations: { 'example.org/note': 'ours' },
    });
    await ring.start(AbortSignal.timeout(30_000));
    const [made] = await secrets();
    assert.deepEqual(made?.metadata.labels, { app: 'sealing', [LABEL]: 'active' });
    assert.deepEqual(made?.metadata.annotations, { 'example.org/note': 'ours' });
    const line = log.lines.find((text) => text.includes('sealing key created'));
    assert.match(line ?? '', /BEGIN CERTIFICATE/);
    assert.ok(!log.lines.some((text) => text.includes('PRIVATE KEY')), 'a private key was logged');
  });

  it('are waited for, not made, when a first key is forbidden', async () => {
    const ring = newRing(world().kubeconfig, { createFirstKey: false });
    await ring.start(AbortSignal.timeout(30_000));
    assert.equal(ring.ready(), 'no sealing key');
    assert.equal((await secrets()).length, 0);
    const restored = await newSealingKey({ name: 'restored' });
    await store(restored.secret);
    await holds(ring, restored.fingerprint);
    assert.equal(ring.ready(), true);
  });

  it('can be ordered by when their Secrets were made', async () => {
    const later = await newSealingKey({ name: 'later', notBefore: new Date('2024-01-01T00:00:00Z') });
    const older = await newSealingKey({ name: 'older', notBefore: new Date('2020-01-01T00:00:00Z') });
    await store(later.secret);
    const [stored] = await secrets();
    const madeAtMs = Date.parse(stored?.metadata.creationTimestamp ?? '');
    await eventually(() => Date.now() >= madeAtMs + 1_100, { what: 'another second' });
    await store(older.secret);
    const byCertificate = newRing();
    const byCreation = newRing(world().kubeconfig, { order: bySecretCreation });
    await Promise.all([byCertificate, byCreation].map((ring) => ring.start(AbortSignal.timeout(30_000))));
    assert.equal(byCertificate.newest()?.secretName, 'later');
    assert.equal(byCreation.newest()?.secretName, 'older');
  });

  it('begin with exactly one for replicas that may not read their namespace', async () => {
    const { namespace, api, controlPlane } = world();
    const user = `keys-${namespace}`;
    const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
    await api.create(`${rbac}/roles`, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { name: 'keys' },
      rules: [{ apiGroups: [''], resources: ['secrets'], verbs: ['get', 'list', 'watch', 'create'] }],
    });
    await api.create(`${rbac}/rolebindings`, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'keys' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'keys' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
    });
    const kubeconfig = await controlPlane.kubeconfigForUser({ name: user, groups: [], namespace });
    await Promise.all([startRing(kubeconfig), startRing(kubeconfig)]);
    assert.equal((await secrets()).length, 1);
  });

  it('stop starting when told to, even while there is no API server to ask', async () => {
    const ring = newRing();
    await assert.rejects(ring.start(AbortSignal.abort(new Error('shutting down'))), /shutting down/);
  });
});
