/**
 * The process: argv, environment, signals and exit codes. Nothing else in the program reads `process.env` or
 * ends the process.
 */

import { readFileSync } from 'node:fs';
import { OptionError } from './flags.ts';
import { SignetOperator } from './operator.ts';
import { type CommandLine, parseCommandLine } from './options.ts';
import { createLogger } from './runtime/logging.ts';

const SERVICE_ACCOUNT_NAMESPACE = '/var/run/secrets/kubernetes.io/serviceaccount/namespace';

/** Reads the namespace that the kubelet mounts into a pod; absent outside one. */
function podNamespace(): string | undefined {
  try {
    return readFileSync(SERVICE_ACCOUNT_NAMESPACE, 'utf8').trim() || undefined;
  } catch {
    return undefined;
  }
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return (manifest as { version: string }).version;
}

function fatal(message: string): never {
  process.stderr.write(`signet: ${message.replaceAll('\n', ' ')}\n`);
  process.exit(1);
}

function commandLine(): CommandLine {
  try {
    return parseCommandLine(process.argv.slice(2), process.env, podNamespace());
  } catch (error) {
    if (error instanceof OptionError) fatal(error.message);
    throw error;
  }
}

async function run({ options, ignored }: Extract<CommandLine, { action: 'run' }>): Promise<void> {
  // The framework's constructor reads the default kubeconfig by itself: it must find the one that was asked for.
  if (options.kubeconfig !== undefined) process.env.KUBECONFIG = options.kubeconfig;
  const logger = createLogger({ level: options.logLevel, encoding: options.logEncoding });
  for (const { flag, because } of ignored) logger.info(`${flag} has no effect: ${because}`);
  process.on('unhandledRejection', (reason) => fatal(`unhandled rejection: ${describe(reason)}`));
  process.on('uncaughtException', (error) => fatal(`uncaught exception: ${describe(error)}`));

  const operator = new SignetOperator({
    ...{ options, logger, version: version() },
    path: process.env.PATH ?? '',
    environment: process.env,
  });
  // As with the sealed-secrets controller. Without a handler, Node would open its debugger on this signal.
  process.on('SIGUSR1', () => {
    logger.info('SIGUSR1 received, making a new sealing key');
    operator.newSealingKey();
  });
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) process.exit(1);
    stopping = true;
    logger.info(`${signal} received, draining`);
    operator.shutDown().then(
      () => process.exit(0),
      (error: unknown) => fatal(`shutdown: ${describe(error)}`),
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  try {
    await operator.start();
  } catch (error) {
    // A start that is broken off ends as the shutdown does.
    if (!stopping) throw error;
    return;
  }
  logger.info('started', { version: version() });
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const parsed = commandLine();
if (parsed.action === 'help') process.stdout.write(parsed.text);
else if (parsed.action === 'version') process.stdout.write(`${version()}\n`);
else await run(parsed).catch((error: unknown) => fatal(describe(error)));
