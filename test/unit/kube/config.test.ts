import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ClusterConfig, loadClusterConfig } from '../../../operator/kube/config.ts';
import { useTemporaryDirectory } from '../../support/temporary-directory.ts';

describe('the cluster configuration', () => {
  const directory = useTemporaryDirectory();
  const base64 = (text: string) => Buffer.from(text).toString('base64');

  const load = (o: { user?: object; cluster?: object; currentContext?: string } = {}): ClusterConfig => {
    const path = join(directory(), 'kubeconfig');
    const kubeconfig = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': o.currentContext ?? 'here',
      contexts: [{ name: 'here', context: { cluster: 'c', user: 'u' } }],
      clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:6443', ...o.cluster } }],
      users: [
        { name: 'other', user: { token: 'not this one' } },
        { name: 'u', user: { ...o.user } },
      ],
    };
    writeFileSync(path, JSON.stringify(kubeconfig));
    return loadClusterConfig({ kubeconfig: path });
  };

  it('names the server and how to trust it', async () => {
    const config = load({
      cluster: {
        'certificate-authority-data': base64('the authority'),
        'tls-server-name': 'kubernetes.default',
        'proxy-url': 'http://127.0.0.1:3128',
      },
      user: { as: 'system:serviceaccount:team:deployer' },
    });
    assert.equal(config.server.href, 'https://127.0.0.1:6443/');
    assert.equal(config.insecureSkipTlsVerify, false);
    assert.equal(config.tlsServerName, 'kubernetes.default');
    assert.equal(config.proxyUrl, 'http://127.0.0.1:3128');
    assert.equal(config.impersonate, 'system:serviceaccount:team:deployer');
    assert.deepEqual(await config.tls?.(), { ca: 'the authority' });
    assert.equal(await config.authorization(), undefined);
  });

  it('reads certificates from files anew for each connection, relative to the kubeconfig', async () => {
    for (const name of ['ca.crt', 'me.crt', 'me.key']) writeFileSync(join(directory(), name), `${name} 1`);
    const config = load({
      cluster: { 'certificate-authority': 'ca.crt' },
      user: { 'client-certificate': 'me.crt', 'client-key': 'me.key' },
    });
    assert.deepEqual(await config.tls?.(), { ca: 'ca.crt 1', cert: 'me.crt 1', key: 'me.key 1' });
    writeFileSync(join(directory(), 'me.crt'), 'me.crt 2');
    assert.equal((await config.tls?.())?.cert, 'me.crt 2');
  });

  it('names the file when one is missing', async () => {
    const config = load({ cluster: { 'certificate-authority': 'gone.crt' } });
    await assert.rejects(async () => config.tls?.(), /gone\.crt/);
  });

  it('reads a token file anew after it rotated, at the latest when the old token is refused', async () => {
    writeFileSync(join(directory(), 'token'), 'first\n');
    const config = load({ user: { tokenFile: 'token' } });
    assert.equal(await config.authorization(), 'Bearer first');
    writeFileSync(join(directory(), 'token'), 'second\n');
    assert.equal(await config.authorization({ fresh: true }), 'Bearer second');
    assert.equal(await config.authorization(), 'Bearer second');
  });

  it('uses a token, or a name and password', async () => {
    assert.equal(await load({ user: { token: 'abc' } }).authorization(), 'Bearer abc');
    const basic = await load({ user: { username: 'jane', password: 'pass' } }).authorization();
    assert.equal(basic, `Basic ${base64('jane:pass')}`);
  });

  it('runs an exec plugin for a token and a client certificate, once for many calls', async () => {
    const credential = {
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      status: { token: 'from the plugin', clientCertificateData: 'cert', clientKeyData: 'key' },
    };
    const calls = join(directory(), 'calls');
    writeFileSync(calls, '');
    const script = `require('fs').appendFileSync(${JSON.stringify(calls)}, '.'); console.log(${JSON.stringify(JSON.stringify(credential))})`;
    const config = load({
      user: {
        exec: {
          apiVersion: credential.apiVersion,
          command: process.execPath,
          args: ['-e', script],
          interactiveMode: 'Never',
        },
      },
    });
    const answers = await Promise.all(Array.from({ length: 5 }, () => config.authorization()));
    assert.deepEqual(new Set(answers), new Set(['Bearer from the plugin']));
    assert.deepEqual(await config.tls?.(), { cert: 'cert', key: 'key' });
    assert.equal(readFileSync(calls, 'utf8'), '.');
  });

  it("passes on an exec plugin's failure and tries again at the next call", async () => {
    const flag = join(directory(), 'flag');
    const script = `
      const fs = require('fs');
      if (!fs.existsSync(${JSON.stringify(flag)})) { console.error('log in first'); process.exit(1); }
      console.log(JSON.stringify({ status: { token: 'now' } }));`;
    const config = load({ user: { exec: { command: process.execPath, args: ['-e', script] } } });
    await assert.rejects(config.authorization(), /log in first/);
    writeFileSync(flag, '');
    assert.equal(await config.authorization(), 'Bearer now');
  });

  it('says what a pod lacks that should find its API server by itself', () => {
    const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env;
    delete process.env.KUBERNETES_SERVICE_HOST;
    delete process.env.KUBERNETES_SERVICE_PORT;
    try {
      assert.throws(() => loadClusterConfig({ inCluster: true }), /KUBERNETES_SERVICE_HOST .* are not set/);
    } finally {
      Object.assign(process.env, host === undefined ? {} : { KUBERNETES_SERVICE_HOST: host });
      Object.assign(process.env, port === undefined ? {} : { KUBERNETES_SERVICE_PORT: port });
    }
  });

  it('refuses a kubeconfig whose context leads nowhere, or whose server is no URL', () => {
    assert.throws(() => load({ currentContext: 'elsewhere' }), /kubeconfig: the current context "elsewhere"/);
    assert.throws(() => load({ cluster: { server: 'my cluster' } }), /server "my cluster" is not a URL/);
    assert.throws(() => loadClusterConfig({ kubeconfig: join(directory(), 'none') }), /none/);
  });
});
