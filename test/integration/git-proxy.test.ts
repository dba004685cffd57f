import assert from 'node:assert/strict';
import { join } from 'node:path';
import { CertificateAuthority } from '../../hack/cluster/certificates.ts';
import { Repository } from '../../hack/cluster/repository.ts';
import { SourceError } from '../../operator/source/errors.ts';
import { proxyEnvironment, proxyFromSecret } from '../../operator/source/proxy.ts';
import { withSubmodules } from '../../operator/source/submodules.ts';
import { useGitWorld } from '../support/git-world.ts';
import { type ProxyOptions, type RunningProxy, startHttpProxy, startSocksProxy } from '../support/proxy.ts';

const LOGIN = { username: 'ada', password: 'hunter2/@:öß' };
const FILES = { 'a.yaml': 'a: 1\n' };
/** A name that nobody but the proxy can do anything with. */
const HOST = 'git.example.invalid';

function proxy(values: Record<string, string>) {
  const data = Object.entries(values).map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
  return proxyFromSecret(Object.fromEntries(data), 'Secret team/proxy');
}

describe('a repository behind a proxy', () => {
  const world = useGitWorld();
  const running: RunningProxy[] = [];

  afterEach('stop the proxies', async () => {
    for (const each of running.splice(0)) await each.stop();
  });

  async function start(
    how: (o: ProxyOptions) => Promise<RunningProxy>,
    o: Partial<ProxyOptions> = {},
  ): Promise<RunningProxy> {
    const started = await how({ targetPort: world().server.port, ...o });
    running.push(started);
    return started;
  }

  const url = `http://${HOST}/fleet.git`;

  for (const [scheme, how] of [
    ['http', startHttpProxy],
    ['socks5', startSocksProxy],
  ] as const) {
    it(`is reached through one that speaks ${scheme}, which finds the host by its name`, async () => {
      const commit = await world().push(FILES);
      const { address, passed } = await start(how);
      const { fetched } = await world().sync({ url, credentials: { proxy: proxy({ address }) } });
      assert.equal(fetched.commit, commit);
      assert.deepEqual(new Set(passed), new Set([scheme === 'http' ? HOST : `${HOST}:80`]));
    });

    it(`is reached through one that speaks ${scheme} and wants to know who it is`, async () => {
      const commit = await world().push(FILES);
      const { address, refused } = await start(how, { login: LOGIN });
      const credentials = { proxy: proxy({ address, ...LOGIN }) };
      assert.equal((await world().sync({ url, credentials })).fetched.commit, commit);
      for (const values of [{ address }, { address, username: 'ada', password: 'wrong-one' }]) {
        const before = refused();
        await assert.rejects(
          world().sync({ url, credentials: { proxy: proxy(values) } }),
          (error: unknown) => {
            assert.ok(error instanceof SourceError, String(error));
            if (scheme === 'http') assert.match(error.message, /the proxy refused .*spec\.proxySecretRef/);
            assert.doesNotMatch(`${error.message} ${error.stack}`, /hunter2|wrong-one/);
            return true;
          },
        );
        assert.ok(refused() > before);
      }
    });
  }

  it('with https is reached through a tunnel, and through a proxy that itself speaks https', async () => {
    const authority = new CertificateAuthority('Private');
    const ca = authority.certificatePem;
    const gate = await world().gate({ tls: authority.issue({ commonName: 'git', serverNames: [HOST] }) });
    const targetPort = Number(new URL(gate.origin).port);
    const commit = await world().push(FILES);
    const plain = await start(startHttpProxy, { targetPort, login: LOGIN });
    const tls = authority.issue({ commonName: 'proxy', serverNames: ['127.0.0.1'] });
    const secure = await start(startHttpProxy, { targetPort, login: LOGIN, tls });
    const socks = await start(startSocksProxy, { targetPort, login: LOGIN });
    for (const { address, passed } of [plain, secure, socks]) {
      const credentials = { ca, proxy: proxy({ address, ...LOGIN, 'ca.crt': ca }) };
      const git = world().fetcher();
      await git.remove('gitrepository/team/app');
      const { fetched } = await world().sync({ url: `https://${HOST}/fleet.git`, credentials }, git);
      assert.equal(fetched.commit, commit);
      assert.deepEqual(new Set(passed), new Set([`${HOST}:443`]));
    }
    const untrusting = { ca, proxy: proxy({ address: secure.address, ...LOGIN }) };
    await assert.rejects(
      world().sync({ url: `https://${HOST}/fleet.git`, credentials: untrusting }),
      /certificate/,
    );
  });

  it('is asked for redirects through the proxy too, with the credentials of neither told to the other', async () => {
    const gate = await world().gate({
      rule: (request, response) => {
        if (request.url?.startsWith('/fleet.git/') === true) return false;
        response.writeHead(301, { location: (request.url ?? '').replace(/^\/fleet/, '/fleet.git') }).end();
        return true;
      },
    });
    const commit = await world().push(FILES);
    const basic = { username: 'bob', password: 'secret' };
    for (const how of [startHttpProxy, startSocksProxy]) {
      const { address } = await start(how, { targetPort: Number(new URL(gate.origin).port), login: LOGIN });
      const credentials = { basic, proxy: proxy({ address, ...LOGIN }) };
      const { fetched } = await world().sync({ url: `http://${HOST}/fleet`, credentials }, world().fetcher());
      assert.equal(fetched.commit, commit);
    }
    const told = new Set(gate.requests.map(({ authorization }) => authorization));
    assert.deepEqual(told, new Set([`Basic ${Buffer.from('bob:secret').toString('base64')}`]));
  });

  it('has its submodules fetched through the proxy, those of other hosts without its credentials', async () => {
    const lib = await Repository.init(join(world().directory, 'lib'));
    lib.write({ 'b.yaml': 'b: 1\n' });
    const pinned = await lib.commit('Add b');
    await lib.push(await world().server.createRepository('lib'));
    const { work } = world();
    work.write({
      '.gitmodules': '[submodule "lib"]\n\tpath = lib\n\turl = http://other.example.invalid/lib.git\n',
    });
    await work.git('add', '.gitmodules');
    await work.git('update-index', '--add', '--cacheinfo', `160000,${pinned},lib`);
    await work.git('commit', '--quiet', '-m', 'Add lib');
    await work.push(world().url);
    const gate = await world().gate();
    const { address, passed } = await start(startHttpProxy, {
      targetPort: Number(new URL(gate.origin).port),
    });
    const credentials = { basic: { username: 'bob', password: 'secret' }, proxy: proxy({ address }) };
    const request = world().request({ url, credentials });
    const { git } = world();
    const { commit } = await git.fetch({ ...request, ...(await git.resolve(request)) });
    const tree = await git.tree({ ...request, commit });
    const whole = await withSubmodules(git, tree, { ...request, wanted: () => true });
    assert.ok(whole.entries.some((entry) => entry.path === 'lib/b.yaml'));
    assert.deepEqual(new Set(passed), new Set([HOST, 'other.example.invalid']));
    const toLib = gate.requests.filter((each) => each.url.startsWith('/lib.git/'));
    assert.deepEqual(new Set(toLib.map(({ authorization }) => authorization)), new Set([undefined]));
  });

  it('is not reached around the proxy when the proxy is down', async () => {
    await world().push(FILES);
    const { address, stop } = await start(startHttpProxy);
    running.length = 0;
    await stop();
    const environment = { no_proxy: '*', NO_PROXY: '*' };
    const git = world().fetcher({ environment });
    const credentials = { proxy: proxy({ address }) };
    await assert.rejects(
      world().sync({ url: world().url, credentials }, git),
      (error: unknown) => error instanceof SourceError && /Failed to connect/.test(error.message),
    );
  });

  it('is reached through the proxy of the environment, named in either case', async () => {
    const commit = await world().push(FILES);
    const { address, passed } = await start(startHttpProxy);
    for (const name of ['HTTP_PROXY', 'http_proxy']) {
      passed.length = 0;
      const git = world().fetcher({ environment: proxyEnvironment({ [name]: address, HOME: '/root' }) });
      assert.equal((await world().sync({ url }, git)).fetched.commit, commit);
      assert.deepEqual(new Set(passed), new Set([HOST]));
    }
    const both = { HTTPS_PROXY: 'http://a', https_proxy: 'http://b', NO_PROXY: '', no_proxy: 'c', PATH: '/' };
    assert.deepEqual(proxyEnvironment(both), { https_proxy: 'http://a', no_proxy: 'c' });
  });

  it('needs an address in the Secret that is the URL of a proxy', () => {
    const table: Array<[Record<string, string>, RegExp]> = [
      [{}, /Secret team\/proxy has no key address/],
      [{ address: 'proxy:hunter2' }, /address in Secret team\/proxy is not the URL of a proxy/],
      [{ address: 'ftp://ada:hunter2@proxy' }, /http:\/\/, https:\/\/ or socks5:\/\//],
      [{ address: 'http://proxy', password: 'hunter2' }, /add the key username/],
    ];
    for (const [values, message] of table)
      assert.throws(
        () => proxy(values),
        (error: unknown) =>
          error instanceof SourceError &&
          error.reason === 'AuthenticationFailed' &&
          message.test(error.message) &&
          !error.message.includes('hunter2'),
      );
    assert.deepEqual(proxy({ address: 'http://ada:a%40b@proxy:3128' }), {
      address: 'http://proxy:3128',
      basic: { username: 'ada', password: 'a@b' },
    });
  });
});
