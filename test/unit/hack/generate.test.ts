import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderFieldTables } from '../../../hack/generate/field-tables.ts';
import type { Definition, Schema } from '../../../hack/generate/schema.ts';
import { renderTypes } from '../../../hack/generate/types.ts';
import { differences, generate } from '../../../hack/generate.ts';

const ROOT = join(import.meta.dirname, '../../..');

function definition(spec: Record<string, Schema>, required: string[] = []): Definition {
  const schema: Schema = {
    description: 'A pot of tea.',
    type: 'object',
    properties: {
      spec: { description: 'The wish.', type: 'object', required, properties: spec },
      status: { description: 'The truth.', type: 'object', properties: {} },
    },
  };
  return {
    metadata: { name: 'teapots.example.org' },
    spec: {
      group: 'example.org',
      names: { kind: 'Teapot', plural: 'teapots', shortNames: ['tp'] },
      versions: [{ name: 'v1', schema: { openAPIV3Schema: schema } }],
    },
  };
}

describe('the generator', () => {
  it('finds the committed files to be what the CRDs give', () => {
    assert.deepEqual(differences(ROOT, generate(ROOT)), []);
  });

  describe('on a copy of the repository', () => {
    let copy: string;

    beforeEach(() => {
      copy = mkdtempSync(join(tmpdir(), 'signet-generate-'));
      for (const part of [
        'crds',
        'operator/api',
        'hack/generate',
        'hack/generate.ts',
        'docs/api.md',
        'package.json',
      ]) {
        mkdirSync(join(copy, part, '..'), { recursive: true });
        cpSync(join(ROOT, part), join(copy, part), { recursive: true });
      }
      symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    });

    afterEach(() => rmSync(copy, { recursive: true, force: true }));

    function check(): { status: number | null; stderr: string } {
      return spawnSync(process.execPath, [join(copy, 'hack/generate.ts'), '--check'], { encoding: 'utf8' });
    }

    it('passes when nothing was changed', () => {
      assert.equal(check().status, 0);
    });

    it('fails naming each file that a changed CRD makes wrong, and only those', () => {
      const crd = join(copy, 'crds/bitnami.com_sealedsecrets.yaml');
      writeFileSync(crd, readFileSync(crd, 'utf8').replace('Made by kubeseal.', 'Made by hand.'));
      const { status, stderr } = check();
      assert.equal(status, 1);
      assert.match(stderr, /operator\/api\/sealed-secret\.gen\.ts/);
      assert.match(stderr, /docs\/api\.md/);
      assert.doesNotMatch(stderr, /kustomization\.gen\.ts/);
    });

    it('fails naming a file that was edited by hand, is missing, or that no CRD gives any more', () => {
      writeFileSync(join(copy, 'operator/api/kustomization.gen.ts'), 'export {};\n');
      rmSync(join(copy, 'operator/api/git-repository.gen.ts'));
      writeFileSync(join(copy, 'operator/api/teapot.gen.ts'), '');
      assert.deepEqual(differences(copy, generate(copy)).sort(), [
        'operator/api/git-repository.gen.ts',
        'operator/api/kustomization.gen.ts',
        'operator/api/teapot.gen.ts',
      ]);
      assert.equal(check().status, 1);
    });
  });

  it('makes optional what is not required, and adds null only where the schema admits it', () => {
    const fields: Record<string, Schema> = {
      leaf: { description: 'Which.', type: 'string', enum: ['green', 'black'] },
      cups: { description: 'How many.', type: 'integer', default: 2 },
      notes: {
        description: 'Notes.',
        type: 'object',
        nullable: true,
        additionalProperties: { type: 'string', nullable: true },
      },
      extra: { description: 'Else.', type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
      guests: {
        description: 'Who.',
        type: 'array',
        items: { description: 'One.', type: 'object', properties: { name: { type: 'string' } } },
      },
    };
    const text = renderTypes(definition(fields, ['leaf']), 'crds/teapots.yaml');
    assert.match(text, /^ {2}leaf: 'green' \| 'black';$/m);
    assert.match(text, /\/\*\* How many\. Default: 2\. \*\/\n {2}cups\?: number;/);
    assert.match(text, /^ {2}notes\?: Record<string, string \| null> \| null;$/m);
    assert.match(text, /^ {2}extra\?: JsonObject;$/m);
    assert.match(text, /^ {2}guests\?: TeapotSpecGuestsItem\[\];$/m);
    assert.match(text, /^import type \{ CustomResource, JsonObject \} from '\.\/objects\.ts';$/m);
    assert.match(text, /^export type Teapot = CustomResource<TeapotSpec, TeapotStatus>;$/m);
  });

  it('lists nested fields by their full path, with what is accepted', () => {
    const fields: Record<string, Schema> = {
      guests: {
        description: 'Who.',
        type: 'array',
        items: {
          type: 'object',
          required: ['name'],
          properties: { name: { description: 'A|B', type: 'string', pattern: 'a|b' } },
        },
      },
    };
    const text = renderFieldTables([definition(fields)]);
    assert.match(text, /^\| `guests` \| list of object \| {2}\| Who\. \|$/m);
    assert.match(text, /^\| `guests\[\]\.name` \* \| string \| `a\\\|b` \| A\\\|B \|$/m);
  });

  it('refuses a schema that it cannot give a type for', () => {
    assert.throws(
      () => renderTypes(definition({ leaf: { description: 'Which.' } }), 'x'),
      /TeapotSpecLeaf: a schema without a type/,
    );
  });
});
