/** What can go wrong between Signet and the API server, and the questions that callers ask about it. */

/** `details` of a `metav1.Status`. */
export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  retryAfterSeconds?: number;
  causes?: { reason?: string; message?: string; field?: string }[];
}

/** An error answer's body as far as it is a `metav1.Status`. */
export interface StatusBody {
  kind?: string;
  code?: number;
  message?: string;
  reason?: string;
  details?: StatusDetails;
}

/** The API server refused. `message` is its own; `status` the HTTP code; `reason` its machine word (`NotFound`). */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly reason: string | undefined;
  /** From the `Retry-After` header, else from the answer's details. */
  readonly retryAfterMs: number | undefined;
  readonly details: StatusDetails | undefined;

  constructor(o: {
    status: number;
    message: string;
    reason?: string | undefined;
    retryAfterMs?: number | undefined;
    details?: StatusDetails | undefined;
  }) {
    super(o.message);
    this.status = o.status;
    this.reason = o.reason;
    this.retryAfterMs = o.retryAfterMs;
    this.details = o.details;
  }
}

/** No usable answer: refused, reset, TLS failure, an answer that isn't JSON. `code` as Node or undici give it. */
export class TransportError extends Error {
  override readonly name = 'TransportError';
  readonly code: string | undefined;

  constructor(message: string, o: { code?: string | undefined; cause?: unknown } = {}) {
    super(message, { cause: o.cause });
    this.code = o.code;
  }
}

/** The call's own time limit passed without an answer. */
export class RequestTimeout extends Error {
  override readonly name = 'RequestTimeout';
}

/** A watch stayed silent for longer than the server may keep it open: the connection is dead. */
export class IdleTimeout extends Error {
  override readonly name = 'IdleTimeout';
}

/** An {@link ApiError} from an error answer (or a watch's ERROR event). `fallback` names the call if the body says nothing. */
export function apiErrorFrom(o: {
  status: number;
  body: StatusBody | undefined;
  retryAfter?: string | undefined;
  fallback: string;
}): ApiError {
  const { body } = o;
  return new ApiError({
    status: o.status,
    message: body?.message === undefined || body.message === '' ? o.fallback : body.message,
    reason: body?.reason,
    details: body?.details,
    retryAfterMs: parseRetryAfterMs(o.retryAfter) ?? secondsToMs(body?.details?.retryAfterSeconds),
  });
}

function secondsToMs(seconds: number | undefined): number | undefined {
  return seconds === undefined || seconds <= 0 ? undefined : seconds * 1_000;
}

/** `Retry-After` in its seconds form, which is all that the API server sends. */
function parseRetryAfterMs(header: string | undefined): number | undefined {
  return header !== undefined && /^\d+$/.test(header) ? Number(header) * 1_000 : undefined;
}

function hasStatus(error: unknown, status: number): boolean {
  return error instanceof ApiError && error.status === status;
}

/** 404: the object, or the whole kind, isn't there. */
export function isNotFound(error: unknown): boolean {
  return hasStatus(error, 404);
}

/** 409 by a precondition (resourceVersion, uid) or by another field manager's fields; not "already exists". */
export function isConflict(error: unknown): boolean {
  return hasStatus(error, 409) && !isAlreadyExists(error);
}

/** 409 of a create whose name is taken. */
export function isAlreadyExists(error: unknown): boolean {
  return error instanceof ApiError && error.status === 409 && error.reason === 'AlreadyExists';
}

/** 422: validation, an admission policy, or a failed `test` of a JSON patch. */
export function isInvalid(error: unknown): boolean {
  return hasStatus(error, 422);
}

/** 403: RBAC, admission, or a terminating namespace. */
export function isForbidden(error: unknown): boolean {
  return hasStatus(error, 403);
}

/** 410: the resourceVersion or continue token is too old; list again. */
export function isGone(error: unknown): boolean {
  return hasStatus(error, 410);
}

/** 429: the API server asks for patience. */
export function isTooManyRequests(error: unknown): boolean {
  return hasStatus(error, 429);
}
