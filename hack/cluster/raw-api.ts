import { Agent, request } from 'undici';
import type { Json, JsonObject } from '../../operator/api/objects.ts';

/** How to reach an API server and as whom. */
export interface ApiAccess {
  readonly server: string;
  readonly caPem: string;
  readonly certificatePem?: string;
  readonly keyPem?: string;
  readonly token?: string;
}

/** An answer of the API server, of any status. */
export interface ApiAnswer {
  readonly status: number;
  readonly body: JsonObject;
  readonly text: string;
}

/** The API server refused a call: its status code and its own message. */
export class ApiCallError extends Error {
  readonly status: number;

  constructor(call: string, answer: ApiAnswer) {
    super(`${call}: ${answer.status} ${String(answer.body.message ?? answer.text.slice(0, 500))}`);
    this.name = 'ApiCallError';
    this.status = answer.status;
  }
}

/** A call's body and how it is to be read. */
export interface CallBody {
  readonly body?: JsonObject | Json[] | string;
  readonly contentType?: string;
}

/**
 * Plain JSON calls to an API server by path, for the demo and for tests that must not look through the product's own
 * client. `call` answers with whatever the server said; the others throw ApiCallError from status 400 on.
 */
export class RawApi {
  readonly access: ApiAccess;
  readonly #agent: Agent;

  constructor(access: ApiAccess) {
    this.access = access;
    this.#agent = new Agent({
      connections: 8,
      connect: {
        ca: access.caPem,
        ...(access.certificatePem === undefined ? {} : { cert: access.certificatePem }),
        ...(access.keyPem === undefined ? {} : { key: access.keyPem }),
      },
    });
  }

  /** One call; answers of any status are returned. Rejects when there is no answer. */
  async call(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    what: CallBody = {},
  ): Promise<ApiAnswer> {
    const response = await request(new URL(path, this.access.server), {
      method,
      dispatcher: this.#agent,
      headers: {
        accept: 'application/json',
        ...(this.access.token === undefined ? {} : { authorization: `Bearer ${this.access.token}` }),
        ...(what.body === undefined ? {} : { 'content-type': what.contentType ?? 'application/json' }),
      },
      body:
        what.body === undefined
          ? null
          : typeof what.body === 'string'
            ? what.body
            : JSON.stringify(what.body),
    });
    const text = await response.body.text();
    return { status: response.statusCode, body: parseObject(text), text };
  }

  /** Reads an object or list; undefined when there is none (404). */
  async get(path: string): Promise<JsonObject | undefined> {
    const answer = await this.call('GET', path);
    return answer.status === 404 ? undefined : this.#check(`GET ${path}`, answer);
  }

  /** Creates an object in the collection at `path`. */
  async create(path: string, body: JsonObject): Promise<JsonObject> {
    return this.#check(`POST ${path}`, await this.call('POST', path, { body }));
  }

  /** Replaces an object. */
  async replace(path: string, body: JsonObject): Promise<JsonObject> {
    return this.#check(`PUT ${path}`, await this.call('PUT', path, { body }));
  }

  /** JSON merge patch (RFC 7386). */
  async mergePatch(path: string, body: JsonObject): Promise<JsonObject> {
    return this.#check(
      `PATCH ${path}`,
      await this.call('PATCH', path, { body, contentType: 'application/merge-patch+json' }),
    );
  }

  /** Server-side apply, forced. */
  async apply(path: string, body: JsonObject, fieldManager: string): Promise<JsonObject> {
    const query = `?force=true&fieldManager=${encodeURIComponent(fieldManager)}`;
    return this.#check(
      `APPLY ${path}`,
      await this.call('PATCH', path + query, { body, contentType: 'application/apply-patch+yaml' }),
    );
  }

  /** Deletes an object (in the background: dependants follow); fine when there is none. */
  async delete(path: string): Promise<void> {
    const answer = await this.call('DELETE', path, { body: { propagationPolicy: 'Background' } });
    if (answer.status !== 404) this.#check(`DELETE ${path}`, answer);
  }

  /** Closes the connections. */
  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  #check(call: string, answer: ApiAnswer): JsonObject {
    if (answer.status >= 400) throw new ApiCallError(call, answer);
    return answer.body;
  }
}

function parseObject(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : {};
  } catch {
    return {};
  }
}

function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
