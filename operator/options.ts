/** The command line: (argv, env) -> Options. Pure; `flag-table.ts` holds the table of flags. */

import { type ControllerName, LOG_LEVELS, type LogLevel } from './flag-table.ts';
import {
  chooseValues,
  helpText,
  type IgnoredFlag,
  readFlags,
  type Spelling,
  withoutEffect,
} from './flags.ts';
import {
  address,
  addressOrOff,
  annotations,
  concurrency,
  controllerNames,
  durationMs,
  durationOrZeroMs,
  flagValue,
  integer,
  keyPrefix,
  labelSelector,
  labels,
  logEncoding,
  namespaceName,
  namespaceNames,
  oneOf,
  required,
  retryDelays,
  sshAlgorithms,
  timeMs,
} from './option-values.ts';

/** What makes a sealing key the newest: where its certificate's validity starts, or when its Secret was made. */
export const KEY_ORDERS = ['CertNotBefore', 'SecretCreationTimestamp'] as const;

/** Digests of artifacts. Flux also has blake3, which Node does not. */
export const DIGEST_ALGORITHMS = ['sha256', 'sha384', 'sha512'] as const;

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
  artifactRetentionTtlMs: number;
  artifactRetentionRecords: number;
  artifactDigestAlgorithm: (typeof DIGEST_ALGORITHMS)[number];
  /** Of one artifact, before compression. */
  artifactMaxFiles: number;
  artifactMaxBytes: number;
  /** Of git over ssh, most preferred first; `undefined`: those of OpenSSH. */
  sshKexAlgorithms: string | undefined;
  sshHostKeyAlgorithms: string | undefined;
  /** `0`: no webhooks. */
  webhookAddr: string;
  sealedSecretsAddr: string;
  /** Workers per controller. */
  concurrent: Readonly<Record<ControllerName, number>>;
  intervalJitterPercentage: number;
  /** Of failed passes over GitRepositories and Kustomizations. */
  minRetryDelayMs: number;
  maxRetryDelayMs: number;
  requeueDependencyMs: number;
  /** Of GitRepositories and Kustomizations. */
  watchLabelSelector: string | undefined;
  gracefulShutdownTimeoutMs: number;
  buildWorker: string;
  templateEngine: string;
  keyPrefix: string;
  keySize: number;
  keyTtlMs: number;
  myCn: string;
  /** 0: sealing keys are never renewed by age. */
  keyRenewPeriodMs: number;
  /** Milliseconds since 1970. */
  keyCutoffTimeMs: number | undefined;
  keyOrderPriority: (typeof KEY_ORDERS)[number];
  createFirstKey: boolean;
  privateKeyLabels: Readonly<Record<string, string>>;
  privateKeyAnnotations: Readonly<Record<string, string>>;
  /** SealedSecrets are then watched in these and the own namespace alone; empty: as `watchAllNamespaces` says. */
  additionalNamespaces: readonly string[];
  /** Of SealedSecrets. */
  labelSelector: string | undefined;
  acceptDeprecatedV1Data: boolean;
  skipRecreate: boolean;
  oldGcBehavior: boolean;
  updateStatus: boolean;
  /** Requests a second for each path and client of the sealed-secrets address, and how many more at once. */
  rateLimit: number;
  rateLimitBurst: number;
  readTimeoutMs: number;
  writeTimeoutMs: number;
  metricsOmitSecretLabels: boolean;
  logLevel: LogLevel;
  logEncoding: 'json' | 'console';
  watchAllNamespaces: boolean;
}

/** What a command line asks for. `ignored` are accepted flags that have no effect here, for one log line each. */
export type CommandLine =
  | { action: 'run'; options: Options; ignored: IgnoredFlag[] }
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
  return { action: 'run', options: interpret(values, podNamespace), ignored: withoutEffect(given, env) };
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
    artifactRetentionTtlMs: durationMs(read('artifact-retention-ttl')),
    artifactRetentionRecords: integer(read('artifact-retention-records'), 1, 1_000),
    artifactDigestAlgorithm: oneOf(read('artifact-digest-algo'), DIGEST_ALGORITHMS),
    artifactMaxFiles: integer(read('artifact-max-files'), 1, 100_000_000),
    artifactMaxBytes: integer(read('artifact-max-bytes'), 1, 1_000_000_000_000),
    sshKexAlgorithms: sshAlgorithms(read('ssh-kex-algos')),
    sshHostKeyAlgorithms: sshAlgorithms(read('ssh-hostkey-algos')),
    webhookAddr: addressOrOff(read('webhook-addr')),
    sealedSecretsAddr: address(read('sealed-secrets-addr')),
    concurrent: concurrency(read('concurrent')),
    ...retryDelays(read('min-retry-delay'), read('max-retry-delay')),
    requeueDependencyMs: durationMs(read('requeue-dependency')),
    watchLabelSelector: labelSelector(read('watch-label-selector')),
    intervalJitterPercentage: integer(read('interval-jitter-percentage'), 0, 50),
    gracefulShutdownTimeoutMs: durationMs(read('graceful-shutdown-timeout')),
    buildWorker: required(read('build-worker')),
    templateEngine: required(read('template-engine')),
    keyPrefix: keyPrefix(read('key-prefix')),
    keySize: integer(read('key-size'), 2048, 16384),
    keyTtlMs: durationMs(read('key-ttl')),
    myCn: text('my-cn'),
    keyRenewPeriodMs: durationOrZeroMs(read('key-renew-period')),
    keyCutoffTimeMs: timeMs(read('key-cutoff-time')),
    keyOrderPriority: oneOf(read('key-order-priority'), KEY_ORDERS),
    createFirstKey: flagValue(read('create-first-key')),
    privateKeyLabels: labels(read('privatekey-labels')),
    privateKeyAnnotations: annotations(read('privatekey-annotations')),
    additionalNamespaces: namespaceNames(read('additional-namespaces')),
    labelSelector: labelSelector(read('label-selector')),
    acceptDeprecatedV1Data: flagValue(read('accept-deprecated-v1-data')),
    skipRecreate: flagValue(read('skip-recreate')),
    oldGcBehavior: flagValue(read('old-gc-behavior')),
    updateStatus: flagValue(read('update-status')),
    rateLimit: integer(read('rate-limit'), 1, 1_000_000),
    rateLimitBurst: integer(read('rate-limit-burst'), 0, 1_000_000),
    readTimeoutMs: durationMs(read('read-timeout')),
    writeTimeoutMs: durationMs(read('write-timeout')),
    metricsOmitSecretLabels: flagValue(read('metrics-omit-secret-labels')),
    logLevel: oneOf(read('log-level'), LOG_LEVELS),
    logEncoding: logEncoding(read('log-encoding')),
    watchAllNamespaces: flagValue(read('watch-all-namespaces')),
  };
}
