/** What a Secret says about an ssh:// repository. */

import { REASON } from '../api/conditions.ts';
import { SourceError } from './errors.ts';

/** A private key, and the servers it may be shown to. Texts are as OpenSSH reads them from files. */
export interface SshCredentials {
  identity: string;
  /** In the format of known_hosts (sshd(8)). */
  knownHosts: string;
  /** What an encrypted `identity` opens with. */
  passphrase?: string;
}

const MAGIC = Buffer.from('openssh-key-v1\0');

/**
 * Reads `identity`, `known_hosts` and `password` (all as Flux names them); the first two are required.
 * @throws SourceError `AuthenticationFailed` naming the key that is missing or malformed, never its value
 */
export function sshFrom(read: (key: string) => string | undefined, secret: string): SshCredentials {
  const [identity = '', knownHosts = '', passphrase = ''] = ['identity', 'known_hosts', 'password'].map(read);
  if (identity.trim() === '')
    throw refused(`${secret} has no key identity: an ssh:// address needs a private key there`);
  if (knownHosts.trim() === '')
    throw refused(`${secret} has no key known_hosts: put what ssh-keyscan says about the server there`);
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(identity))
    throw refused(`identity in ${secret} is not a private key ('-----BEGIN … PRIVATE KEY-----')`);
  if (!knownHosts.split('\n').some(isHostLine))
    throw refused(`known_hosts in ${secret} has no line '<host> <type> <key>'`);
  if (/[\r\n\0]/.test(passphrase))
    throw refused(`password in ${secret} contains a line break: store it without (printf, not echo)`);
  const files = { identity: asFile(identity), knownHosts: asFile(knownHosts) };
  if (!isEncrypted(identity)) return files;
  if (passphrase === '')
    throw refused(`identity in ${secret} is encrypted: put its passphrase into the key password`);
  return { ...files, passphrase };
}

/** OpenSSH reads no key whose last line has no end. */
function asFile(text: string): string {
  return `${text.replaceAll('\r\n', '\n').trimEnd()}\n`;
}

function isHostLine(line: string): boolean {
  return !line.startsWith('#') && line.trim().split(/\s+/).length >= 3;
}

/** PROTOCOL.key of OpenSSH: the magic is followed by the cipher's name, after its length; PEM says it in clear. */
function isEncrypted(identity: string): boolean {
  if (/ENCRYPTED/.test(identity)) return true;
  const body = Buffer.from(identity.replaceAll(/-----[^-]+-----/g, ''), 'base64');
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) return false;
  return body.toString('latin1', MAGIC.length + 4, MAGIC.length + 8) !== 'none';
}

function refused(message: string): SourceError {
  return new SourceError(REASON.authenticationFailed, message);
}
