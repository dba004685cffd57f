/** Logging in to GitHub as an app: the app's key signs for a token that opens its repositories for an hour. */

import { createHash, createPrivateKey, sign } from 'node:crypto';
import { REASON } from '../api/conditions.ts';
import { type GitCredentials, type SecretData, valueReader } from './credentials.ts';
import { messageOf, SourceError } from './errors.ts';
import { askServer, type ServerAnswer } from './server-request.ts';

/** An app and where it is installed. */
export interface GitHubApp {
  /** The app's id or client id: GitHub takes either as the issuer. */
  issuer: string;
  /** PEM. */
  privateKey: string;
  installation: { id: string } | { owner: string };
  /** Of the API, without a slash at the end. */
  baseUrl: string;
}

interface Token {
  value: string;
  expiresAtMs: number;
}

const DEFAULT_BASE_URL = 'https://api.github.com';
const PREFIX = 'githubApp';
/** GitHub's clock may be behind ours; a proof is good for ten minutes at most. */
const CLOCK_SKEW_S = 60;
const PROOF_LIFE_S = 9 * 60;
/** A token that ends sooner isn't used for another conversation. */
const LEAST_LIFE_MS = 5 * 60_000;

/** True when a Secret's `data` is about a GitHub App. */
export function hasGitHubApp(data: SecretData | undefined): boolean {
  return Object.keys(data ?? {}).some((key) => key.startsWith(PREFIX));
}

/**
 * The app in a Secret's `data`: `githubAppPrivateKey`, one of `githubAppID` and `githubAppClientID`, one of
 * `githubAppInstallationID` and `githubAppInstallationOwner`, and `githubAppBaseURL` for another GitHub than github.com.
 * @throws SourceError `AuthenticationFailed` naming the key that is missing or malformed, never its value
 */
export function gitHubAppFrom(data: SecretData | undefined, secret: string): GitHubApp {
  const stored = valueReader(data);
  const read = (key: string): string => (stored(PREFIX + key) ?? '').trim();
  const one = (first: string, second: string): readonly [string, string] => {
    const [a, b] = [read(first), read(second)];
    if ((a === '') === (b === ''))
      throw refused(`${secret} needs exactly one of the keys ${PREFIX}${first} and ${PREFIX}${second}`);
    return [a, b];
  };
  const privateKey = read('PrivateKey');
  if (!isRsaKey(privateKey))
    throw refused(
      `${PREFIX}PrivateKey in ${secret} is not the RSA private key (PEM) that GitHub made for the app`,
    );
  const [id, clientId] = one('ID', 'ClientID');
  const [installationId, owner] = one('InstallationID', 'InstallationOwner');
  if (!/^\d*$/.test(id + installationId))
    throw refused(`${PREFIX}ID and ${PREFIX}InstallationID in ${secret} are numbers`);
  const baseUrl = (read('BaseURL') || DEFAULT_BASE_URL).replace(/\/+$/, '');
  if (!/^https?:\/\//.test(baseUrl) || !URL.canParse(baseUrl))
    throw refused(`${PREFIX}BaseURL in ${secret} is not an https:// address`);
  const installation = owner === '' ? { id: installationId } : { owner };
  return { issuer: id || clientId, privateKey, installation, baseUrl };
}

/** Gets tokens, and keeps each until shortly before its end. */
export class GitHubAppTokens {
  readonly #tokens = new Map<string, Token>();
  readonly #now: () => number;

  /** `now` in milliseconds since 1970. */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /**
   * What git logs in with as the app. `transport` are the certificates and the proxy, for the API as for git. A token
   * that the git server refuses isn't used again.
   * @throws SourceError `AuthenticationFailed` when GitHub refuses, `GitOperationFailed` when it doesn't answer
   */
  async credentials(
    app: GitHubApp,
    transport: Pick<GitCredentials, 'ca' | 'proxy'>,
    signal: AbortSignal,
  ): Promise<GitCredentials> {
    const key = createHash('sha256').update(JSON.stringify(app)).digest('hex');
    const kept = this.#tokens.get(key);
    const isGood = kept !== undefined && kept.expiresAtMs - this.#now() > LEAST_LIFE_MS;
    const token = isGood ? kept : await this.#ask(app, transport, signal);
    this.#forgetExpired();
    this.#tokens.set(key, token);
    const basic = { username: 'x-access-token', password: token.value };
    return { ...transport, basic, onRefused: () => this.#tokens.delete(key) };
  }

  #forgetExpired(): void {
    for (const [key, { expiresAtMs }] of this.#tokens)
      if (expiresAtMs <= this.#now()) this.#tokens.delete(key);
  }

  async #ask(
    app: GitHubApp,
    credentials: Pick<GitCredentials, 'ca' | 'proxy'>,
    signal: AbortSignal,
  ): Promise<Token> {
    const authorization = `Bearer ${proofOf(app, this.#now())}`;
    const headers = { authorization, accept: 'application/vnd.github+json', 'user-agent': 'signet' };
    const call = async (method: 'GET' | 'POST', path: string): Promise<ServerAnswer> => {
      const url = new URL(app.baseUrl + path);
      try {
        return await askServer({ url, method, headers, credentials, signal });
      } catch (error) {
        signal.throwIfAborted();
        const message = `GitHub's API at ${app.baseUrl} does not answer: ${messageOf(error)}`;
        throw new SourceError(REASON.gitOperationFailed, message, { cause: error });
      }
    };
    const { installation } = app;
    const id = 'id' in installation ? installation.id : await installationOf(installation.owner, call);
    const answer = await call('POST', `/app/installations/${id}/access_tokens`);
    if (answer.status !== 201) throw failure(answer, `installation ${id}`);
    const { token, expires_at: expiresAt } = fieldsOf(answer);
    const expiresAtMs = Date.parse(String(expiresAt));
    if (typeof token !== 'string' || token === '' || Number.isNaN(expiresAtMs))
      throw new SourceError(
        REASON.gitOperationFailed,
        `GitHub's API at ${app.baseUrl} answered without a token`,
      );
    return { value: token, expiresAtMs };
  }
}

/** An owner is an organization or a user; only GitHub knows which. */
async function installationOf(
  owner: string,
  call: (method: 'GET', path: string) => Promise<ServerAnswer>,
): Promise<string> {
  const name = encodeURIComponent(owner);
  const organization = await call('GET', `/orgs/${name}/installation`);
  const answer =
    organization.status === 404 ? await call('GET', `/users/${name}/installation`) : organization;
  const { id } = fieldsOf(answer);
  if (answer.status !== 200 || typeof id !== 'number')
    throw failure(answer, `owner ${JSON.stringify(owner)}`);
  return String(id);
}

/** A JSON Web Token by which the app proves that it has the key (RFC 7519, RS256). */
function proofOf({ issuer, privateKey }: GitHubApp, nowMs: number): string {
  const nowS = Math.floor(nowMs / 1000);
  const claims = { iat: nowS - CLOCK_SKEW_S, exp: nowS + PROOF_LIFE_S, iss: issuer };
  const signed = [{ alg: 'RS256', typ: 'JWT' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${signed}.${sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}`;
}

function isRsaKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'rsa';
  } catch {
    return false;
  }
}

function fieldsOf({ body }: ServerAnswer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

function failure(answer: ServerAnswer, what: string): SourceError {
  const { status } = answer;
  const said = `GitHub answered ${status}`;
  if (status === 401)
    return refused(`${said}: it does not know the app, or ${PREFIX}PrivateKey in the Secret is not its key`);
  if (status === 404)
    return refused(`${said}: the app is not installed for ${what}, as the Secret in spec.secretRef says`);
  if (status === 403 || status === 422)
    return refused(`${said}: the app may not have a token for ${what}; is its installation suspended?`);
  return new SourceError(REASON.gitOperationFailed, `${said} instead of a token for ${what}`);
}

function refused(message: string): SourceError {
  return new SourceError(REASON.authenticationFailed, message);
}
