/** OpenSSH's own server on loopback, with keys and a configuration of its own; nothing of the machine's is used. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { userInfo } from 'node:os';
import { delimiter, join } from 'node:path';
import { findFreePort } from '../../hack/cluster/ports.ts';
import { eventually } from './eventually.ts';
import { announceMissing } from './missing-programs.ts';
import type { SshKey } from './ssh-server.ts';

const INSTALL_LIMIT_MS = 180_000;
/** Debian's containers have it: what it forbids to start isn't started when it is installed. */
const NO_SERVICES = '/usr/sbin/policy-rc.d';
/** Where an sshd that is started by root wants an empty folder to be (compiled in). */
const PRIVILEGE_SEPARATION = '/run/sshd';

/** Leaves a suite's tests pending, with a word on why, where there is no `sshd` and none can be installed. */
export function needsSshd(): void {
  before('is there an sshd?', function () {
    this.timeout(INSTALL_LIMIT_MS);
    if (sshdPath() !== undefined || installed()) return;
    announceMissing('sshd', 'no repository is tested behind it. Get it from openssh-server.');
    this.skip();
  });
}

/** One sshd, which lets the user that runs the tests in. */
export class Sshd {
  readonly port: number;
  readonly #hostKey: SshKey;
  readonly #process: ChildProcess;

  private constructor(port: number, hostKey: SshKey, process: ChildProcess) {
    this.port = port;
    this.#hostKey = hostKey;
    this.#process = process;
  }

  /** Resolves when it listens; `directory` is its own, and absent before. `clientKeys` are public ones. */
  static async start(o: {
    directory: string;
    clientKeys: readonly string[];
    hostKey: SshKey;
    port?: number;
  }): Promise<Sshd> {
    const program = sshdPath();
    if (program === undefined) throw new Error('there is no sshd');
    const port = o.port ?? (await findFreePort());
    mkdirSync(o.directory);
    if (userInfo().uid === 0) mkdirSync(PRIVILEGE_SEPARATION, { recursive: true, mode: 0o755 });
    const hostKey = join(o.directory, 'host_key');
    writeFileSync(hostKey, o.hostKey.private, { mode: 0o600 });
    const authorized = join(o.directory, 'authorized_keys');
    writeFileSync(authorized, `${o.clientKeys.join('\n')}\n`, { mode: 0o600 });
    const configuration = join(o.directory, 'sshd_config');
    const lines = [
      ...['ListenAddress 127.0.0.1', `Port ${port}`, `HostKey ${hostKey}`],
      ...[`PidFile ${join(o.directory, 'pid')}`, `AuthorizedKeysFile ${authorized}`],
      ...['StrictModes no', 'UsePAM no', 'PermitRootLogin prohibit-password'],
      ...['PasswordAuthentication no', 'KbdInteractiveAuthentication no', 'AcceptEnv GIT_PROTOCOL'],
    ];
    writeFileSync(configuration, `${lines.join('\n')}\n`);
    const args = ['-D', '-e', '-f', configuration];
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    const listens = async (): Promise<boolean> => {
      if (child.exitCode !== null) throw new Error(`sshd ended: ${said}`);
      return answers(port);
    };
    await eventually(listens, { what: 'sshd to listen' });
    return new Sshd(port, o.hostKey, child);
  }

  /** What ssh-keyscan would say. */
  get knownHosts(): string {
    return `[127.0.0.1]:${this.port} ${this.#hostKey.public}\n`;
  }

  /** The address of a folder. */
  url(path: string): string {
    return `ssh://${userInfo().username}@127.0.0.1:${this.port}${path}`;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill();
    await ended;
  }
}

/** sshd refuses to start when it is called by its name alone. */
function sshdPath(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'];
  return folders.map((folder) => join(folder, 'sshd')).find((path) => existsSync(path));
}

/** Installs it where that starts no service: as root, in a container of Debian's. */
function installed(): boolean {
  if (userInfo().uid !== 0 || !existsSync(NO_SERVICES)) return false;
  const apt = (...args: string[]): boolean =>
    spawnSync('apt-get', args, {
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      timeout: INSTALL_LIMIT_MS / 3,
    }).status === 0;
  const install = (): boolean => apt('install', '-y', '--no-install-recommends', 'openssh-server');
  return (install() || (apt('update') && install())) && sshdPath() !== undefined;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
