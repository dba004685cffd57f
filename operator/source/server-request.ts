/** Our own HTTP calls to servers that git talks to, with the same certificates and through the same proxy. */

import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher, ProxyAgent, request, Socks5ProxyAgent } from 'undici';
import type { GitCredentials } from './credentials.ts';
import { proxyUrl } from './proxy.ts';

/** Who to ask and how to get there; of the credentials only certificates and the proxy count. */
export interface ServerRequest {
  url: URL;
  method?: 'GET' | 'POST';
  headers: Readonly<Record<string, string>>;
  credentials: Pick<GitCredentials, 'ca' | 'clientCertificate' | 'proxy'> | undefined;
  signal: AbortSignal;
}

/** What came back. */
export interface ServerAnswer {
  status: number;
  location: string | undefined;
  body: string;
}

const BODY_LIMIT_BYTES = 1024 * 1024;

/**
 * Asks once, following no redirect; of the body no more than 1 MiB is read.
 * @throws the error of the connection, or the signal's reason
 */
export async function askServer(o: ServerRequest): Promise<ServerAnswer> {
  const dispatcher = dispatcherFor(o.credentials);
  try {
    const { method = 'GET', headers, signal } = o;
    const response = await request(o.url, { method, headers, signal, dispatcher });
    const location = response.headers.location;
    return {
      status: response.statusCode,
      location: typeof location === 'string' ? location : undefined,
      body: await textOf(response.body),
    };
  } finally {
    await dispatcher.destroy();
  }
}

function dispatcherFor(credentials: ServerRequest['credentials']): Dispatcher {
  const { ca, clientCertificate, proxy } = credentials ?? {};
  const tls = {
    ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }),
    ...(clientCertificate === undefined
      ? {}
      : { cert: clientCertificate.certificate, key: clientCertificate.key }),
  };
  if (proxy === undefined) return new Agent({ connect: tls });
  if (proxy.address.startsWith('socks5'))
    return new Socks5ProxyAgent(`socks5://${proxy.address.split('://')[1]}`, {
      ...proxy.basic,
      requestTls: tls,
    });
  const proxyTls = proxy.ca === undefined ? {} : { ca: [...rootCertificates, proxy.ca] };
  return new ProxyAgent({ uri: proxyUrl(proxy), requestTls: tls, proxyTls });
}

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let totalBytes = 0;
  for await (const chunk of body) {
    totalBytes += chunk.length;
    if (totalBytes > BODY_LIMIT_BYTES) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
