/** `spec.url` of a GitRepository, taken apart. */

import { REASON } from '../api/conditions.ts';
import { SourceError } from './errors.ts';

/** How a repository is reached. */
export type Transport = 'http' | 'https' | 'ssh';

/** A repository's address. `href` has no user name or password in it and may be shown; `userinfo` may not. */
export interface RepositoryUrl {
  href: string;
  transport: Transport;
  /** Host and port, as in the URL. */
  host: string;
  userinfo?: { username: string; password: string };
}

const SCP_FORM = /^(?:[^@/\s]+@)?[^:/\s]+:(?!\/\/)\S+$/;

/**
 * Reads `spec.url`: http, https or ssh.
 * @throws SourceError `URLInvalid`, stalled, naming what to write instead. The text of a URL that can't be read is
 * shown without what may be a password.
 */
export function parseRepositoryUrl(url: string): RepositoryUrl {
  if (hasControlCharacter(url) || /\s/.test(url))
    throw invalid('spec.url contains a space or a control character: remove it');
  if (SCP_FORM.test(url)) throw invalid(scpMessage(url));
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || parsed.hostname === '')
    throw invalid(`spec.url '${withoutUserinfo(url)}' is not a URL: write https://host/path`);
  const transport = parsed.protocol.slice(0, -1);
  if (transport !== 'http' && transport !== 'https' && transport !== 'ssh')
    throw invalid(`spec.url has scheme '${transport}': only http, https and ssh are supported`);
  if (parsed.hash !== '') throw invalid("spec.url has a fragment ('#…'): put the revision into spec.ref");
  const { username, password } = parsed;
  parsed.password = '';
  if (transport !== 'ssh') parsed.username = '';
  return {
    href: parsed.href,
    transport,
    host: parsed.host,
    ...(username === '' && password === ''
      ? {}
      : { userinfo: { username: decode(username), password: decode(password) } }),
  };
}

/** True when the text holds a control character (C0, DEL or C1). */
export function hasControlCharacter(text: string): boolean {
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  }
  return false;
}

function scpMessage(url: string): string {
  const colon = url.indexOf(':');
  const path = url.slice(colon + 1).replace(/^\/+/, '');
  const host = url.slice(0, colon);
  return `spec.url '${url}' is in scp form: write ssh://${host.includes('@') ? host : `git@${host}`}/${path}`;
}

function withoutUserinfo(url: string): string {
  return url.replace(/\/\/[^/]*@/, '//');
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function invalid(message: string): SourceError {
  return new SourceError(REASON.urlInvalid, message, { stalled: true });
}
