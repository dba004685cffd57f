import { createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { isIPv4 } from 'node:net';
import forge from 'node-forge';

const DAY_MS = 24 * 60 * 60 * 1000;
const VALID_FOR_MS = 30 * DAY_MS;
const CLOCK_SKEW_MS = 5 * 60 * 1000;
const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
};
// Contents of the bit string (RFC 5280, section 4.2.1.3): the count of unused bits, then the bits.
const KEY_USAGE = { authority: '\x01\x86', endEntity: '\x07\x80' };
const { asn1 } = forge;
const { UNIVERSAL, CONTEXT_SPECIFIC } = asn1.Class;

/** A certificate and its private key, both PEM. */
export interface CertifiedKey {
  readonly certificatePem: string;
  readonly keyPem: string;
}

/** Who a certificate is for: user name and groups of a client, or the names that a server is reached by. */
export interface CertificateSubject {
  readonly commonName: string;
  /** Kubernetes reads these as the user's groups. */
  readonly organizations?: readonly string[];
  /** DNS names and IPv4 addresses. Given, the certificate is a server's; otherwise a client's. */
  readonly serverNames?: readonly string[];
}

/**
 * A certificate authority for a local cluster: EC P-256 throughout (cheap to make and to shake hands with), valid for
 * 30 days, its key only in memory.
 */
export class CertificateAuthority {
  readonly certificatePem: string;
  readonly #keyPem: string;
  readonly #name: string;

  /** Makes a new one. */
  constructor(name: string) {
    const keys = generateEcKeyPair();
    this.#name = name;
    this.#keyPem = keys.privatePem;
    this.certificatePem = assembleCertificate({
      subject: { commonName: name },
      issuerName: name,
      publicPem: keys.publicPem,
      issuerKeyPem: keys.privatePem,
      extensions: [basicConstraintsOfAuthority(), keyUsage(KEY_USAGE.authority)],
    });
  }

  /** A new key with a certificate by this authority. */
  issue(subject: CertificateSubject): CertifiedKey {
    const keys = generateEcKeyPair();
    const names = subject.serverNames ?? [];
    const certificatePem = assembleCertificate({
      subject,
      issuerName: this.#name,
      publicPem: keys.publicPem,
      issuerKeyPem: this.#keyPem,
      extensions: [
        keyUsage(KEY_USAGE.endEntity),
        extendedKeyUsage(names.length > 0 ? OID.serverAuth : OID.clientAuth),
        ...(names.length > 0 ? [subjectAlternativeNames(names)] : []),
      ],
    });
    return { certificatePem, keyPem: keys.privatePem };
  }
}

/** An EC P-256 key pair as PEM (SPKI and PKCS#8). */
export function generateEcKeyPair(): { publicPem: string; privatePem: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return { publicPem: publicKey, privatePem: privateKey };
}

interface CertificateParts {
  readonly subject: CertificateSubject;
  readonly issuerName: string;
  readonly publicPem: string;
  readonly issuerKeyPem: string;
  readonly extensions: forge.asn1.Asn1[];
}

// node-forge can't sign with EC keys: it encodes (RFC 5280, section 4.1), node:crypto signs.
function assembleCertificate(parts: CertificateParts): string {
  const now = Date.now();
  const algorithm = sequence([objectIdentifier(OID.ecdsaWithSha256)]);
  const serial = randomBytes(16);
  // Positive, and never with a leading zero byte.
  serial.writeUInt8((serial.readUInt8(0) & 0x3f) | 0x40, 0);
  const tbs = sequence([
    asn1.create(CONTEXT_SPECIFIC, 0, true, [
      asn1.create(UNIVERSAL, asn1.Type.INTEGER, false, asn1.integerToDer(2).getBytes()),
    ]),
    asn1.create(UNIVERSAL, asn1.Type.INTEGER, false, serial.toString('binary')),
    algorithm,
    distinguishedName({ commonName: parts.issuerName }),
    sequence([time(new Date(now - CLOCK_SKEW_MS)), time(new Date(now + VALID_FOR_MS))]),
    distinguishedName(parts.subject),
    asn1.fromDer(createPublicKey(parts.publicPem).export({ type: 'spki', format: 'der' }).toString('binary')),
    asn1.create(CONTEXT_SPECIFIC, 3, true, [sequence(parts.extensions)]),
  ]);
  const signature = sign('sha256', Buffer.from(asn1.toDer(tbs).getBytes(), 'binary'), parts.issuerKeyPem);
  const certificate = sequence([
    tbs,
    algorithm,
    asn1.create(UNIVERSAL, asn1.Type.BITSTRING, false, `\0${signature.toString('binary')}`),
  ]);
  return forge.pem.encode({ type: 'CERTIFICATE', body: asn1.toDer(certificate).getBytes() });
}

function basicConstraintsOfAuthority(): forge.asn1.Asn1 {
  return extension(OID.basicConstraints, true, sequence([boolean(true)]));
}

function keyUsage(bits: string): forge.asn1.Asn1 {
  return extension(OID.keyUsage, true, asn1.create(UNIVERSAL, asn1.Type.BITSTRING, false, bits));
}

function extendedKeyUsage(purpose: string): forge.asn1.Asn1 {
  return extension(OID.extendedKeyUsage, false, sequence([objectIdentifier(purpose)]));
}

function subjectAlternativeNames(names: readonly string[]): forge.asn1.Asn1 {
  const general = names.map((name) =>
    isIPv4(name)
      ? asn1.create(CONTEXT_SPECIFIC, 7, false, String.fromCharCode(...name.split('.').map(Number)))
      : asn1.create(CONTEXT_SPECIFIC, 2, false, name),
  );
  return extension(OID.subjectAltName, false, sequence(general));
}

function extension(identifier: string, critical: boolean, value: forge.asn1.Asn1): forge.asn1.Asn1 {
  return sequence([
    objectIdentifier(identifier),
    ...(critical ? [boolean(true)] : []),
    asn1.create(UNIVERSAL, asn1.Type.OCTETSTRING, false, asn1.toDer(value).getBytes()),
  ]);
}

function distinguishedName(subject: CertificateSubject): forge.asn1.Asn1 {
  const attributes = [
    ...(subject.organizations ?? []).map((value) => ({ type: OID.organization, value })),
    { type: OID.commonName, value: subject.commonName },
  ];
  return sequence(
    attributes.map(({ type, value }) =>
      asn1.create(UNIVERSAL, asn1.Type.SET, true, [
        sequence([
          objectIdentifier(type),
          asn1.create(UNIVERSAL, asn1.Type.UTF8, false, forge.util.encodeUtf8(value)),
        ]),
      ]),
    ),
  );
}

function sequence(values: forge.asn1.Asn1[]): forge.asn1.Asn1 {
  return asn1.create(UNIVERSAL, asn1.Type.SEQUENCE, true, values);
}

function objectIdentifier(value: string): forge.asn1.Asn1 {
  return asn1.create(UNIVERSAL, asn1.Type.OID, false, asn1.oidToDer(value).getBytes());
}

function boolean(value: boolean): forge.asn1.Asn1 {
  return asn1.create(UNIVERSAL, asn1.Type.BOOLEAN, false, value ? '\xff' : '\0');
}

function time(date: Date): forge.asn1.Asn1 {
  return asn1.create(UNIVERSAL, asn1.Type.UTCTIME, false, asn1.dateToUtcTime(date));
}
