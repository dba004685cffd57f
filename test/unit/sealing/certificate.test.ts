import assert from 'node:assert/strict';
import { createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  certificateBody,
  createCertificate,
  parseCertificate,
} from '../../../operator/sealing/certificate.ts';
import { fingerprintOf } from '../../../operator/sealing/fingerprint.ts';
import { newPrivateKey } from '../../support/sealing.ts';

interface UpstreamCertificate {
  commonName: string;
  fingerprint?: string;
  pem: string;
}
const { certificates: UPSTREAM } = JSON.parse(
  readFileSync(new URL('../../fixtures/sealing/upstream-certificates.json', import.meta.url), 'utf8'),
) as { certificates: UpstreamCertificate[] };
const YEAR_MS = 365 * 24 * 3_600_000;

describe('a sealing certificate', () => {
  for (const { commonName, pem } of UPSTREAM) {
    it(`has the bytes that Sealed Secrets signs, for the common name "${commonName}"`, async () => {
      const theirs = new X509Certificate(pem);
      const ours = await certificateBody({
        publicKey: theirs.publicKey,
        commonName,
        notBefore: theirs.validFromDate,
        notAfter: theirs.validToDate,
        serialNumber: Buffer.from(theirs.serialNumber, 'hex'),
      });
      const outerHeaderBytes = 4;
      assert.deepEqual(ours, theirs.raw.subarray(outerHeaderBytes, outerHeaderBytes + ours.length));
    });
  }

  for (const { commonName, fingerprint, pem } of UPSTREAM.filter((one) => one.fingerprint !== undefined)) {
    it(`names its key by the OpenSSH fingerprint, for the common name "${commonName}"`, () => {
      assert.equal(fingerprintOf(new X509Certificate(pem).publicKey), fingerprint);
    });
  }

  it('is signed by its own key, for the asked time in whole seconds, with a serial of its own', async () => {
    const privateKey = await newPrivateKey();
    const now = new Date('2026-03-04T05:06:07.890Z');
    const make = () => createCertificate({ privateKey, commonName: 'x', validForMs: YEAR_MS, now });
    const certificate = new X509Certificate(await make());
    assert.ok(certificate.verify(createPublicKey(privateKey)));
    assert.equal(certificate.issuer, certificate.subject);
    assert.equal(certificate.validFromDate.toISOString(), '2026-03-04T05:06:07.000Z');
    assert.equal(certificate.validToDate.toISOString(), '2027-03-04T05:06:07.000Z');
    assert.equal(certificate.subject, 'CN=x');
    assert.notEqual(new X509Certificate(await make()).serialNumber, certificate.serialNumber);
  });

  it('keeps serials positive and minimal, whatever their first byte', async () => {
    const publicKey = createPublicKey(await newPrivateKey());
    const facts = { publicKey, commonName: '', notBefore: new Date(0), notAfter: new Date(YEAR_MS) };
    for (const [serial, der] of [
      ['00', '020100'],
      ['7f', '02017f'],
      ['80', '02020080'],
      ['0080', '02020080'],
      ['000001', '020101'],
      ['ff00', '020300ff00'],
    ] as const) {
      const body = await certificateBody({ ...facts, serialNumber: Buffer.from(serial, 'hex') });
      const versionEnd = body.indexOf(Buffer.from('a003020102', 'hex')) + 5;
      assert.equal(body.subarray(versionEnd, versionEnd + der.length / 2).toString('hex'), der, serial);
    }
  });

  it('is read from the first block of a chain and written back as it came', () => {
    const [first, second] = UPSTREAM;
    assert.ok(first !== undefined && second !== undefined);
    assert.equal(parseCertificate(`# note\n${first.pem}${second.pem}`)?.pem, first.pem);
  });

  it('is nothing when there is no certificate to read', () => {
    for (const junk of ['', 'junk', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']) {
      assert.equal(parseCertificate(junk), undefined);
    }
  });
});
