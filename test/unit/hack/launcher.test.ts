import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isInstalled } from '../../../hack/launcher/install.mjs';
import { findMissing } from '../../../hack/launcher/requirements.mjs';
import { useTemporaryDirectory } from '../../support/temporary-directory.ts';

describe('the check of the machine', () => {
  const directory = useTemporaryDirectory();

  it('finds nothing missing where everything is', async () => {
    const machine = { environment: process.env, nodeVersion: '20.0.0' };
    assert.deepEqual(await findMissing(['npm', 'git', 'go'], machine), []);
  });

  it('names each missing program, what it is for and where to get it', async () => {
    const machine = { environment: { PATH: directory() }, nodeVersion: '20.0.0' };
    const missing = await findMissing(['npm', 'git', 'go'], machine);
    assert.deepEqual(
      missing.map((sentence) => sentence.split(':')[0]),
      ['npm is missing', 'git is missing', 'go is missing'],
    );
    for (const sentence of missing) assert.match(sentence, /: .+\. Get it from .*https:\/\//);
  });

  it('tells a program that is broken from one that is missing', async () => {
    writeFileSync(join(directory(), 'git'), '#!/bin/sh\nexit 3\n');
    chmodSync(join(directory(), 'git'), 0o755);
    const machine = { environment: { PATH: `${directory()}:/bin` }, nodeVersion: '20.0.0' };
    assert.match((await findMissing(['git'], machine))[0] ?? '', /^git doesn't run: /);
  });

  it('refuses a Node that is too old to start with', async () => {
    const [sentence] = await findMissing([], { environment: process.env, nodeVersion: '18.20.0' });
    assert.match(sentence ?? '', /^Node 20 or newer is needed to start; this is 18\.20\.0/);
  });
});

describe('the check of node_modules', () => {
  const directory = useTemporaryDirectory();
  const packages = {
    'node_modules/yaml': { version: '2.9.1', integrity: 'sha512-a' },
    'node_modules/@biomejs/cli-other-platform': { version: '2.6.8', integrity: 'sha512-b', optional: true },
  };

  beforeEach(() => {
    const { 'node_modules/yaml': yaml } = packages;
    writeJson('package-lock.json', { packages: { '': { name: 'signet' }, ...packages } });
    writeJson('node_modules/.package-lock.json', { packages: { 'node_modules/yaml': yaml } });
    writeJson('node_modules/.bin/node', {});
  });

  it('is content with what npm installed, packages for other platforms aside', () => {
    assert.equal(isInstalled(directory()), true);
  });

  it('wants an install when nothing is there, when it was cut short, and when Node 24 is missing', () => {
    for (const path of ['node_modules/.bin/node', 'node_modules/.package-lock.json', 'node_modules']) {
      rmSync(join(directory(), path), { recursive: true });
      assert.equal(isInstalled(directory()), false, path);
    }
  });

  it('wants an install when the lock file has another version, another content, one more or one less', () => {
    const yaml = { version: '2.9.1', integrity: 'sha512-a' };
    const locks = {
      'another version': { ...packages, 'node_modules/yaml': { ...yaml, version: '2.9.2' } },
      'another content': { ...packages, 'node_modules/yaml': { ...yaml, integrity: 'sha512-c' } },
      'one more': { ...packages, 'node_modules/pino': yaml },
      'one less': {},
    };
    for (const [difference, lock] of Object.entries(locks)) {
      writeJson('package-lock.json', { packages: { '': {}, ...lock } });
      assert.equal(isInstalled(directory()), false, difference);
    }
  });

  function writeJson(path: string, content: object) {
    mkdirSync(dirname(join(directory(), path)), { recursive: true });
    writeFileSync(join(directory(), path), JSON.stringify(content));
  }
});

describe('a program run in the foreground', () => {
  it('hands its exit code back', async () => {
    assert.equal(await exitCodeOf(launch('process.exit(7)')), 7);
  });

  it('turns the signal that ended it into 128 and its number', async () => {
    assert.equal(await exitCodeOf(launch('process.kill(process.pid, "SIGKILL")')), 137);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`gets ${signal} once although it was sent twice at once, and may end in its own time`, async () => {
      const launcher = launch(`
        let received = 0;
        process.on(${JSON.stringify(signal)}, () => {
          received += 1;
          if (received === 1) setTimeout(() => { console.log('received ' + received); process.exit(5); }, 300);
        });
        console.log('ready');
        setInterval(() => {}, 1000);`);
      await once(launcher.stdout, 'data');
      const output = once(launcher.stdout, 'data');
      launcher.kill(signal);
      launcher.kill(signal);
      assert.equal(await exitCodeOf(launcher), 5);
      assert.equal(String((await output)[0]), 'received 1\n');
    });
  }

  function launch(program: string): ChildProcessWithoutNullStreams {
    const module = new URL('../../../hack/launcher/child.mjs', import.meta.url).href;
    const launcher = `
      import { runInForeground } from ${JSON.stringify(module)};
      process.exitCode = await runInForeground(process.execPath, ['-e', ${JSON.stringify(program)}], {
        cwd: process.cwd(), environment: process.env });`;
    return spawn(process.execPath, ['--input-type=module', '-e', launcher]);
  }

  async function exitCodeOf(launcher: ChildProcessWithoutNullStreams): Promise<unknown> {
    const [code] = await once(launcher, 'exit');
    return code;
  }
});

describe('the npm entrance', () => {
  const script = new URL('../../../hack/run.mjs', import.meta.url).pathname;

  it('lists its commands when it is given none, or one that does not exist', async () => {
    for (const argument of [[], ['no-such-command'], ['toString']]) {
      const { code, errors } = await run(argument, process.env);
      assert.equal(code, 2);
      assert.match(errors, /^usage: node hack\/run\.mjs demo\|start\|test\|/);
    }
  });

  it('says what is missing before it does anything', async () => {
    const { code, errors } = await run(['demo', '--once'], { PATH: '/nonexistent' });
    assert.equal(code, 1);
    assert.deepEqual(
      errors
        .trim()
        .split('\n')
        .map((line) => line.split(':')[0]),
      ['npm is missing', 'git is missing', 'go is missing'],
    );
  });

  it('has an npm script for each command, and no script that goes around it', async () => {
    const { scripts } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
    for (const [name, command] of Object.entries(scripts))
      assert.equal(command, `exec node hack/run.mjs ${name}`);
    const { errors } = await run([], process.env);
    const commands = /run\.mjs (\S+)/.exec(errors)?.[1]?.split('|') ?? [];
    assert.deepEqual(Object.keys(scripts).sort(), commands.sort());
  });

  async function run(argument: string[], environment: NodeJS.ProcessEnv) {
    const child = spawn(process.execPath, [script, ...argument], { env: environment });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (chunk) => {
      errors += chunk;
    });
    const [code] = await once(child, 'close');
    return { code, errors };
  }
});
