import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { breaches, type HouseRules, parseHouseRules, type SourceFile } from '../support/house-rules.ts';

const ROOT = join(import.meta.dirname, '../..');
const ARCHITECTURE = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8');

function operatorSources(): SourceFile[] {
  const folder = join(ROOT, 'operator');
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(folder, path), 'utf8') }));
}

describe('the house', () => {
  it('is built as docs/architecture.md says', () => {
    const files = operatorSources();
    assert.ok(files.length > 10, 'the sources were not found');
    assert.deepEqual(breaches(files, parseHouseRules(ARCHITECTURE)), []);
  });

  it('documents every room that exists', () => {
    const rows = [...parseHouseRules(ARCHITECTURE).mayImport.keys()];
    for (const { path } of operatorSources()) {
      const room = path.split('/')[0]?.replace(/\.ts$/, '') ?? '';
      assert.ok(rows.includes(room), `docs/architecture.md has no row for ${room}`);
    }
  });
});

describe('the check of the house', () => {
  const rules: HouseRules = {
    mayImport: new Map([
      ['main', ['operator']],
      ['operator', ['api', 'kube', 'controllers']],
      ['controllers', ['api', 'kube', 'source', 'apply']],
      ['apply', ['api', 'kube']],
      ['source', ['api']],
      ['sealing', ['api']],
      ['sealing/key-ring.ts', ['api', 'kube']],
      ['kube', ['api']],
      ['api', []],
    ]),
    packagesOnlyIn: new Map([
      ['@dot-i/k8s-operator', ['operator']],
      ['@kubernetes/client-node', ['kube/config.ts', 'operator (types)']],
    ]),
  };
  const found = (path: string, text: string): string[] => breaches([{ path, text }], rules);

  it('lets knowledge flow in the direction of the table', () => {
    assert.deepEqual(found('apply/apply.ts', "import { a } from '../kube/client.ts';\n"), []);
    assert.deepEqual(found('apply/apply.ts', "import { a } from './order.ts';\n"), []);
    assert.deepEqual(found('main.ts', "import { a } from './operator.ts';\n"), []);
    assert.deepEqual(found('operator.ts', "import { a } from './controllers/kustomization.ts';\n"), []);
  });

  it('refuses every form of import against the direction', () => {
    const forms = [
      "import { a } from '../kube/client.ts';",
      "import {\n  a,\n  b,\n} from '../kube/client.ts';",
      "import type { a } from '../kube/client.ts';",
      "import * as kube from '../kube/client.ts';",
      "import '../kube/client.ts';",
      "const kube = await import('../kube/client.ts');",
      "let kube: import('../kube/client.ts').KubeClient;",
      "const kube = require('../kube/client.ts');",
      'import { a } from "../kube/client.ts";',
      "const url = 'http://x'; // it's\nconst kube = await import('../kube/client.ts');",
    ];
    for (const form of forms) {
      assert.deepEqual(found('source/git.ts', form), ['source/git.ts: may not import kube/client.ts'], form);
    }
  });

  it('refuses an import of one capability by another, and of a controller by another', () => {
    assert.deepEqual(found('source/git.ts', "import { a } from '../apply/order.ts';"), [
      'source/git.ts: may not import apply/order.ts',
    ]);
    assert.deepEqual(found('controllers/kustomization.ts', "import { a } from './git-repository.ts';"), [
      'controllers/kustomization.ts: a controller imports another, controllers/git-repository.ts',
    ]);
    assert.deepEqual(
      found('controllers/kustomization/health.ts', "import { a } from '../sealed-secret/policy.ts';"),
      [
        'controllers/kustomization/health.ts: a controller imports another, controllers/sealed-secret/policy.ts',
      ],
    );
    assert.deepEqual(found('controllers/kustomization.ts', "import { a } from './intervals.ts';"), []);
  });

  it('lets the key ring alone of the sealing room know the API server', () => {
    assert.deepEqual(found('sealing/key-ring.ts', "import { a } from '../kube/client.ts';"), []);
    assert.deepEqual(found('sealing/unseal.ts', "import { a } from '../kube/client.ts';"), [
      'sealing/unseal.ts: may not import kube/client.ts',
    ]);
  });

  it('refuses a room without a row, and a path out of operator/', () => {
    assert.deepEqual(found('attic/box.ts', "import { a } from '../api/names.ts';"), [
      'attic/box.ts: no row of the direction table covers attic',
    ]);
    assert.deepEqual(found('api/names.ts', "import { a } from '../../hack/tools.ts';"), [
      'api/names.ts: imports ../../hack/tools.ts, which is outside operator/',
    ]);
  });

  it('keeps a package where it belongs, and types from it where only they are allowed', () => {
    const use = "import { KubeConfig } from '@kubernetes/client-node';";
    assert.deepEqual(found('kube/config.ts', use), []);
    assert.deepEqual(found('kube/client.ts', use), [
      'kube/client.ts: may not import the package @kubernetes/client-node',
    ]);
    assert.deepEqual(found('operator.ts', use), [
      'operator.ts: may not import the package @kubernetes/client-node',
    ]);
    assert.deepEqual(found('operator.ts', "import type { KubeConfig } from '@kubernetes/client-node';"), []);
    assert.deepEqual(found('operator.ts', "import { type KubeConfig } from '@kubernetes/client-node';"), []);
    assert.deepEqual(
      found('operator.ts', "import { type KubeConfig, Watch } from '@kubernetes/client-node';"),
      ['operator.ts: may not import the package @kubernetes/client-node'],
    );
    assert.deepEqual(found('runtime/manager.ts', "import Operator from '@dot-i/k8s-operator/dist/x.js';"), [
      'runtime/manager.ts: may not import the package @dot-i/k8s-operator',
    ]);
  });

  it('refuses the environment and the exit of the process outside main.ts', () => {
    assert.deepEqual(found('main.ts', 'process.exit(Number(process.env.CODE));'), []);
    for (const use of [
      'process.env.HOME',
      "process['env'].HOME",
      'process?.env',
      "import { env } from 'node:process'",
    ]) {
      assert.deepEqual(found('kube/config.ts', use), [
        'kube/config.ts: uses process.env, which is for main.ts alone',
      ]);
    }
    assert.deepEqual(found('kube/config.ts', 'process.exit(1);'), [
      'kube/config.ts: uses process.exit, which is for main.ts alone',
    ]);
    assert.deepEqual(found('kube/config.ts', 'const cpu = process.cpuUsage();'), []);
  });

  it('refuses default exports, barrels and names that say nothing', () => {
    assert.deepEqual(found('kube/client.ts', 'export default 1;'), ['kube/client.ts: has a default export']);
    assert.deepEqual(found('kube/client.ts', 'const a = 1;\nexport { a as default };'), [
      'kube/client.ts: has a default export',
    ]);
    assert.deepEqual(found('kube/client.ts', "export * from './store.ts';"), [
      'kube/client.ts: exports again what another file declares',
    ]);
    assert.deepEqual(found('kube/client.ts', "export { a } from './store.ts';"), [
      'kube/client.ts: exports again what another file declares',
    ]);
    const vague = ['kube/index.ts', 'kube/utils.ts', 'kube/test-helpers.ts', 'common/kube.ts'];
    for (const path of vague) assert.equal(found(path, '').length, 1, path);
    assert.deepEqual(found('kube/reindexer.ts', ''), []);
  });

  it('asks for a comment at the head of each exported declaration', () => {
    const bare = [
      'export const a = 1;',
      'export function a() {}',
      'export async function a() {}',
      'export class a {}',
      'export abstract class a {}',
      'export interface a {}',
      'export type a = 1;',
      '/** Of the file. */\n\nexport const a = 1;',
      'const b = 1;\nexport const a = 1;',
    ];
    for (const text of bare) {
      assert.deepEqual(found('api/a.ts', text), ['api/a.ts: exports a without a comment at its head'], text);
    }
    assert.deepEqual(found('api/a.ts', '/** What it is. */\nexport const a = 1;'), []);
    assert.deepEqual(
      found('api/a.ts', '/**\n * What they are.\n */\nexport const a = 1;\nexport const b = 2;'),
      [],
    );
    assert.deepEqual(
      found('api/a.ts', '/** Both. */\nexport function a(x: 1): 1;\n\nexport function a(x: number) {}'),
      [],
    );
  });

  it('takes no notice of comments and of text that only looks like an import', () => {
    const text =
      "// import { a } from '../kube/client.ts';\n/*\nimport '../kube/client.ts';\nprocess.env */\n";
    assert.deepEqual(found('source/git.ts', text), []);
    assert.deepEqual(found('source/git.ts', " * import { a } from '../kube/client.ts';\n"), []);
  });

  it('refuses a document without its tables, which would forbid nothing', () => {
    assert.throws(() => parseHouseRules('# The house\n'), /no table below "## Direction of knowledge"/);
  });
});
