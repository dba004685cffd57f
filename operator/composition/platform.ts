/** What every part of the process shares, and how a part is made. */

import { statSync } from 'node:fs';
import { hostname } from 'node:os';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import type { Logger } from '../api/logger.ts';
import { KubeClient } from '../kube/client.ts';
import { type ClusterConfig, loadClusterConfig } from '../kube/config.ts';
import { Discovery } from '../kube/discovery.ts';
import { EventRecorder } from '../kube/events.ts';
import { Informers } from '../kube/informers.ts';
import type { Options } from '../options.ts';
import { parseBindAddress } from '../runtime/http.ts';
import type { Manager, Runnable } from '../runtime/manager.ts';
import { Metrics } from '../runtime/metrics.ts';

/** Connections to the cluster and what is watched or measured there. */
export interface Platform {
  config: ClusterConfig;
  client: KubeClient;
  discovery: Discovery;
  informers: Informers;
  metrics: Metrics;
}

/**
 * What the parts are made from. `path` is the search path for the programs that are run, `environment` the process's own:
 * of it no program sees more than a part picks for it.
 */
export interface Composition {
  options: Options;
  logger: Logger;
  path: string;
  environment?: Readonly<Record<string, string | undefined>>;
  /** Signet's own, for metrics. */
  version?: string | undefined;
  platform: Platform;
}

/** Reads the kubeconfig and makes what every part shares; nothing is connected or started yet. Throws without one. */
export function createPlatform({ options, logger }: Pick<Composition, 'options' | 'logger'>): Platform {
  const { kubeconfig } = options;
  const config = loadClusterConfig(kubeconfig === undefined ? {} : { kubeconfig });
  const metrics = new Metrics();
  const client = new KubeClient({ config, observe: metrics.requestObserver(config.server.host) });
  return {
    config,
    client,
    discovery: new Discovery(client),
    informers: new Informers({ client, logger }),
    metrics,
  };
}

/** A part made of one or two functions. */
export function part(name: string, life: Partial<Omit<Runnable, 'name'>>): Runnable {
  return { name, start: async () => {}, stop: async () => {}, ...life };
}

/** What controllers have in common, with an event recorder of their own; `component` is where its events come from. */
export function controllerBasics(manager: Manager, composition: Composition, component: string) {
  const { options, logger, platform } = composition;
  const { client, informers, metrics } = platform;
  const recorder = new EventRecorder({ client, component, logger });
  manager.add(
    part(`${component} events`, {
      stop: () => recorder.flush(AbortSignal.timeout(options.gracefulShutdownTimeoutMs)),
    }),
  );
  const namespace = options.watchAllNamespaces ? undefined : options.namespace;
  return { client, informers, metrics, recorder, logger, namespace };
}

/** How artifact URLs name this process when nobody says: the bound host, or this machine's name. */
export function derivedAddress(bind: string): string {
  const { host, port } = parseBindAddress(bind) ?? { port: 0 };
  const named = host === undefined || host === '0.0.0.0' || host === '::' ? hostname() : host;
  return `${named.includes(':') ? `[${named}]` : named}:${port}`;
}

/** The program's path, looked up in `searchPath` as a shell would; `undefined` when it isn't there. */
export function executable(program: string, searchPath: string): string | undefined {
  const paths =
    isAbsolute(program) || program.includes('/')
      ? [resolve(program)]
      : searchPath.split(delimiter).map((folder) => join(folder, program));
  return paths.find((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true);
}
