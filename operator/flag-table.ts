/** The table of flags: names, other spellings, defaults and help. Data only; `flags.ts` reads command lines by it. */

/** The controllers that one process can run. */
export const CONTROLLERS = ['source', 'kustomize', 'sealed-secrets'] as const;
export type ControllerName = (typeof CONTROLLERS)[number];

/** Flux's log levels. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** One setting: its spellings, default and help. */
export interface Flag {
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

/** The sections of the help text. */
export const GROUPS = ['General', 'Addresses', 'Artifacts', 'Building', 'Sealed Secrets', 'Logging'] as const;

/** Every setting that means something here. */
export const FLAGS: readonly Flag[] = [
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
    name: 'min-retry-delay',
    group: 'General',
    value: 'DURATION',
    fallback: '750ms',
    help: 'first delay before a failed reconciliation is tried again; doubled with each failure',
  },
  {
    name: 'max-retry-delay',
    group: 'General',
    value: 'DURATION',
    fallback: '15m',
    help: 'longest delay before a failed reconciliation is tried again',
  },
  {
    name: 'requeue-dependency',
    group: 'General',
    value: 'DURATION',
    fallback: '30s',
    help: 'delay before what waits for another object is looked at again',
  },
  {
    name: 'watch-label-selector',
    group: 'General',
    value: 'SELECTOR',
    fallback: '',
    help: 'watch only GitRepositories and Kustomizations with these labels',
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
    name: 'webhook-addr',
    group: 'Addresses',
    value: 'ADDR',
    fallback: ':9292',
    help: 'address that git servers call when somebody pushed, bound once a GitRepository asks for it; 0 turns it off',
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
    name: 'artifact-retention-ttl',
    group: 'Artifacts',
    value: 'DURATION',
    fallback: '60s',
    help: 'how long artifacts are kept after a newer one has come',
  },
  {
    name: 'artifact-retention-records',
    group: 'Artifacts',
    value: 'N',
    fallback: '2',
    help: 'artifacts kept of each source, the current one included',
  },
  {
    name: 'artifact-digest-algo',
    group: 'Artifacts',
    value: 'NAME',
    fallback: 'sha256',
    help: 'digest of artifacts: sha256, sha384 or sha512',
  },
  {
    name: 'ssh-kex-algos',
    group: 'General',
    value: 'LIST',
    fallback: '',
    help: 'key exchanges that git over ssh may use, separated by commas; without it those of OpenSSH',
  },
  {
    name: 'ssh-hostkey-algos',
    group: 'General',
    value: 'LIST',
    fallback: '',
    help: 'host keys that git over ssh accepts, separated by commas; without it those of OpenSSH',
  },
  {
    name: 'artifact-max-files',
    group: 'Artifacts',
    value: 'N',
    fallback: '500000',
    help: 'most files and directories in one artifact',
  },
  {
    name: 'artifact-max-bytes',
    group: 'Artifacts',
    value: 'N',
    fallback: '1073741824',
    help: 'most bytes in one artifact, before compression',
  },
  {
    name: 'build-worker',
    group: 'Building',
    value: 'FILE',
    fallback: 'signet-build-worker',
    help: "the kustomize build worker's binary, a path or a name on PATH",
  },
  {
    name: 'template-engine',
    group: 'Sealed Secrets',
    value: 'FILE',
    fallback: 'signet-template-engine',
    help: "the template engine's binary, a path or a name on PATH; only SealedSecrets with templates need it",
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
    name: 'key-renew-period',
    aliases: ['rotate-period'],
    group: 'Sealed Secrets',
    value: 'DURATION',
    fallback: '720h',
    help: 'age at which the newest sealing key gets a successor; 0: never',
  },
  {
    name: 'key-cutoff-time',
    group: 'Sealed Secrets',
    value: 'TIME',
    fallback: '',
    help: 'make a new sealing key if the newest is older, e.g. "Mon, 02 Jan 2006 15:04:05 -0700"',
  },
  {
    name: 'key-order-priority',
    group: 'Sealed Secrets',
    value: 'ORDER',
    fallback: 'CertNotBefore',
    help: 'what makes a sealing key the newest: CertNotBefore or SecretCreationTimestamp',
  },
  {
    name: 'create-first-key',
    group: 'Sealed Secrets',
    value: 'BOOL',
    boolean: true,
    fallback: 'true',
    help: 'make a sealing key when there is none; false: wait for one to be restored',
  },
  {
    name: 'privatekey-labels',
    group: 'Sealed Secrets',
    value: 'K=V,...',
    fallback: '',
    help: 'further labels of the Secrets of new sealing keys',
  },
  {
    name: 'privatekey-annotations',
    group: 'Sealed Secrets',
    value: 'K=V,...',
    fallback: '',
    help: 'annotations of the Secrets of new sealing keys',
  },
  {
    name: 'additional-namespaces',
    group: 'Sealed Secrets',
    value: 'LIST',
    fallback: '',
    help: "watch SealedSecrets in these namespaces and the operator's own alone",
  },
  {
    name: 'label-selector',
    group: 'Sealed Secrets',
    value: 'SELECTOR',
    fallback: '',
    help: 'watch only the SealedSecrets that match',
  },
  {
    name: 'accept-deprecated-v1-data',
    group: 'Sealed Secrets',
    value: 'BOOL',
    boolean: true,
    fallback: 'true',
    help: 'unseal spec.data, the form before 0.7',
  },
  {
    name: 'skip-recreate',
    group: 'Sealed Secrets',
    value: 'BOOL',
    boolean: true,
    fallback: 'false',
    help: 'do not watch Secrets: one that is edited or deleted stays so until the next pass',
  },
  {
    name: 'old-gc-behavior',
    group: 'Sealed Secrets',
    value: 'BOOL',
    boolean: true,
    fallback: 'false',
    help: 'delete the Secret of a deleted SealedSecret whoever owns it',
  },
  {
    name: 'update-status',
    group: 'Sealed Secrets',
    value: 'BOOL',
    boolean: true,
    fallback: 'true',
    help: 'write the status of SealedSecrets',
  },
  {
    name: 'rate-limit',
    group: 'Sealed Secrets',
    value: 'N',
    fallback: '2',
    help: 'verify and rotate requests a second, for each path and client',
  },
  {
    name: 'rate-limit-burst',
    group: 'Sealed Secrets',
    value: 'N',
    fallback: '2',
    help: 'how many of them may come at once beyond the first',
  },
  {
    name: 'read-timeout',
    group: 'Sealed Secrets',
    value: 'DURATION',
    fallback: '2m',
    help: 'how long a client may take to send a request',
  },
  {
    name: 'write-timeout',
    group: 'Sealed Secrets',
    value: 'DURATION',
    fallback: '2m',
    help: 'how long an answer may take',
  },
  {
    name: 'metrics-omit-secret-labels',
    group: 'Sealed Secrets',
    value: 'BOOL',
    boolean: true,
    fallback: 'false',
    help: 'leave sealed_secrets_controller_condition_info, which names every SealedSecret, out of /metrics',
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
    aliases: ['log-format'],
    group: 'Logging',
    value: 'FORMAT',
    fallback: 'json',
    help: 'json or console (also called text), in any letter case',
  },
];

/** A flag that is accepted, so that yesterday's command line goes on working, and why it means nothing here. */
export interface IdleFlag {
  name: string;
  boolean?: boolean;
  because: string;
}

const NO_CLIENT_LIMIT = 'requests are not rationed here; the API server rations them';

/** Flags of the replaced controllers that are left without a meaning. */
export const WITHOUT_EFFECT: readonly IdleFlag[] = [
  { name: 'kube-api-qps', because: NO_CLIENT_LIMIT },
  { name: 'kube-api-burst', because: NO_CLIENT_LIMIT },
  { name: 'kubeclient-qps', because: NO_CLIENT_LIMIT },
  { name: 'kubeclient-burst', because: NO_CLIENT_LIMIT },
  { name: 'log-info-stdout', boolean: true, because: 'every log line goes to standard error' },
  { name: 'max-unseal-retries', because: 'retries never end here, they only become rarer' },
  { name: 'watch-for-secrets', boolean: true, because: 'sealing keys are always watched' },
];

/** The spellings that the sealed-secrets controller knows, which reads `SEALED_SECRETS_<NAME>` for each. */
export const SEALED_SECRETS_SPELLINGS: ReadonlySet<string> = new Set([
  'accept-deprecated-v1-data',
  'additional-namespaces',
  'all-namespaces',
  'key-cutoff-time',
  'key-order-priority',
  'key-prefix',
  'key-renew-period',
  'key-size',
  'key-ttl',
  'kubeclient-burst',
  'kubeclient-qps',
  'label-selector',
  'listen-addr',
  'listen-metrics-addr',
  'log-format',
  'log-info-stdout',
  'log-level',
  'max-unseal-retries',
  'metrics-omit-secret-labels',
  'my-cn',
  'old-gc-behavior',
  'privatekey-annotations',
  'privatekey-labels',
  'rate-limit',
  'rate-limit-burst',
  'read-timeout',
  'rotate-period',
  'skip-recreate',
  'update-status',
  'watch-for-secrets',
  'write-timeout',
]);
