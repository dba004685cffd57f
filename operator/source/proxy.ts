/** The proxy that a GitRepository names in `spec.proxySecretRef`. */

import { REASON } from '../api/conditions.ts';
import { certificatesIn } from './certificates.ts';
import { basicFrom, type ProxyCredentials, type SecretData, valueReader } from './credentials.ts';
import { SourceError } from './errors.ts';

const SCHEMES = ['http:', 'https:', 'socks5:', 'socks5h:'];

/**
 * The proxy in a Secret's `data`: `address` (a URL: http, https or socks5), `username` and `password`, and `ca.crt`
 * for an https:// proxy whose certificate a private authority signed (Flux doesn't have that one).
 * @throws SourceError `AuthenticationFailed` naming the key that is missing or malformed, never its value
 */
export function proxyFromSecret(data: SecretData | undefined, secret: string): ProxyCredentials {
  const read = valueReader(data);
  const written = read('address')?.trim() ?? '';
  if (written === '') throw refused(`${secret} has no key address: put the proxy's URL there`);
  const url = URL.canParse(written) ? new URL(written) : undefined;
  if (url === undefined || !SCHEMES.includes(url.protocol) || url.hostname === '')
    throw refused(
      `address in ${secret} is not the URL of a proxy: write http://, https:// or socks5://host:port`,
    );
  const { username, password } = url;
  const inUrl = { username: decodeURIComponent(username), password: decodeURIComponent(password) };
  const basic = basicFrom(read, secret).basic ?? (username === '' ? undefined : inUrl);
  const ca = read('ca.crt') ?? '';
  return {
    address: `${url.protocol}//${url.host}`,
    ...(basic === undefined ? {} : { basic }),
    ...(ca === '' ? {} : { ca: certificatesIn(ca, 'ca.crt', secret) }),
  };
}

/**
 * The proxy as one URL, user name and password in it: for settings, never for a message. As in Flux, a SOCKS proxy
 * resolves names; libcurl calls that `socks5h`.
 */
export function proxyUrl(proxy: ProxyCredentials): string {
  const [scheme = '', rest = ''] = proxy.address.split('://');
  const named = scheme.startsWith('socks5') ? 'socks5h' : scheme;
  const { username = '', password = '' } = proxy.basic ?? {};
  const userinfo =
    proxy.basic === undefined ? '' : `${encodeURIComponent(username)}:${encodeURIComponent(password)}@`;
  return `${named}://${userinfo}${rest}`;
}

/**
 * The proxies that an environment names, for git: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` in either case. Where both
 * are set the upper one counts, as in Flux; all become lower-case ones, for libcurl takes no notice of `HTTP_PROXY`.
 */
export function proxyEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of ['https_proxy', 'http_proxy', 'no_proxy']) {
    const value = environment[name.toUpperCase()] || environment[name];
    if (value) found[name] = value;
  }
  return found;
}

function refused(message: string): SourceError {
  return new SourceError(REASON.authenticationFailed, message);
}
