/**
 * Writes what is derived from crds/: the types in operator/api/*.gen.ts and the field tables in docs/api.md.
 *
 * Why: the CRDs are the one truth about the API, and what repeats it by hand goes wrong.
 * How: `node hack/generate.ts` writes; `node hack/generate.ts --check` writes nothing and fails, naming each
 * file that differs (part of `npm test`).
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { renderFieldTables } from './generate/field-tables.ts';
import type { Definition } from './generate/schema.ts';
import { renderTypes } from './generate/types.ts';

const ROOT = join(import.meta.dirname, '..');

/** What should be in the repository, by path from its root, derived from the CRDs below `root`. */
export function generate(root: string): Map<string, string> {
  const sources = readdirSync(join(root, 'crds'))
    .filter((file) => file.endsWith('.yaml'))
    .sort()
    .map((file) => `crds/${file}`);
  const files = new Map<string, string>();
  const definitions: Definition[] = [];
  for (const source of sources) {
    const definition: Definition = parse(readFileSync(join(root, source), 'utf8'));
    definitions.push(definition);
    const name = definition.spec.names.kind.replace(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase();
    files.set(`operator/api/${name}.gen.ts`, renderTypes(definition, source));
  }
  files.set('docs/api.md', renderFieldTables(definitions));
  return files;
}

/** The paths whose text on disk below `root` is not the given one, and generated files that nothing generates now. */
export function differences(root: string, files: ReadonlyMap<string, string>): string[] {
  const orphans = readdirSync(join(root, 'operator/api'))
    .filter((file) => file.endsWith('.gen.ts') && !files.has(`operator/api/${file}`))
    .map((file) => `operator/api/${file}`);
  const changed = [...files].filter(([path, text]) => readIfThere(join(root, path)) !== text);
  return [...changed.map(([path]) => path), ...orphans];
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function main(options: readonly string[]): number {
  const unknown = options.find((option) => option !== '--check');
  if (unknown !== undefined) {
    console.error(`generate: unknown option ${unknown}; usage: node hack/generate.ts [--check]`);
    return 2;
  }
  const files = generate(ROOT);
  if (!options.includes('--check')) {
    for (const [path, text] of files) writeFileSync(join(ROOT, path), text);
    return 0;
  }
  const different = differences(ROOT, files);
  for (const path of different) {
    console.error(`generate: ${path} is not what crds/ gives; run "npm run generate"`);
  }
  return different.length === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = main(process.argv.slice(2));
