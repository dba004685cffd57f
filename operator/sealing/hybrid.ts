/**
 * The hybrid cipher of one encrypted item. It knows no Kubernetes. Format (Sealed Secrets' `HybridEncrypt`):
 *
 *   +----------+-------------------------------+------------------------+-----------+
 *   | length   | RSA block                     | AES block              | GCM tag   |
 *   | 2 bytes, | `length` bytes                | as long as the         | 16 bytes  |
 *   | big-     | RSA-OAEP (SHA-256, MGF1       | plaintext              |           |
 *   | endian   | SHA-256, label = the scope's) | AES-GCM                |           |
 *   |          | of a random session key       | nonce of 12 zero bytes |           |
 *   +----------+-------------------------------+------------------------+-----------+
 *
 * The session key is 32 bytes (16 and 24 are read too) and used once, which is what makes the constant nonce
 * safe. No version byte, no key identifier, no compression. In an object the whole is standard base64.
 */

import {
  constants,
  createCipheriv,
  type KeyObject,
  publicEncrypt,
  randomBytes,
  type webcrypto,
} from 'node:crypto';

const LENGTH_BYTES = 2;
const TAG_BYTES = 16;
const SESSION_KEY_BYTES = 32;
const ZERO_NONCE = Buffer.alloc(12);

/** A private key as the cipher needs it. */
export interface OpeningKey {
  readonly fingerprint: string;
  /** The RSA block's content, or nothing, whatever the failure was. The caller may overwrite the answer. */
  openBlock(block: Buffer, label: Buffer, signal?: AbortSignal): Promise<Uint8Array | undefined>;
}

/** A decrypted item, and which key opened it. The caller should overwrite the plaintext after use. */
export interface Opened {
  plaintext: Buffer;
  fingerprint: string;
}

/** Seals `plaintext` for the holder of the private key. Public-key work only, so it runs where it is called. */
export function encrypt(publicKey: KeyObject, plaintext: Buffer, label: Buffer): Buffer {
  const sessionKey = randomBytes(SESSION_KEY_BYTES);
  try {
    const block = publicEncrypt(
      {
        key: publicKey,
        padding: constants.RSA_PKCS1_OAEP_PADDING,
        oaepHash: 'sha256',
        oaepLabel: label,
      },
      sessionKey,
    );
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt16BE(block.length);
    const cipher = createCipheriv('aes-256-gcm', sessionKey, ZERO_NONCE, { authTagLength: TAG_BYTES });
    return Buffer.concat([length, block, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  } finally {
    sessionKey.fill(0);
  }
}

/**
 * Opens a sealed item with the first of `keys` that can, all cryptography off the main thread. Every failure
 * (length, OAEP, session key, tag) is the same `undefined`. Rejects only when `signal` aborts.
 */
export async function decrypt(o: {
  sealed: Buffer;
  label: Buffer;
  keys: Iterable<OpeningKey>;
  signal?: AbortSignal | undefined;
}): Promise<Opened | undefined> {
  if (o.sealed.length < LENGTH_BYTES) return undefined;
  const blockEnd = LENGTH_BYTES + o.sealed.readUInt16BE(0);
  if (o.sealed.length < blockEnd + TAG_BYTES) return undefined;
  const block = o.sealed.subarray(LENGTH_BYTES, blockEnd);
  const body = o.sealed.subarray(blockEnd);
  for (const key of o.keys) {
    const sessionKey = await key.openBlock(block, o.label, o.signal);
    if (sessionKey === undefined) continue;
    const plaintext = await openBody(sessionKey, body);
    sessionKey.fill(0);
    if (plaintext !== undefined) return { plaintext, fingerprint: key.fingerprint };
  }
  return undefined;
}

async function openBody(sessionKey: Uint8Array, body: Buffer): Promise<Buffer | undefined> {
  try {
    const key: webcrypto.CryptoKey = await crypto.subtle.importKey('raw', sessionKey, 'AES-GCM', false, [
      'decrypt',
    ]);
    const algorithm = { name: 'AES-GCM', iv: ZERO_NONCE, tagLength: TAG_BYTES * 8 };
    return Buffer.from(await crypto.subtle.decrypt(algorithm, key, body));
  } catch {
    return undefined;
  }
}
