/** How git reaches a server over SSH: by the real `ssh`, which is told everything by files of this one call. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REASON } from '../api/conditions.ts';
import { SourceError } from './errors.ts';
import type { SshCredentials } from './ssh-credentials.ts';

/** For whoever has no user name in the URL, as in Flux. */
const DEFAULT_USER = 'git';

/** Which algorithms `ssh` may use, as ssh_config(5) lists them; without, its own choice. */
export interface SshAlgorithms {
  kex?: string | undefined;
  hostKey?: string | undefined;
}

/**
 * Writes what `ssh` needs into `home` (0700, gone after the call) and answers git's variables for it. No
 * configuration, agent, key or known host of the machine is looked at; nothing is asked but, with an encrypted key,
 * its passphrase, which a script answers.
 * @throws SourceError `AuthenticationFailed` without credentials
 */
export async function sshEnvironment(
  home: string,
  credentials: SshCredentials | undefined,
  algorithms: SshAlgorithms,
): Promise<Record<string, string>> {
  if (credentials === undefined)
    throw new SourceError(
      REASON.authenticationFailed,
      'an ssh:// address needs a Secret with identity and known_hosts in spec.secretRef',
    );
  const write = async (name: string, content: string, mode = 0o600): Promise<string> => {
    const path = join(home, name);
    await writeFile(path, content, { mode, flag: 'wx' });
    return path;
  };
  const identity = await write('identity', credentials.identity);
  const knownHosts = await write('known_hosts', credentials.knownHosts);
  const { passphrase } = credentials;
  const config = await write(
    'ssh_config',
    configFile({ identity, knownHosts, algorithms, asks: passphrase !== undefined }),
  );
  const environment = {
    GIT_ALLOW_PROTOCOL: 'ssh',
    GIT_SSH_COMMAND: `ssh -F ${shellQuoted(config)}`,
    GIT_SSH_VARIANT: 'ssh',
  };
  if (passphrase === undefined) return environment;
  await write('passphrase', `${passphrase}\n`);
  const askPass = await write('askpass', '#!/bin/sh\nexec cat "$(dirname "$0")/passphrase"\n', 0o700);
  return { ...environment, SSH_ASKPASS: askPass, SSH_ASKPASS_REQUIRE: 'force', DISPLAY: ':' };
}

/** ssh_config(5). With `BatchMode` a passphrase would not be asked for. */
function configFile(o: {
  identity: string;
  knownHosts: string;
  algorithms: SshAlgorithms;
  asks: boolean;
}): string {
  const settings = {
    User: DEFAULT_USER,
    IdentityFile: configQuoted(o.identity),
    IdentitiesOnly: 'yes',
    IdentityAgent: 'none',
    UserKnownHostsFile: configQuoted(o.knownHosts),
    GlobalKnownHostsFile: '/dev/null',
    StrictHostKeyChecking: 'yes',
    UpdateHostKeys: 'no',
    CheckHostIP: 'no',
    BatchMode: o.asks ? 'no' : 'yes',
    NumberOfPasswordPrompts: '1',
    PreferredAuthentications: 'publickey',
    PasswordAuthentication: 'no',
    KbdInteractiveAuthentication: 'no',
    ControlPath: 'none',
    ClearAllForwardings: 'yes',
    LogLevel: 'INFO',
    ...(o.algorithms.kex === undefined ? {} : { KexAlgorithms: o.algorithms.kex }),
    ...(o.algorithms.hostKey === undefined ? {} : { HostKeyAlgorithms: o.algorithms.hostKey }),
  };
  const lines = Object.entries(settings).map(([name, value]) => `  ${name} ${value}`);
  return ['Host *', ...lines, ''].join('\n');
}

function configQuoted(path: string): string {
  return `"${path.replaceAll('%', '%%')}"`;
}

function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
