/** How flags are read: from the command line, else the environment, else the table's default. Pure. */

import { parseArgs } from 'node:util';
import { FLAGS, type Flag, GROUPS, SEALED_SECRETS_SPELLINGS, WITHOUT_EFFECT } from './flag-table.ts';

/** A command line or environment that is refused; the message names the flag. */
export class OptionError extends Error {
  override name = 'OptionError';
}

/**
 * The flags as given, each with every value it was given.
 * @throws OptionError for an unknown flag, a missing value or a stray argument
 */
export function readFlags(argv: readonly string[]): Map<string, string[]> {
  const known = new Map<string, boolean>([
    ['help', true],
    ['version', true],
    ...WITHOUT_EFFECT.map(({ name, boolean }) => [name, boolean === true] as const),
    ...FLAGS.flatMap((flag) =>
      [flag.name, ...(flag.aliases ?? [])].map((name) => [name, flag.boolean === true] as const),
    ),
  ]);
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(
      [...known].map(([name, boolean]) => [name, { type: boolean ? 'boolean' : 'string' } as const]),
    ),
    strict: false,
    tokens: true,
    allowPositionals: true,
  });
  const given = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue;
    if (token.kind === 'positional') {
      throw new OptionError(`unexpected argument "${token.value}"; flags begin with --`);
    }
    const boolean = known.get(token.name);
    if (boolean === undefined) throw new OptionError(`unknown flag ${token.rawName}; --help lists the flags`);
    if (token.value === undefined && !boolean) throw new OptionError(`flag --${token.name} needs a value`);
    given.set(token.name, [...(given.get(token.name) ?? []), token.value ?? 'true']);
  }
  return given;
}

/** A value and the spelling (flag or variable) that gave it, for messages. */
export interface Spelling {
  spelt: string;
  value: string;
}

/**
 * One value for each flag: the command line wins over the environment, which wins over the default.
 * @throws OptionError when two spellings of one flag disagree
 */
export function chooseValues(
  given: ReadonlyMap<string, string[]>,
  env: Readonly<Record<string, string | undefined>>,
): ReadonlyMap<string, Spelling> {
  return new Map(FLAGS.map((flag) => [flag.name, chooseValue(flag, given, env)]));
}

/** Those of the flags, given or in the environment, that are accepted but mean nothing here. */
export function withoutEffect(
  given: ReadonlyMap<string, string[]>,
  env: Readonly<Record<string, string | undefined>>,
): IgnoredFlag[] {
  return WITHOUT_EFFECT.flatMap(({ name, because }) => {
    const variables = environmentNames(name).filter((variable) => fromEnvironment(env, variable).length > 0);
    const spellings = [...(given.has(name) ? [`--${name}`] : []), ...variables];
    return spellings.map((flag) => ({ flag, because }));
  });
}

/** A setting that was given and means nothing here, as it was spelt. */
export interface IgnoredFlag {
  flag: string;
  because: string;
}

/** Our variable for a flag's spelling and, where the sealed-secrets controller knows it, that one's. */
function environmentNames(name: string): string[] {
  const upstream = SEALED_SECRETS_SPELLINGS.has(name) ? [`SEALED_SECRETS_${snake(name)}`] : [];
  return [`SIGNET_${snake(name)}`, ...upstream];
}

function chooseValue(
  flag: Flag,
  given: ReadonlyMap<string, string[]>,
  env: Readonly<Record<string, string | undefined>>,
): Spelling {
  const names = [flag.name, ...(flag.aliases ?? [])];
  const fromFlags = names.flatMap((name) =>
    (given.get(name) ?? []).map((value) => ({ spelt: `--${name}`, value })),
  );
  const variables = names.flatMap(environmentNames);
  const fromEnv = variables.flatMap((name) => fromEnvironment(env, name));
  const fromPod = (flag.env ?? []).flatMap((name) => fromEnvironment(env, name)).slice(0, 1);
  for (const spellings of [fromFlags, fromEnv, fromPod]) {
    const [first] = spellings;
    if (first === undefined) continue;
    const other = spellings.find((spelling) => spelling.value !== first.value);
    if (other !== undefined) {
      throw new OptionError(
        `${first.spelt} and ${other.spelt} are one setting with two values; give it once`,
      );
    }
    return first;
  }
  return { spelt: `--${flag.name}`, value: flag.fallback };
}

function fromEnvironment(env: Readonly<Record<string, string | undefined>>, name: string): Spelling[] {
  const value = env[name];
  return value === undefined || value === '' ? [] : [{ spelt: name, value }];
}

function snake(name: string): string {
  return name.toUpperCase().replaceAll('-', '_');
}

/** The `--help` text. */
export function helpText(): string {
  const lines = ['Signet: GitOps for Kubernetes in one operator.', '', 'Usage: signet [flags]'];
  for (const group of GROUPS) {
    lines.push('', `${group}:`);
    for (const flag of FLAGS.filter((candidate) => candidate.group === group)) lines.push(...flagHelp(flag));
  }
  lines.push(
    '',
    'Other:',
    '  --help              this text',
    '  --version           the version',
    '',
    'Each flag is also an environment variable, SIGNET_ and its name: --log-level is SIGNET_LOG_LEVEL.',
    `Accepted without effect: ${WITHOUT_EFFECT.map(({ name }) => `--${name}`).join(', ')}.`,
  );
  return `${lines.join('\n')}\n`;
}

function flagHelp(flag: Flag): string[] {
  const aliases = (flag.aliases ?? []).map((alias) => `, --${alias}`).join('');
  const fallback = flag.fallback === '' ? '' : ` (default ${flag.fallback})`;
  return [`  --${flag.name} ${flag.value}${aliases}`, `      ${flag.help}${fallback}`];
}
