/** From git's standard error to an error that a person can act on. */

import { REASON } from '../api/conditions.ts';
import { type GitCredentials, secretsOf } from './credentials.ts';
import { SourceError } from './errors.ts';
import type { GitExit } from './git-process.ts';
import { sshLoginHint } from './ssh-failure.ts';

/** What went wrong, as far as it decides what to do next. */
export type GitTrouble = 'authentication' | 'ref' | 'redirect' | 'connection' | 'other';

const MESSAGE_LIMIT = 500;
const NOISE =
  /^(hint:|warning:|POST git-|Cloning into|fatal: Could not read from remote|Please make sure you|and the repository exists|\s*$)/;
const PATTERNS: ReadonlyArray<readonly [GitTrouble, RegExp]> = [
  [
    'authentication',
    /could not read (Username|Password)|Authentication failed|returned error: 40[137]\b|HTTP code 407/,
  ],
  ['redirect', /returned error: 30[1278]\b|unable to update url base from redirection/],
  ['ref', /couldn't find remote ref|not our ref|unadvertised object/],
  [
    'connection',
    /Could not resolve|Failed to connect|Connection (refused|reset|timed out)|returned error: (404|410|429|5\d\d)|SSL|certificate|not valid: is this a git repository|repository '.*' not found|Could not read from remote/i,
  ],
];

/**
 * The kind of failure, read from git's (English) messages: git has no other way to say it. Whatever isn't recognised
 * is `other`, and treated with more care, not less.
 */
export function classify(exit: GitExit): GitTrouble {
  if (sshLoginHint(exit.stderr) !== undefined) return 'authentication';
  return PATTERNS.find(([, pattern]) => pattern.test(exit.stderr))?.[0] ?? 'other';
}

/** `failed to <what> '<url>': <git's own words>`, without credentials, noise and control characters. */
export function gitFailure(
  exit: GitExit,
  o: { what: string; href: string; credentials?: GitCredentials | undefined },
): SourceError {
  const subject = `failed to ${o.what} '${o.href}'`;
  if (classify(exit) === 'authentication') {
    const httpHint = hasLogin(o.credentials)
      ? 'the server refused the credentials: check the Secret in spec.secretRef'
      : 'the server asks for credentials: name a Secret with them in spec.secretRef';
    const hint = sshLoginHint(exit.stderr) ?? proxyHint(exit.stderr) ?? httpHint;
    return new SourceError(REASON.authenticationFailed, `${subject}: ${hint}`);
  }
  const trust = trustHint(exit.stderr) ?? sshProgramHint(exit.stderr);
  if (trust !== undefined) return new SourceError(REASON.gitOperationFailed, `${subject}: ${trust}`);
  return new SourceError(
    REASON.gitOperationFailed,
    `${subject}: ${summary(exit.stderr, secretsOf(o.credentials))}`,
  );
}

/** git's message on one line: the server's `remote:` lines and the errors, each secret replaced by `***`. */
export function summary(stderr: string, secrets: readonly string[]): string {
  const lines = stderr
    .split(/[\r\n]+/)
    .map((line) => printable(line).trim())
    .filter((line) => !NOISE.test(line));
  const telling = lines.filter((line) => /^(fatal|error|remote|ssh):/.test(line));
  let text = [...new Set(telling.length > 0 ? telling : lines)]
    .map((line) => line.replace(/^(fatal|error): /, ''))
    .join('; ');
  for (const secret of secrets) text = text.replaceAll(secret, '***');
  if (text === '') return 'git gave no reason';
  return text.length > MESSAGE_LIMIT ? `${text.slice(0, MESSAGE_LIMIT)}…` : text;
}

function proxyHint(stderr: string): string | undefined {
  if (!/\b407\b/.test(stderr)) return undefined;
  return 'the proxy refused the credentials: check username and password of the Secret in spec.proxySecretRef';
}

/** As libcurl with GnuTLS and with OpenSSL says it; both name files of ours that are gone by then. */
function trustHint(stderr: string): string | undefined {
  const found =
    /server certificate verification failed|SSL certificate problem: [^\n]*|server verification failed|certificate subject name [^\n]* does not match[^\n]*|no alternative certificate subject name[^\n]*/.exec(
      stderr,
    );
  if (found === null) return undefined;
  return `the server's certificate is not trusted (${printable(found[0])}): put the certificate of its authority into ca.crt of the Secret in spec.secretRef, or, of a proxy, in spec.proxySecretRef; it must be valid for the host in the URL`;
}

/** As shells and git itself say it. */
function sshProgramHint(stderr: string): string | undefined {
  if (!/\bssh: (command )?not found|cannot run ssh\b/.test(stderr)) return undefined;
  return 'the program ssh (openssh-client) is not installed where the operator runs';
}

function hasLogin(credentials: GitCredentials | undefined): boolean {
  return credentials?.basic !== undefined || credentials?.bearerToken !== undefined;
}

function printable(line: string): string {
  return [...line].map((character) => (character < ' ' || character === '\u007f' ? ' ' : character)).join('');
}
