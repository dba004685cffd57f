import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { toolPath } from '../../hack/tools.mjs';
import { eventually } from '../support/eventually.ts';
import { isReady, useSource } from '../support/source-scene.ts';
import { useWorld } from '../support/world.ts';

const TOOL_MS = 20 * 60_000;
const run = promisify(execFile);

describe('the flux CLI, with a GitRepository', () => {
  const world = useWorld();
  const source = useSource(world);
  let binary: string;

  before('the flux CLI', async function () {
    this.timeout(TOOL_MS);
    binary = await toolPath('flux');
  });

  /** What the CLI prints, both ways; rejects when it fails. */
  async function flux(...args: string[]): Promise<string> {
    const { kubeconfig, namespace } = world();
    const settings = [`--kubeconfig=${kubeconfig}`, `--namespace=${namespace}`, '--timeout=30s'];
    const { stdout, stderr } = await run(binary, [...args, ...settings], { env: { HOME: '/nonexistent' } });
    return `${stdout}${stderr}`;
  }

  it('gets, reconciles, suspends, resumes, exports, tells the events of and deletes it', async () => {
    const scene = source();
    const first = await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create();
    await scene.untilPublished(first);
    const listed = await flux('get', 'sources', 'git', 'app');
    const shortened = `main@sha1:${first.slice(0, 8)}`;
    assert.match(listed, /^NAME\s+REVISION\s+SUSPENDED\s+READY\s+MESSAGE/);
    assert.match(
      listed,
      new RegExp(`app\\s+${shortened}\\s+False\\s+True\\s+stored artifact for revision '${shortened}'`),
    );

    const second = await scene.push({ 'a.yaml': 'a: 2\n' });
    assert.match(
      await flux('reconcile', 'source', 'git', 'app'),
      new RegExp(`fetched revision main@sha1:${second}`),
    );

    assert.match(await flux('suspend', 'source', 'git', 'app'), /suspended/);
    assert.match(await flux('get', 'sources', 'git', 'app'), /app\s+\S+\s+True\s+True/);
    await assert.rejects(flux('reconcile', 'source', 'git', 'app'), /resource is suspended/);
    const third = await scene.push({ 'a.yaml': 'a: 3\n' });
    assert.match(
      await flux('resume', 'source', 'git', 'app'),
      new RegExp(`fetched revision main@sha1:${third}`),
    );

    const exported = parse(await flux('export', 'source', 'git', 'app'));
    assert.equal(exported.kind, 'GitRepository');
    assert.equal(exported.spec.url, scene.url);
    assert.equal(exported.status, undefined);

    const events = await eventually(
      async () => {
        const text = await flux('events', '--for', 'GitRepository/app');
        return text.includes('NewArtifact') ? text : undefined;
      },
      { what: 'the events' },
    );
    assert.match(
      events,
      /Normal\s+NewArtifact\s+GitRepository\/app\s+stored artifact for commit 'Change something'/,
    );

    assert.match(await flux('delete', 'source', 'git', 'app', '--silent'), /deleted/);
    await eventually(async () => (await scene.read()) === undefined, {
      what: 'the GitRepository to be gone',
    });
  });

  it('creates one, and waits until it is ready', async () => {
    const scene = source();
    const commit = await scene.push({ 'a.yaml': 'a: 1\n' });
    const args = [`--url=${scene.url}`, '--branch=main', '--interval=10m'];
    const printed = await flux('create', 'source', 'git', 'made', ...args);
    assert.match(printed, new RegExp(`fetched revision: main@sha1:${commit}`));
    assert.ok(isReady(await scene.until('the created one', () => true, { name: 'made' })));
  });

  it('stops waiting as soon as it is stalled, and shows why', async () => {
    const scene = source();
    await scene.push({ 'a.yaml': 'a: 1\n' });
    await scene.create({ spec: { ref: { branch: '--upload-pack=touch' } } });
    await scene.until('Stalled', (r) => r.status?.observedGeneration === 1);
    const startedAtMs = performance.now();
    await assert.rejects(flux('reconcile', 'source', 'git', 'app'), /spec\.ref\.branch/);
    assert.ok(performance.now() - startedAtMs < 25_000, 'it waited for its own timeout');
  });
});
