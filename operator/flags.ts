/** The table of flags: names, other spellings, defaults and help, and how their values are read. Pure. */

import { parseArgs } from 'node:util';

/** The controllers that one process can run. */
export const CONTROLLERS = ['source', 'kustomize', 'sealed-secrets'] as const;
export type ControllerName = (typeof CONTROLLERS)[number];

/** Flux's log levels. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** A command line or environment that is refused; the message names the flag. */
export class OptionError extends Error {
  override name = 'OptionError';
}

interface Flag {
  name: string;
  aliases?: readonly string[];
  /** Environment variables beside `SIGNET_<NAME>`. */
  env?: readonly string[];
  group: string;
  value: string;
  boolean?: boolean;
  fallback: string;
  help: string;
}

const GROUPS = ['General', 'Addresses', 'Artifacts', 'Building', 'Sealed Secrets', 'Logging'] as const;

const FLAGS: readonly Flag[] = [
  {
    name: 'kubeconfig',
    group: 'General',
    value: 'FILE',
    fallback: '',
    help: 'kubeconfig to use; without it the in-cluster configuration, else $KUBECONFIG or ~/.kube/config',
  },
  {
    name: 'namespace',
    env: ['RUNTIME_NAMESPACE', 'POD_NAMESPACE'],
    group: 'General',
    value: 'NAME',
    fallback: '',
    help: "the operator's own namespace, where sealing keys live; without it the pod's, else flux-system",
  },
  {
    name: 'controllers',
    group: 'General',
    value: 'LIST',
    fallback: CONTROLLERS.join(','),
    help: 'controllers to run, separated by commas',
  },
  {
    name: 'concurrent',
    group: 'General',
    value: 'N',
    fallback: '4',
    help: 'reconciliations at once, in each controller',
  },
  {
    name: 'watch-all-namespaces',
    aliases: ['all-namespaces'],
    group: 'General',
    value: 'BOOL',
    boolean: true,
    fallback: 'true',
    help: "watch custom resources in every namespace; false: in the operator's own alone",
  },
  {
    name: 'interval-jitter-percentage',
    group: 'General',
    value: 'N',
    fallback: '5',
    help: 'spread intervals by up to this many percent either way (0 to 50)',
  },
  {
    name: 'graceful-shutdown-timeout',
    group: 'General',
    value: 'DURATION',
    fallback: '30s',
    help: 'how long running work may take to end after SIGTERM',
  },
  {
    name: 'metrics-addr',
    aliases: ['listen-metrics-addr'],
    group: 'Addresses',
    value: 'ADDR',
    fallback: ':8080',
    help: 'address of /metrics; 0 turns it off',
  },
  {
    name: 'health-addr',
    group: 'Addresses',
    value: 'ADDR',
    fallback: ':9440',
    help: 'address of /healthz and /readyz; 0 turns it off',
  },
  {
    name: 'storage-addr',
    group: 'Addresses',
    value: 'ADDR',
    fallback: ':9090',
    help: 'address that serves artifacts',
  },
  {
    name: 'sealed-secrets-addr',
    aliases: ['listen-addr'],
    group: 'Addresses',
    value: 'ADDR',
    fallback: ':8082',
    help: 'address that kubeseal calls through the service proxy',
  },
  {
    name: 'storage-path',
    group: 'Artifacts',
    value: 'FOLDER',
    fallback: '/data',
    help: 'where artifacts and Git caches are kept',
  },
  {
    name: 'storage-adv-addr',
    group: 'Artifacts',
    value: 'HOST[:PORT]',
    fallback: '',
    help: 'how artifact URLs name this server; without it derived from --storage-addr',
  },
  {
    name: 'build-worker',
    group: 'Building',
    value: 'FILE',
    fallback: 'signet-build-worker',
    help: "the kustomize build worker's binary, a path or a name on PATH",
  },
  {
    name: 'key-prefix',
    group: 'Sealed Secrets',
    value: 'PREFIX',
    fallback: 'sealed-secrets-key',
    help: 'prefix of the names of sealing keys that are made here',
  },
  {
    name: 'key-size',
    group: 'Sealed Secrets',
    value: 'BITS',
    fallback: '4096',
    help: 'RSA size of sealing keys that are made here (2048 to 16384)',
  },
  {
    name: 'key-ttl',
    group: 'Sealed Secrets',
    value: 'DURATION',
    fallback: '87600h',
    help: 'validity of certificates that are made here',
  },
  {
    name: 'my-cn',
    group: 'Sealed Secrets',
    value: 'NAME',
    fallback: '',
    help: 'common name of certificates that are made here',
  },
  {
    name: 'log-level',
    group: 'Logging',
    value: 'LEVEL',
    fallback: 'info',
    help: `one of ${LOG_LEVELS.join(', ')}, in any letter case`,
  },
  {
    name: 'log-encoding',
    group: 'Logging',
    value: 'FORMAT',
    fallback: 'json',
    help: 'json or console, in any letter case',
  },
];

/** Flags of the replaced controllers that Signet's own rate, cache and memory rules leave without a meaning. */
const WITHOUT_EFFECT: readonly string[] = [
  'kube-api-qps',
  'kube-api-burst',
  'kubeclient-qps',
  'kubeclient-burst',
  'log-info-stdout',
];

/** The flags of the sealed-secrets controller, whose environment spelling is upstream's too. */
const SEALED_SECRETS_FLAGS: ReadonlySet<string> = new Set([
  'all-namespaces',
  'key-prefix',
  'key-size',
  'key-ttl',
  'listen-addr',
  'listen-metrics-addr',
  'log-level',
  'my-cn',
]);

/**
 * The flags as given, each with every value it was given.
 * @throws OptionError for an unknown flag, a missing value or a stray argument
 */
export function readFlags(argv: readonly string[]): Map<string, string[]> {
  const known = new Map<string, boolean>([
    ['help', true],
    ['version', true],
    ...WITHOUT_EFFECT.map((name) => [name, name === 'log-info-stdout'] as const),
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

/** Those of the given flags that are accepted but mean nothing here. */
export function withoutEffect(given: ReadonlyMap<string, string[]>): string[] {
  return WITHOUT_EFFECT.filter((name) => given.has(name)).map((name) => `--${name}`);
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
  const ours = [...names.map((name) => `SIGNET_${snake(name)}`)];
  const upstream = names
    .filter((name) => SEALED_SECRETS_FLAGS.has(name))
    .map((name) => `SEALED_SECRETS_${snake(name)}`);
  const fromEnv = [...ours, ...upstream].flatMap((name) => fromEnvironment(env, name));
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
    `Accepted without effect: ${WITHOUT_EFFECT.map((name) => `--${name}`).join(', ')}.`,
  );
  return `${lines.join('\n')}\n`;
}

function flagHelp(flag: Flag): string[] {
  const aliases = (flag.aliases ?? []).map((alias) => `, --${alias}`).join('');
  const fallback = flag.fallback === '' ? '' : ` (default ${flag.fallback})`;
  return [`  --${flag.name} ${flag.value}${aliases}`, `      ${flag.help}${fallback}`];
}
