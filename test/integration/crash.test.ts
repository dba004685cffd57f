import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SEALING_KEY_ACTIVE, SEALING_KEY_LABEL } from '../../operator/api/names.ts';
import type { JsonObject } from '../../operator/api/objects.ts';
import type { ProxiedRequest } from '../support/api-proxy.ts';
import { RECREATED } from '../support/changing-fleet.ts';
import { CrashScene, type Matcher, type Phase } from '../support/crash-scene.ts';
import { eventually } from '../support/eventually.ts';
import { quickOrLong } from '../support/long.ts';
import { type ListedProcess, runningProcesses } from '../support/process-tree.ts';
import { Random } from '../support/random.ts';
import { sealedSecret } from '../support/sealing.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

/** Written status, when the request is a status write of the kind. */
function statusWritten({ method, path, body }: ProxiedRequest, plural: string): JsonObject | undefined {
  if (method !== 'PATCH' || !path.includes(`/${plural}/`) || !path.includes('/status')) return undefined;
  return (JSON.parse(body) as { status?: JsonObject }).status;
}

const isApply: Matcher = ({ method, path }) =>
  method === 'PATCH' && path.includes('force=true') && !path.includes('dryRun');
const isRecreation: Matcher = ({ method, path }) =>
  method === 'DELETE' && path.includes(`/configmaps/${RECREATED}`);
const isDelete: Matcher = (request) => request.method === 'DELETE' && !isRecreation(request);
const isNewArtifact: Matcher = (request) => statusWritten(request, 'gitrepositories')?.artifact !== undefined;
const isInventoryOf =
  (id: string): Matcher =>
  (request) => {
    const status = statusWritten(request, 'kustomizations');
    return status?.lastAppliedRevision === undefined && JSON.stringify(status?.inventory ?? '').includes(id);
  };
const isFinalStatus: Matcher = (request) =>
  statusWritten(request, 'kustomizations')?.lastAppliedRevision !== undefined;

const BOTH = ['unsent', 'unanswered'] as const;

interface KillPoint {
  title: string;
  /** `set` is the name that the objects of the commit under way have. */
  matches: (set: string) => Matcher;
  nth?: number;
  phases: readonly Phase[];
}

const POINTS: readonly KillPoint[] = [
  { title: 'after the fetch', matches: () => isNewArtifact, phases: ['unsent', 'unanswered', 'answered'] },
  {
    title: 'at the inventory write of the first stage',
    matches: (set) => isInventoryOf(`${set}_rbac.authorization.k8s.io_ClusterRole`),
    phases: BOTH,
  },
  {
    title: 'at the inventory write of the last stage',
    matches: (set) => isInventoryOf(`_${set}__ConfigMap`),
    phases: BOTH,
  },
  { title: 'at the first apply', matches: () => isApply, phases: BOTH },
  {
    title: 'between two applies',
    matches: () => isApply,
    nth: 3,
    phases: BOTH,
  },
  { title: 'while it recreates an object', matches: () => isRecreation, phases: BOTH },
  { title: 'at the first deletion', matches: () => isDelete, phases: BOTH },
  { title: 'mid-prune', matches: () => isDelete, nth: 3, phases: BOTH },
  {
    title: 'during the status write',
    matches: () => isFinalStatus,
    phases: BOTH,
  },
];

/** Kills at random times; how long after a start the operator may live before the next. */
const LONGEST_LIFE_MS = 1_500;
const LONGEST_PAUSE_BETWEEN_COMMITS_MS = 150;
const OF_MORE_THAN_ONE_KILL = 0.4;

describe('an operator that is killed', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  let scene: CrashScene;

  beforeEach(async () => {
    scene = await CrashScene.create(world(), directory());
  });
  afterEach(() => scene.end());

  for (const point of POINTS) {
    it(`${point.title} leaves nothing behind and forgets nothing`, async () => {
      await scene.begin();
      let set = 0;
      for (const phase of point.phases) {
        for (const thenReverted of quickOrLong({ quick: [true], long: [true, false] })) {
          set += 1;
          await scene.fleet.commitSet(`set${set}`);
          await scene.announcePush();
          await scene.killAt({ ...point, phase, matches: point.matches(`set${set}`) });
          if (thenReverted) await scene.fleet.commitRevert();
          await scene.recover();
        }
      }
    });
  }

  const kills = quickOrLong({ quick: 12, long: 100 });
  it(`at ${kills} random times while commits go on leaves nothing behind and forgets nothing`, async function () {
    this.timeout(60_000 + kills * 10_000);
    const random = Random.fromEnvironment();
    console.log(`      SIGNET_TEST_SEED=${random.seed}`);
    await scene.begin();
    for (let killed = 0; killed < kills; ) {
      const commits = keepCommitting(random);
      try {
        for (let again = true; again; again = killed < kills && random.next() < OF_MORE_THAN_ONE_KILL) {
          if (!scene.running) await scene.launch();
          await sleep(random.next() * LONGEST_LIFE_MS);
          await scene.kill();
          killed += 1;
        }
      } finally {
        await commits.stop();
      }
      await scene.recover();
    }
  });

  /** Commits, and says so to the cluster, until it is stopped. */
  function keepCommitting(random: Random): { stop: () => Promise<void> } {
    let going = true;
    const done = (async () => {
      while (going) {
        await scene.fleet.commitRandom(random);
        await scene.announcePush();
        await sleep(random.next() * LONGEST_PAUSE_BETWEEN_COMMITS_MS);
      }
    })();
    // A failure is told by `stop`; until then it isn't an unhandled one.
    done.catch(() => {});
    return {
      stop: () => {
        going = false;
        return done;
      },
    };
  }

  for (const nth of [1, 3, 8]) {
    it(`at deletion ${nth} of a deleted Kustomization deletes the rest after its restart`, async () => {
      await scene.begin();
      const killed = scene.killAt({ matches: isDelete, phase: 'unanswered', nth });
      await world().api.delete(scene.path('kustomizations', 'app'));
      await killed;
      await scene.launch();
      await eventually(
        async () => {
          assert.equal(await world().api.get(scene.path('kustomizations', 'app')), undefined);
          return true;
        },
        { what: 'the Kustomization to go' },
      );
      assert.deepEqual([...(await scene.live()).keys()], []);
    });
  }

  it('after the inventory could not be written writes it before it goes on', async () => {
    await scene.begin();
    await scene.fleet.commitSet('set1');
    scene.refuse((request) => statusWritten(request, 'kustomizations') !== undefined);
    await scene.announcePush();
    await eventually(() => scene.operator.output().includes('the pass broke off'), {
      what: 'a pass whose facts are all unwritten',
    });
    await scene.killAt({ matches: isApply, phase: 'unanswered' });
    await scene.fleet.commitRevert();
    await scene.recover();
  });

  it('and whose storage is wiped meanwhile builds the artifact again and goes on from it', async () => {
    await scene.begin({ retryInterval: '1h' });
    await scene.kill();
    await rm(scene.storagePath, { recursive: true });
    await world().api.delete(world().path('v1', 'configmaps', 'set0'));
    await scene.launch();
    await eventually(
      async () => {
        await scene.assertAgreement();
        return true;
      },
      { what: 'the deleted ConfigMap to be back' },
    );
    await scene.fleet.commitSet('set1');
    await scene.announcePush();
    await scene.agreement();
  });

  it('and whose artifact is damaged meanwhile builds it again instead of applying what it finds', async () => {
    await scene.begin({ retryInterval: '1h' });
    await scene.kill();
    const files = await readdir(scene.storagePath, { recursive: true });
    const artifacts = files.filter((file) => file.endsWith('.tar.gz'));
    assert.ok(artifacts.length > 0);
    for (const file of artifacts) await writeFile(join(scene.storagePath, file), 'not an archive');
    await world().api.delete(world().path('v1', 'configmaps', 'set0'));
    await scene.launch();
    await eventually(
      async () => {
        await scene.assertAgreement();
        return true;
      },
      { what: 'the deleted ConfigMap to be back' },
    );
  });

  it('leaves no build worker behind, not even one in the middle of a build', async () => {
    await scene.begin();
    await scene.fleet.commitFiles(slowBuild());
    await scene.announcePush();
    const worker = await eventually(() => busyChild(scene.operator.pid, 'kustomize-build-worker'), {
      what: 'a worker to build',
    });
    await scene.operator.kill();
    await eventually(async () => !(await anyRuns([worker])), { what: 'the worker to end', timeoutMs: 2_000 });
  });

  it('leaves no git behind for longer than its timeout, however mute the server', async () => {
    const mute = createServer(() => {});
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = mute.address() as AddressInfo;
      await scene.launch('source');
      await world().api.create(scene.path('gitrepositories', ''), {
        apiVersion: 'source.toolkit.fluxcd.io/v1',
        kind: 'GitRepository',
        metadata: { name: 'fleet' },
        spec: { url: `http://127.0.0.1:${port}/mute.git`, interval: '1h', timeout: '2s' },
      });
      const asked = await eventually(() => childrenOf(scene.operator.pid, 'git'), { what: 'git to ask' });
      await scene.operator.kill();
      await eventually(async () => !(await anyRuns(asked)), { what: 'git to end', timeoutMs: 10_000 });
    } finally {
      mute.closeAllConnections();
      mute.close();
    }
  });
});

describe('an operator that is told to stop', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  let scene: CrashScene;

  beforeEach(async () => {
    scene = await CrashScene.create(world(), directory());
  });
  afterEach(() => scene.end());

  it('in the middle of a pass ends well, its facts written, and goes on from there', async () => {
    await scene.begin();
    await scene.fleet.commitSet('set1');
    const { operator } = scene;
    const stopped = scene.meet({ matches: isApply, phase: 'unanswered', nth: 3 }, () => {
      process.kill(operator.pid, 'SIGTERM');
    });
    await scene.announcePush();
    await stopped;
    assert.equal(await operator.exited, 0, operator.output());
    await scene.assertWrittenAhead();
    await scene.fleet.commitRevert();
    await scene.recover();
  });
});

describe('a sealed-secrets controller that is killed', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  let scene: CrashScene;

  beforeEach(async () => {
    scene = await CrashScene.create(world(), directory());
  });
  afterEach(() => scene.end());

  async function secrets(labelSelector = ''): Promise<JsonObject[]> {
    const query = `?labelSelector=${encodeURIComponent(labelSelector)}`;
    const list = await world().api.get(`${world().path('v1', 'secrets')}${query}`);
    return (list?.items ?? []) as JsonObject[];
  }

  async function certificate(): Promise<X509Certificate> {
    const pem = await eventually(
      async () => {
        const answer = await fetch(`${scene.operator.sealedSecretsUrl}/v1/cert.pem`);
        return answer.ok ? await answer.text() : undefined;
      },
      { what: 'the certificate to be served' },
    );
    return new X509Certificate(pem);
  }

  for (const phase of ['unsent', 'unanswered'] as const) {
    it(`while it writes the status (${phase}) has one Secret and one key after its restart`, async () => {
      await scene.launch('sealed-secrets');
      const { publicKey } = await certificate();
      const metadata = { name: 'db', namespace: world().namespace };
      const { apiVersion, kind, spec } = sealedSecret({
        publicKey,
        values: { password: 'hunter2' },
        metadata,
      });
      const isStatus: Matcher = ({ method, path }) =>
        method === 'PUT' && path.includes('/sealedsecrets/db/status');
      const killed = scene.killAt({ matches: isStatus, phase });
      const path = world().path('bitnami.com/v1alpha1', 'sealedsecrets');
      await world().api.create(path, { apiVersion, kind, metadata, spec: spec as object as JsonObject });
      await killed;
      const [before] = (await secrets()).filter((secret) => nameOf(secret) === 'db');
      assert.ok(before);
      await scene.launch('sealed-secrets');
      await certificate();
      await eventually(
        async () => {
          const status = (await world().api.get(`${path}/db`))?.status as JsonObject | undefined;
          const conditions = status?.conditions as JsonObject[] | undefined;
          assert.deepEqual(
            conditions?.map(({ type, status }) => `${type}=${status}`),
            ['Synced=True'],
          );
          return true;
        },
        { what: 'the SealedSecret to be in sync' },
      );
      const after = await secrets();
      assert.deepEqual(
        after.filter((secret) => nameOf(secret) === 'db'),
        [before],
      );
      assert.equal(after.length, 2, 'the Secret and the key');
    });
  }

  for (const phase of ['unsent', 'unanswered'] as const) {
    it(`while it creates its first key (${phase}) has exactly one after its restart`, async () => {
      const killed = scene.killAt({
        matches: ({ method, path }) => method === 'POST' && path.includes('/secrets'),
        phase,
      });
      await scene.launch('sealed-secrets');
      await killed;
      await scene.launch('sealed-secrets');
      await certificate();
      assert.equal((await secrets()).length, 1);
      assert.equal((await secrets(`${SEALING_KEY_LABEL}=${SEALING_KEY_ACTIVE}`)).length, 1);
    });
  }
});

function nameOf(object: JsonObject): unknown {
  return (object.metadata as JsonObject).name;
}

/** Files whose build takes far longer than the test. */
function slowBuild(): Record<string, string> {
  const names = Array.from({ length: 1_000 }, (_, n) => `slow${n}`);
  const patch = (n: number) => ({
    patch: JSON.stringify([{ op: 'add', path: `/data/p${n}`, value: 'x' }]),
    target: { kind: 'ConfigMap' },
  });
  const documents = names.map((name) =>
    JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: {} }),
  );
  return {
    'app/slow.yaml': documents.join('\n---\n'),
    'app/kustomization.yaml': JSON.stringify({
      resources: ['objects.yaml', 'slow.yaml'],
      patches: Array.from({ length: 300 }, (_, n) => patch(n)),
    }),
  };
}

/** A child of the process that runs the program and has had half a second of processor time. */
async function busyChild(parentPid: number, program: string): Promise<ListedProcess | undefined> {
  for (const child of (await childrenOf(parentPid, program)) ?? []) {
    const fields = (await readFile(`/proc/${child.pid}/stat`, 'utf8')).split(' ');
    if (Number(fields[13]) > 50) return child;
  }
  return undefined;
}

/** Its children that run the program, and theirs; `undefined` when there are none. */
async function childrenOf(parentPid: number, program: string): Promise<ListedProcess[] | undefined> {
  const running = await runningProcesses();
  const children = running.filter(
    (listed) => listed.parentPid === parentPid && listed.commandLine.includes(program),
  );
  const theirs = running.filter((listed) => children.some(({ pid }) => pid === listed.parentPid));
  return children.length === 0 ? undefined : [...children, ...theirs];
}

async function anyRuns(processes: readonly ListedProcess[]): Promise<boolean> {
  const running = await runningProcesses();
  return processes.some(({ pid, commandLine }) =>
    running.some((other) => other.pid === pid && other.commandLine === commandLine),
  );
}
