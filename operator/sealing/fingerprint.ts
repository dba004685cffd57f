/** Names of public keys. */

import { createHash, type KeyObject } from 'node:crypto';

/**
 * The OpenSSH SHA-256 fingerprint of an RSA public key (RFC 4253 section 6.6, as `ssh-keygen -l` prints it):
 * `SHA256:` and unpadded base64. Sealed Secrets names its keys so. Throws when the key isn't RSA.
 */
export function fingerprintOf(publicKey: KeyObject): string {
  const { e, n } = publicKey.export({ format: 'jwk' });
  if (e === undefined || n === undefined) throw new TypeError('a fingerprint is defined for RSA keys only');
  const wire = Buffer.concat([sshString(Buffer.from('ssh-rsa')), sshMpint(e), sshMpint(n)]);
  return `SHA256:${createHash('sha256').update(wire).digest('base64').replace(/=+$/, '')}`;
}

function sshString(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** A positive multiple-precision integer (RFC 4251 section 5) from JWK's unsigned base64url. */
function sshMpint(base64url: string): Buffer {
  const bytes = Buffer.from(base64url, 'base64url');
  const isHighBitSet = ((bytes[0] ?? 0) & 0x80) !== 0;
  return sshString(isHighBitSet ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
}
