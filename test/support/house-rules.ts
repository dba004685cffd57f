/**
 * The rules of docs/architecture.md that the compiler and the linter can't check, as pure functions over source
 * text: who may import whom, where a package may be used, who may touch the process, how things are named and
 * commented.
 */

/** A source file: its path below `operator/`, and its text. */
export interface SourceFile {
  path: string;
  text: string;
}

/** The two tables of docs/architecture.md. */
export interface HouseRules {
  /** Room or file (`kube`, `sealing/key-ring.ts`, without `.ts` for files beside the rooms) -> what it may import. */
  mayImport: ReadonlyMap<string, readonly string[]>;
  /** Package -> rooms or files that may import it. A file followed by "(types)" may import its types only. */
  packagesOnlyIn: ReadonlyMap<string, readonly string[]>;
}

interface Import {
  specifier: string;
  typeOnly: boolean;
}

const CONTROLLER = /^controllers\/(git-repository|kustomization|sealed-secret)\b/;
const VAGUE_NAME = /(^|[/.-])(utils?|helpers?|commons?|misc|index)(?=[/.-]|$)/;
const EXPORTED =
  /^export\s+(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?(?:function\*?|class|const|let|var|interface|type|enum)\s+([\w$]+)/;

/**
 * Reads the tables below "## Direction of knowledge" and "## Where a package may be used".
 * Throws when one is missing: a table that can't be found would forbid nothing.
 */
export function parseHouseRules(markdown: string): HouseRules {
  return {
    mayImport: tableBelow(markdown, '## Direction of knowledge'),
    packagesOnlyIn: tableBelow(markdown, '## Where a package may be used'),
  };
}

/** Every breach of the rules, each as `path: what is wrong`, in the order of the files. */
export function breaches(files: readonly SourceFile[], rules: HouseRules): string[] {
  return files.flatMap((file) => {
    const code = withoutComments(file.text);
    const found = [
      ...nameBreaches(file.path),
      ...importBreaches(file.path, importsOf(code), rules),
      ...processBreaches(file.path, code),
      ...exportBreaches(code),
      ...uncommentedExports(file.text),
    ];
    return found.map((breach) => `${file.path}: ${breach}`);
  });
}

function tableBelow(markdown: string, heading: string): Map<string, string[]> {
  const section = markdown.split(/^(?=## )/m).find((text) => text.startsWith(`${heading}\n`));
  const rows = section?.match(/^\| `.*$/gm);
  if (!rows) throw new Error(`no table below "${heading}"`);
  return new Map(
    rows.map((row) => {
      const [, subject = '', allowed = ''] = row.split('|');
      return [unquoted(subject)[0] ?? '', unquoted(allowed)];
    }),
  );
}

/** The names in backticks; one followed by "(types)" keeps that mark. */
function unquoted(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`( \(types\))?/g)].map(([, name = '', types = '']) => name + types);
}

/** Blanks comments, keeping line breaks; strings are stepped over, so that a URL in one isn't taken for a comment. */
function withoutComments(text: string): string {
  const token = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  return text.replace(token, (found) => (/^\/[/*]/.test(found) ? found.replace(/[^\n]/g, ' ') : found));
}

function importsOf(code: string): Import[] {
  const statements = code.matchAll(/^(import|export)\s([^;'"]*?\bfrom\s*)?['"]([^'"]+)['"]/gm);
  const calls = code.matchAll(/\b(?:import|require)\s*\(\s*['"`]([^'"`]+)['"`]/g);
  return [
    ...[...statements].map(([, , clause = '', specifier = '']) => ({
      specifier,
      typeOnly: isTypeOnly(clause),
    })),
    ...[...calls].map(([, specifier = '']) => ({ specifier, typeOnly: false })),
  ];
}

function isTypeOnly(clause: string): boolean {
  if (clause.startsWith('type ')) return true;
  const names = clause.match(/^\{([^}]*)\}/)?.[1]?.split(',') ?? ['value'];
  return names.every((name) => name.trim() === '' || name.trim().startsWith('type '));
}

function importBreaches(path: string, imports: readonly Import[], rules: HouseRules): string[] {
  return imports.flatMap(({ specifier, typeOnly }) => {
    if (specifier.startsWith('node:')) return [];
    if (!specifier.startsWith('.')) return packageBreaches(path, specifier, typeOnly, rules);
    const target = resolve(path, specifier);
    if (target === undefined) return [`imports ${specifier}, which is outside operator/`];
    return directionBreaches(path, target, rules);
  });
}

function directionBreaches(path: string, target: string, rules: HouseRules): string[] {
  const [from, to] = [controllerOf(path), controllerOf(target)];
  if (from !== undefined && to !== undefined && from !== to)
    return [`a controller imports another, ${target}`];
  if (roomOf(path) === roomOf(target)) return [];
  const allowed = ruleFor(path, rules.mayImport);
  if (allowed === undefined) return [`no row of the direction table covers ${roomOf(path)}`];
  return allowed.some((room) => covers(room, target)) ? [] : [`may not import ${target}`];
}

function packageBreaches(path: string, specifier: string, typeOnly: boolean, rules: HouseRules): string[] {
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  const places = rules.packagesOnlyIn.get(name);
  if (places === undefined) return [];
  const allowed = places.some((place) => {
    const [room = '', types] = place.split(' ');
    return covers(room, path) && (types === undefined || typeOnly);
  });
  return allowed ? [] : [`may not import the package ${name}`];
}

function processBreaches(path: string, code: string): string[] {
  if (path === 'main.ts') return [];
  const uses = code.matchAll(/\bprocess\s*(?:\?\.|\.)\s*(env|exit)\b|\bprocess\s*\[\s*['"](env|exit)['"]/g);
  const named = code.matchAll(/^import\s*\{[^}]*\b(env|exit)\b[^}]*\}\s*from\s*['"](?:node:)?process['"]/gm);
  return [...uses, ...named].map(
    (match) => `uses process.${match[1] ?? match[2]}, which is for main.ts alone`,
  );
}

function exportBreaches(code: string): string[] {
  const found: string[] = [];
  if (/^export\s+default\b/m.test(code) || /\bas\s+default\b/.test(code)) found.push('has a default export');
  if (/^export\s[^;'"]*?\bfrom\s*['"]/m.test(code)) found.push('exports again what another file declares');
  return found;
}

function nameBreaches(path: string): string[] {
  const name = path.match(VAGUE_NAME)?.[2];
  return name === undefined ? [] : [`"${name}" says nothing about what is in it`];
}

/** A run of declarations without a blank line shares the comment at its head. */
function uncommentedExports(text: string): string[] {
  const lines = text.split('\n');
  const found: string[] = [];
  for (const [at, line] of lines.entries()) {
    const name = line.match(EXPORTED)?.[1];
    if (name === undefined || lines[at - 1]?.trimEnd().endsWith('*/') === true) continue;
    let head = at;
    while (head > 0 && lines[head - 1]?.trim() !== '') head -= 1;
    const shared = lines[head]?.startsWith('/**') === true;
    const overloads = new RegExp(`^export\\s+function\\s+${name.replaceAll('$', '\\$')}\\b`, 'm');
    const overloaded = overloads.test(lines.slice(0, at).join('\n'));
    if (!shared && !overloaded) found.push(`exports ${name} without a comment at its head`);
  }
  return found;
}

/** `kube/client.ts` -> `kube`; `main.ts` -> `main`. */
function roomOf(path: string): string {
  return (path.split('/')[0] ?? '').replace(/\.ts$/, '');
}

function controllerOf(path: string): string | undefined {
  return path.match(CONTROLLER)?.[1];
}

/** The row for the file itself, else for its room. */
function ruleFor(path: string, table: ReadonlyMap<string, readonly string[]>): readonly string[] | undefined {
  return table.get(path) ?? table.get(roomOf(path));
}

function covers(room: string, path: string): boolean {
  return room === path || room === roomOf(path);
}

/** The path below operator/ that a relative specifier means; `undefined` when it leads out. */
function resolve(path: string, specifier: string): string | undefined {
  const parts = path.split('/').slice(0, -1);
  for (const part of specifier.split('/')) {
    if (part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) return undefined;
  }
  return parts.join('/');
}
