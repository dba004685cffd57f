/** A commit or an annotated tag as git keeps it, taken apart into what was signed and the signature. */

/** What a signature was made with. S/MIME is recognised, but can't be verified. */
export type SignatureFormat = 'pgp' | 'ssh' | 'x509';

/** An armored signature and the bytes that it vouches for. */
export interface SignedObject {
  format: SignatureFormat;
  signature: string;
  payload: Buffer;
}

const FORMATS: ReadonlyArray<readonly [string, SignatureFormat]> = [
  ['-----BEGIN PGP SIGNATURE-----', 'pgp'],
  ['-----BEGIN PGP MESSAGE-----', 'pgp'],
  ['-----BEGIN SSH SIGNATURE-----', 'ssh'],
  ['-----BEGIN SIGNED MESSAGE-----', 'x509'],
];
const SIGNATURE_HEADER = /^gpgsig(-sha256)? /;

/**
 * The signature in a commit's `gpgsig` header; undefined when it has none. What is signed is the commit without its
 * signature headers (gitformat-signature(5)).
 */
export function signedCommit(raw: Buffer): SignedObject | undefined {
  // One character a byte: a commit may be in any encoding.
  const text = raw.toString('latin1');
  const endOfHeaders = text.indexOf('\n\n') + 1;
  const headers = text.slice(0, endOfHeaders).match(/[^\n]*\n(?: [^\n]*\n)*/g) ?? [];
  const others = headers.filter((header) => !SIGNATURE_HEADER.test(header));
  const signatures = headers.filter((header) => header.startsWith('gpgsig '));
  const signature = signatures.map((header) => header.slice('gpgsig '.length).replace(/\n /g, '\n')).join('');
  return signedObject(signature, others.join('') + text.slice(endOfHeaders));
}

/** The signature at the end of a tag; undefined when it has none. What is signed is all that comes before. */
export function signedTag(raw: Buffer): SignedObject | undefined {
  const text = raw.toString('latin1');
  let start = -1;
  for (let line = 0; line < text.length; line = nextLine(text, line))
    if (FORMATS.some(([beginning]) => text.startsWith(beginning, line))) start = line;
  return start < 0 ? undefined : signedObject(text.slice(start), text.slice(0, start));
}

function signedObject(signature: string, payload: string): SignedObject | undefined {
  const format = FORMATS.find(([beginning]) => signature.startsWith(beginning))?.[1];
  return format && { format, signature, payload: Buffer.from(payload, 'latin1') };
}

function nextLine(text: string, from: number): number {
  const end = text.indexOf('\n', from);
  return end < 0 ? text.length : end + 1;
}
