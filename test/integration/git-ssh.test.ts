import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { credentialsFromSecret } from '../../operator/source/credentials.ts';
import { SourceError } from '../../operator/source/errors.ts';
import { eventually } from '../support/eventually.ts';
import { useGitWorld } from '../support/git-world.ts';
import { makePemKey, makeSshKey, needsSshClient, type SshKey, SshServer } from '../support/ssh-server.ts';

const FILES = { 'a.yaml': 'a: 1\n' };
const PASSPHRASE = `correct "horse" 'b$ttery' staple`;

describe('a repository behind ssh', () => {
  needsSshClient();
  const world = useGitWorld();
  const servers: SshServer[] = [];
  const key = makeSshKey();

  afterEach('stop the ssh servers', async () => {
    for (const server of servers.splice(0)) await server.stop();
  });

  async function serve(
    o: { clientKeys?: string[]; hostKey?: SshKey; port?: number } = {},
  ): Promise<SshServer> {
    const directory = join(world().directory, 'repositories');
    const server = await SshServer.start({ directory, clientKeys: [key.public], ...o });
    servers.push(server);
    return server;
  }

  function login(values: { identity?: string; known_hosts?: string; password?: string }) {
    const data = Object.entries(values).map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
    return { credentials: credentialsFromSecret(Object.fromEntries(data), 'Secret team/login', 'ssh') };
  }

  async function isRefused(work: Promise<unknown>, message: RegExp): Promise<void> {
    await assert.rejects(work, (error: unknown) => {
      assert.ok(error instanceof SourceError, String(error));
      assert.match(error.message, message);
      assert.equal(error.reason, 'AuthenticationFailed', error.message);
      assert.ok(!error.message.includes(PASSPHRASE) && !error.message.includes('PRIVATE KEY'));
      return true;
    });
  }

  it('opens to the key in the Secret, of the user in the URL and of git by default', async () => {
    const server = await serve();
    const commit = await world().push(FILES);
    const secret = login({ identity: key.private, known_hosts: server.knownHosts });
    const { fetched } = await world().sync({ url: server.url('fleet.git', ''), ...secret });
    assert.equal(fetched.revision, `main@sha1:${commit}`);
    assert.deepEqual(new Set(server.users), new Set(['git']));
    const second = await world().push({ 'a.yaml': 'a: 2\n' });
    const again = await world().sync({ url: server.url('fleet.git', 'ada@'), ...secret });
    assert.equal(again.fetched.commit, second);
    assert.equal(server.sessions.at(-1)?.user, 'ada');
  });

  it('opens to keys of every kind: ed25519, ecdsa, rsa, and PEM without a last line break', async () => {
    const pem = makePemKey();
    const keys = [makeSshKey(), makeSshKey({ type: 'ecdsa' }), makeSshKey({ type: 'rsa' }), pem];
    const server = await serve({ clientKeys: keys.map((each) => each.public) });
    await world().push(FILES);
    for (const { private: identity } of keys) {
      const written = identity.trimEnd().replaceAll('\n', '\r\n');
      await world().git.resolve(
        world().request({
          url: server.url('fleet.git'),
          ...login({ identity: written, known_hosts: server.knownHosts }),
        }),
      );
    }
  });

  it('takes the rsa host key that known_hosts calls ssh-rsa', async () => {
    const server = await serve({ hostKey: makeSshKey({ type: 'rsa' }) });
    assert.match(server.knownHosts, / ssh-rsa /);
    await world().push(FILES);
    await world().sync({
      url: server.url('fleet.git'),
      ...login({ identity: key.private, known_hosts: server.knownHosts }),
    });
  });

  it('opens an encrypted key with the passphrase, asks nobody for it and never tells it', async () => {
    const encrypted = makeSshKey({ passphrase: PASSPHRASE });
    const server = await serve({ clientKeys: [encrypted.public] });
    await world().push(FILES);
    const url = server.url('fleet.git');
    const known_hosts = server.knownHosts;
    await world().sync({ url, ...login({ identity: encrypted.private, known_hosts, password: PASSPHRASE }) });
    const wrong = login({ identity: encrypted.private, known_hosts, password: 'wrong' });
    await isRefused(world().sync({ url, ...wrong }), /refused the key: check identity \(and password/);
    assert.throws(
      () => login({ identity: encrypted.private, known_hosts }),
      /identity in Secret team\/login is encrypted: put its passphrase into the key password/,
    );
  });

  it('uses the key exchanges and host keys that it is told to, and no others', async () => {
    const server = await serve();
    await world().push(FILES);
    const url = server.url('fleet.git');
    const secret = login({ identity: key.private, known_hosts: server.knownHosts });
    const resolveWith = (ssh: { kex?: string; hostKey?: string }) =>
      world()
        .fetcher({ ssh })
        .resolve(world().request({ url, ...secret }));
    await resolveWith({ kex: 'curve25519-sha256', hostKey: 'ssh-ed25519' });
    await assert.rejects(
      resolveWith({ kex: 'sntrup761x25519-sha512@openssh.com' }),
      /no matching key exchange method/,
    );
    await assert.rejects(resolveWith({ hostKey: 'rsa-sha2-512' }), /no matching host key type/);
  });

  it('ends at the timeout when the server says nothing, and ssh with it', async () => {
    const silent = createServer();
    const sockets: Socket[] = [];
    silent.on('connection', (socket) => sockets.push(socket.resume().on('error', () => {})));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = silent.address() as AddressInfo;
      const secret = login({ identity: key.private, known_hosts: `[127.0.0.1]:${port} ${key.public}` });
      const url = `ssh://127.0.0.1:${port}/fleet.git`;
      const asked = world().git.resolve(world().request({ url, ...secret, timeoutMs: 1_000 }));
      await assert.rejects(asked, /no end within 1s \(spec\.timeout\)/);
      const [socket] = sockets;
      assert.ok(socket);
      await eventually(() => socket.readableEnded || socket.destroyed, { what: 'ssh to hang up' });
    } finally {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => silent.close(resolve));
    }
  });

  it('does not open to a stranger', async () => {
    const server = await serve();
    await world().push(FILES);
    const secret = login({ identity: makeSshKey().private, known_hosts: server.knownHosts });
    await isRefused(world().sync({ url: server.url('fleet.git'), ...secret }), /refused the key/);
    await isRefused(world().sync({ url: server.url('fleet.git') }), /Secret with identity and known_hosts/);
  });

  it('is not trusted when its host key has changed, or is not known', async () => {
    const first = await serve();
    const { knownHosts, port } = first;
    await world().push(FILES);
    const secret = login({ identity: key.private, known_hosts: knownHosts });
    await first.stop();
    servers.length = 0;
    const impostor = await serve({ port });
    const url = impostor.url('fleet.git');
    await isRefused(
      world().sync({ url, ...secret }),
      /host key \(SHA256:\S+\) is not the one in known_hosts/,
    );
    const other = login({ identity: key.private, known_hosts: knownHosts.replace('127.0.0.1', '127.0.0.2') });
    await isRefused(world().sync({ url, ...other }), /known_hosts .*has no key of this server/);
    assert.deepEqual(impostor.users, [], 'no key was offered');
  });

  it('needs both identity and known_hosts, and says which is missing or malformed', () => {
    const knownHosts = `example.org ${key.public}`;
    const table: Array<[Parameters<typeof login>[0], RegExp]> = [
      [{ identity: key.private }, /Secret team\/login has no key known_hosts/],
      [{ known_hosts: knownHosts }, /has no key identity/],
      [{ identity: 'hunter2', known_hosts: knownHosts }, /identity in .* is not a private key/],
      [{ identity: key.private, known_hosts: '# nothing\n' }, /known_hosts in .* has no line/],
    ];
    for (const [values, message] of table)
      assert.throws(
        () => login(values),
        (error: unknown) =>
          error instanceof SourceError &&
          error.reason === 'AuthenticationFailed' &&
          message.test(error.message) &&
          !error.message.includes('hunter2'),
      );
  });

  it('is named when it is not there, and keeps the cache', async () => {
    const server = await serve();
    await world().push(FILES);
    const url = server.url('fleet.git');
    const secret = login({ identity: key.private, known_hosts: server.knownHosts });
    await world().sync({ url, ...secret });
    const before = readdirSync(world().cacheDirectory);
    const missing = world().git.resolve(world().request({ url: server.url('nowhere.git'), ...secret }));
    await assert.rejects(missing, /failed to list the refs of .*not appear to be a git repository/);
    await server.stop();
    servers.length = 0;
    await assert.rejects(world().sync({ url, ...secret }), /ssh: connect to host .* Connection refused/);
    assert.deepEqual(readdirSync(world().cacheDirectory), before);
  });

  it('leaves no key behind, and shows none in an argument', async () => {
    const server = await serve();
    await world().push(FILES);
    const log = join(world().directory, 'arguments');
    const tools = join(world().directory, 'tools');
    mkdirSync(tools);
    const script = `#!/bin/sh\necho "$@" >> '${log}'\nexec /usr/bin/env PATH="\${PATH#*:}" ssh "$@"\n`;
    writeFileSync(join(tools, 'ssh'), script, { mode: 0o755 });
    const git = world().fetcher({ searchPath: `${tools}:${process.env.PATH ?? ''}` });
    const secret = login({ identity: key.private, known_hosts: server.knownHosts });
    await world().sync({ url: server.url('fleet.git'), ...secret }, git);
    const seen = readFileSync(log, 'utf8');
    assert.match(seen, /git-upload-pack/);
    assert.doesNotMatch(seen, /PRIVATE|AAAA/);
    assert.deepEqual(readdirSync(join(world().directory, 'cache', '.tmp')), []);
  });

  it('runs nothing that its address smuggles in', async () => {
    const server = await serve();
    const secret = login({ identity: key.private, known_hosts: server.knownHosts });
    const witness = join(world().directory, 'pwned');
    const host = `127.0.0.1:${server.port}`;
    const urls = [
      `ssh://-oProxyCommand=touch%20${encodeURIComponent(witness)}/fleet.git`,
      `ssh://$(touch%20${encodeURIComponent(witness)})@${host}/fleet.git`,
      `ssh://%60touch%20${encodeURIComponent(witness)}%60@${host}/fleet.git`,
      `ssh://${host}/fleet.git';touch%20'${encodeURIComponent(witness)}`,
    ];
    for (const url of urls)
      await assert.rejects(world().git.resolve(world().request({ url, ...secret })), SourceError, url);
    assert.equal(existsSync(witness), false);
  });

  it('reads no configuration, agent or known host of the machine', async () => {
    const server = await serve();
    await world().push(FILES);
    const home = join(world().directory, 'home');
    mkdirSync(join(home, '.ssh'), { recursive: true });
    writeFileSync(join(home, '.ssh', 'config'), 'Host *\n  User mallory\n');
    const environment = { SSH_AUTH_SOCK: '/nonexistent', GIT_SSH_COMMAND: 'false', HOME: home };
    const git = world().fetcher({ environment });
    const secret = login({ identity: key.private, known_hosts: server.knownHosts });
    await world().sync({ url: server.url('fleet.git', ''), ...secret }, git);
    assert.deepEqual(new Set(server.users), new Set(['git']));
  });
});
