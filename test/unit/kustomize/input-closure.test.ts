import assert from 'node:assert/strict';
import {
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { BuildResult, BuildWorkers, OverlaySpec } from '../../../operator/kustomize/build-worker.ts';
import { closureUnchanged } from '../../../operator/kustomize/input-closure.ts';
import { build, startBuildWorkers, TOOL_TIMEOUT_MS } from '../../support/kustomize.ts';

const FEATURES = join(import.meta.dirname, '../../fixtures/kustomize/features');
const CONFIG_MAP = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: added}\n';

interface Scenario {
  path: string;
  overlay: OverlaySpec;
}

/** Paths that between them have every kind of input, and files that are no input. */
const SCENARIOS: Scenario[] = [
  { path: 'overlays/production', overlay: { targetNamespace: 'shop' } },
  { path: 'overlays/schema', overlay: {} },
  { path: 'scanned', overlay: {} },
  {
    path: 'scanned/deep',
    overlay: {
      components: ['../../components/monitoring', '../../components/later'],
      ignoreMissingComponents: true,
    },
  },
];

describe('the input closure', () => {
  let workers: BuildWorkers;
  let root: string;
  before(async function () {
    this.timeout(TOOL_TIMEOUT_MS);
    workers = await startBuildWorkers();
  });
  after(() => workers.close());

  beforeEach(async () => {
    root = await realpath(await mkdtemp(join(tmpdir(), 'signet-closure-')));
    await cp(FEATURES, root, { recursive: true });
    for (const [path, content] of Object.entries({
      'scanned/one.yaml': CONFIG_MAP.replace('added', 'one'),
      'scanned/README.md': 'nothing to see',
      'scanned/deep/two.yml': CONFIG_MAP.replace('added', 'two'),
      'scanned/deep/notes.txt': 'nothing',
      'scanned/own/kustomization.yaml': 'resources: [three.yaml]\n',
      'scanned/own/three.yaml': CONFIG_MAP.replace('added', 'three'),
      'scanned/own/unlisted.yaml': 'not: listed\n',
      'unrelated/four.yaml': CONFIG_MAP,
    })) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), content);
    }
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  /** What a build gives that a cluster would notice: its objects, or its failure. */
  const outcome = ({ path, overlay }: Scenario): Promise<unknown> =>
    build(workers, root, path, overlay).then(
      ({ objects }) => objects,
      (error: Error) => error.message,
    );
  const closures = (): Promise<BuildResult[]> =>
    Promise.all(SCENARIOS.map(({ path, overlay }) => build(workers, root, path, overlay)));

  it('is unchanged in a copy of the artifact', async () => {
    for (const { inputs } of await closures()) {
      assert.equal(await closureUnchanged(inputs, root), true);
      assert.ok(Object.keys(inputs.files).length > 0 && Object.keys(inputs.directories).length > 0);
    }
  });

  it('leaves out what the build didn’t look at', async () => {
    const results = await closures();
    for (const path of ['unrelated/four.yaml', 'scanned/README.md', 'scanned/own/unlisted.yaml']) {
      await writeFile(join(root, path), 'changed: true\n');
    }
    await rm(join(root, 'unrelated'), { recursive: true });
    for (const { inputs } of results) assert.equal(await closureUnchanged(inputs, root), true);
  });

  async function changed({ inputs }: BuildResult, what: string): Promise<void> {
    assert.equal(await closureUnchanged(inputs, root), false, what);
  }

  it('changes with each file read', async () => {
    for (const result of await closures()) {
      for (const [path, digest] of Object.entries(result.inputs.files)) {
        const file = join(root, path);
        const content = await readFile(file);
        if (digest !== '') {
          await writeFile(file, Buffer.concat([content, Buffer.from('#')]));
          await changed(result, `${path} was written to`);
        }
        await rename(file, `${file}.renamed`);
        await changed(result, `${path} was renamed`);
        await symlink(`${file}.renamed`, file);
        await changed(result, `${path} became a symbolic link`);
        await rm(file);
        await mkdir(file);
        await changed(result, `${path} became a directory`);
        await rm(file, { recursive: true });
        await rm(`${file}.renamed`);
        await writeFile(file, content);
        assert.equal(await closureUnchanged(result.inputs, root), true, `${path} is back`);
      }
    }
  });

  it('changes with each directory listed or gone into', async () => {
    for (const result of await closures()) {
      for (const [path, digest] of Object.entries(result.inputs.directories)) {
        const directory = join(root, path);
        if (digest !== '') {
          await writeFile(join(directory, 'added.yaml'), CONFIG_MAP);
          await changed(result, `a file was added to ${path}`);
          await rm(join(directory, 'added.yaml'));
        }
        await rename(directory, `${directory}.renamed`);
        await changed(result, `${path} was renamed`);
        await symlink(`${directory}.renamed`, directory);
        await changed(result, `${path} became a symbolic link`);
        await rm(directory);
        await rename(`${directory}.renamed`, directory);
      }
    }
  });

  it('changes with each name looked for in vain', async () => {
    for (const result of await closures()) {
      assert.ok(result.inputs.absent.length > 0);
      for (const path of result.inputs.absent) {
        const file = join(root, path);
        const made = await mkdir(dirname(file), { recursive: true });
        await writeFile(file, '');
        await changed(result, `${path} appeared`);
        await rm(made ?? file, { recursive: true });
      }
      assert.equal(await closureUnchanged(result.inputs, root), true);
    }
  });

  /** Makes each change to an artifact that a commit could, says what, and takes it back when the caller goes on. */
  async function* mutations(): AsyncGenerator<string> {
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isDirectory()) yield* additions(path);
      const saved = `${root}.saved`;
      await cp(path, saved, { recursive: true });
      if (entry.isFile()) {
        await writeFile(path, CONFIG_MAP);
        yield `${path} was overwritten`;
      }
      await rm(path, { recursive: true });
      yield `${path} was removed`;
      await cp(saved, `${path}.renamed.yaml`, { recursive: true });
      yield `${path} was renamed`;
      await rm(`${path}.renamed.yaml`, { recursive: true });
      if (entry.isFile()) await mkdir(path);
      else await writeFile(path, CONFIG_MAP);
      yield `${path} became another type`;
      await rm(path, { recursive: true });
      await rename(saved, path);
    }
  }

  async function* additions(directory: string): AsyncGenerator<string> {
    const present = await readdir(directory);
    for (const name of [
      'kustomization.yaml',
      'kustomization.yml',
      'Kustomization',
      'new.yaml',
      'new.txt',
      'x/new.yml',
    ]) {
      if (present.includes(name)) continue;
      const path = join(directory, name);
      const made = (await mkdir(dirname(path), { recursive: true })) ?? path;
      await writeFile(path, name.includes('new') ? CONFIG_MAP : 'namePrefix: new-\n');
      yield `${path} was added`;
      await rm(made, { recursive: true });
    }
  }

  it('never says unchanged when a build would give something else', async function () {
    this.timeout(5 * 60_000);
    const results = await closures();
    const before = await Promise.all(SCENARIOS.map(outcome));
    const counts = { unchanged: 0, changed: 0 };
    for await (const what of mutations()) {
      for (const [i, scenario] of SCENARIOS.entries()) {
        const inputs = results[i]?.inputs;
        assert.ok(inputs);
        const unchanged = await closureUnchanged(inputs, root);
        counts[unchanged ? 'unchanged' : 'changed'] += 1;
        if (unchanged) assert.deepEqual(await outcome(scenario), before[i], `${what}: ${scenario.path}`);
      }
    }
    assert.ok(counts.unchanged > 100 && counts.changed > 100, JSON.stringify(counts));
    assert.deepEqual(await Promise.all(SCENARIOS.map(outcome)), before, 'a change was not taken back');
  });

  it('is the same for the same build', async () => {
    assert.deepEqual(
      (await closures()).map(({ inputs }) => inputs),
      (await closures()).map(({ inputs }) => inputs),
    );
  });

  it('counts what can’t be read as changed', async () => {
    const [result] = await closures();
    assert.ok(result);
    assert.equal(await closureUnchanged(result.inputs, join(root, 'elsewhere')), false);
  });
});
