/** The command line: (argv, env) -> Options. Pure; `flags.ts` holds the table of flags. */

import { parseDurationMs } from './api/duration.ts';
import {
  CONTROLLERS,
  type ControllerName,
  chooseValues,
  helpText,
  LOG_LEVELS,
  type LogLevel,
  OptionError,
  readFlags,
  type Spelling,
  withoutEffect,
} from './flags.ts';

/** What the operator runs with. Addresses are Go's `host:port`, an empty host meaning every interface. */
export interface Options {
  kubeconfig: string | undefined;
  namespace: string;
  controllers: ReadonlySet<ControllerName>;
  metricsAddr: string;
  healthAddr: string;
  storagePath: string;
  storageAddr: string;
  /** Host (and port) that artifact URLs name; `undefined`: derived from the bound address. */
  storageAdvAddr: string | undefined;
  sealedSecretsAddr: string;
  /** Workers per controller. */
  concurrent: Readonly<Record<ControllerName, number>>;
  intervalJitterPercentage: number;
  gracefulShutdownTimeoutMs: number;
  buildWorker: string;
  keyPrefix: string;
  keySize: number;
  keyTtlMs: number;
  myCn: string;
  logLevel: LogLevel;
  logEncoding: 'json' | 'console';
  watchAllNamespaces: boolean;
}

/** What a command line asks for. `ignored` are accepted flags that have no effect here, for one log line each. */
export type CommandLine =
  | { action: 'run'; options: Options; ignored: string[] }
  | { action: 'help'; text: string }
  | { action: 'version' };

/**
 * Reads a command line. A flag wins over the environment, which wins over the default; two spellings of one
 * flag with different values are refused, on the command line as in the environment.
 * @throws OptionError naming the flag
 */
export function parseCommandLine(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  podNamespace?: string,
): CommandLine {
  const given = readFlags(argv);
  if (given.has('help')) return { action: 'help', text: helpText() };
  if (given.has('version')) return { action: 'version' };
  const values = chooseValues(given, env);
  return { action: 'run', options: interpret(values, podNamespace), ignored: withoutEffect(given) };
}

function interpret(values: ReadonlyMap<string, Spelling>, podNamespace: string | undefined): Options {
  const read = (name: string): Spelling => values.get(name) ?? { spelt: `--${name}`, value: '' };
  const text = (name: string): string => read(name).value;
  return {
    kubeconfig: text('kubeconfig') || undefined,
    namespace: namespaceName(read('namespace')) || podNamespace || 'flux-system',
    controllers: controllerNames(read('controllers')),
    metricsAddr: addressOrOff(read('metrics-addr')),
    healthAddr: addressOrOff(read('health-addr')),
    storagePath: required(read('storage-path')),
    storageAddr: address(read('storage-addr')),
    storageAdvAddr: text('storage-adv-addr') || undefined,
    sealedSecretsAddr: address(read('sealed-secrets-addr')),
    concurrent: concurrency(read('concurrent')),
    intervalJitterPercentage: integer(read('interval-jitter-percentage'), 0, 50),
    gracefulShutdownTimeoutMs: durationMs(read('graceful-shutdown-timeout')),
    buildWorker: required(read('build-worker')),
    keyPrefix: keyPrefix(read('key-prefix')),
    keySize: integer(read('key-size'), 2048, 16384),
    keyTtlMs: durationMs(read('key-ttl')),
    myCn: text('my-cn'),
    logLevel: oneOf(read('log-level'), LOG_LEVELS),
    logEncoding: oneOf(read('log-encoding'), ['json', 'console'] as const),
    watchAllNamespaces: flagValue(read('watch-all-namespaces')),
  };
}

function refuse({ spelt, value }: Spelling, wanted: string): never {
  throw new OptionError(`invalid value "${value}" for ${spelt}: ${wanted}`);
}

function required(spelling: Spelling): string {
  return spelling.value === '' ? refuse(spelling, 'it must not be empty') : spelling.value;
}

function namespaceName(spelling: Spelling): string {
  const valid = spelling.value === '' || /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(spelling.value);
  return valid ? spelling.value : refuse(spelling, 'a namespace is 1 to 63 of a-z, 0-9 and inner dashes');
}

function controllerNames(spelling: Spelling): ReadonlySet<ControllerName> {
  const names = spelling.value
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  const chosen = CONTROLLERS.filter((name) => names.includes(name));
  if (chosen.length === 0 || chosen.length < new Set(names).size) {
    refuse(spelling, `a list of ${CONTROLLERS.join(', ')}`);
  }
  return new Set(chosen);
}

function address(spelling: Spelling): string {
  const port = /^(?:[^\s:]*|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})$/.exec(spelling.value)?.[1];
  const valid = port !== undefined && Number(port) <= 65_535;
  return valid ? spelling.value : refuse(spelling, 'an address is host:port or :port');
}

function addressOrOff(spelling: Spelling): string {
  return spelling.value === '0' ? spelling.value : address(spelling);
}

function integer(spelling: Spelling, least: number, most: number): number {
  const value = /^[0-9]{1,9}$/.test(spelling.value) ? Number(spelling.value) : Number.NaN;
  return value >= least && value <= most
    ? value
    : refuse(spelling, `a whole number from ${least} to ${most}`);
}

function concurrency(spelling: Spelling): Record<ControllerName, number> {
  const each = integer(spelling, 1, 1_000);
  return { source: each, kustomize: each, 'sealed-secrets': each };
}

function durationMs(spelling: Spelling): number {
  const parsed = parseDurationMs(spelling.value);
  return parsed === undefined || parsed <= 0 ? refuse(spelling, 'a duration such as 30s or 1h30m') : parsed;
}

function keyPrefix(spelling: Spelling): string {
  const valid = /^[a-z0-9-]{1,245}$/.test(spelling.value);
  return valid ? spelling.value : refuse(spelling, 'up to 245 of a-z, 0-9 and dashes');
}

function oneOf<Value extends string>(spelling: Spelling, allowed: readonly Value[]): Value {
  const found = allowed.find((value) => value === spelling.value.toLowerCase());
  return found ?? refuse(spelling, `one of ${allowed.join(', ')}`);
}

function flagValue(spelling: Spelling): boolean {
  const lower = spelling.value.toLowerCase();
  if (['true', 't', '1'].includes(lower)) return true;
  return ['false', 'f', '0'].includes(lower) ? false : refuse(spelling, 'true or false');
}
