/** Where a git server sends us, asked without following it. */

import { REASON } from '../api/conditions.ts';
import { authorizationOf, type GitCredentials } from './credentials.ts';
import { SourceError } from './errors.ts';
import { askServer } from './server-request.ts';

const SERVICE = '/info/refs?service=git-upload-pack';

/**
 * The repository address that `href` redirects to. Only one on the same host counts (a `.git` that was left out, http
 * upgraded to https): credentials are for the host that `spec.url` names, and for no other.
 * @throws SourceError `GitOperationFailed` naming where the redirect leads.
 */
export async function probeRedirect(
  href: string,
  credentials: GitCredentials | undefined,
  signal: AbortSignal,
): Promise<string> {
  const from = new URL(href.replace(/\/+$/, '') + SERVICE);
  const authorization = authorizationOf(credentials);
  const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
  const { location, status } = await askServer({ url: from, headers, credentials, signal });
  if (location === undefined || !URL.canParse(location, from.href))
    throw failed(href, `answers ${status} without saying where to go`);
  const to = new URL(location, from);
  if (!sameServer(from, to))
    throw failed(
      href,
      `redirects to ${to.protocol}//${to.host}, where credentials are not sent: set spec.url to that address`,
    );
  if (!to.href.endsWith(SERVICE))
    throw failed(href, `redirects to ${to.pathname}, which is not a git repository`);
  return to.href.slice(0, -SERVICE.length);
}

function sameServer(from: URL, to: URL): boolean {
  if (to.username !== '' || to.password !== '') return false;
  if (from.origin === to.origin) return true;
  return (
    from.protocol === 'http:' && to.protocol === 'https:' && from.hostname === to.hostname && to.port === ''
  );
}

function failed(href: string, what: string): SourceError {
  return new SourceError(REASON.gitOperationFailed, `'${href}' ${what}`);
}
