/** Which GitRepositories asked for a webhook, by annotation, and where each one's is called. */

import type { GitRepository } from '../api/git-repository.gen.ts';
import { WEBHOOK_ANNOTATION, WEBHOOK_EVENTS_ANNOTATION, WEBHOOK_SECRET_ANNOTATION } from '../api/names.ts';
import type { StoredObject } from '../api/objects.ts';
import { objectKey, SECRET } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import type { SecretData } from '../source/credentials.ts';
import { TOKEN_KEY, WEBHOOK_TYPES, type WebhookType, webhookPath, webhookType } from '../source/webhook.ts';
import type { Hook } from '../source/webhook-face.ts';

/** What the registry works with. */
export interface WebhooksOptions {
  client: KubeClient;
  /** Starts to listen, if that hasn't happened; rejects when it can't. Absent: webhooks are turned off. */
  listen: (() => Promise<void>) | undefined;
}

/** A webhook that can't be had; the message names the annotation, Secret or flag to change. */
export class WebhookRefused extends Error {
  override readonly name = 'WebhookRefused';
}

/** What the annotations ask for. */
interface Request {
  name: string;
  namespace: string;
  type: WebhookType;
  events: readonly string[];
  secretName: string;
}

const ANNOTATIONS = [WEBHOOK_ANNOTATION, WEBHOOK_SECRET_ANNOTATION, WEBHOOK_EVENTS_ANNOTATION];
const READ_LIMIT_MS = 5_000;
const SECRET_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/**
 * Hooks by path. No token is kept: it is read for each call, so that a rotated one counts at once and an old path
 * leads nowhere.
 */
export class Webhooks {
  readonly #o: WebhooksOptions;
  readonly #requests = new Map<string, Request>();
  readonly #paths = new Map<string, string>();

  constructor(o: WebhooksOptions) {
    this.#o = o;
  }

  /**
   * Takes note of what a GitRepository asks for (or no longer asks for); answers its path.
   * @throws WebhookRefused; what the API server answered; the signal's reason
   */
  async register(repository: GitRepository, signal: AbortSignal): Promise<string | undefined> {
    const key = objectKey(repository);
    try {
      const found = await this.#prepare(repository, signal);
      // In one step: calls that come meanwhile find the old path until there is the new one.
      this.forget(key);
      if (found === undefined) return undefined;
      this.#requests.set(found.path, found.request);
      this.#paths.set(key, found.path);
      return found.path;
    } catch (error) {
      if (error instanceof WebhookRefused) this.forget(key);
      throw error;
    }
  }

  /** The GitRepository is gone, or asks for nothing any more. */
  forget(key: string): void {
    const path = this.#paths.get(key);
    this.#paths.delete(key);
    if (path !== undefined) this.#requests.delete(path);
  }

  /** See `WebhookFaceOptions.find`. */
  async find(path: string): Promise<Hook | undefined> {
    const request = this.#requests.get(path);
    if (request === undefined) return undefined;
    const { name, namespace, type, events } = request;
    try {
      const token = await this.#token(request, AbortSignal.timeout(READ_LIMIT_MS));
      return webhookPath({ name, namespace, token }) === path
        ? { key: `${namespace}/${name}`, type, events, token }
        : undefined;
    } catch (error) {
      if (error instanceof WebhookRefused) return undefined;
      throw error;
    }
  }

  async #prepare(
    repository: GitRepository,
    signal: AbortSignal,
  ): Promise<{ path: string; request: Request } | undefined> {
    const request = requestOf(repository);
    if (request === undefined) return undefined;
    if (this.#o.listen === undefined) throw new WebhookRefused('webhooks are turned off by --webhook-addr=0');
    const token = await this.#token(request, signal);
    await this.#o.listen();
    return { path: webhookPath({ ...request, token }), request };
  }

  async #token({ namespace, secretName }: Request, signal: AbortSignal): Promise<string> {
    const name = { namespace, name: secretName };
    const secret = await this.#o.client.get<StoredObject & { data?: SecretData }>(SECRET, name, { signal });
    const where = `Secret ${namespace}/${secretName}, which the annotation ${WEBHOOK_SECRET_ANNOTATION} names,`;
    if (secret === undefined) throw new WebhookRefused(`${where} does not exist`);
    const token = Buffer.from(secret.data?.[TOKEN_KEY] ?? '', 'base64').toString('utf8');
    if (token === '') throw new WebhookRefused(`${where} has no key ${TOKEN_KEY}, or nothing in it`);
    return token;
  }
}

/** True when another webhook is asked for: an annotation moves no generation. */
export function webhookChanged(
  previous: Pick<GitRepository, 'metadata'>,
  current: Pick<GitRepository, 'metadata'>,
): boolean {
  return ANNOTATIONS.some(
    (name) => previous.metadata.annotations?.[name] !== current.metadata.annotations?.[name],
  );
}

/** The name of the Secret with the token, if a webhook is asked for. */
export function webhookSecretName({ metadata }: Pick<GitRepository, 'metadata'>): string | undefined {
  const asked = metadata.annotations?.[WEBHOOK_ANNOTATION] !== undefined;
  return asked ? metadata.annotations?.[WEBHOOK_SECRET_ANNOTATION] : undefined;
}

function requestOf(repository: GitRepository): Request | undefined {
  const { name, namespace = '', annotations = {} } = repository.metadata;
  const asked = annotations[WEBHOOK_ANNOTATION];
  if (asked === undefined) return undefined;
  const type = webhookType(asked);
  if (type === undefined) {
    const types = WEBHOOK_TYPES.join(', ');
    throw new WebhookRefused(`the annotation ${WEBHOOK_ANNOTATION} must be one of ${types}`);
  }
  const secretName = webhookSecretName(repository) ?? '';
  if (!SECRET_NAME.test(secretName)) {
    throw new WebhookRefused(
      `the annotation ${WEBHOOK_SECRET_ANNOTATION} must name a Secret of ${namespace}`,
    );
  }
  const listed = annotations[WEBHOOK_EVENTS_ANNOTATION] ?? '';
  const events = listed
    .split(',')
    .map((event) => event.trim())
    .filter((event) => event !== '');
  return { name, namespace, type, events, secretName };
}
