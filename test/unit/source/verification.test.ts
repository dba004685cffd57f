import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { generateKey, revokeKey } from 'openpgp';
import { signedCommit, signedTag } from '../../../operator/source/signed-object.ts';
import { readTrustedKeys, signerOf, verificationFingerprint } from '../../../operator/source/verification.ts';
import { pgpSigner, sshSigner } from '../../support/signing.ts';

/** Commits, tags and public keys made by git with gpg and ssh-keygen. */
const fixtures = new URL('../../fixtures/signatures/', import.meta.url);
const SIGNERS: Readonly<Record<string, string>> = {
  'pgp-ed25519': '2D9ACA3D77B66BD7',
  'pgp-rsa2048': '1456623FDD94E76C',
  'ssh-ecdsa-256': 'SHA256:qh92/EcxKKAtvYM07mCszxNLwHEWmlD5Vs5Nncq1acA',
  'ssh-ecdsa-384': 'SHA256:rLqVwtZZwZ1hUSKeIi88YiG6ugGZLhzjHe7k6XRYfBc',
  'ssh-ecdsa-521': 'SHA256:mHUpF2EsKGHB+HL3zDHY2ecNHaz8Fribgdz4GHR+SKg',
  'ssh-ed25519': 'SHA256:/xjVZtL8HgLIR6uxzKIqADAC/s6Bpig9SgXeYSFMsN4',
  'ssh-rsa': 'SHA256:59eVXD8ofPo9yYwLE6zsQq/q73MaNo4S7C+JaiCp8ds',
};
const keyFiles = readdirSync(fixtures).filter((name) => /\.(asc|sshpub)$/.test(name));

function fixture(name: string): Buffer {
  return readFileSync(new URL(name, fixtures));
}

function keyFileOf(name: string): string {
  return keyFiles.find((file) => file.startsWith(`${name}.`)) ?? 'none';
}

function secret(...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, fixture(name).toString('base64')]));
}

function encoded(data: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(data).map(([name, text]) => [name, Buffer.from(text).toString('base64')]),
  );
}

const COMMIT = [
  'tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904',
  'author A <a@example.org> 1700000000 +0000',
  'committer A <a@example.org> 1700000000 +0000',
  '',
  'Change something',
  '',
].join('\n');

describe('a signature', () => {
  for (const [name, signer] of Object.entries(SIGNERS)) {
    it(`of a commit and a tag, made by git with the key ${name}, is found good, one key of many being enough`, async () => {
      const keys = await readTrustedKeys(secret(...keyFiles));
      assert.equal(await signerOf(signedCommit(fixture(`${name}.commit`)), keys), signer);
      assert.equal(await signerOf(signedTag(fixture(`${name}.tag`)), keys), signer);
    });

    it(`made with the key ${name} vouches for no other bytes and not under other keys`, async () => {
      const own = await readTrustedKeys(secret(keyFileOf(name)));
      const others = await readTrustedKeys(secret(...keyFiles.filter((file) => file !== keyFileOf(name))));
      for (const [raw, read] of [
        [fixture(`${name}.commit`), signedCommit],
        [fixture(`${name}.tag`), signedTag],
      ] as const) {
        const changed = Buffer.from(raw.toString('latin1').replace(/Ada Author/, 'Eve Author'), 'latin1');
        await assert.rejects(signerOf(read(changed), own));
        await assert.rejects(signerOf(read(raw), others), /none of the trusted (SSH|PGP) keys/);
      }
    });
  }

  it('that is missing, or an S/MIME one, is said to be so', async () => {
    const keys = await readTrustedKeys(secret(...keyFiles));
    await assert.rejects(signerOf(signedCommit(Buffer.from(COMMIT)), keys), /it is not signed/);
    const smime = '-----BEGIN SIGNED MESSAGE-----\nMII=\n-----END SIGNED MESSAGE-----\n';
    await assert.rejects(signerOf(signedTag(Buffer.from(`tag x\n\nm\n${smime}`)), keys), /S\/MIME/);
  });

  it('by SSH that was made for something else than git is refused', async () => {
    const { publicKey, sign } = sshSigner('file');
    const keys = await readTrustedKeys(encoded({ 'a.sshpub': publicKey }));
    const signature = await sign(Buffer.from('payload'));
    await assert.rejects(
      signerOf({ format: 'ssh', signature, payload: Buffer.from('payload') }, keys),
      /was made for "file", not for git/,
    );
  });

  it('that is damaged is refused, whatever is damaged', async () => {
    const keys = await readTrustedKeys(secret(...keyFiles));
    const raw = fixture('ssh-ed25519.commit');
    for (let at = raw.indexOf('U1NIU0lH'); at < raw.indexOf('-----END'); at += 7) {
      const damaged = Buffer.from(raw);
      damaged[at] = damaged[at] === 0x41 ? 0x42 : 0x41;
      await assert.rejects(signerOf(signedCommit(damaged), keys), `byte ${at}`);
    }
  });

  it('by PGP counts only while its key is neither revoked nor expired', async () => {
    const signer = await pgpSigner();
    const payload = Buffer.from(COMMIT);
    const signed = { format: 'pgp', payload, signature: await signer.sign(payload) } as const;
    const good = await readTrustedKeys(encoded({ 'a.asc': signer.publicKey }));
    assert.equal(await signerOf(signed, good), signer.id);
    const { publicKey: revoked } = await revokeKey({ key: signer.privateKey, format: 'armored' });
    await assert.rejects(signerOf(signed, await readTrustedKeys(encoded({ 'a.asc': revoked }))), /revoked/);
    const old = await pgpSigner({ date: new Date('2020-01-01T00:00:00Z'), keyExpirationTime: 86_400 });
    const byOld = { format: 'pgp', payload, signature: await old.sign(payload) } as const;
    await assert.rejects(
      signerOf(byOld, await readTrustedKeys(encoded({ 'a.asc': old.publicKey }))),
      /expired/,
    );
  });
});

describe('the keys of spec.verify', () => {
  it('are PGP in every entry but *.sshpub, which may hold several lines', async () => {
    const { publicKey } = await generateKey({ userIDs: [{ name: 'A' }], format: 'armored' });
    const lines = `# ours\n\n${sshSigner('git').publicKey} a comment\nnamespaces="git" ${sshSigner('git').publicKey}\n`;
    const keys = await readTrustedKeys(encoded({ 'a.asc': publicKey, other: publicKey, 'b.sshpub': lines }));
    assert.deepEqual([keys.pgp.length, keys.ssh.length], [2, 2]);
  });

  it('are refused by name where they are none', async () => {
    await assert.rejects(readTrustedKeys({}), /has no public key: put PGP keys into \*\.asc/);
    await assert.rejects(readTrustedKeys(encoded({ 'a.asc': 'junk' })), /^Error: a\.asc is not a public key/);
    await assert.rejects(readTrustedKeys(encoded({ 'a.sshpub': 'junk' })), /^Error: a\.sshpub is not/);
    await assert.rejects(readTrustedKeys(encoded({ 'a.sshpub': 'ssh-ed25519 AAAA' })), /ends too early/);
  });

  it('have another fingerprint with each other key, name or mode', () => {
    const table = [
      verificationFingerprint('HEAD', { a: 'x' }),
      verificationFingerprint('Tag', { a: 'x' }),
      verificationFingerprint('HEAD', { a: 'y' }),
      verificationFingerprint('HEAD', { b: 'x' }),
      verificationFingerprint('HEAD', { a: 'x', b: 'x' }),
    ];
    assert.equal(new Set(table).size, table.length);
    assert.equal(
      verificationFingerprint('HEAD', { b: 'y', a: 'x' }),
      verificationFingerprint('HEAD', { a: 'x', b: 'y' }),
    );
  });
});
