import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const project = new URL('../../', import.meta.url);
const lock = JSON.parse(readFileSync(new URL('package-lock.json', project), 'utf8'));
const manifest = JSON.parse(readFileSync(new URL('package.json', project), 'utf8'));

describe('the dependency tree', () => {
  const paths = Object.keys(lock.packages);

  it('holds no `request`, which the framework brings in unless its Kubernetes client is overridden', () => {
    assert.deepEqual(
      paths.filter((path) => path.endsWith('node_modules/request')),
      [],
    );
  });

  it('holds one version of the Kubernetes client', () => {
    const clients = paths.filter((path) => path.endsWith('node_modules/@kubernetes/client-node'));
    assert.deepEqual(clients, ['node_modules/@kubernetes/client-node']);
    assert.equal(lock.packages[clients[0] ?? ''].version, manifest.dependencies['@kubernetes/client-node']);
  });

  it('is whole: the lock file has every optional package that one asks for, without which `npm ci` refuses it', () => {
    const missing = paths.flatMap((path) =>
      Object.keys(lock.packages[path].optionalDependencies ?? {}).filter((name) => !isLocked(path, name)),
    );
    assert.deepEqual(missing, []);
  });

  it('has a decision on the install script of each package that has one', () => {
    const withScript = paths
      .filter(
        (path) => lock.packages[path].hasInstallScript === true && lock.packages[path].optional !== true,
      )
      .map((path) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length));
    for (const name of withScript) {
      assert.equal(typeof manifest.allowScripts[name], 'boolean', `${name} isn't decided in allowScripts`);
    }
    const allowed = Object.keys(manifest.allowScripts).filter((name) => manifest.allowScripts[name] === true);
    assert.deepEqual(allowed, ['node']);
  });

  // A package finds another in its own node_modules folder or in one of a folder above.
  function isLocked(from: string, name: string): boolean {
    for (
      let folder = from;
      ;
      folder = folder.slice(0, Math.max(folder.lastIndexOf('node_modules/') - 1, 0))
    ) {
      if (paths.includes(`${folder === '' ? '' : `${folder}/`}node_modules/${name}`)) return true;
      if (folder === '') return false;
    }
  }
});
