/** `spec.verify`: whether somebody whose key is trusted signed a commit or a tag. */

import { createHash } from 'node:crypto';
import type { Key } from 'openpgp';
import type { SecretData } from './credentials.ts';
import { messageOf } from './errors.ts';
import type { SignedObject } from './signed-object.ts';
import { readAuthorizedKeys, type SshPublicKey, sshSigner } from './ssh-signature.ts';

/** Keys of which any one suffices. */
export interface TrustedKeys {
  pgp: readonly Key[];
  ssh: readonly SshPublicKey[];
}

const SSH_SUFFIX = '.sshpub';

/**
 * The keys in a Secret's `data`: SSH ones (the lines of an authorized-keys file) in `*.sshpub`, PGP ones (armored) in
 * everything else.
 * @throws Error naming the entry that can't be read, or saying that there is none
 */
export async function readTrustedKeys(data: SecretData | undefined): Promise<TrustedKeys> {
  const pgp: Key[] = [];
  const ssh: SshPublicKey[] = [];
  for (const [name, value] of Object.entries(data ?? {})) {
    const text = Buffer.from(value, 'base64').toString('utf8');
    try {
      if (name.endsWith(SSH_SUFFIX)) ssh.push(...readAuthorizedKeys(text));
      else pgp.push(...(await readPgpKeys(text)));
    } catch (error) {
      throw new Error(`${name} is not a public key: ${messageOf(error)}`, { cause: error });
    }
  }
  if (pgp.length + ssh.length === 0)
    throw new Error('it has no public key: put PGP keys into *.asc and SSH keys into *.sshpub entries');
  return { pgp, ssh };
}

/** Tells the mode and keys from others: what was verified under another one is to be verified again. */
export function verificationFingerprint(mode: string, data: SecretData | undefined): string {
  const entries = Object.entries(data ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const digest = createHash('sha256').update(JSON.stringify([mode, entries]));
  return `sha256:${digest.digest('hex')}`;
}

/**
 * Who signed: the id of a PGP key, or the fingerprint of an SSH key.
 * @throws Error saying why nobody trusted did
 */
export async function signerOf(signed: SignedObject | undefined, keys: TrustedKeys): Promise<string> {
  if (signed === undefined) throw new Error('it is not signed');
  switch (signed.format) {
    case 'pgp':
      return pgpSigner(signed, keys.pgp);
    case 'ssh': {
      const key = sshSigner(signed.signature, signed.payload, keys.ssh);
      if (key === undefined) throw new Error('none of the trusted SSH keys made its signature');
      return key.fingerprint;
    }
    case 'x509':
      throw new Error('its signature is an S/MIME (x509) one, which cannot be verified: use PGP or SSH');
  }
}

async function readPgpKeys(armoredKeys: string): Promise<Key[]> {
  const { readKeys } = await import('openpgp');
  return readKeys({ armoredKeys });
}

/** A key must be valid now, not only when it signed: one that was revoked or has expired vouches for nothing. */
async function pgpSigner({ signature, payload }: SignedObject, keys: readonly Key[]): Promise<string> {
  const { createMessage, readSignature, verify } = await import('openpgp');
  const { signatures } = await verify({
    message: await createMessage({ binary: payload }),
    signature: await readSignature({ armoredSignature: signature }),
    verificationKeys: [...keys],
  });
  let reason = 'none of the trusted PGP keys made its signature';
  for (const { keyID, verified } of signatures) {
    const key = keys.find((candidate) => candidate.getKeys(keyID).length > 0);
    if (key === undefined) continue;
    try {
      await verified;
      await key.getSigningKey(keyID, new Date());
      return key.getKeyID().toHex().toUpperCase();
    } catch (error) {
      reason = messageOf(error);
    }
  }
  throw new Error(reason);
}
