import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'docs/architecture.md',
  'docs/api.md',
  'docs/sealed-secrets.md',
  'docs/spec/sealedsecret.md',
];

interface Manifest {
  scripts?: Record<string, string>;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

function withoutCode(markdown: string): string {
  return markdown.replaceAll(/`[^`\n]*`/g, '');
}

const manifest: Manifest = JSON.parse(read('package.json'));

describe('the documents', () => {
  it('say of each dependency why it is there, and of no other', () => {
    const section =
      read('README.md')
        .split(/^## /m)
        .find((text) => text.startsWith('Dependencies\n')) ?? '';
    const listed = [...section.matchAll(/^\| `([^`]+)` \| \S.*\|$/gm)].map(([, name]) => name);
    const installed = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.devDependencies)];
    assert.deepEqual(listed.sort(), installed.sort());
  });

  it('name only npm scripts that exist', () => {
    const scripts = new Set(Object.keys(manifest.scripts ?? {}));
    for (const page of PAGES) {
      for (const [, script = ''] of read(page).matchAll(/\bnpm run ([\w:-]+)/g)) {
        assert.ok(scripts.has(script), `${page} names "npm run ${script}", which package.json doesn't have`);
      }
    }
  });

  it('link to files that exist', () => {
    for (const page of PAGES) {
      for (const [, target = ''] of withoutCode(read(page)).matchAll(/\]\(((?!https?:)[^)#]+)/g)) {
        assert.ok(existsSync(join(ROOT, dirname(page), target)), `${page} links to ${target}`);
      }
    }
  });
});

describe('package.json', () => {
  it('pins every dependency exactly', () => {
    const versions = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
    const loose = versions.filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version));
    assert.deepEqual(loose, []);
  });
});
