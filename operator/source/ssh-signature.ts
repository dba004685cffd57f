/** SSH signatures (OpenSSH's PROTOCOL.sshsig and PROTOCOL.u2f), as `git commit -S` makes them with `gpg.format=ssh`. */

import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';

/** A public key in SSH's own encoding. */
export interface SshPublicKey {
  type: string;
  blob: Buffer;
  /** `SHA256:<base64>`, as ssh-keygen shows it. */
  fingerprint: string;
}

const MAGIC = Buffer.from('SSHSIG');
const NAMESPACE = 'git';
const ARMOR = /^-----BEGIN SSH SIGNATURE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END SSH SIGNATURE-----\s*$/;
const SMALLEST_RSA_BITS = 2048;
const USER_PRESENT = 1;
const ECDSA_BY_CURVE: Readonly<Record<string, { crv: string; hash: string; partBytes: number }>> = {
  nistp256: { crv: 'P-256', hash: 'sha256', partBytes: 32 },
  nistp384: { crv: 'P-384', hash: 'sha384', partBytes: 48 },
  nistp521: { crv: 'P-521', hash: 'sha512', partBytes: 66 },
};
const RSA_HASH: Readonly<Record<string, string>> = { 'rsa-sha2-256': 'sha256', 'rsa-sha2-512': 'sha512' };
const KEY_TYPE =
  /^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)$/;

/**
 * The keys in the lines of an authorized-keys file; empty lines, comments and key options are passed over.
 * @throws Error for a line without a key of a known type
 */
export function readAuthorizedKeys(text: string): SshPublicKey[] {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('#')).map(readKey);
}

/**
 * The key among `keys` that made an armored signature of `payload` for git; undefined when none of them did.
 * @throws Error when the signature can't be read
 */
export function sshSigner(
  signature: string,
  payload: Buffer,
  keys: readonly SshPublicKey[],
): SshPublicKey | undefined {
  const parts = readSignature(signature);
  const key = keys.find(({ blob }) => blob.equals(parts.publicKey));
  if (key === undefined) return undefined;
  const hash = createHash(parts.hashAlgorithm).update(payload).digest();
  const strings = [Buffer.from(NAMESPACE), parts.reserved, Buffer.from(parts.hashAlgorithm), hash];
  const signed = Buffer.concat([MAGIC, ...strings.map(sshString)]);
  return isSignedBy(key, parts.signature, signed) ? key : undefined;
}

function readKey(line: string): SshPublicKey {
  const words = line.split(/\s+/);
  const at = words.findIndex((word) => KEY_TYPE.test(word));
  const [type, encoded] = [words[at], words[at + 1]];
  if (type === undefined || encoded === undefined)
    throw new Error(`${JSON.stringify(line.slice(0, 20))}… is not a public key of a known type`);
  const blob = Buffer.from(encoded, 'base64');
  const key = { type, blob, fingerprint: fingerprintOf(blob) };
  if (new Reader(blob).text() !== type) throw new Error(`a key of type ${type} is another one inside`);
  publicKeyOf(key);
  return key;
}

function fingerprintOf(blob: Buffer): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}

function readSignature(armored: string) {
  const encoded = ARMOR.exec(armored)?.[1]?.replace(/\s/g, '');
  const bytes = Buffer.from(encoded ?? '', 'base64');
  // Buffer reads junk as base64, too.
  if (bytes.toString('base64') !== encoded) throw new Error('the SSH signature is damaged');
  const reader = new Reader(bytes);
  if (!reader.bytes(MAGIC.length).equals(MAGIC)) throw new Error('the SSH signature is damaged');
  const version = reader.number();
  if (version !== 1) throw new Error(`the SSH signature has version ${version}: only 1 is known`);
  const publicKey = reader.string();
  const namespace = reader.text();
  if (namespace !== NAMESPACE)
    throw new Error(`the SSH signature was made for ${JSON.stringify(namespace)}, not for git`);
  const reserved = reader.string();
  const hashAlgorithm = reader.text();
  if (hashAlgorithm !== 'sha256' && hashAlgorithm !== 'sha512')
    throw new Error(`the SSH signature hashes with ${JSON.stringify(hashAlgorithm)}`);
  const signature = reader.string();
  reader.end();
  return { publicKey, reserved, hashAlgorithm, signature };
}

function isSignedBy(key: SshPublicKey, signature: Buffer, signed: Buffer): boolean {
  const reader = new Reader(signature);
  const algorithm = reader.text();
  const value = reader.string();
  const { publicKey, application } = publicKeyOf(key);
  const isRsa = key.type === 'ssh-rsa';
  if (isRsa ? RSA_HASH[algorithm] === undefined : algorithm !== key.type) return false;
  const message = application === undefined ? signed : byAuthenticator(application, reader, signed);
  reader.end();
  if (message === undefined) return false;
  if (isRsa) return verify(RSA_HASH[algorithm], message, publicKey, value);
  if (key.type.includes('ed25519')) return verify(null, message, publicKey, value);
  const { hash, partBytes } = curveOf(key.type);
  const numbers = new Reader(value);
  const raw = Buffer.concat([numbers.unsigned(partBytes), numbers.unsigned(partBytes)]);
  return verify(hash, message, { key: publicKey, dsaEncoding: 'ieee-p1363' }, raw);
}

/** What a security key signs instead; undefined when nobody touched it. */
function byAuthenticator(application: Buffer, reader: Reader, signed: Buffer): Buffer | undefined {
  const flagsAndCounter = reader.bytes(5);
  if (((flagsAndCounter[0] ?? 0) & USER_PRESENT) === 0) return undefined;
  const digest = (data: Buffer): Buffer => createHash('sha256').update(data).digest();
  return Buffer.concat([digest(application), flagsAndCounter, digest(signed)]);
}

function publicKeyOf({ type, blob }: SshPublicKey): { publicKey: KeyObject; application?: Buffer } {
  const reader = new Reader(blob);
  reader.string();
  const publicKey = createPublicKey({ key: jwkOf(type, reader), format: 'jwk' });
  return type.startsWith('sk-') ? { publicKey, application: reader.string() } : { publicKey };
}

function jwkOf(type: string, reader: Reader) {
  const encoded = (bytes: Buffer): string => bytes.toString('base64url');
  if (type === 'ssh-rsa') {
    const [e, n] = [reader.unsigned(), reader.unsigned()];
    if (n.length * 8 < SMALLEST_RSA_BITS)
      throw new Error(`an RSA key of less than ${SMALLEST_RSA_BITS} bits is not accepted`);
    return { kty: 'RSA', e: encoded(e), n: encoded(n) };
  }
  if (type.includes('ed25519')) return { kty: 'OKP', crv: 'Ed25519', x: encoded(reader.string()) };
  const { crv, partBytes } = curveOf(type);
  reader.string();
  const point = reader.string();
  if (point[0] !== 4 || point.length !== 1 + 2 * partBytes) throw new Error(`a damaged ${type} key`);
  const [x, y] = [point.subarray(1, 1 + partBytes), point.subarray(1 + partBytes)];
  return { kty: 'EC', crv, x: encoded(x), y: encoded(y) };
}

function curveOf(type: string) {
  const curve = ECDSA_BY_CURVE[/nistp\d+/.exec(type)?.[0] ?? ''];
  if (curve === undefined) throw new Error(`unknown key type ${type}`);
  return curve;
}

function sshString(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** SSH's wire encoding (RFC 4251, section 5). Reading past the end throws. */
class Reader {
  #rest: Buffer;

  constructor(bytes: Buffer) {
    this.#rest = bytes;
  }

  bytes(count: number): Buffer {
    if (count > this.#rest.length) throw new Error('a key or signature ends too early');
    const taken = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return taken;
  }

  /** @throws when there is more */
  end(): void {
    if (this.#rest.length > 0) throw new Error('a key or signature goes on after its end');
  }

  number(): number {
    return this.bytes(4).readUInt32BE();
  }

  string(): Buffer {
    return this.bytes(this.number());
  }

  text(): string {
    return this.string().toString('latin1');
  }

  /** An mpint that isn't negative, without its leading zeros, or padded to a length. */
  unsigned(lengthBytes?: number): Buffer {
    const bytes = this.string();
    const start = bytes.findIndex((byte) => byte !== 0);
    const value = start < 0 ? Buffer.alloc(0) : bytes.subarray(start);
    if (lengthBytes === undefined) return value;
    if (value.length > lengthBytes) throw new Error('a signature has a number that is too large');
    return Buffer.concat([Buffer.alloc(lengthBytes - value.length), value]);
  }
}
