import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { SILENT } from '../../../operator/api/logger.ts';
import { BuildWorkers } from '../../../operator/kustomize/build-worker.ts';
import { makeArtifact, type TestArtifact } from '../../support/artifact.ts';
import { build, startBuildWorkers, TOOL_TIMEOUT_MS } from '../../support/kustomize.ts';
import { toolPath } from '../../support/tool-path.ts';

/** Billions of entries when its aliases are written out. */
const ALIAS_BOMB = `apiVersion: v1
kind: ConfigMap
metadata: {name: bomb}
a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]
${[...'bcdefghij'].map((letter, i) => `${letter}: &${letter} [${Array(10).fill(`*${'abcdefghi'[i]}`).join(', ')}]`).join('\n')}
`;
const SELF_REFERENCE = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: self}\na: &a [*a]\n';

function manyKeys(count: number): string {
  const keys = Array.from({ length: count }, (_, i) => `  key-${i}: "a value that is somewhat long, ${i}"\n`);
  return `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata:\n${keys.join('')}`;
}

/** The processes that run the worker's binary, children of this one. */
async function workerPids(): Promise<string[]> {
  const binary = await toolPath('kustomize-build-worker');
  const processes = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    processes.map(async (pid) => {
      const [command, stat] = await Promise.all([
        readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''),
        readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''),
      ]);
      const parent = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1];
      return command.startsWith(`${binary}\0`) && parent === String(process.pid) ? [pid] : [];
    }),
  );
  return found.flat();
}

describe('the build workers', () => {
  let artifact: TestArtifact;
  before(async function () {
    this.timeout(TOOL_TIMEOUT_MS);
    await toolPath('kustomize-build-worker');
    artifact = await makeArtifact({
      'good/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n',
      'bomb/bomb.yaml': ALIAS_BOMB,
      'self/self.yaml': SELF_REFERENCE,
      'slow/slow.yaml': manyKeys(5_000),
      'big/big.yaml': manyKeys(200_000),
    });
  });
  after(() => artifact[Symbol.asyncDispose]());

  async function withWorkers(
    options: { size?: number; memoryLimitMb?: number },
    use: (workers: BuildWorkers) => Promise<void>,
  ): Promise<void> {
    const workers = await startBuildWorkers(options);
    try {
      await use(workers);
    } finally {
      await workers.close();
    }
    assert.deepEqual(await workerPids(), [], 'a process was left behind');
  }

  it('serve many builds with one process', () =>
    withWorkers({ size: 1 }, async (workers) => {
      await build(workers, artifact.root, 'good');
      const before = await workerPids();
      for (let i = 0; i < 20; i += 1) await build(workers, artifact.root, 'good');
      assert.deepEqual(await workerPids(), before);
      assert.equal(before.length, 1);
    }));

  for (const path of ['bomb', 'self', 'big']) {
    it(`end a build that needs too much memory (${path}), and the next build works`, () =>
      withWorkers({ size: 1, memoryLimitMb: 128 }, async (workers) => {
        await assert.rejects(build(workers, artifact.root, path), {
          reason: 'BuildFailed',
          message: 'the build needs more than the 128 MiB of memory that it may use',
        });
        assert.equal((await build(workers, artifact.root, 'good')).objects.length, 1);
      })).timeout(60_000);
  }

  it('replace a worker whose build was aborted, and reject with the signal’s reason', () =>
    withWorkers({ size: 1 }, async (workers) => {
      await build(workers, artifact.root, 'good');
      const [before] = await workerPids();
      const abort = new AbortController();
      const reason = new Error('a newer revision');
      const building = workers.build({
        root: artifact.root,
        path: 'slow',
        overlay: {},
        signal: abort.signal,
        timeoutMs: 60_000,
      });
      setImmediate(() => abort.abort(reason));
      await assert.rejects(building, reason);
      assert.equal((await build(workers, artifact.root, 'good')).objects.length, 1);
      const [after] = await workerPids();
      assert.notEqual(after, before);
      assert.ok(!existsSync(`/proc/${before}`), 'the aborted build goes on');
    }));

  it('end a build at its timeout, and the next build works', () =>
    withWorkers({ size: 1 }, async (workers) => {
      const slow = { root: artifact.root, path: 'slow', overlay: {}, signal: new AbortController().signal };
      await assert.rejects(workers.build({ ...slow, timeoutMs: 5 }), {
        reason: 'BuildFailed',
        message: "the build didn't end within 0.005s",
      });
      assert.equal((await build(workers, artifact.root, 'good')).objects.length, 1);
    }));

  it('let a build that waits for its turn be aborted, and serve the others', () =>
    withWorkers({ size: 1 }, async (workers) => {
      const abort = new AbortController();
      const first = build(workers, artifact.root, 'slow');
      const second = workers.build({
        root: artifact.root,
        path: 'good',
        overlay: {},
        signal: abort.signal,
        timeoutMs: 60_000,
      });
      const third = build(workers, artifact.root, 'good');
      abort.abort(new Error('no longer wanted'));
      await assert.rejects(second, /no longer wanted/);
      assert.equal((await third).objects.length, 1);
      assert.equal((await first).objects.length, 1);
    })).timeout(60_000);

  it('fail the build of a worker that was killed, clearly, and the next build works', () =>
    withWorkers({ size: 1 }, async (workers) => {
      await build(workers, artifact.root, 'good');
      const building = build(workers, artifact.root, 'slow');
      const [pid] = await workerPids();
      process.kill(Number(pid), 'SIGKILL');
      await assert.rejects(building, {
        reason: 'BuildFailed',
        message: 'the build worker ended unexpectedly (SIGKILL); the build can be tried again',
      });
      assert.equal((await build(workers, artifact.root, 'good')).objects.length, 1);
    }));

  it('run no more processes than they may', () =>
    withWorkers({ size: 2 }, async (workers) => {
      await Promise.all(Array.from({ length: 10 }, () => build(workers, artifact.root, 'good')));
      assert.equal((await workerPids()).length, 2);
    }));

  it('fail the builds under way, and later ones, when they are closed', async () => {
    const workers = await startBuildWorkers({ size: 1 });
    const building = [build(workers, artifact.root, 'slow'), build(workers, artifact.root, 'slow')];
    const outcomes = Promise.allSettled(building);
    await new Promise((resolve) => setImmediate(resolve));
    await workers.close();
    assert.deepEqual(await workerPids(), []);
    for (const outcome of await outcomes) assert.equal(outcome.status, 'rejected');
    await assert.rejects(build(workers, artifact.root, 'good'), /closed/);
  });

  it('name the program that can’t be run', async () => {
    const workers = new BuildWorkers({ binary: '/nonexistent/worker', logger: SILENT });
    await assert.rejects(
      build(workers, artifact.root, 'good'),
      /can't run the build worker \/nonexistent\/worker/,
    );
    await workers.close();
  });

  it('give a worker no environment and a working directory that is no secret', () =>
    withWorkers({ size: 1 }, async (workers) => {
      await build(workers, artifact.root, 'good');
      const [pid] = await workerPids();
      assert.equal(await readFile(`/proc/${pid}/environ`, 'utf8'), '');
    }));
});
