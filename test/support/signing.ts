/** Keys that sign commits and tags, made in the test: neither gpg nor ssh-keygen has to be there. */

import { createHash, sign as cryptoSign, generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createMessage, generateKey, type PrivateKey, readPrivateKey, sign } from 'openpgp';
import type { Repository } from '../../hack/cluster/repository.ts';

/** Signs bytes; answers with the armored signature. */
export interface Signer {
  publicKey: string;
  /** How Signet names the key. */
  id: string;
  sign(payload: Buffer): Promise<string>;
}

/** A PGP key. */
export async function pgpSigner(
  o: { date?: Date; keyExpirationTime?: number } = {},
): Promise<Signer & { privateKey: PrivateKey }> {
  const generated = await generateKey({
    userIDs: [{ name: 'A', email: 'a@example.org' }],
    format: 'armored',
    ...o,
  });
  const privateKey = await readPrivateKey({ armoredKey: generated.privateKey });
  return {
    privateKey,
    publicKey: generated.publicKey,
    id: privateKey.getKeyID().toHex().toUpperCase(),
    sign: async (payload) =>
      sign({
        message: await createMessage({ binary: payload }),
        signingKeys: privateKey,
        detached: true,
        format: 'armored',
        ...(o.date === undefined ? {} : { date: o.date }),
      }),
  };
}

/** An Ed25519 key in the way of ssh-keygen, for signatures with this namespace. */
export function sshSigner(namespace = 'git'): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const x = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  const blob = strings('ssh-ed25519', x);
  const digest = createHash('sha256').update(blob).digest('base64').replace(/=+$/, '');
  return {
    publicKey: `ssh-ed25519 ${blob.toString('base64')}`,
    id: `SHA256:${digest}`,
    async sign(payload) {
      const hash = createHash('sha512').update(payload).digest();
      const message = Buffer.concat([Buffer.from('SSHSIG'), strings(namespace, '', 'sha512', hash)]);
      const signature = strings('ssh-ed25519', cryptoSign(null, message, privateKey));
      const version = Buffer.from([0, 0, 0, 1]);
      const parts = [Buffer.from('SSHSIG'), version, strings(blob, namespace, '', 'sha512', signature)];
      const lines =
        Buffer.concat(parts)
          .toString('base64')
          .match(/.{1,70}/g) ?? [];
      return `-----BEGIN SSH SIGNATURE-----\n${lines.join('\n')}\n-----END SSH SIGNATURE-----\n`;
    },
  };
}

/** Signs the current commit anew, and makes the outcome the current one. */
export async function signHead(work: Repository, signer: Signer): Promise<string> {
  const raw = `${await work.git('cat-file', 'commit', 'HEAD')}\n`;
  const signature = (await signer.sign(Buffer.from(raw))).trim().replace(/\r/g, '').replaceAll('\n', '\n ');
  const end = raw.indexOf('\n\n');
  const commit = await store(work, 'commit', `${raw.slice(0, end)}\ngpgsig ${signature}${raw.slice(end)}`);
  await work.git('reset', '--quiet', '--soft', commit);
  return commit;
}

/** Makes an annotated tag of the current commit, signed by `signer` if there is one. */
export async function signTag(work: Repository, name: string, signer: Signer | undefined): Promise<void> {
  const tagger = 'Ada Author <ada@example.org> 1700000000 +0000';
  const raw = `object ${await work.head()}\ntype commit\ntag ${name}\ntagger ${tagger}\n\nAbout ${name}\n`;
  const signature = signer === undefined ? '' : (await signer.sign(Buffer.from(raw))).replace(/\r/g, '');
  await work.git('update-ref', `refs/tags/${name}`, await store(work, 'tag', raw + signature));
}

async function store(work: Repository, type: 'commit' | 'tag', content: string): Promise<string> {
  const file = join(work.directory, '.git', 'signed-object');
  writeFileSync(file, content);
  return work.git('hash-object', '-t', type, '-w', file);
}

function strings(...values: Array<string | Buffer>): Buffer {
  return Buffer.concat(
    values.flatMap((value) => {
      const bytes = Buffer.from(value);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}
