/** Where the API server is and how to prove who we are: the one place that reads a kubeconfig. */

import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { RequestOptions } from 'node:https';
import { dirname, resolve } from 'node:path';
import { type Cluster, KubeConfig, type User } from '@kubernetes/client-node';
import { parse } from 'yaml';

/** What a new TLS connection presents and trusts, in PEM. */
export interface TlsMaterial {
  ca?: string;
  cert?: string;
  key?: string;
}

/** How to reach one API server. Functions are asked anew because files and plugins rotate what they give. */
export interface ClusterConfig {
  server: URL;
  insecureSkipTlsVerify: boolean;
  tlsServerName?: string;
  /** An `http(s)://` proxy to tunnel through. */
  proxyUrl?: string;
  /** The kubeconfig's `as`: every call is made in this user's name. */
  impersonate?: string;
  /** Read for each new connection; throws when a file is missing. Absent: the system's trust, no certificate. */
  tls?(): Promise<TlsMaterial>;
  /** The `Authorization` header's value, if any; `fresh` (after a 401) skips what is remembered for a few seconds. */
  authorization(o?: { fresh?: boolean }): Promise<string | undefined>;
}

/** Tokens rotate minutes before they expire, so this is early enough and costs next to nothing. */
const CREDENTIALS_REMEMBERED_MS = 10_000;

const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/**
 * Reads the configuration: `kubeconfig` if given; else the service account's when `inCluster` (by default: when its
 * token is mounted); else what kubectl would read (`KUBECONFIG`, `~/.kube/config`).
 * Throws when there is none or it names no cluster. Exec plugins, OIDC and the like run through client-node.
 */
export function loadClusterConfig(o: { kubeconfig?: string; inCluster?: boolean } = {}): ClusterConfig {
  const kubeConfig = new KubeConfig();
  let tokenFile: string | undefined;
  if (o.kubeconfig !== undefined) {
    tokenFile = loadFile(kubeConfig, o.kubeconfig);
  } else if (o.inCluster ?? existsSync(SERVICE_ACCOUNT_TOKEN)) {
    kubeConfig.loadFromCluster();
    if (!URL.canParse(kubeConfig.getCurrentCluster()?.server ?? '')) {
      throw new Error('in-cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set');
    }
    tokenFile = SERVICE_ACCOUNT_TOKEN;
  } else {
    loadUsual(kubeConfig);
  }
  const cluster = kubeConfig.getCurrentCluster();
  if (cluster === null) {
    throw new Error(
      `${o.kubeconfig ?? 'the kubeconfig'}: the current context ${JSON.stringify(kubeConfig.getCurrentContext() ?? '')} names no cluster`,
    );
  }
  return toClusterConfig(kubeConfig, cluster, tokenFile);
}

/** What kubectl would read. client-node answers `localhost:8080` where there is nothing: nobody meant that. */
function loadUsual(kubeConfig: KubeConfig): void {
  naming('KUBECONFIG or ~/.kube/config', () => kubeConfig.loadFromDefault());
  if (kubeConfig.getCurrentContext() !== 'loaded-context') return;
  if (kubeConfig.getCurrentCluster()?.server !== 'http://localhost:8080') return;
  throw new Error('no kubeconfig: give --kubeconfig or KUBECONFIG, have ~/.kube/config, or run in a cluster');
}

/** Loads the file and answers the current user's `tokenFile`, which client-node doesn't read. */
function loadFile(kubeConfig: KubeConfig, path: string): string | undefined {
  const text = readFileSync(path, 'utf8');
  naming(path, () => kubeConfig.loadFromString(text));
  kubeConfig.makePathsAbsolute(dirname(resolve(path)));
  const raw = parse(text) as { users?: { name?: string; user?: { tokenFile?: string } }[] };
  const userName = kubeConfig.getCurrentUser()?.name;
  const tokenFile = raw.users?.find((entry) => entry.name === userName)?.user?.tokenFile;
  return tokenFile === undefined ? undefined : resolve(dirname(resolve(path)), tokenFile);
}

/** client-node's errors don't say in which file. */
function naming(file: string, load: () => void): void {
  try {
    load();
  } catch (cause) {
    throw new Error(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function toClusterConfig(
  kubeConfig: KubeConfig,
  cluster: Cluster,
  tokenFile: string | undefined,
): ClusterConfig {
  const user = kubeConfig.getCurrentUser() ?? undefined;
  const plugin = remembered(() => runPlugin(kubeConfig));
  const usesPlugin = tokenFile === undefined && (user?.exec != null || user?.authProvider != null);
  return {
    server: parseServer(cluster.server),
    insecureSkipTlsVerify: cluster.skipTLSVerify === true,
    ...(cluster.tlsServerName ? { tlsServerName: cluster.tlsServerName } : {}),
    ...(cluster.proxyUrl ? { proxyUrl: cluster.proxyUrl } : {}),
    ...(user?.impersonateUser ? { impersonate: user.impersonateUser } : {}),
    async tls() {
      const { cert, key } = usesPlugin ? await plugin() : {};
      return dropUndefined({
        ca: await pem(cluster.caFile, cluster.caData),
        cert: cert ?? (await pem(user?.certFile, user?.certData)),
        key: key ?? (await pem(user?.keyFile, user?.keyData)),
      });
    },
    authorization: authorizationOf(user, tokenFile, usesPlugin ? plugin : undefined),
  };
}

function parseServer(server: string): URL {
  if (!URL.canParse(server))
    throw new Error(`the kubeconfig's server ${JSON.stringify(server)} is not a URL`);
  return new URL(server);
}

type Remembered<T> = (o?: { fresh?: boolean }) => Promise<T>;

function authorizationOf(
  user: User | undefined,
  tokenFile: string | undefined,
  plugin: Remembered<PluginCredentials> | undefined,
): ClusterConfig['authorization'] {
  if (tokenFile !== undefined) {
    return remembered(async () => `Bearer ${(await readFile(tokenFile, 'utf8')).trim()}`);
  }
  if (plugin !== undefined) return async (o) => (await plugin(o)).authorization;
  const fixed = fixedAuthorization(user);
  return async () => fixed;
}

function fixedAuthorization(user: User | undefined): string | undefined {
  if (user?.token) return `Bearer ${user.token}`;
  if (user?.username) {
    return `Basic ${Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64')}`;
  }
  return undefined;
}

interface PluginCredentials {
  authorization?: string;
  cert?: string;
  key?: string;
}

/** `applyToHTTPSOptions` is the one authentication call that client-node 0.20, 1.4 and 2.0 share. */
async function runPlugin(kubeConfig: KubeConfig): Promise<PluginCredentials> {
  const options: RequestOptions = {};
  await kubeConfig.applyToHTTPSOptions(options);
  const headers = options.headers as { Authorization?: string } | undefined;
  return dropUndefined({
    authorization: headers?.Authorization,
    cert: options.cert?.toString(),
    key: options.key?.toString(),
  });
}

/** One answer at a time, remembered for a few seconds; a failure isn't remembered. */
function remembered<T>(produce: () => Promise<T>): Remembered<T> {
  let current: { value: Promise<T>; untilMs: number } | undefined;
  return ({ fresh = false } = {}) => {
    if (current !== undefined && !fresh && Date.now() < current.untilMs) return current.value;
    const value = produce();
    const entry = { value, untilMs: Date.now() + CREDENTIALS_REMEMBERED_MS };
    current = entry;
    value.catch(() => {
      if (current === entry) current = undefined;
    });
    return value;
  };
}

async function pem(file: string | undefined, data: string | undefined): Promise<string | undefined> {
  if (file) return readFile(file, 'utf8');
  return data ? Buffer.from(data, 'base64').toString('utf8') : undefined;
}

function dropUndefined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
