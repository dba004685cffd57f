/** Calls of git that talk to a server: the settings that carry credentials, and the folder that they need. */

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { authorizationOf, type GitCredentials } from './credentials.ts';
import type { GitSettings } from './git-process.ts';
import { proxyUrl } from './proxy.ts';
import type { RepositoryUrl } from './repository-url.ts';
import { type SshAlgorithms, sshEnvironment } from './ssh-session.ts';

/** What one network call gets on top of the isolation that every call has. */
export interface RemoteSession {
  home: string;
  settings: GitSettings;
  environment: Readonly<Record<string, string>>;
}

/**
 * Runs `work` with an empty home folder (0700, below `temporaryRoot`) that also holds the certificates and keys for this
 * one call, and removes it afterwards, whatever happens.
 *
 * git re-sends its extra headers to wherever a redirect led, another host included; so redirects are only followed
 * where there is nothing to give away.
 */
export async function withRemoteSession<T>(
  temporaryRoot: string,
  remote: {
    address: RepositoryUrl;
    credentials?: GitCredentials | undefined;
    timeoutMs: number;
    ssh: SshAlgorithms;
  },
  work: (session: RemoteSession) => Promise<T>,
): Promise<T> {
  await mkdir(temporaryRoot, { recursive: true, mode: 0o700 });
  const home = await mkdtemp(join(temporaryRoot, 'call-'));
  try {
    const { address, credentials } = remote;
    if (address.transport !== 'ssh') return await work({ home, ...(await httpSession(home, remote)) });
    const settings = [['protocol.version', '2']] as const;
    return await work({
      home,
      settings,
      environment: await sshEnvironment(home, credentials?.ssh, remote.ssh),
    });
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** True when a server would get something that another must not see. */
export function hasSecrets(credentials: GitCredentials | undefined): boolean {
  return authorizationOf(credentials) !== undefined || credentials?.clientCertificate !== undefined;
}

async function httpSession(
  home: string,
  { credentials, timeoutMs }: { credentials?: GitCredentials | undefined; timeoutMs: number },
): Promise<Omit<RemoteSession, 'home'>> {
  const settings: Array<readonly [string, string]> = [
    ['protocol.version', '2'],
    ['http.followRedirects', hasSecrets(credentials) ? 'false' : 'initial'],
    // Ends a git whose operator was killed while a server kept it waiting; a living operator is a little quicker.
    ['http.lowSpeedLimit', '1'],
    ['http.lowSpeedTime', String(Math.ceil(timeoutMs / 1000) + 1)],
  ];
  const authorization = authorizationOf(credentials);
  if (authorization !== undefined) settings.push(['http.extraHeader', `Authorization: ${authorization}`]);
  const file = async (setting: string, name: string, content: string): Promise<void> => {
    const path = join(home, name);
    await writeFile(path, content, { mode: 0o600, flag: 'wx' });
    settings.push([setting, path]);
  };
  if (credentials?.ca !== undefined) await file('http.sslCAInfo', 'ca.pem', credentials.ca);
  if (credentials?.clientCertificate !== undefined) {
    await file('http.sslCert', 'tls.crt', credentials.clientCertificate.certificate);
    await file('http.sslKey', 'tls.key', credentials.clientCertificate.key);
  }
  const { proxy } = credentials ?? {};
  if (proxy === undefined) return { settings, environment: {} };
  settings.push(['http.proxy', proxyUrl(proxy)]);
  if (proxy.ca !== undefined) await file('http.proxySSLCAInfo', 'proxy-ca.pem', proxy.ca);
  // No variable may take a host off the proxy that the spec names.
  return { settings, environment: { no_proxy: '', NO_PROXY: '' } };
}
