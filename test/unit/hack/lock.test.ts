import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { withLock } from '../../../hack/toolchain/lock.mjs';
import { eventually } from '../../support/eventually.ts';
import { useTemporaryDirectory } from '../../support/temporary-directory.ts';

describe('a lock between processes', () => {
  const directory = useTemporaryDirectory();
  const path = () => join(directory(), 'lock');

  it('lets one in at a time, and is gone afterwards', async () => {
    let inside = 0;
    let most = 0;
    const work = async () => {
      inside += 1;
      most = Math.max(most, inside);
      await new Promise((resolve) => setImmediate(resolve));
      inside -= 1;
    };
    await Promise.all([1, 2, 3].map(() => withLock(path(), work)));
    assert.equal(most, 1);
    assert.deepEqual(readdirSync(directory()), []);
  });

  it('is given back when the work fails', async () => {
    await assert.rejects(
      withLock(path(), async () => {
        throw new Error('no luck');
      }),
      /no luck/,
    );
    assert.equal(existsSync(path()), false);
  });

  it('waits for a living process and says which', async () => {
    const { child, held } = await holdInAnotherProcess();
    assert.ok(held);
    const waitedFor: number[] = [];
    const entered = withLock(path(), async () => 'entered', { onWait: (owner) => waitedFor.push(owner.pid) });
    await eventually(() => waitedFor.length > 0, { what: 'the wait to be told' });
    assert.deepEqual(waitedFor, [child.pid]);
    child.stdin?.end();
    assert.equal(await entered, 'entered');
  });

  it('is taken over from a process that was killed', async () => {
    const { child, held } = await holdInAnotherProcess();
    assert.ok(held);
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.ok(existsSync(path()), 'the killed process left its lock');
    const waitedFor: number[] = [];
    await withLock(path(), async () => undefined, { onWait: (owner) => waitedFor.push(owner.pid) });
    assert.deepEqual(waitedFor, []);
  });

  it('is taken over when its process id belongs to another process by now', async () => {
    writeFileSync(path(), JSON.stringify({ pid: process.pid, host: hostname(), started: '1' }));
    await withLock(path(), async () => undefined);
    assert.equal(existsSync(path()), false);
  });

  it('stops waiting when it is aborted', async () => {
    const { child } = await holdInAnotherProcess();
    const abort = new AbortController();
    const waiting = withLock(path(), async () => undefined, {
      onWait: () => abort.abort(),
      signal: abort.signal,
    });
    await assert.rejects(waiting, { name: 'AbortError' });
    child.kill('SIGKILL');
  });

  async function holdInAnotherProcess() {
    const module = new URL('../../../hack/toolchain/lock.mjs', import.meta.url).href;
    const program = `
      import { withLock } from ${JSON.stringify(module)};
      await withLock(${JSON.stringify(path())}, async () => {
        process.stdout.write('held');
        process.stdin.resume();
        await new Promise((resolve) => process.stdin.once('end', resolve));
      });`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [output] = await once(child.stdout, 'data');
    return { child, held: String(output) === 'held' };
  }
});
