import assert from 'node:assert/strict';
import { CertificateAuthority } from '../../hack/cluster/certificates.ts';
import type { GitCredentials } from '../../operator/source/credentials.ts';
import { SourceError } from '../../operator/source/errors.ts';
import { GitHubAppTokens, gitHubAppFrom } from '../../operator/source/github-app.ts';
import type { GateRule } from '../support/git-gate.ts';
import { useGitWorld } from '../support/git-world.ts';
import { GitHubApi, type GitHubApiOptions } from '../support/github-api.ts';
import { startHttpProxy } from '../support/proxy.ts';

const APP = { issuer: '4711', installations: { 'orgs/acme': 12, 'users/ada': 34 } };
const signal = new AbortController().signal;

describe('a GitHub App', () => {
  const world = useGitWorld();
  let api: GitHubApi;

  async function start(o: Partial<GitHubApiOptions> = {}): Promise<void> {
    api = await GitHubApi.start({ ...APP, ...o });
  }

  afterEach('stop the API', () => api.stop());

  function app(values: Record<string, string> = {}) {
    const all: Record<string, string> = {
      githubAppPrivateKey: api.privateKey,
      githubAppID: '4711',
      githubAppInstallationID: '12',
      githubAppBaseURL: `${api.url}/`,
      ...values,
    };
    const data = Object.entries(all)
      .filter(([, value]) => value !== '')
      .map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
    return gitHubAppFrom(Object.fromEntries(data), 'Secret team/app');
  }

  const passwordOf = ({ basic }: GitCredentials): string | undefined => basic?.password;

  async function isRefused(work: Promise<unknown>, reason: string, message: RegExp): Promise<void> {
    await assert.rejects(work, (error: unknown) => {
      assert.ok(error instanceof SourceError, String(error));
      assert.match(error.message, message);
      assert.equal(error.reason, reason);
      assert.doesNotMatch(error.message, /PRIVATE KEY|eyJ|ghs_/);
      return true;
    });
  }

  function opensTo(tokens: () => readonly string[]): GateRule {
    return (request, response) => {
      const login = Buffer.from(
        request.headers.authorization?.slice('Basic '.length) ?? '',
        'base64',
      ).toString();
      if (tokens().some((token) => login === `x-access-token:${token}`)) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
      return true;
    };
  }

  it('logs in to the git server by a token that GitHub gives it for its key', async () => {
    await start();
    const gate = await world().gate({ rule: opensTo(() => api.tokens) });
    const commit = await world().push({ 'a.yaml': 'a: 1\n' });
    const credentials = await new GitHubAppTokens().credentials(app(), {}, signal);
    const { fetched } = await world().sync({ url: `${gate.origin}/fleet.git`, credentials });
    assert.equal(fetched.commit, commit);
    assert.deepEqual(api.requests, ['POST /api/v3/app/installations/12/access_tokens']);
  });

  it('is known by its id or its client id, and by its installation or the owner of it', async () => {
    await start({ issuer: 'Iv1.abc' });
    const byClientId = { githubAppID: '', githubAppClientID: 'Iv1.abc' };
    for (const [installation, requests] of [
      [{}, ['POST 12']],
      [{ githubAppInstallationID: '', githubAppInstallationOwner: 'acme' }, ['GET orgs/acme', 'POST 12']],
      [
        { githubAppInstallationID: '', githubAppInstallationOwner: 'ada' },
        ['GET orgs/ada', 'GET users/ada', 'POST 34'],
      ],
    ] as const) {
      api.requests.length = 0;
      await new GitHubAppTokens().credentials(app({ ...byClientId, ...installation }), {}, signal);
      const short = api.requests.map((each) =>
        each.replace(/\/api\/v3\/|\/installation$|app\/installations\/|\/access_tokens/g, ''),
      );
      assert.deepEqual(short, requests);
    }
  });

  it('keeps its token until shortly before its end', async () => {
    let nowMs = Date.now();
    await start({ now: () => nowMs });
    const tokens = new GitHubAppTokens(() => nowMs);
    const get = async () => passwordOf(await tokens.credentials(app(), {}, signal));
    assert.equal(await get(), 'ghs_token1');
    nowMs += 54 * 60_000;
    assert.equal(await get(), 'ghs_token1');
    nowMs += 2 * 60_000;
    assert.equal(await get(), 'ghs_token2');
    const other = await tokens.credentials(app({ githubAppInstallationID: '34' }), {}, signal);
    assert.equal(passwordOf(other), 'ghs_token3', 'of another installation');
  });

  it('gets another token once the git server has refused the one it had', async () => {
    await start();
    const gate = await world().gate({ rule: opensTo(() => api.tokens.slice(1)) });
    await world().push({ 'a.yaml': 'a: 1\n' });
    const tokens = new GitHubAppTokens();
    const sync = async () => {
      const credentials = await tokens.credentials(app(), {}, signal);
      await world().sync({ url: `${gate.origin}/fleet.git`, credentials });
    };
    await isRefused(sync(), 'AuthenticationFailed', /refused the credentials/);
    await sync();
    assert.deepEqual(api.tokens, ['ghs_token1', 'ghs_token2']);
  });

  it('that GitHub does not know, or that is not installed, is told apart', async () => {
    await start();
    const get = (values: Record<string, string>) =>
      new GitHubAppTokens().credentials(app(values), {}, signal);
    await isRefused(get({ githubAppID: '1' }), 'AuthenticationFailed', /401: it does not know the app/);
    await isRefused(
      get({ githubAppInstallationID: '99' }),
      'AuthenticationFailed',
      /404: the app is not installed for installation 99/,
    );
    await isRefused(
      get({ githubAppInstallationID: '', githubAppInstallationOwner: 'nobody' }),
      'AuthenticationFailed',
      /not installed for owner "nobody"/,
    );
    await isRefused(
      get({ githubAppBaseURL: 'http://127.0.0.1:1' }),
      'GitOperationFailed',
      /API at http:\/\/127\.0\.0\.1:1 does not answer/,
    );
  });

  it('asks GitHub with the CA and through the proxy that git goes through', async () => {
    const authority = new CertificateAuthority('Private');
    const host = 'github.example.invalid';
    await start({ tls: authority.issue({ commonName: 'github', serverNames: [host] }) });
    const login = { username: 'ada', password: 'hunter2' };
    const proxy = await startHttpProxy({ targetPort: Number(new URL(api.url).port), login });
    try {
      const at = app({ githubAppBaseURL: `https://${host}/api/v3` });
      const through = { proxy: { address: proxy.address, basic: login } };
      const ca = authority.certificatePem;
      await new GitHubAppTokens().credentials(at, { ca, ...through }, signal);
      assert.deepEqual(proxy.passed, [`${host}:443`]);
      const untrusting = new GitHubAppTokens().credentials(at, through, signal);
      await isRefused(untrusting, 'GitOperationFailed', /does not answer: .*certificate/);
    } finally {
      await proxy.stop();
    }
  });

  it('needs a key, and exactly one name of the app and of its installation', async () => {
    await start();
    const table: Array<[Record<string, string>, RegExp]> = [
      [
        { githubAppPrivateKey: 'hunter2' },
        /githubAppPrivateKey in Secret team\/app is not the RSA private key/,
      ],
      [{ githubAppID: '' }, /exactly one of the keys githubAppID and githubAppClientID/],
      [{ githubAppClientID: 'Iv1.abc' }, /exactly one of the keys githubAppID and githubAppClientID/],
      [{ githubAppInstallationOwner: 'acme' }, /exactly one of .*InstallationID and .*InstallationOwner/],
      [{ githubAppInstallationID: '12/../13' }, /are numbers/],
      [{ githubAppBaseURL: 'file:///etc' }, /githubAppBaseURL in Secret team\/app/],
    ];
    for (const [values, message] of table)
      assert.throws(
        () => app(values),
        (error: unknown) =>
          error instanceof SourceError &&
          error.reason === 'AuthenticationFailed' &&
          message.test(error.message) &&
          !error.message.includes('hunter2'),
      );
  });
});
