/** Connections to the API server: keep-alive HTTP/1.1 over TLS, through a proxy where the kubeconfig names one. */

import { buildConnector, type Dispatcher, Pool, ProxyAgent } from 'undici';
import type { ClusterConfig, TlsMaterial } from './config.ts';

/** Less than the API server's 90 s, so that it is never the one that closes an idle connection. */
const KEEP_ALIVE_MS = 60_000;
/** Finds out about a peer that vanished without a word, long before a watch's idle guard. */
const TCP_KEEP_ALIVE_MS = 15_000;

/**
 * A pool of at most `connections` (undefined: no bound). Nothing is opened before the first request.
 * undici's own time limits are off: the caller's signal is the one mechanism.
 * Throws when the proxy's URL is of a kind that can't be used, or a TLS file that a proxied connection needs is missing.
 */
export async function openConnections(
  config: ClusterConfig,
  connections: number | undefined,
): Promise<Dispatcher> {
  const options = {
    connections: connections ?? null,
    // undici sends one request at a time over HTTP/2 unless each is marked idempotent.
    allowH2: false,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    headersTimeout: 0,
    bodyTimeout: 0,
  };
  if (config.proxyUrl === undefined) {
    return new Pool(config.server.origin, { ...options, connect: rotatingConnector(config) });
  }
  if (!/^https?:\/\//.test(config.proxyUrl)) {
    throw new Error("the kubeconfig's proxy-url must begin with http:// or https://");
  }
  // undici's proxy agent takes TLS material as a value: behind a proxy, rotated files count from the next start on.
  const requestTls = connectOptions(config, (await config.tls?.()) ?? {});
  return new ProxyAgent({ ...options, uri: config.proxyUrl, requestTls });
}

/** Reads TLS material for each new connection, so that rotated files count from the next one on. */
function rotatingConnector(config: ClusterConfig): buildConnector.connector {
  let current: { identity: string; connect: buildConnector.connector } | undefined;
  const connectorFor = async (): Promise<buildConnector.connector> => {
    const material = (await config.tls?.()) ?? {};
    const identity = JSON.stringify(material);
    if (current?.identity !== identity) {
      current = { identity, connect: buildConnector(connectOptions(config, material)) };
    }
    return current.connect;
  };
  return (options, callback) => {
    connectorFor().then(
      (connect) => connect(options, callback),
      (error: Error) => callback(error, null),
    );
  };
}

function connectOptions(config: ClusterConfig, material: TlsMaterial): buildConnector.BuildOptions {
  return {
    ...material,
    allowH2: false,
    rejectUnauthorized: !config.insecureSkipTlsVerify,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    ...(config.tlsServerName === undefined ? {} : { servername: config.tlsServerName }),
  };
}
