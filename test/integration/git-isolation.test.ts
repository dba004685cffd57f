import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CertificateAuthority } from '../../hack/cluster/certificates.ts';
import type { GitCredentials } from '../../operator/source/credentials.ts';
import { SourceError } from '../../operator/source/errors.ts';
import { eventually } from '../support/eventually.ts';
import type { GateRule } from '../support/git-gate.ts';
import { useGitWorld } from '../support/git-world.ts';

const LOGIN = { username: 'ada', password: 'hunter2/öß' };
const FILES = { 'a.yaml': 'a: 1\n' };

/** Makes the promise fail with AuthenticationFailed, without the secrets in the message. */
async function isRefused(work: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof SourceError, String(error));
    assert.equal(error.reason, 'AuthenticationFailed', error.message);
    assert.match(error.message, message);
    assert.doesNotMatch(`${error.message} ${error.stack}`, /hunter2|wrong-one|Basic|Bearer/);
    return true;
  });
}

function withBearer(token: string): GateRule {
  return (request, response) => {
    if (request.headers.authorization === `Bearer ${token}`) return false;
    response.writeHead(401, { 'www-authenticate': 'Bearer realm="git"' }).end();
    return true;
  };
}

function processIsAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A zombie that its new parent has yet to collect has ended.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

describe('a repository behind basic authentication', () => {
  const world = useGitWorld({ credentials: LOGIN });

  beforeEach(() => world().push(FILES));

  it('opens to the right credentials, from the Secret or the URL', async () => {
    const { artifact } = await world().sync({ credentials: { basic: LOGIN } });
    const { username, password } = LOGIN;
    const url = world().url.replace('://', `://${username}:${encodeURIComponent(password)}@`);
    assert.equal((await world().sync({ url })).artifact.digest, artifact.digest);
  });

  it('says what to do when there are none, and when they are wrong', async () => {
    await isRefused(world().sync(), /name a Secret with them in spec\.secretRef/);
    const credentials = { basic: { ...LOGIN, password: 'wrong-one' } };
    await isRefused(world().sync({ credentials }), /refused the credentials: check the Secret/);
    const { git } = world();
    const request = world().request({ credentials });
    await isRefused(git.fetch({ ...request, commit: await world().work.head() }), /refused the credentials/);
  });

  it('gets them in no argument, no file that outlives the call and no configuration', async () => {
    const log = join(world().directory, 'log');
    const spy = join(world().directory, 'spy');
    const record = `{ printf '%s\\n' "$@"; stat -c '%a' "$HOME"; ls -A "$HOME"; } >> ${log} 2>/dev/null`;
    writeFileSync(spy, `#!/bin/sh\n${record}\nexec git "$@"\n`);
    chmodSync(spy, 0o755);
    await world().sync({ credentials: { basic: LOGIN } }, world().fetcher({ gitBinary: spy }));
    const seen = readFileSync(log, 'utf8');
    assert.match(seen, /^ls-remote$/m);
    assert.match(seen, /^fetch$/m);
    assert.match(seen, /^700$/m, 'the home folder is not private');
    const secrets = [LOGIN.password, Buffer.from(`ada:${LOGIN.password}`).toString('base64')];
    const cache = readdirSync(join(world().directory, 'cache'), { recursive: true, withFileTypes: true });
    const texts = cache
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => readFileSync(join(parentPath, name), 'latin1'));
    for (const secret of secrets)
      for (const text of [seen, ...texts]) assert.equal(text.includes(secret), false);
    assert.deepEqual(readdirSync(join(world().directory, 'cache/.tmp')), []);
  });

  it('does not get them from the machine: .netrc, credential helpers, prompts', async () => {
    const home = join(world().directory, 'home');
    mkdirSync(home);
    writeFileSync(join(home, '.netrc'), `machine 127.0.0.1 login ada password ${LOGIN.password}\n`);
    writeFileSync(
      join(home, '.gitconfig'),
      `[credential]\n\thelper = "!f() { echo username=ada; echo 'password=${LOGIN.password}'; }; f"\n`,
    );
    await withEnvironment({ HOME: home }, () => isRefused(world().sync(), /spec\.secretRef/));
  });
});

/** Runs `work` with variables added to this process's own environment. */
async function withEnvironment(variables: Record<string, string>, work: () => Promise<void>): Promise<void> {
  const before = new Map(Object.keys(variables).map((name) => [name, process.env[name]]));
  Object.assign(process.env, variables);
  try {
    await work();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

describe('credentials on the way', () => {
  const world = useGitWorld();

  beforeEach(() => world().push(FILES));

  it('can be a bearer token', async () => {
    const gate = await world().gate({ rule: withBearer('hunter2') });
    const url = `${gate.origin}/fleet.git`;
    await world().sync({ url, credentials: { bearerToken: 'hunter2' } });
    await isRefused(
      world().sync({ url, credentials: { bearerToken: 'wrong-one' } }),
      /refused the credentials/,
    );
    await isRefused(world().sync({ url }), /name a Secret/);
  });

  it('go along with a redirect on the same server only', async () => {
    const elsewhere = await world().gate();
    const gate = await world().gate();
    const bearer = withBearer('hunter2');
    gate.rule = (request, response) => {
      const [, name] = /^\/(same|other|loop|odd)\//.exec(request.url ?? '') ?? [];
      if (name === undefined) return bearer(request, response);
      const rest = (request.url ?? '').slice(name.length + 2);
      const target = {
        same: `/fleet.git/${rest}`,
        other: `${elsewhere.origin}/fleet.git/${rest}`,
        loop: request.url,
        odd: '/login',
      }[name];
      response.writeHead(301, { location: target }).end();
      return true;
    };
    const credentials: GitCredentials = { bearerToken: 'hunter2' };
    const request = (name: string) => ({ url: `${gate.origin}/${name}`, credentials });
    await world().sync(request('same'));
    const failure = (message: RegExp) => (error: unknown) =>
      error instanceof SourceError && message.test(error.message);
    await assert.rejects(
      world().sync(request('other')),
      failure(/redirects to http:.*, where credentials are not sent/),
    );
    await assert.rejects(world().sync(request('loop')), failure(/error: 301/));
    await assert.rejects(
      world().sync(request('odd')),
      failure(/redirects to \/login, which is not a git repository/),
    );
    assert.deepEqual(elsewhere.requests, []);
    // Without credentials there is nothing to lose.
    await world().sync({ url: `${gate.origin}/other` });
    assert.deepEqual(
      new Set(elsewhere.requests.map(({ authorization }) => authorization)),
      new Set([undefined]),
    );
  });

  it('go to a server whose certificate a private authority signed, and with a client certificate', async () => {
    const authority = new CertificateAuthority('Private');
    const tls = {
      ...authority.issue({ commonName: 'git', serverNames: ['127.0.0.1'] }),
      clientCaPem: authority.certificatePem,
    };
    const gate = await world().gate({ tls });
    const url = `${gate.origin}/fleet.git`;
    const ca = authority.certificatePem;
    const isUntrusted = (error: unknown): boolean =>
      error instanceof SourceError &&
      error.reason === 'GitOperationFailed' &&
      /the server's certificate is not trusted .*ca\.crt of the Secret in spec\.secretRef/.test(
        error.message,
      ) &&
      !error.message.includes(world().directory);
    await assert.rejects(world().sync({ url }), isUntrusted);
    const stranger = new CertificateAuthority('Stranger').certificatePem;
    await assert.rejects(world().sync({ url, credentials: { ca: stranger } }), isUntrusted);
    const elsewhere = authority.issue({ commonName: 'git', serverNames: ['git.example.org'] });
    const misnamed = await world().gate({ tls: elsewhere });
    const misnamedUrl = `${misnamed.origin}/fleet.git`;
    await assert.rejects(world().sync({ url: misnamedUrl, credentials: { ca } }), isUntrusted);
    await assert.rejects(world().sync({ url, credentials: { ca } }), SourceError);
    const { certificatePem: certificate, keyPem: key } = authority.issue({ commonName: 'operator' });
    await world().sync({ url, credentials: { ca, clientCertificate: { certificate, key } } });
  });
});

describe('git as it is run', () => {
  const world = useGitWorld();

  it('reads no configuration of the machine or the user, and runs nothing that it names', async () => {
    await world().push(FILES);
    const { directory, url } = world();
    const marker = join(directory, 'marker');
    const hooks = join(directory, 'hooks');
    mkdirSync(hooks);
    for (const hook of ['reference-transaction', 'post-checkout', 'pre-auto-gc', 'post-index-change']) {
      writeFileSync(join(hooks, hook), `#!/bin/sh\ntouch ${marker}\n`);
      chmodSync(join(hooks, hook), 0o755);
    }
    const home = join(directory, 'home');
    mkdirSync(join(home, '.config/git'), { recursive: true });
    const poison = `[core]\n\thooksPath = ${hooks}\n\tfsmonitor = touch ${marker}\n[url "ext::touch ${marker}"]\n\tinsteadOf = ${url}\n[http]\n\tproxy = http://127.0.0.1:1\n`;
    for (const path of ['.gitconfig', '.config/git/config', 'system'])
      writeFileSync(join(home, path), poison);
    const variables = {
      HOME: home,
      XDG_CONFIG_HOME: join(home, '.config'),
      GIT_CONFIG_GLOBAL: join(home, '.gitconfig'),
      GIT_CONFIG_SYSTEM: join(home, 'system'),
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: `url.ext::touch ${marker}.insteadOf`,
      GIT_CONFIG_VALUE_0: url,
      GIT_DIR: '/nonexistent',
      GIT_SSH_COMMAND: `touch ${marker}`,
      GIT_ALLOW_PROTOCOL: 'ext:file:http',
      GIT_EXEC_PATH: hooks,
      GIT_TRACE: join(directory, 'trace'),
      https_proxy: 'http://127.0.0.1:1',
      http_proxy: 'http://127.0.0.1:1',
    };
    await withEnvironment(variables, async () => {
      await world().sync();
      assert.equal(existsSync(marker), false);
      assert.equal(existsSync(join(directory, 'trace')), false);
    });
  });

  it('runs no hook that found its way into the cache', async () => {
    await world().push(FILES);
    await world().sync();
    const marker = join(world().directory, 'marker');
    const [cache = ''] = readdirSync(world().cacheDirectory);
    const hooks = join(world().cacheDirectory, cache, 'hooks');
    mkdirSync(hooks);
    writeFileSync(join(hooks, 'reference-transaction'), `#!/bin/sh\ntouch ${marker}\n`);
    chmodSync(join(hooks, 'reference-transaction'), 0o755);
    const commit = await world().push({ 'a.yaml': 'a: 2\n' });
    assert.equal((await world().sync()).fetched.commit, commit);
    assert.equal(existsSync(marker), false);
  });

  it('is ended with all that it started, at a timeout', async () => {
    const pids = join(world().directory, 'pids');
    const stubborn = join(world().directory, 'stubborn');
    // A git that ignores TERM, with a child and a grandchild that ignore it too.
    writeFileSync(
      stubborn,
      `#!/bin/sh\ntrap '' TERM\necho $$ >> ${pids}\nsh -c 'echo $$ >> ${pids}; sleep 600 & echo $! >> ${pids}; wait' &\nwait\nsleep 600\n`,
    );
    chmodSync(stubborn, 0o755);
    const git = world().fetcher({ gitBinary: stubborn });
    const abort = new AbortController();
    const resolving = git.resolve(world().request({ signal: abort.signal }));
    const started = await eventually(
      () => {
        const seen = existsSync(pids) ? readFileSync(pids, 'utf8').trim().split('\n').map(Number) : [];
        return seen.length === 3 ? seen : undefined;
      },
      { what: 'the processes to start' },
    );
    assert.ok(started.every(processIsAlive));
    abort.abort(new Error('enough'));
    await assert.rejects(resolving, /enough/);
    await eventually(() => !started.some(processIsAlive), { what: 'every process to end' });
  });

  it('that is not there is named', async () => {
    const git = world().fetcher({ gitBinary: '/nonexistent/git' });
    await assert.rejects(
      git.resolve(world().request()),
      (error: unknown) => error instanceof SourceError && /cannot run git: .*ENOENT/.test(error.message),
    );
  });
});
