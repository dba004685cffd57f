import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { findFreePort } from '../../hack/cluster/ports.ts';
import { eventually } from '../support/eventually.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

const projectRoot = new URL('../../', import.meta.url).pathname;

describe('npm start', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`runs the operator against a cluster, and hands it ${signal} and back its exit code`, async () => {
      const health = `127.0.0.1:${await findFreePort()}`;
      const flags = [
        ...['--kubeconfig', world().kubeconfig, '--namespace', world().namespace],
        ...['--storage-path', join(directory(), 'storage'), '--health-addr', health],
        ...['--metrics-addr', await freeAddress(), '--storage-addr', await freeAddress()],
        ...['--sealed-secrets-addr', await freeAddress()],
      ];
      const npm = start(flags);
      const ended = once(npm.process, 'close');
      const ready = eventually(async () => (await fetch(`http://${health}/readyz`)).ok, {
        what: 'the operator to be ready',
      });
      await Promise.race([ready, ended]);
      assert.equal(npm.process.exitCode, null, npm.output());
      npm.process.kill(signal);
      const [code] = await ended;
      assert.equal(code, 0, npm.output());
      await assert.rejects(fetch(`http://${health}/healthz`), 'the operator is gone when npm is');
    });
  }

  it('hands back the exit code of an operator that refuses to start, and its one line', async () => {
    const npm = start(['--no-such-flag']);
    const [code] = await once(npm.process, 'close');
    assert.equal(code, 1);
    assert.match(npm.output(), /^signet: unknown flag --no-such-flag/m);
  });

  async function freeAddress(): Promise<string> {
    return `127.0.0.1:${await findFreePort()}`;
  }

  function start(flags: string[]): { process: ChildProcess; output: () => string } {
    const child = spawn('npm', ['start', '--silent', '--', ...flags], {
      cwd: projectRoot,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk) => {
        output += chunk;
      });
    }
    return { process: child, output: () => output };
  }
});
