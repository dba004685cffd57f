import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ensureBinaries, findInstalled, namesVersion } from '../../../hack/toolchain/build.mjs';
import { findShortages, inspectMachine } from '../../../hack/toolchain/go.mjs';
import { cacheDirectory, readPin } from '../../../hack/toolchain/pin.mjs';
import { groups, type Recipe, recipeOf, recipes } from '../../../hack/toolchain/recipes.mjs';
import { useTemporaryDirectory } from '../../support/temporary-directory.ts';

describe('the catalogue of tools', () => {
  it('has a readable pin with a version for each tool, and a recipe for each binary of each group', () => {
    for (const recipe of recipes) assert.match(readPin(recipe).version, /^\d+\.\d+\.\d+$/, recipe.tool);
    for (const binary of Object.values(groups).flat()) assert.ok(recipeOf(binary).packages[binary]);
  });

  it('names the tools there are when it is asked for another', () => {
    assert.throws(() => recipeOf('kubctl'), /no tool is called "kubctl"; there are etcd, .*kubectl/);
  });
});

describe('the cache of tools', () => {
  const directory = useTemporaryDirectory();

  it('lies where the environment says, ours before XDG before the home folder', () => {
    assert.equal(cacheDirectory({ HOME: '/home/jane' }), '/home/jane/.cache/signet/tools');
    assert.equal(cacheDirectory({ HOME: '/home/jane', XDG_CACHE_HOME: '/cache' }), '/cache/signet/tools');
    assert.equal(cacheDirectory({ XDG_CACHE_HOME: '/cache', SIGNET_CACHE_DIR: '/ours' }), '/ours/tools');
  });

  it('has another key when the version, a checksum, a linker flag or a source of ours changes', () => {
    const recipe = tinyRecipe();
    const digests = [readPin(recipe).digest];
    appendFileSync(join(recipe.directory, 'go.sum'), 'example.org/dependency v1.0.0 h1:abc=\n');
    digests.push(readPin(recipe).digest);
    writeTinyModule('1.2.4');
    digests.push(readPin(recipe).digest);
    digests.push(readPin({ ...recipe, linkerVariables: () => ['main.a=b'] }).digest);
    const ours = { ...recipe, digestSources: true };
    digests.push(readPin(ours).digest);
    appendFileSync(join(recipe.directory, 'main.go'), '// changed\n');
    digests.push(readPin(ours).digest);
    assert.equal(new Set(digests).size, digests.length);
  });

  it('has the same key again when nothing changed', () => {
    assert.deepEqual(readPin(tinyRecipe()), readPin(tinyRecipe()));
  });

  it('is filled by a build that says what it builds and how long it took, and is silent from then on', async () => {
    const lines: string[] = [];
    const context = buildContext((line) => lines.push(line));
    const built = await ensureBinaries(['tiny'], context);
    assert.equal(execFileSync(built.tiny ?? '', { encoding: 'utf8' }), 'tiny 1.2.3');
    assert.equal(lines[0], 'building tiny 1.2.3 (tiny)');
    assert.match(lines[1] ?? '', /^built tiny 1\.2\.3 in \d+\.\d s$/);
    lines.length = 0;
    assert.deepEqual(await ensureBinaries(['tiny'], context), built);
    assert.deepEqual(lines, []);
  });

  it('is filled once by two processes at a time, and nothing half-built stays', async () => {
    tinyRecipe();
    const program = `
      import { ensureBinaries } from ${JSON.stringify(new URL('../../../hack/toolchain/build.mjs', import.meta.url).href)};
      const recipe = { ...${JSON.stringify(tinyRecipe())}, linkerVariables: (version) => ['main.version=' + version] };
      await ensureBinaries(['tiny'], {
        environment: process.env, log: (line) => console.log(line), findRecipe: () => recipe });`;
    const outputs = await Promise.all(
      [1, 2].map(async () => {
        const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
          env: { ...process.env, SIGNET_CACHE_DIR: cache() },
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        let output = '';
        child.stdout.setEncoding('utf8').on('data', (chunk) => {
          output += chunk;
        });
        const [code] = await once(child, 'close');
        assert.equal(code, 0);
        return output;
      }),
    );
    assert.equal(outputs.join('').match(/^built tiny/gm)?.length, 1);
    const folder = join(cache(), 'tools', 'tiny');
    assert.equal(readdirSync(folder).length, 1);
    assert.deepEqual(readdirSync(join(folder, readdirSync(folder)[0] ?? '')), ['tiny']);
  });

  it('keeps nothing of a build that failed, and gives the reason', async () => {
    const context = buildContext();
    writeFileSync(
      join(directory(), 'module', 'main.go'),
      'package main\n\nfunc main() { undefinedFunction() }\n',
    );
    await assert.rejects(
      ensureBinaries(['tiny'], context),
      /tiny 1\.2\.3 couldn't be built: .*undefined: undefinedFunction/s,
    );
    assert.deepEqual(readdirSync(join(cache(), 'tools', 'tiny')), []);
  });

  it('removes what a killed build left', async () => {
    const leftover = join(cache(), 'tools', 'tiny', '.build-dead', 'out');
    mkdirSync(leftover, { recursive: true });
    await ensureBinaries(['tiny'], buildContext());
    assert.ok(readdirSync(join(cache(), 'tools', 'tiny')).every((name) => !name.startsWith('.build-')));
  });

  const cache = () => join(directory(), 'cache');

  function buildContext(log: (line: string) => void = () => undefined) {
    const recipe = tinyRecipe();
    return { environment: { ...process.env, SIGNET_CACHE_DIR: cache() }, log, findRecipe: () => recipe };
  }

  function tinyRecipe(): Recipe {
    writeTinyModule('1.2.3');
    return {
      tool: 'tiny',
      directory: join(directory(), 'module'),
      module: 'example.org/tiny',
      packages: { tiny: '.' },
      linkerVariables: (version) => [`main.version=${version}`],
      diskMb: 1,
      memoryMb: 1,
    };
  }

  function writeTinyModule(version: string) {
    const module = join(directory(), 'module');
    write(
      join(module, 'go.mod'),
      `module example.org/build\n\ngo 1.24\n\nrequire example.org/tiny v${version}\n`,
    );
    write(
      join(module, 'main.go'),
      'package main\n\nvar version string\n\nfunc main() { say("tiny " + version) }\n',
    );
    write(
      join(module, 'print.go'),
      'package main\n\nimport "os"\n\nfunc say(s string) { os.Stdout.WriteString(s) }\n',
    );
  }
});

describe('an installed tool', () => {
  const directory = useTemporaryDirectory();
  const recipe: Recipe = { ...recipeOf('kustomize'), versionArguments: { kustomize: ['version'] } };

  it('is used when it is of exactly the pinned version', async () => {
    install('old', 'v5.8.1');
    const right = install('right', 'v5.8.2');
    assert.equal(await find('5.8.2'), right);
  });

  it('is passed over when it is older, newer, a pre-release, or fails', async () => {
    install('older', 'v5.8.1');
    install('newer', 'v5.8.20');
    install('preview', 'v5.8.2-rc.1');
    write(join(directory(), 'broken', 'kustomize'), '#!/bin/sh\necho v5.8.2\nexit 1\n', 0o755);
    assert.equal(await find('5.8.2'), undefined);
  });

  it('is looked for in KUBEBUILDER_ASSETS first', async () => {
    install('on-path', 'v5.8.2');
    const asset = install('assets', 'v5.8.2');
    assert.equal(await find('5.8.2', { KUBEBUILDER_ASSETS: dirname(asset) }), asset);
  });

  it('is recognised by the words that the real tools print', () => {
    assert.ok(namesVersion('Kubernetes v1.36.3\n', '1.36.3'));
    assert.ok(namesVersion('etcd Version: 3.7.3\nGit SHA: Not provided\nGo Version: go1.26.8\n', '3.7.3'));
    assert.ok(namesVersion('{"clientVersion":{"gitVersion":"v1.36.3"}}', '1.36.3'));
    assert.equal(namesVersion('Go Version: go1.26.8', '1.26.8'), false);
    assert.equal(namesVersion('v1.32.4-dispatcher', '1.32.4'), false);
  });

  function install(folder: string, version: string): string {
    return write(join(directory(), folder, 'kustomize'), `#!/bin/sh\necho ${version}\n`, 0o755);
  }

  function find(version: string, environment: NodeJS.ProcessEnv = {}): Promise<string | undefined> {
    const folders = readdirSync(directory()).map((name) => join(directory(), name));
    return findInstalled({
      binary: 'kustomize',
      recipe,
      version,
      environment: { PATH: [...folders, '/usr/bin', '/bin'].join(':'), ...environment },
    });
  }
});

describe('the check before a build', () => {
  const directory = useTemporaryDirectory();
  const need = {
    goVersion: '1.26.8',
    goVersionAskedBy: 'hack/tools/kubeseal/go.mod',
    diskMb: 4000,
    memoryMb: 2000,
  };
  const machine = {
    goVersion: '1.26.8',
    goToolchain: 'local',
    disks: [{ path: '/cache', freeMb: 5000 }],
    freeMemoryMb: 3000,
  };

  it('finds nothing wrong with a machine that has what is needed', () => {
    assert.deepEqual(findShortages(need, machine), []);
    assert.deepEqual(findShortages(need, { ...machine, goVersion: '1.27' }), []);
  });

  it('names Go, and what it is for, when there is none', async () => {
    const environment = { PATH: directory() };
    await assert.rejects(
      inspectMachine({ environment, directories: [] }),
      /^Error: Go is missing: .*install Go/,
    );
  });

  it('names both versions and the file that asks when Go is too old and may not fetch a newer one', () => {
    const [shortage, ...others] = findShortages(need, { ...machine, goVersion: '1.25.3' });
    assert.deepEqual(others, []);
    assert.match(
      shortage ?? '',
      /^Go 1\.26\.8 or newer is needed \(hack\/tools\/kubeseal\/go\.mod\).*1\.25\.3/,
    );
    assert.match(shortage ?? '', /GOTOOLCHAIN=auto/);
  });

  it('lets an older Go fetch the toolchain where GOTOOLCHAIN allows it, but not one from before there were toolchains', () => {
    assert.deepEqual(findShortages(need, { ...machine, goVersion: '1.25.3', goToolchain: 'auto' }), []);
    assert.equal(findShortages(need, { ...machine, goVersion: '1.20.1', goToolchain: 'auto' }).length, 1);
  });

  it('says what is needed and what there is when disk or memory is short', () => {
    const shortages = findShortages(need, {
      ...machine,
      disks: [{ path: '/cache', freeMb: 900 }],
      freeMemoryMb: 500,
    });
    assert.equal(shortages.length, 2);
    assert.match(shortages[0] ?? '', /4000 MB of disk; \/cache is on one with 900 MB free/);
    assert.match(shortages[1] ?? '', /2000 MB of free memory; there are 500 MB/);
  });

  it('looks at the disk of a folder that is not there yet', async () => {
    const { disks } = await inspectMachine({
      environment: { ...process.env, GOCACHE: join(directory(), 'a', 'b') },
      directories: [],
    });
    assert.ok(disks.some(({ path, freeMb }) => path === join(directory(), 'a', 'b') && freeMb > 0));
  });
});

function write(path: string, content: string, mode = 0o644): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}
