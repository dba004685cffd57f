/** Certificates and keys as Secrets hold them, checked before a server is asked. */

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { REASON } from '../api/conditions.ts';
import { SourceError } from './errors.ts';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * The text, if it is one or more certificates in PEM, with whatever is written between them.
 * @throws SourceError `AuthenticationFailed`
 */
export function certificatesIn(text: string, key: string, secret: string): string {
  const found = text.match(CERTIFICATE) ?? [];
  if (found.length === 0)
    throw refused(`${key} in ${secret} is not a certificate in PEM ('-----BEGIN CERTIFICATE-----')`);
  for (const [index, pem] of found.entries()) {
    if (readable(() => new X509Certificate(pem)) === undefined)
      throw refused(`${key} in ${secret}: certificate ${index + 1} of ${found.length} cannot be read`);
  }
  return text;
}

/**
 * A client certificate with its key.
 * @throws SourceError `AuthenticationFailed` when they can't be read, or don't belong together
 */
export function clientCertificateOf(
  pem: { certificate: string; key: string },
  secret: string,
): { certificate: string; key: string } {
  certificatesIn(pem.certificate, 'tls.crt', secret);
  const key = readable((): KeyObject => createPrivateKey(pem.key));
  if (key === undefined)
    throw refused(`tls.key in ${secret} is not a private key in PEM without a passphrase`);
  if (!new X509Certificate(pem.certificate).checkPrivateKey(key))
    throw refused(`tls.key in ${secret} is not the key of the certificate in tls.crt`);
  return pem;
}

function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function refused(message: string): SourceError {
  return new SourceError(REASON.authenticationFailed, message);
}
