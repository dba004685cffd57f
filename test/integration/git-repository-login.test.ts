import assert from 'node:assert/strict';
import { join } from 'node:path';
import { GitHubApi } from '../support/github-api.ts';
import { startHttpProxy } from '../support/proxy.ts';
import { condition, useSource } from '../support/source-scene.ts';
import { makeSshKey, needsSshClient, SshServer } from '../support/ssh-server.ts';
import { useWorld } from '../support/world.ts';

describe('the login of a GitRepository', () => {
  const world = useWorld();
  const scene = useSource(world);
  const stops: Array<() => Promise<void>> = [];

  afterEach('stop the servers', async () => {
    for (const stop of stops.splice(0)) await stop();
  });

  describe('over ssh', () => {
    needsSshClient();

    it('takes identity and known_hosts from the Secret, both of them', async () => {
      const key = makeSshKey();
      const directory = join(scene().directory, 'repositories');
      const server = await SshServer.start({ directory, clientKeys: [key.public] });
      stops.push(() => server.stop());
      const commit = await scene().push({ 'a.yaml': 'a: 1\n' });
      await scene().createSecret('login', { identity: key.private });
      await scene().create({ spec: { url: server.url('fleet.git'), secretRef: { name: 'login' } } });
      const refused = await scene().until('the refusal', (r) => condition(r, 'FetchFailed') !== undefined);
      assert.equal(condition(refused, 'Ready')?.reason, 'AuthenticationFailed');
      assert.match(condition(refused, 'Ready')?.message ?? '', /Secret \S+\/login has no key known_hosts/);
      await world().api.mergePatch(world().path('v1', 'secrets', 'login'), {
        stringData: { known_hosts: server.knownHosts },
      });
      await scene().untilPublished(commit);
    });
  });

  it('goes through the proxy of spec.proxySecretRef', async () => {
    const login = { username: 'ada', password: 'hunter2' };
    const proxy = await startHttpProxy({ targetPort: scene().server.port, login });
    stops.push(() => proxy.stop());
    const commit = await scene().push({ 'a.yaml': 'a: 1\n' });
    await scene().createSecret('proxy', { address: proxy.address, ...login });
    const url = 'http://git.example.invalid/fleet.git';
    await scene().create({ spec: { url, proxySecretRef: { name: 'proxy' } } });
    await scene().untilPublished(commit);
    assert.deepEqual(new Set(proxy.passed), new Set(['git.example.invalid']));
    assert.doesNotMatch(scene().operator.output(), /hunter2/);
  });

  it('goes through the proxies of the operator’s environment, unless the spec names its own', async () => {
    const targetPort = scene().server.port;
    const [ambient, own] = [await startHttpProxy({ targetPort }), await startHttpProxy({ targetPort })];
    stops.push(
      () => ambient.stop(),
      () => own.stop(),
    );
    const commit = await scene().push({ 'a.yaml': 'a: 1\n' });
    await scene().stopOperator();
    await scene().startOperator([], { HTTP_PROXY: ambient.address, NO_PROXY: '127.0.0.1' });
    const url = 'http://git.example.invalid/fleet.git';
    await scene().create({ name: 'direct' });
    await scene().untilPublished(commit, 'direct');
    assert.deepEqual(ambient.passed, []);
    await scene().create({ name: 'ambient', spec: { url } });
    await scene().untilPublished(commit, 'ambient');
    const before = ambient.passed.length;
    assert.ok(before > 0);
    await scene().createSecret('proxy', { address: own.address });
    await scene().create({ name: 'own', spec: { url, proxySecretRef: { name: 'proxy' } } });
    await scene().untilPublished(commit, 'own');
    assert.equal(ambient.passed.length, before);
    assert.ok(own.passed.length > 0);
  });

  it('is that of a GitHub App with provider github, and only with it', async () => {
    const api = await GitHubApi.start({ issuer: '4711', installations: { 'orgs/acme': 12 } });
    stops.push(() => api.stop());
    const commit = await scene().push({ 'a.yaml': 'a: 1\n' });
    await scene().createSecret('app', {
      githubAppPrivateKey: api.privateKey,
      githubAppID: '4711',
      githubAppInstallationOwner: 'acme',
      githubAppBaseURL: api.url,
    });
    await scene().create({ spec: { secretRef: { name: 'app' } } });
    const refused = await scene().until('the refusal', (r) => condition(r, 'FetchFailed') !== undefined);
    assert.equal(condition(refused, 'Ready')?.reason, 'InvalidProviderConfiguration');
    assert.match(condition(refused, 'Ready')?.message ?? '', /spec\.provider is not github/);
    await scene().patch({ spec: { provider: 'github' } });
    await scene().untilPublished(commit);
    assert.equal(api.tokens.length, 1);
    await scene().patch({ spec: { secretRef: null } });
    const stalled = await scene().until('the stall', (r) => condition(r, 'Stalled')?.status === 'True');
    assert.equal(condition(stalled, 'Stalled')?.reason, 'InvalidProviderConfiguration');
  });
});
