import assert from 'node:assert/strict';
import { CertificateAuthority } from '../../../hack/cluster/certificates.ts';
import {
  authorizationOf,
  credentialsFromSecret,
  secretsOf,
  withUserinfo,
} from '../../../operator/source/credentials.ts';
import { SourceError } from '../../../operator/source/errors.ts';
import { parseRepositoryUrl, type Transport } from '../../../operator/source/repository-url.ts';

const authority = new CertificateAuthority('Private');
const PEM = authority.certificatePem;
const CLIENT = authority.issue({ commonName: 'operator' });
const BROKEN = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n';

function read(values: Record<string, string>, transport: Transport = 'https') {
  const data = Object.fromEntries(
    Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
  );
  return credentialsFromSecret(data, 'Secret team/login', transport);
}

describe('the Secret of a GitRepository', () => {
  it('gives basic auth, a bearer token, a CA and a client certificate', () => {
    assert.deepEqual(read({ username: 'ada', password: 'x' }), { basic: { username: 'ada', password: 'x' } });
    assert.deepEqual(read({ username: 'token' }), { basic: { username: 'token', password: '' } });
    assert.deepEqual(read({ bearerToken: 't' }), { bearerToken: 't' });
    assert.deepEqual(read({ 'ca.crt': PEM }), { ca: PEM });
    assert.deepEqual(read({ caFile: PEM, username: 'a', password: 'b' }).ca, PEM);
    const { certificatePem: certificate, keyPem: key } = CLIENT;
    assert.deepEqual(read({ 'tls.crt': certificate, 'tls.key': key }), {
      clientCertificate: { certificate, key },
    });
    const bundle = `# ours\n${PEM}\n# theirs\n${certificate}`;
    assert.deepEqual(read({ 'ca.crt': bundle }), { ca: bundle });
  });

  it('with both a token and a password uses the token', () => {
    assert.equal(authorizationOf(read({ username: 'a', password: 'b', bearerToken: 't' })), 'Bearer t');
    assert.equal(
      authorizationOf(read({ username: 'a', password: 'bé' })),
      `Basic ${Buffer.from('a:bé').toString('base64')}`,
    );
  });

  it('that cannot work is refused by naming the Secret and the key, never the value', () => {
    const table: Array<[Record<string, string>, RegExp]> = [
      [{ password: 'hunter2' }, /Secret team\/login .*username/],
      [{ user: 'ada', pass: 'hunter2' }, /none of the keys username and password, bearerToken/],
      [{ bearerToken: 'hunter2\n' }, /bearerToken in Secret team\/login contains a line break/],
      [{ username: 'ada', password: 'hunter2\r\nX-Evil: 1' }, /password in .* line break/],
      [{ username: 'a:b', password: 'hunter2' }, /username in .*':'/],
      [{ 'ca.crt': 'hunter2' }, /ca\.crt in Secret team\/login is not a certificate/],
      [{ 'ca.crt': PEM + BROKEN }, /ca\.crt in Secret team\/login: certificate 2 of 2 cannot be read/],
      [{ 'tls.crt': CLIENT.certificatePem, 'tls.key': 'hunter2' }, /tls\.key in .* is not a private key/],
      [{ 'tls.crt': PEM, 'tls.key': CLIENT.keyPem }, /tls\.key in .* is not the key of the certificate/],
      [{ 'tls.crt': PEM }, /no tls\.key/],
    ];
    for (const [values, message] of table)
      assert.throws(
        () => read(values),
        (error: unknown) =>
          error instanceof SourceError &&
          error.reason === 'AuthenticationFailed' &&
          message.test(error.message) &&
          !error.message.includes('hunter2'),
        JSON.stringify(values),
      );
  });

  it('goes before the user name in the URL, which is only the fallback', () => {
    const url = parseRepositoryUrl('https://ada:url@example.org/x');
    assert.deepEqual(withUserinfo(url, undefined)?.basic, { username: 'ada', password: 'url' });
    assert.deepEqual(withUserinfo(url, { ca: PEM }), {
      ca: PEM,
      basic: { username: 'ada', password: 'url' },
    });
    assert.deepEqual(withUserinfo(url, { bearerToken: 't' }), { bearerToken: 't' });
  });

  it('is known in every form that a message could repeat', () => {
    const secrets = secretsOf({ basic: { username: 'ada', password: 'a/b' } });
    assert.deepEqual(new Set(secrets), new Set([Buffer.from('ada:a/b').toString('base64'), 'a%2Fb', 'a/b']));
  });
});
