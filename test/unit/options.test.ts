import assert from 'node:assert/strict';
import { OptionError } from '../../operator/flags.ts';
import { type Options, parseCommandLine } from '../../operator/options.ts';

function optionsOf(argv: string[], env: Record<string, string> = {}, podNamespace?: string): Options {
  const commandLine = parseCommandLine(argv, env, podNamespace);
  assert.equal(commandLine.action, 'run');
  return (commandLine as { options: Options }).options;
}

function refusal(argv: string[], env: Record<string, string> = {}): string {
  try {
    parseCommandLine(argv, env);
  } catch (error) {
    assert.ok(error instanceof OptionError, String(error));
    return error.message;
  }
  return assert.fail(`${argv.join(' ')} was accepted`);
}

describe('the command line', () => {
  it('has defaults whose addresses do not collide', () => {
    const options = optionsOf([]);
    const addresses = [
      options.metricsAddr,
      options.healthAddr,
      options.storageAddr,
      options.sealedSecretsAddr,
    ];
    assert.deepEqual(addresses, [':8080', ':9440', ':9090', ':8082']);
    assert.equal(options.namespace, 'flux-system');
    assert.deepEqual([...options.controllers], ['source', 'kustomize', 'sealed-secrets']);
    assert.deepEqual(options.concurrent, { source: 4, kustomize: 4, 'sealed-secrets': 4 });
    assert.equal(options.watchAllNamespaces, true);
  });

  it('keeps, retries and listens as Flux does unless told otherwise', () => {
    const { artifactRetentionTtlMs, artifactRetentionRecords, ...o } = optionsOf([]);
    assert.deepEqual([artifactRetentionTtlMs, artifactRetentionRecords], [60_000, 2]);
    assert.deepEqual([o.minRetryDelayMs, o.maxRetryDelayMs, o.requeueDependencyMs], [750, 900_000, 30_000]);
    assert.deepEqual([o.artifactDigestAlgorithm, o.webhookAddr], ['sha256', ':9292']);
    assert.equal(o.watchLabelSelector, undefined);
    assert.equal(optionsOf(['--webhook-addr=0']).webhookAddr, '0');
  });

  it('takes algorithms of ssh by name', () => {
    const names = 'curve25519-sha256,sntrup761x25519-sha512@openssh.com';
    const { sshKexAlgorithms, sshHostKeyAlgorithms } = optionsOf([`--ssh-kex-algos=${names}`]);
    assert.deepEqual([sshKexAlgorithms, sshHostKeyAlgorithms], [names, undefined]);
    assert.match(refusal(['--ssh-hostkey-algos=a b']), /--ssh-hostkey-algos: names such as/);
    assert.match(refusal(['--ssh-kex-algos=a,\nProxyCommand x']), /--ssh-kex-algos: names such as/);
  });

  it('refuses a first retry delay that is longer than the longest', () => {
    assert.match(refusal(['--min-retry-delay=1h']), /--min-retry-delay: no longer than --max-retry-delay/);
    assert.match(refusal(['--artifact-digest-algo=md5']), /one of sha256, sha384, sha512/);
  });

  it('takes a value after a space or an equals sign, and booleans with or without one', () => {
    assert.equal(optionsOf(['--storage-path', '/a']).storagePath, '/a');
    assert.equal(optionsOf(['--storage-path=/b']).storagePath, '/b');
    assert.equal(optionsOf(['--watch-all-namespaces=false']).watchAllNamespaces, false);
    assert.equal(optionsOf(['--watch-all-namespaces']).watchAllNamespaces, true);
  });

  it('gives every controller the number of workers that --concurrent names', () => {
    assert.deepEqual(optionsOf(['--concurrent', '20']).concurrent, {
      source: 20,
      kustomize: 20,
      'sealed-secrets': 20,
    });
  });

  it('takes each flag from the environment, under our prefix and under that of Sealed Secrets', () => {
    assert.equal(optionsOf([], { SIGNET_LOG_LEVEL: 'debug' }).logLevel, 'debug');
    assert.equal(optionsOf([], { SEALED_SECRETS_LISTEN_ADDR: ':1' }).sealedSecretsAddr, ':1');
    assert.equal(optionsOf([], { SEALED_SECRETS_ALL_NAMESPACES: 'false' }).watchAllNamespaces, false);
    assert.equal(optionsOf([], { SIGNET_LISTEN_METRICS_ADDR: ':2' }).metricsAddr, ':2');
  });

  it('lets a flag win over the environment', () => {
    assert.equal(optionsOf(['--log-level=error'], { SIGNET_LOG_LEVEL: 'debug' }).logLevel, 'error');
  });

  it("finds its namespace in the flag, then the environment, then the pod's, then flux-system", () => {
    const env = { RUNTIME_NAMESPACE: 'runtime', POD_NAMESPACE: 'pod' };
    assert.equal(optionsOf(['--namespace', 'flag'], env, 'file').namespace, 'flag');
    assert.equal(optionsOf([], env, 'file').namespace, 'runtime');
    assert.equal(optionsOf([], { POD_NAMESPACE: 'pod' }, 'file').namespace, 'pod');
    assert.equal(optionsOf([], {}, 'file').namespace, 'file');
  });

  it('refuses two spellings of one setting with different values, and takes them when they agree', () => {
    const message = refusal(['--metrics-addr=:1', '--listen-metrics-addr=:2']);
    assert.match(message, /--metrics-addr and --listen-metrics-addr/);
    assert.match(refusal(['--log-level=info', '--log-level=debug']), /--log-level/);
    const env = { SIGNET_METRICS_ADDR: ':1', SEALED_SECRETS_LISTEN_METRICS_ADDR: ':2' };
    assert.match(refusal([], env), /SIGNET_METRICS_ADDR and SEALED_SECRETS_LISTEN_METRICS_ADDR/);
    assert.equal(optionsOf(['--metrics-addr=:1', '--listen-metrics-addr=:1']).metricsAddr, ':1');
  });

  it('takes log levels and encodings in any letter case', () => {
    assert.equal(optionsOf(['--log-level', 'INFO']).logLevel, 'info');
    assert.equal(optionsOf(['--log-encoding', 'Console']).logEncoding, 'console');
  });

  it('accepts the flags that have no meaning here and names them as ignored', () => {
    const commandLine = parseCommandLine(['--kube-api-qps=500', '--kubeclient-burst', '10'], {});
    assert.deepEqual(commandLine.action === 'run' && commandLine.ignored.map(({ flag }) => flag), [
      '--kube-api-qps',
      '--kubeclient-burst',
    ]);
  });

  it('says why a setting of Sealed Secrets has no effect, also when it comes from the environment', () => {
    const argv = ['--max-unseal-retries=7', '--watch-for-secrets', '--log-info-stdout=false'];
    const env = { SEALED_SECRETS_KUBECLIENT_QPS: '5' };
    const commandLine = parseCommandLine(argv, env);
    const ignored = commandLine.action === 'run' ? commandLine.ignored : [];
    assert.deepEqual(ignored.map(({ flag }) => flag).sort(), [
      '--log-info-stdout',
      '--max-unseal-retries',
      '--watch-for-secrets',
      'SEALED_SECRETS_KUBECLIENT_QPS',
    ]);
    assert.match(ignored.find(({ flag }) => flag.includes('retries'))?.because ?? '', /retries never end/);
  });

  /** Upstream's flag → a value other than its default → what it comes to here. */
  const sealedSecretsFlags: [flag: string, text: string, option: keyof Options, value: unknown][] = [
    ['accept-deprecated-v1-data', 'false', 'acceptDeprecatedV1Data', false],
    ['additional-namespaces', 'a, b,a', 'additionalNamespaces', ['a', 'b']],
    ['all-namespaces', 'false', 'watchAllNamespaces', false],
    ['key-cutoff-time', 'Sat, 21 Nov 2026 06:00:00 +0100', 'keyCutoffTimeMs', Date.UTC(2026, 10, 21, 5)],
    ['key-order-priority', 'SecretCreationTimestamp', 'keyOrderPriority', 'SecretCreationTimestamp'],
    ['key-prefix', 'sealing', 'keyPrefix', 'sealing'],
    ['key-renew-period', '0', 'keyRenewPeriodMs', 0],
    ['rotate-period', '48h', 'keyRenewPeriodMs', 48 * 3_600_000],
    ['key-size', '2048', 'keySize', 2048],
    ['key-ttl', '24h', 'keyTtlMs', 24 * 3_600_000],
    ['label-selector', 'app=web,tier in (a, b)', 'labelSelector', 'app=web,tier in (a, b)'],
    ['listen-addr', ':1', 'sealedSecretsAddr', ':1'],
    ['listen-metrics-addr', ':2', 'metricsAddr', ':2'],
    ['log-format', 'text', 'logEncoding', 'console'],
    ['log-level', 'ERROR', 'logLevel', 'error'],
    ['metrics-omit-secret-labels', 'true', 'metricsOmitSecretLabels', true],
    ['my-cn', 'sealing.example.org', 'myCn', 'sealing.example.org'],
    ['old-gc-behavior', 'true', 'oldGcBehavior', true],
    [
      'privatekey-annotations',
      'a.example/b=c d, e=f=g',
      'privateKeyAnnotations',
      { 'a.example/b': 'c d', e: 'f=g' },
    ],
    ['privatekey-labels', 'app=x,empty=', 'privateKeyLabels', { app: 'x', empty: '' }],
    ['rate-limit', '7', 'rateLimit', 7],
    ['rate-limit-burst', '0', 'rateLimitBurst', 0],
    ['read-timeout', '5s', 'readTimeoutMs', 5_000],
    ['skip-recreate', 'true', 'skipRecreate', true],
    ['update-status', 'false', 'updateStatus', false],
    ['write-timeout', '1m30s', 'writeTimeoutMs', 90_000],
  ];
  for (const [flag, text, option, value] of sealedSecretsFlags) {
    it(`takes --${flag} of Sealed Secrets, and its environment variable`, () => {
      assert.notDeepEqual(optionsOf([])[option], value, 'the default would pass');
      assert.deepEqual(optionsOf([`--${flag}=${text}`])[option], value);
      const variable = `SEALED_SECRETS_${flag.toUpperCase().replaceAll('-', '_')}`;
      assert.deepEqual(optionsOf([], { [variable]: text })[option], value);
    });
  }

  it("has Sealed Secrets' defaults for Sealed Secrets' settings", () => {
    const options = optionsOf([]);
    assert.equal(options.keyRenewPeriodMs, 720 * 3_600_000);
    assert.equal(options.keyTtlMs, 87_600 * 3_600_000);
    assert.equal(options.keySize, 4096);
    assert.equal(options.keyOrderPriority, 'CertNotBefore');
    assert.deepEqual([options.rateLimit, options.rateLimitBurst], [2, 2]);
    assert.deepEqual([options.readTimeoutMs, options.writeTimeoutMs], [120_000, 120_000]);
    assert.deepEqual(
      [options.acceptDeprecatedV1Data, options.updateStatus, options.skipRecreate, options.oldGcBehavior],
      [true, true, false, false],
    );
    assert.equal(options.keyCutoffTimeMs, undefined);
    assert.equal(options.createFirstKey, true);
  });

  const refused: [argv: string[], named: RegExp][] = [
    [['--no-such-flag'], /unknown flag --no-such-flag/],
    [['-x'], /unknown flag -x/],
    [['serve'], /unexpected argument "serve"/],
    [['--concurrent', '0'], /"0" for --concurrent: a whole number from 1/],
    [['--concurrent=four'], /"four" for --concurrent/],
    [['--concurrent'], /--concurrent needs a value/],
    [['--controllers', 'source,helm'], /"source,helm" for --controllers/],
    [['--controllers', ''], /--controllers/],
    [['--metrics-addr', '8080'], /"8080" for --metrics-addr: an address is host:port/],
    [['--storage-addr', ':70000'], /--storage-addr/],
    [['--storage-addr', '0'], /--storage-addr/],
    [['--log-level=loud'], /"loud" for --log-level: one of trace, debug, info, error/],
    [['--watch-all-namespaces=maybe'], /--watch-all-namespaces: true or false/],
    [['--key-prefix', 'Bad_Prefix'], /--key-prefix/],
    [['--key-ttl', 'long'], /"long" for --key-ttl: a duration/],
    [['--namespace', 'No'], /"No" for --namespace/],
    [['--key-renew-period', 'monthly'], /"monthly" for --key-renew-period: a duration/],
    [['--key-cutoff-time', 'yesterday'], /"yesterday" for --key-cutoff-time: a time such as/],
    [['--key-cutoff-time', 'Sat, 21 Nov 2026 06:00:00 GMT'], /--key-cutoff-time/],
    [['--key-cutoff-time', 'Sat, 21 Nov 2026 29:00:00 +0000'], /--key-cutoff-time/],
    [
      ['--key-order-priority', 'newest'],
      /--key-order-priority: one of CertNotBefore, SecretCreationTimestamp/,
    ],
    [['--privatekey-labels', 'app'], /--privatekey-labels: "app" is not key=value/],
    [['--privatekey-labels', 'app=a b'], /--privatekey-labels: the value of app is no label value/],
    [['--privatekey-annotations', '-x=1'], /--privatekey-annotations: "-x" is no name/],
    [['--additional-namespaces', 'a,B'], /--additional-namespaces/],
    [['--label-selector', 'app in a'], /--label-selector: a label selector/],
    [['--label-selector', 'a=b;c'], /--label-selector/],
    [['--rate-limit', '0'], /"0" for --rate-limit: a whole number from 1/],
    [['--rate-limit-burst', '-1'], /--rate-limit-burst/],
    [['--read-timeout', '0'], /--read-timeout/],
    [['--skip-recreate=yes'], /--skip-recreate: true or false/],
    [['--log-format', 'xml'], /--log-format/],
    [['--storage-path='], /--storage-path: it must not be empty/],
  ];
  for (const [argv, named] of refused) {
    it(`refuses ${argv.join(' ')}, naming the flag`, () => {
      assert.match(refusal(argv), named);
    });
  }

  it('prints a help text in groups that names every flag and its environment variable', () => {
    const commandLine = parseCommandLine(['--help'], {});
    const text = commandLine.action === 'help' ? commandLine.text : '';
    for (const part of [
      'General:',
      'Addresses:',
      '--kubeconfig FILE',
      '--listen-addr',
      'SIGNET_LOG_LEVEL',
      '--kube-api-qps',
    ]) {
      assert.ok(text.includes(part), part);
    }
    assert.ok(text.split('\n').every((line) => line.length <= 160));
  });
});
