/** A git server that speaks SSH: ssh2's server side in front of the real `git-upload-pack`. */

import { spawn, spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import { isolatedGitEnvironment } from '../../hack/cluster/git-process.ts';
import { announceMissing } from './missing-programs.ts';

/** How ssh2 makes keys: in OpenSSH's own format, as `ssh-keygen` would. */
export interface SshKey {
  private: string;
  /** `<type> <base64>` */
  public: string;
}

/** Leaves a suite's tests pending, with a word on why, on a machine that has no `ssh` client (OpenSSH). */
export function needsSshClient(): void {
  before('is there an ssh client?', function () {
    if (spawnSync('ssh', ['-V'], { stdio: 'ignore' }).error === undefined) return;
    announceMissing('ssh', 'what is reached over ssh is not tested. Get it from openssh-client.');
    this.skip();
  });
}

/** A fresh key; with a passphrase an encrypted one. */
export function makeSshKey(
  o: { type?: 'ed25519' | 'rsa' | 'ecdsa'; passphrase?: string; comment?: string } = {},
): SshKey {
  const { type = 'ed25519', passphrase, comment = '' } = o;
  const common =
    passphrase === undefined ? { comment } : { comment, passphrase, cipher: 'aes256-ctr', rounds: 4 };
  const generate = ssh2.utils.generateKeyPairSync;
  const made =
    type === 'rsa'
      ? generate(type, { ...common, bits: 2048 })
      : type === 'ecdsa'
        ? generate(type, { ...common, bits: 256 })
        : generate(type, common);
  return { private: made.private, public: made.public.trim() };
}

/** A PKCS #1 key as older tools make them. */
export function makePemKey(): { private: string; public: string } {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs1', format: 'pem' }).toString();
  const parsed = ssh2.utils.parseKey(pem);
  if (parsed instanceof Error) throw parsed;
  return { private: pem, public: `${parsed.type} ${parsed.getPublicSSH().toString('base64')}` };
}

/** See the head of this file. */
export class SshServer {
  /** Who logged in, and what they ran. */
  readonly sessions: Array<{ user: string; command: string }> = [];
  /** Every user name that was tried. */
  readonly users: string[] = [];
  readonly #server: ssh2.Server;
  readonly #hostKey: SshKey;

  private constructor(server: ssh2.Server, hostKey: SshKey) {
    this.#server = server;
    this.#hostKey = hostKey;
  }

  /** Serves the bare repositories of `directory` to the holders of `clientKeys` (public ones). */
  static async start(o: {
    directory: string;
    clientKeys: readonly string[];
    hostKey?: SshKey;
    port?: number;
  }): Promise<SshServer> {
    const hostKey = o.hostKey ?? makeSshKey();
    const server = new ssh2.Server({ hostKeys: [hostKey.private] });
    const self = new SshServer(server, hostKey);
    server.on('connection', (client) => self.#serve(client, o.directory, o.clientKeys));
    await new Promise<void>((resolve) => server.listen(o.port ?? 0, '127.0.0.1', resolve));
    return self;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** What ssh-keyscan would say. */
  get knownHosts(): string {
    return `[127.0.0.1]:${this.port} ${this.#hostKey.public}\n`;
  }

  /** The address of a repository. */
  url(name: string, user = 'git@'): string {
    return `ssh://${user}127.0.0.1:${this.port}/${name}`;
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(client: ssh2.Connection, directory: string, clientKeys: readonly string[]): void {
    let user = '';
    client.on('error', () => {});
    client.on('authentication', (context) => {
      user = context.username;
      this.users.push(user);
      if (context.method === 'publickey' && isHolder(context, clientKeys)) context.accept();
      else context.reject(['publickey']);
    });
    client.on('session', (accept) => {
      const session = accept();
      const environment: Record<string, string> = {};
      session.on('env', (acceptEnv, _reject, { key, val }) => {
        if (key === 'GIT_PROTOCOL') environment.GIT_PROTOCOL = val;
        acceptEnv?.();
      });
      session.on('exec', (acceptExec, reject, { command }) => {
        this.sessions.push({ user, command });
        const path = /^git-upload-pack '\/([A-Za-z0-9._-]+)'$/.exec(command)?.[1];
        if (path === undefined) return reject();
        uploadPack(acceptExec(), join(directory, path), environment);
      });
    });
  }
}

function isHolder(context: ssh2.PublicKeyAuthContext, clientKeys: readonly string[]): boolean {
  const offered = context.key.data.toString('base64');
  const known = clientKeys.find((key) => key.split(' ')[1] === offered);
  if (known === undefined) return false;
  const { signature, blob } = context;
  if (signature === undefined || blob === undefined) return true;
  const key = ssh2.utils.parseKey(known);
  if (key instanceof Error) throw key;
  return key.verify(blob, signature, context.hashAlgo) === true;
}

function uploadPack(channel: ssh2.ServerChannel, path: string, environment: Record<string, string>): void {
  const child = spawn('git', ['upload-pack', path], { env: { ...isolatedGitEnvironment, ...environment } });
  channel.pipe(child.stdin);
  child.stdin.on('error', () => {});
  child.stdout.pipe(channel, { end: false });
  child.stderr.pipe(channel.stderr, { end: false });
  child.once('close', (code) => {
    channel.exit(code ?? 1);
    channel.end();
  });
  channel.once('close', () => child.kill());
}
