import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { toolPath } from '../../hack/tools.mjs';
import { eventually, throughout } from '../support/eventually.ts';
import { configMap, Fleet, listing } from '../support/fleet.ts';
import { useTemporaryDirectory } from '../support/temporary-directory.ts';
import { useWorld } from '../support/world.ts';

const TOOL_MS = 20 * 60_000;
const run = promisify(execFile);

describe('the flux CLI, with a Kustomization', () => {
  const world = useWorld();
  const directory = useTemporaryDirectory();
  let binary: string;
  let fleet: Fleet;

  before('the flux CLI', async function () {
    this.timeout(TOOL_MS);
    binary = await toolPath('flux');
  });

  beforeEach(async () => {
    fleet = await Fleet.start(world(), directory(), ['--controllers=source,kustomize']);
  });
  afterEach(() => fleet.stop());

  /** What the CLI prints, both ways; rejects when it fails. */
  async function flux(...args: string[]): Promise<string> {
    const { kubeconfig, namespace } = world();
    const settings = [`--kubeconfig=${kubeconfig}`, `--namespace=${namespace}`, '--timeout=30s'];
    const { stdout, stderr } = await run(binary, [...args, ...settings], { env: { HOME: '/nonexistent' } });
    return `${stdout}${stderr}`;
  }

  /** Commits and pushes another version of the one ConfigMap; tells nobody. Answers the revision. */
  async function pushSilently(version: string): Promise<string> {
    fleet.work.write({ 'app/a.yaml': configMap('a', { version }) });
    const commit = await fleet.work.commit('Change a');
    await fleet.work.push(fleet.url);
    return `main@sha1:${commit}`;
  }

  it('gets, reconciles with its source, suspends, resumes and tells the events of it', async () => {
    const first = await fleet.push({
      'app/kustomization.yaml': listing('a.yaml'),
      'app/a.yaml': configMap('a', { version: '1' }),
    });
    await fleet.createSource();
    await fleet.createKustomization();
    await fleet.applied(first);
    const shortened = first.slice(0, 'main@sha1:'.length + 8);
    assert.match(
      await flux('get', 'kustomizations'),
      new RegExp(`app\\s+${shortened}\\s+False\\s+True\\s+Applied revision: ${shortened}`),
    );

    const second = await pushSilently('2');
    const reconciled = await flux('reconcile', 'kustomization', 'app', '--with-source');
    assert.match(reconciled, new RegExp(`fetched revision ${second}`));
    assert.match(reconciled, new RegExp(`applied revision ${second}`));
    assert.deepEqual(await fleet.configMapData('a'), { version: '2' });

    assert.match(await flux('suspend', 'kustomization', 'app'), /suspended/);
    assert.match(await flux('get', 'kustomizations', 'app'), /app\s+\S+\s+True\s+True/);
    await assert.rejects(flux('reconcile', 'kustomization', 'app'), /resource is suspended/);
    const third = await pushSilently('3');
    await flux('reconcile', 'source', 'git', 'fleet');
    await throughout(async () => (await fleet.configMapData('a'))?.version === '2', {
      what: 'the suspended one is left alone',
      forMs: 300,
    });
    assert.match(await flux('resume', 'kustomization', 'app'), /applied revision/i);
    await fleet.applied(third);
    assert.deepEqual(await fleet.configMapData('a'), { version: '3' });

    const events = await eventually(
      async () => {
        const text = await flux('events', '--for', 'Kustomization/app');
        return text.includes('ReconciliationSucceeded') ? text : undefined;
      },
      { what: 'the events' },
    );
    assert.match(events, /Normal\s+Progressing\s+Kustomization\/app\s+ConfigMap\/\S+\/a created/);
    assert.match(events, /Normal\s+NewArtifact\s+GitRepository\/fleet/, 'those of its source too');
    assert.match(
      await flux('tree', 'kustomization', 'app'),
      /Kustomization\/\S+\/app\n└── ConfigMap\/\S+\/a/,
    );
  });

  it('stops waiting as soon as it is stalled, and shows why', async () => {
    const first = await fleet.push({ 'app/kustomization.yaml': listing() });
    await fleet.createSource();
    await fleet.createKustomization();
    await fleet.applied(first);
    await world().api.mergePatch(fleet.kustomizationPath(), {
      spec: { postBuild: { substitute: { a: 'b' } } },
    });
    await assert.rejects(flux('reconcile', 'kustomization', 'app'), (error: { stderr: string }) => {
      assert.match(error.stderr, /spec\.postBuild isn't supported/);
      assert.doesNotMatch(error.stderr, /timeout|deadline/);
      return true;
    });
  });
});
