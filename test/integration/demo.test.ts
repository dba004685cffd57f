import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { guard } from '../../hack/cluster/guard.ts';
import { story } from '../../hack/demo/story.ts';
import { ensureTools } from '../../hack/tools.mjs';
import { eventually } from '../support/eventually.ts';
import { ProcessTree } from '../support/process-tree.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';

const ENTRY = fileURLToPath(new URL('../../hack/demo/main.ts', import.meta.url));
const WHOLE_STORY_MS = 180_000;
const TOOLS_MS = 20 * 60_000;

/** A run of the demo, as a person would start it, with a folder of its own for temporary files. */
class Demo {
  stdout = '';
  stderr = '';
  readonly tree: ProcessTree;
  readonly exitCode: Promise<number | null>;
  readonly #child: ChildProcess;

  constructor(directory: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
    this.#child = spawn(process.execPath, [ENTRY, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: directory, ...environment },
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    const pid = this.#child.pid ?? 0;
    guard.watch(pid);
    this.tree = new ProcessTree(pid);
    this.exitCode = once(this.#child, 'close').then(async ([code]) => {
      guard.release(pid);
      await this.tree.stop();
      return code as number | null;
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves when it has printed this; rejects with what it printed when it ends instead. */
  async printed(text: string): Promise<void> {
    const what = `"${text}" to be printed`;
    await eventually(() => this.stdout.includes(text) || this.#child.exitCode !== null, {
      what,
      timeoutMs: WHOLE_STORY_MS,
    });
    assert.ok(this.stdout.includes(text), `${what}, but the demo ended:\n${this.stdout}${this.stderr}`);
  }

  /** The line that says how long a step took; undefined when it isn't printed. */
  lineOf(step: { title: string }): string | undefined {
    return this.stdout.split('\n').find((line) => line.includes(step.title));
  }
}

describe('npm run demo', function () {
  this.timeout(WHOLE_STORY_MS);
  const directory = useTemporaryDirectory();
  let demo: Demo | undefined;

  before('build the tools', async function () {
    this.timeout(TOOLS_MS);
    await ensureTools('demo');
  });

  afterEach(async () => {
    demo?.kill('SIGKILL');
    await demo?.exitCode;
    demo = undefined;
  });

  /** Folder and processes: the guard of a killed demo takes another moment for them. */
  async function leavesNothingBehind({ tree }: Demo): Promise<void> {
    const probe = async () => {
      assert.deepEqual(await tree.survivors(), []);
      assert.deepEqual(readdirSync(directory()), []);
      return true;
    };
    await eventually(probe, { what: 'everything that the demo started and made to be gone' });
  }

  it('tells every step with its time, ends with 0 and leaves nothing behind', async () => {
    demo = new Demo(directory(), ['--once']);
    assert.equal(await demo.exitCode, 0, demo.stdout + demo.stderr);
    for (const step of story) assert.match(demo.lineOf(step) ?? '', /\s\d+(\.\d+ s| ms)$/, step.name);
    for (const line of demo.stdout.split('\n')) assert.ok(line.length <= 100, `too wide: ${line}`);
    assert.ok(!demo.stdout.includes('\x1b'), 'plain text where there is no terminal');
    for (const program of ['etcd', 'kube-apiserver', 'kube-controller-manager', 'operator/main.ts']) {
      assert.ok(
        demo.tree.started.some(({ commandLine }) => commandLine.includes(program)),
        `${program} was seen running`,
      );
    }
    await leavesNothingBehind(demo);
  });

  it('fails naming the step that does not come true', async () => {
    demo = new Demo(directory(), ['--once'], { SIGNET_DEMO_SABOTAGE: 'scale' });
    assert.equal(await demo.exitCode, 1, demo.stdout + demo.stderr);
    assert.match(demo.stderr, /Failed: step scale .*Deployment production\/web to be undone: not within/);
    const told = story.filter((step) => demo?.lineOf(step) !== undefined).map(({ name }) => name);
    assert.deepEqual(told, ['first-sync', 'unseal', 'image-bump', 'edit']);
    await leavesNothingBehind(demo);
  });

  it('fails with the end of the log when the operator dies', async () => {
    demo = new Demo(directory(), []);
    await demo.printed('Look around');
    const operator = demo.tree.started.find(({ commandLine }) => commandLine.includes('operator/main.ts'));
    assert.ok(operator !== undefined);
    process.kill(operator.pid, 'SIGKILL');
    assert.equal(await demo.exitCode, 1, demo.stdout + demo.stderr);
    assert.match(demo.stderr, /the operator ended with SIGKILL; the end of its log:\n\{.*"msg":/);
    await leavesNothingBehind(demo);
  });

  it('stays up until Ctrl-C, which leaves nothing behind', async () => {
    demo = new Demo(directory(), []);
    await demo.printed('tail -f');
    assert.match(demo.stdout, /export KUBECONFIG=\S+\n +alias kubectl=\S+\n/);
    demo.kill('SIGINT');
    assert.equal(await demo.exitCode, 0, demo.stdout + demo.stderr);
    await leavesNothingBehind(demo);
  });

  it('leaves nothing behind when it is interrupted while things start', async () => {
    demo = new Demo(directory(), ['--once']);
    await eventually(() => demo?.tree.started.some(({ commandLine }) => commandLine.includes('etcd')), {
      what: 'etcd to run',
    });
    demo.kill('SIGINT');
    assert.equal(await demo.exitCode, 130, demo.stdout + demo.stderr);
    await leavesNothingBehind(demo);
  });

  it('leaves nothing behind when it is killed', async () => {
    demo = new Demo(directory(), []);
    await demo.printed('Look around');
    demo.kill('SIGKILL');
    await demo.exitCode;
    await leavesNothingBehind(demo);
  });

  it('refuses unknown arguments', async () => {
    demo = new Demo(directory(), ['--twice']);
    assert.equal(await demo.exitCode, 2);
    assert.match(demo.stderr, /--twice[\s\S]*usage: npm run demo/);
    assert.equal(demo.stdout, '');
  });
});
