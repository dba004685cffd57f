/** The self-signed certificate that carries a sealing key's public half to `kubeseal`. */

import { createHash, createPublicKey, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';
import type { asn1 as Asn1, pki as Pki } from 'node-forge';

const SERIAL_BYTES = 16;
const SUBJECT_KEY_IDENTIFIER_BYTES = 20;
const PRINTABLE_STRING = /^[A-Za-z0-9 '()+,\-./:=?]*$/;
const SHA256_WITH_RSA = '1.2.840.113549.1.1.11';
const signAsync = promisify(sign);

/** What clients read of a certificate: the key in it, when it starts and when `kubeseal` stops accepting it. */
export interface Certificate {
  /** One PEM block with 64-character lines, as Go writes it. */
  pem: string;
  publicKey: KeyObject;
  notBefore: Date;
  notAfter: Date;
}

/** What a certificate says beside the constant parts. Times are cut to whole seconds. */
export interface CertificateFacts {
  publicKey: KeyObject;
  /** May be empty: issuer and subject are then empty names. */
  commonName: string;
  notBefore: Date;
  notAfter: Date;
  /** Unsigned, big-endian. */
  serialNumber: Buffer;
}

/**
 * A certificate with the bytes that Sealed Secrets' controller would give it: X.509 v3, SHA256withRSA, random
 * 128-bit serial, key usage Encipher Only, CA:TRUE, subject key identifier (RFC 7093: truncated SHA-256, Go's
 * choice since 1.25). node-forge assembles, OpenSSL signs off the main thread.
 */
export async function createCertificate(o: {
  privateKey: KeyObject;
  commonName: string;
  validForMs: number;
  now: Date;
}): Promise<string> {
  const facts: CertificateFacts = {
    publicKey: createPublicKey(o.privateKey),
    commonName: o.commonName,
    notBefore: o.now,
    notAfter: new Date(o.now.getTime() + o.validForMs),
    serialNumber: randomBytes(SERIAL_BYTES),
  };
  const toBeSigned = await certificateBody(facts);
  return await assemble(toBeSigned, await signAsync('sha256', toBeSigned, o.privateKey));
}

/** The DER of the part that is signed (`TBSCertificate`, RFC 5280 section 4.1). */
export async function certificateBody(facts: CertificateFacts): Promise<Buffer> {
  const { asn1, pki } = await loadForge();
  const certificate = pki.createCertificate();
  certificate.publicKey = pki.publicKeyFromPem(
    facts.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  );
  certificate.serialNumber = unsignedHex(facts.serialNumber);
  certificate.validity.notBefore = wholeSeconds(facts.notBefore);
  certificate.validity.notAfter = wholeSeconds(facts.notAfter);
  const name = commonNameAttributes(facts.commonName, asn1);
  certificate.setIssuer(name);
  certificate.setSubject(name);
  certificate.setExtensions([
    { name: 'keyUsage', critical: true, encipherOnly: true },
    { name: 'basicConstraints', critical: true, cA: true },
    { id: '2.5.29.14', value: subjectKeyIdentifier(facts.publicKey, asn1) },
  ]);
  // The algorithm that goes into the body; node-forge sets it only when it signs by itself.
  certificate.siginfo.algorithmOid = SHA256_WITH_RSA;
  certificate.signatureOid = SHA256_WITH_RSA;
  return Buffer.from(asn1.toDer(pki.getTBSCertificate(certificate)).getBytes(), 'binary');
}

/** Reads the first CERTIFICATE block of a PEM text. `undefined` when there is none or it can't be read. */
export function parseCertificate(pem: string): Certificate | undefined {
  const block = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(pem)?.[0];
  if (block === undefined) return undefined;
  try {
    const x509 = new X509Certificate(block);
    return {
      pem: x509.toString(),
      publicKey: x509.publicKey,
      notBefore: x509.validFromDate,
      notAfter: x509.validToDate,
    };
  } catch {
    return undefined;
  }
}

/** node-forge's declarations leave out this documented function. */
type ForgePki = typeof Pki & { getTBSCertificate(certificate: Pki.Certificate): Asn1.Asn1 };

/** node-forge is large and needed only when a key is made, so it is loaded then. */
async function loadForge(): Promise<{ asn1: typeof Asn1; pki: ForgePki }> {
  const { default: forge } = await import('node-forge');
  return { asn1: forge.asn1, pki: forge.pki as ForgePki };
}

async function assemble(toBeSigned: Buffer, signature: Buffer): Promise<string> {
  const { asn1 } = await loadForge();
  const { Class, Type } = asn1;
  const algorithm = asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, [
    asn1.create(Class.UNIVERSAL, Type.OID, false, asn1.oidToDer(SHA256_WITH_RSA).getBytes()),
    asn1.create(Class.UNIVERSAL, Type.NULL, false, ''),
  ]);
  const noUnusedBits = '\0';
  const certificate = asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, [
    asn1.fromDer(toBeSigned.toString('binary')),
    algorithm,
    asn1.create(Class.UNIVERSAL, Type.BITSTRING, false, noUnusedBits + signature.toString('binary')),
  ]);
  return new X509Certificate(Buffer.from(asn1.toDer(certificate).getBytes(), 'binary')).toString();
}

/** Go picks PrintableString where it can and UTF8String elsewhere; an empty name has no attribute at all. */
function commonNameAttributes(commonName: string, asn1: typeof Asn1): Pki.CertificateField[] {
  if (commonName === '') return [];
  const valueTagClass: number = PRINTABLE_STRING.test(commonName)
    ? asn1.Type.PRINTABLESTRING
    : asn1.Type.UTF8;
  return [{ name: 'commonName', value: commonName, valueTagClass }];
}

/** An OCTET STRING of the leftmost 160 bits of the SHA-256 of the public key's bits. */
function subjectKeyIdentifier(publicKey: KeyObject, asn1: typeof Asn1): string {
  const bits = publicKey.export({ type: 'pkcs1', format: 'der' });
  const digest = createHash('sha256').update(bits).digest().subarray(0, SUBJECT_KEY_IDENTIFIER_BYTES);
  const { Class, Type } = asn1;
  return asn1
    .toDer(asn1.create(Class.UNIVERSAL, Type.OCTETSTRING, false, digest.toString('binary')))
    .getBytes();
}

/** The hex of a non-negative INTEGER: without needless leading zeros, with one where the top bit is set. */
function unsignedHex(bytes: Buffer): string {
  const digits = bytes.toString('hex').replace(/^(00)+(?=..)/, '');
  return Number.parseInt(digits.slice(0, 2), 16) >= 0x80 ? `00${digits}` : digits;
}

function wholeSeconds(time: Date): Date {
  return new Date(Math.floor(time.getTime() / 1_000) * 1_000);
}
