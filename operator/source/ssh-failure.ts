/** What `ssh` says when it doesn't get to the repository. */

const HINTS: ReadonlyArray<readonly [RegExp, (stderr: string) => string]> = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    (stderr) =>
      `the server's host key ${fingerprintIn(stderr)}is not the one in known_hosts: if the change was announced, put the new key into the Secret in spec.secretRef; if not, this may not be the server`,
  ],
  [
    /Host key verification failed/,
    () =>
      "known_hosts of the Secret in spec.secretRef has no key of this server and port: add what ssh-keyscan says about it (with a port: '[host]:port')",
  ],
  [
    /Load key "/,
    () =>
      'identity of the Secret in spec.secretRef is not a private key that ssh can read, or password does not open it',
  ],
  [
    /Permission denied \(/,
    () =>
      'the server refused the key: check identity (and password, if it is encrypted) of the Secret in spec.secretRef, and that the server knows its public key',
  ],
];

/** What to do about a failure to log in over SSH; undefined when it is about something else. */
export function sshLoginHint(stderr: string): string | undefined {
  return HINTS.find(([pattern]) => pattern.test(stderr))?.[1](stderr);
}

function fingerprintIn(stderr: string): string {
  const found = /\bSHA256:[A-Za-z0-9+/]+/.exec(stderr);
  return found === null ? '' : `(${found[0]}) `;
}
