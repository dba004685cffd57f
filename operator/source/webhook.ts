/**
 * Webhooks of git servers: who may say that somebody pushed. Flux's `Receiver` semantics without its CRD: the same
 * Secret key, the same path, the same headers and signatures. Pure.
 */

import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

/** The callers that can be told apart from everyone else, by Flux's names; `gitea` and `forgejo` are added to them. */
export const WEBHOOK_TYPES = [
  'github',
  'gitlab',
  'gitea',
  'forgejo',
  'bitbucket',
  'generic',
  'generic-hmac',
] as const;
export type WebhookType = (typeof WEBHOOK_TYPES)[number];

/** The key of the Secret that holds the token, as in a Flux `Receiver`'s. */
export const TOKEN_KEY = 'token';

/** A request's headers as node has them: names in lower case. */
export type Headers = Readonly<Record<string, string | string[] | undefined>>;

/**
 * How a caller proves itself: `signature` headers carry an HMAC of the body (the first that is there counts),
 * the `token` header carries the token, and without either the path alone is the proof.
 */
interface Proof {
  signature?: readonly string[];
  token?: string;
  event: readonly string[];
}

const PROOFS: Readonly<Record<WebhookType, Proof>> = {
  github: { signature: ['x-hub-signature-256', 'x-hub-signature'], event: ['x-github-event'] },
  gitlab: { token: 'x-gitlab-token', event: ['x-gitlab-event'] },
  gitea: { signature: ['x-hub-signature-256', 'x-gitea-signature'], event: ['x-gitea-event'] },
  forgejo: {
    signature: ['x-hub-signature-256', 'x-forgejo-signature', 'x-gitea-signature'],
    event: ['x-forgejo-event', 'x-gitea-event'],
  },
  bitbucket: { signature: ['x-hub-signature-256', 'x-hub-signature'], event: ['x-event-key'] },
  generic: { event: [] },
  'generic-hmac': { signature: ['x-signature'], event: [] },
};

const ALGORITHMS: ReadonlySet<string> = new Set(['sha1', 'sha256', 'sha512']);
/** `sha256=<hex>`; Gitea's own header is the bare hex of a SHA-256. */
const SIGNATURE = /^(?:([a-z0-9]+)=)?([0-9a-f]{40,128})$/i;

/** The type by its name, in any letter case; undefined for what isn't one. */
export function webhookType(name: string): WebhookType | undefined {
  return WEBHOOK_TYPES.find((type) => type === name.trim().toLowerCase());
}

/** Where the hook of an object is called: `/hook/` and the SHA-256 of token, name and namespace, as Flux derives it. */
export function webhookPath(o: { token: string; name: string; namespace: string }): string {
  return `/hook/${createHash('sha256').update(`${o.token}${o.name}${o.namespace}`).digest('hex')}`;
}

/** True when the caller knows the token. Takes as long for a wrong proof as for a right one. */
export function isProven(type: WebhookType, token: string, o: { headers: Headers; body: Buffer }): boolean {
  const proof = PROOFS[type];
  if (proof.token !== undefined) return sameText(headerOf(o.headers, [proof.token]) ?? '', token);
  if (proof.signature === undefined) return true;
  const [, algorithm = 'sha256', hex = ''] = SIGNATURE.exec(headerOf(o.headers, proof.signature) ?? '') ?? [];
  if (!ALGORITHMS.has(algorithm)) return false;
  const expected = createHmac(algorithm, token).update(o.body).digest();
  const given = Buffer.from(hex, 'hex');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

/** What the caller says happened (`push`, `Push Hook`, `ping` …); undefined where its type doesn't say. */
export function eventOf(type: WebhookType, headers: Headers): string | undefined {
  return headerOf(headers, PROOFS[type].event);
}

/** True when the event is one of those listed, in any letter case; or none is listed, or the type has no events. */
export function isWantedEvent(
  type: WebhookType,
  event: string | undefined,
  wanted: readonly string[],
): boolean {
  if (wanted.length === 0 || PROOFS[type].event.length === 0) return true;
  return wanted.some((each) => each.toLowerCase() === event?.toLowerCase());
}

function headerOf(headers: Headers, names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = headers[name];
    if (typeof value === 'string' && value !== '') return value;
  }
  return undefined;
}

/** Compares digests, so that neither the place of a difference nor the length shows in the time it takes. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
