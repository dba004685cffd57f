import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../../operator/api/objects.ts';
import { configMap, Fleet, listing } from '../support/fleet.ts';
import { quickOrLong } from '../support/long.ts';
import { sealedSecret } from '../support/sealing.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

const KUSTOMIZATIONS = 5;
/** How long nothing may be written: at an interval of a second, as many passes over each object as seconds. */
const QUIET_MS = quickOrLong({ quick: 8_000, long: 60_000 });

describe('a quiet cluster', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  let fleet: Fleet;

  beforeEach(async () => {
    fleet = await Fleet.start(world(), directory());
  });

  afterEach(async () => {
    await fleet.stop();
  });

  /** A SealedSecret of one value, sealed with the certificate that the operator serves. */
  async function seal(name: string): Promise<JsonObject> {
    const certificate = await (await fetch(`${fleet.operator.sealedSecretsUrl}/v1/cert.pem`)).text();
    const { publicKey } = new X509Certificate(certificate);
    const metadata = { name, namespace: world().namespace };
    const { apiVersion, kind, spec } = sealedSecret({
      publicKey,
      values: { password: 'correct horse' },
      metadata,
    });
    return { apiVersion, kind, metadata, spec: { ...spec } as object as JsonObject };
  }

  /** Samples of a counter of passes, by controller. */
  async function passes(): Promise<Record<string, number>> {
    const text = await (await fetch(fleet.operator.metricsUrl)).text();
    const samples = text.matchAll(
      /^controller_runtime_reconcile_time_seconds_count\{controller="(\w+)"\} (\d+)/gm,
    );
    return Object.fromEntries(Array.from(samples, ([, name = '', count]) => [name, Number(count)]));
  }

  it('sees passes come and go at their intervals, and no object, status or event written', async function () {
    this.timeout(QUIET_MS + 60_000);
    const names = Array.from({ length: KUSTOMIZATIONS }, (_, n) => `app-${n}`);
    const revision = await fleet.push(
      Object.fromEntries(
        names.flatMap((name) => [
          [`${name}/kustomization.yaml`, listing('a.yaml')],
          [`${name}/a.yaml`, configMap(name, { from: 'git' })],
        ]),
      ),
    );
    await fleet.createSource({ interval: '1s' });
    for (const name of names) await fleet.createKustomization({ interval: '1s', path: `./${name}` }, name);
    for (const name of names) await fleet.applied(revision, name);
    await world().api.create(world().path('bitnami.com/v1alpha1', 'sealedsecrets'), await seal('login'));
    await fleet.condition(fleet.sealedSecretPath('login'), 'Synced', ({ status }) => status === 'True');
    await fleet.condition(fleet.sourcePath(), 'Ready', ({ status }) => status === 'True');

    const ours = () =>
      world().auditedWrites(
        ({ userAgent, objectRef }) =>
          userAgent?.startsWith('signet') === true && objectRef?.namespace === world().namespace,
      );
    // Events follow their passes by a moment.
    await settled(() => ours().length);
    const writesBefore = ours().length;
    assert.ok(writesBefore > KUSTOMIZATIONS, 'the writes of the first sync are counted');
    const passesBefore = await passes();
    await sleep(QUIET_MS);
    const passesAfter = await passes();
    for (const controller of ['gitrepository', 'kustomization']) {
      const made = (passesAfter[controller] ?? 0) - (passesBefore[controller] ?? 0);
      assert.ok(made >= (QUIET_MS / 1_000) * 0.5, `${controller} made ${made} passes`);
    }
    assert.deepEqual(ours().slice(writesBefore), []);
  });
});

/** Resolves when a count has stayed the same for half a second. */
async function settled(count: () => number): Promise<void> {
  for (let last = -1, same = 0; same < 10; ) {
    const now = count();
    same = now === last ? same + 1 : 0;
    last = now;
    await sleep(50);
  }
}
