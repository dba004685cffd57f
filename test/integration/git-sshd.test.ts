import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { credentialsFromSecret } from '../../operator/source/credentials.ts';
import { SourceError } from '../../operator/source/errors.ts';
import { useGitWorld } from '../support/git-world.ts';
import { makeSshKey, needsSshClient } from '../support/ssh-server.ts';
import { needsSshd, Sshd } from '../support/sshd.ts';

const FILES = { 'a.yaml': 'a: 1\n' };
const PASSPHRASE = `correct "horse" 'b$ttery' staple`;

describe('a repository behind OpenSSH’s own sshd', () => {
  needsSshClient();
  needsSshd();
  const world = useGitWorld();
  const key = makeSshKey();
  const encrypted = makeSshKey({ passphrase: PASSPHRASE });
  const servers: Sshd[] = [];

  afterEach('stop the servers', async () => {
    for (const server of servers.splice(0)) await server.stop();
  });

  async function serve(port?: number): Promise<Sshd> {
    const server = await Sshd.start({
      directory: join(world().directory, `sshd-${servers.length}`),
      clientKeys: [key.public, encrypted.public],
      hostKey: makeSshKey(),
      ...(port === undefined ? {} : { port }),
    });
    servers.push(server);
    return server;
  }

  function login(values: { identity?: string; known_hosts?: string; password?: string }) {
    const data = Object.entries(values).map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
    return { credentials: credentialsFromSecret(Object.fromEntries(data), 'Secret team/login', 'ssh') };
  }

  const fleet = (): string => join(world().directory, 'repositories', 'fleet.git');

  function isAuthenticationFailure(message: RegExp): (error: unknown) => boolean {
    return (error) => {
      assert.ok(error instanceof SourceError, String(error));
      assert.equal(error.reason, 'AuthenticationFailed', error.message);
      assert.match(error.message, message);
      assert.ok(!error.message.includes(PASSPHRASE) && !error.message.includes('PRIVATE KEY'));
      return true;
    };
  }

  it('is cloned with an ed25519 identity, and fetched from again, with nothing left behind', async () => {
    const server = await serve();
    const secret = login({ identity: key.private, known_hosts: server.knownHosts });
    const url = server.url(fleet());
    const commit = await world().push(FILES);
    assert.equal((await world().sync({ url, ...secret })).fetched.revision, `main@sha1:${commit}`);
    const second = await world().push({ 'a.yaml': 'a: 2\n' });
    assert.equal((await world().sync({ url, ...secret })).fetched.commit, second);
    assert.deepEqual(readdirSync(join(world().directory, 'cache', '.tmp')), []);
  });

  it('opens to an encrypted identity with its passphrase, and not with another', async () => {
    const server = await serve();
    const url = server.url(fleet());
    const commit = await world().push(FILES);
    const values = { identity: encrypted.private, known_hosts: server.knownHosts };
    const { fetched } = await world().sync({ url, ...login({ ...values, password: PASSPHRASE }) });
    assert.equal(fetched.commit, commit);
    await assert.rejects(
      world().sync({ url, ...login({ ...values, password: 'wrong' }) }),
      isAuthenticationFailure(/refused the key: check identity \(and password/),
    );
  });

  it('is refused when it does not know the identity', async () => {
    const server = await serve();
    const stranger = login({ identity: makeSshKey().private, known_hosts: server.knownHosts });
    await assert.rejects(
      world().sync({ url: server.url(fleet()), ...stranger }),
      isAuthenticationFailure(/refused the key/),
    );
  });

  it('is not trusted once its host key has changed', async () => {
    const first = await serve();
    await world().push(FILES);
    const secret = login({ identity: key.private, known_hosts: first.knownHosts });
    await world().sync({ url: first.url(fleet()), ...secret });
    await first.stop();
    const impostor = await serve(first.port);
    await assert.rejects(
      world().sync({ url: impostor.url(fleet()), ...secret }),
      isAuthenticationFailure(/host key \(SHA256:\S+\) is not the one in known_hosts/),
    );
  });

  it('is not asked at all without known_hosts, nor trusted when they know another host only', async () => {
    const server = await serve();
    await world().push(FILES);
    assert.throws(
      () => login({ identity: key.private }),
      isAuthenticationFailure(/Secret team\/login has no key known_hosts/),
    );
    const known_hosts = server.knownHosts.replace('127.0.0.1', '127.0.0.2');
    await assert.rejects(
      world().sync({ url: server.url(fleet()), ...login({ identity: key.private, known_hosts }) }),
      isAuthenticationFailure(/known_hosts .*has no key of this server/),
    );
  });
});
