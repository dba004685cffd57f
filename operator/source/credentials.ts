/** What a repository's server wants to know before it answers. Pure: reading the Secret is the controller's job. */

import { REASON } from '../api/conditions.ts';
import { certificatesIn, clientCertificateOf } from './certificates.ts';
import { SourceError } from './errors.ts';
import type { RepositoryUrl, Transport } from './repository-url.ts';
import { type SshCredentials, sshFrom } from './ssh-credentials.ts';

/** The proxy between us and the server. `address` has no user name or password in it and may be shown. */
export interface ProxyCredentials {
  address: string;
  basic?: { username: string; password: string };
  /** Certificate authorities of an https:// proxy, PEM. */
  ca?: string;
}

/** For one call of git; never put into an argument, a URL, a message or the cache. PEM texts are as in the Secret. */
export interface GitCredentials {
  basic?: { username: string; password: string };
  /** Wins over `basic`, as in Flux. */
  bearerToken?: string;
  /** Certificate authorities of the server, PEM. */
  ca?: string;
  clientCertificate?: { certificate: string; key: string };
  /** What an ssh:// address needs; the others don't look at it. */
  ssh?: SshCredentials;
  /** What http:// and https:// addresses are reached through. */
  proxy?: ProxyCredentials;
  /** Told when the server refuses them, so that what was kept for them is not used again. */
  onRefused?: () => void;
}

/** A Secret's `data`: base64 values by key. */
export type SecretData = Readonly<Record<string, string>>;

/**
 * The credentials in a Secret's `data`. For HTTP(S): `username` and `password`, or `bearerToken`; `ca.crt` (or the
 * older `caFile`); `tls.crt` with `tls.key`. For SSH: `identity`, `known_hosts` and, when the key is encrypted,
 * `password`. `secret` is how messages call it.
 * @throws SourceError `AuthenticationFailed` naming the key that is missing or malformed.
 */
export function credentialsFromSecret(
  data: SecretData | undefined,
  secret: string,
  transport: Transport,
): GitCredentials {
  const read = valueReader(data);
  if (transport === 'ssh') return { ssh: sshFrom(read, secret) };
  const bearerToken = singleLine(read('bearerToken'), 'bearerToken', secret);
  const credentials: GitCredentials = {
    ...basicFrom(read, secret),
    ...(isSet(bearerToken) ? { bearerToken } : {}),
    ...authoritiesFrom(data, secret),
    ...clientCertificateFrom(read, secret),
  };
  if (Object.keys(credentials).length === 0)
    throw refused(
      `${secret} has none of the keys username and password, bearerToken, ca.crt, tls.crt and tls.key`,
    );
  return credentials;
}

/**
 * The server's certificate authorities in a Secret's `data`: `ca.crt`, or the older `caFile`.
 * @throws SourceError `AuthenticationFailed`
 */
export function authoritiesFrom(data: SecretData | undefined, secret: string): Pick<GitCredentials, 'ca'> {
  const read = valueReader(data);
  const ca = read('ca.crt') ?? read('caFile');
  return isSet(ca) ? { ca: certificatesIn(ca, 'ca.crt', secret) } : {};
}

/** The text of a Secret's key; undefined when it has none. */
export function valueReader(data: SecretData | undefined): (key: string) => string | undefined {
  return (key) => {
    const value = data?.[key];
    return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8');
  };
}

/** Credentials with the URL's own user name and password as the fallback. */
export function withUserinfo(
  url: RepositoryUrl,
  credentials: GitCredentials | undefined,
): GitCredentials | undefined {
  if (url.userinfo === undefined || url.transport === 'ssh') return credentials;
  if (credentials?.basic !== undefined || credentials?.bearerToken !== undefined) return credentials;
  return { ...credentials, basic: url.userinfo };
}

/** The value of the `Authorization` header, if there is something to say. */
export function authorizationOf(credentials: GitCredentials | undefined): string | undefined {
  if (credentials?.bearerToken !== undefined) return `Bearer ${credentials.bearerToken}`;
  if (credentials?.basic === undefined) return undefined;
  const { username, password } = credentials.basic;
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}

/** Every text that must not appear in a message, longest first. */
export function secretsOf(credentials: GitCredentials | undefined): string[] {
  const authorization = authorizationOf(credentials);
  const secrets = [
    credentials?.bearerToken,
    credentials?.basic?.password,
    authorization?.slice(authorization.indexOf(' ') + 1),
    credentials?.basic === undefined ? undefined : encodeURIComponent(credentials.basic.password),
    credentials?.ssh?.passphrase,
    credentials?.proxy?.basic?.password,
    credentials?.proxy?.basic === undefined
      ? undefined
      : encodeURIComponent(credentials.proxy.basic.password),
  ];
  return secrets.filter(isSet).sort((a, b) => b.length - a.length);
}

/**
 * `username` and `password` of a Secret.
 * @throws SourceError `AuthenticationFailed`
 */
export function basicFrom(
  read: (key: string) => string | undefined,
  secret: string,
): Pick<GitCredentials, 'basic'> {
  const username = singleLine(read('username'), 'username', secret);
  const password = singleLine(read('password'), 'password', secret);
  if (!isSet(username)) {
    if (isSet(password)) throw refused(`${secret} has a password but no username: add the key username`);
    return {};
  }
  if (username.includes(':'))
    throw refused(`username in ${secret} contains ':', which basic auth cannot carry`);
  return { basic: { username, password: password ?? '' } };
}

function clientCertificateFrom(
  read: (key: string) => string | undefined,
  secret: string,
): Pick<GitCredentials, 'clientCertificate'> {
  const certificate = read('tls.crt');
  const key = read('tls.key');
  if (!isSet(certificate) && !isSet(key)) return {};
  if (!isSet(certificate)) throw refused(`${secret} has tls.key but no tls.crt: add it`);
  if (!isSet(key)) throw refused(`${secret} has tls.crt but no tls.key: add it`);
  return { clientCertificate: clientCertificateOf({ certificate, key }, secret) };
}

/** A value that goes into an HTTP header must not be able to start another one. */
function singleLine(value: string | undefined, key: string, secret: string): string | undefined {
  if (value !== undefined && /[\r\n\0]/.test(value))
    throw refused(`${key} in ${secret} contains a line break: store it without (printf, not echo)`);
  return value;
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== '';
}

function refused(message: string): SourceError {
  return new SourceError(REASON.authenticationFailed, message);
}
