/** Why objects couldn't be applied: errors that name the object, and never show a Secret's values. */

import type { KubeObject } from '../api/objects.ts';
import { describeObject } from '../api/resources.ts';
import { ApiError } from '../kube/errors.ts';
import type { Change } from './change-set.ts';

/** An apply failed. `changes` is what had been done by then; it stays done. */
export class ApplyError extends Error {
  override readonly name = 'ApplyError';
  changes: readonly Change[] = [];
}

const MASK = '*****';

/** Too short to recognise: masking "a" or "1" would blot out the message, not protect the value. */
const SHORTEST_MASKED = 3;

function secretValues(object: { [field: string]: unknown }): string[] {
  const values: string[] = [];
  for (const field of ['data', 'stringData']) {
    const entries: unknown = object[field];
    if (typeof entries !== 'object' || entries === null) continue;
    for (const value of Object.values(entries) as unknown[]) {
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      values.push(text, Buffer.from(text, 'base64').toString('utf8'));
    }
  }
  return values.filter((value) => value.length >= SHORTEST_MASKED).sort((a, b) => b.length - a.length);
}

/** The message with every value of a Secret masked, as written and decoded. Other kinds' messages stay as they are. */
export function maskSecret(message: string, object: { kind: string; [field: string]: unknown }): string {
  if (object.kind !== 'Secret') return message;
  return secretValues(object).reduce((masked, value) => masked.replaceAll(value, MASK), message);
}

/** `<Kind>/<ns>/<name> dry-run failed (Invalid): <the API server's message>`, as Flux words it. */
export function applyFailed(
  object: Pick<KubeObject, 'kind' | 'metadata'> & { [field: string]: unknown },
  phase: 'dry-run' | 'apply',
  cause: unknown,
): ApplyError {
  if (cause instanceof ApplyError) return cause;
  const reason = cause instanceof ApiError && cause.reason !== undefined ? ` (${cause.reason})` : '';
  const message = maskSecret(cause instanceof Error ? cause.message : String(cause), object);
  // A Secret's cause isn't kept: its message may hold what was just masked.
  const options = object.kind === 'Secret' ? {} : { cause };
  return new ApplyError(`${describeObject(object)} ${phase} failed${reason}: ${message}`, options);
}

/** True when the API server has answered and refused: nothing was changed, and the same again changes nothing. */
export function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429;
}

/** The namespace is being deleted, or not there (yet): what belongs into it has to wait. */
export function isWaitingForNamespace(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  if (error.status === 404) return error.details?.kind === 'namespaces';
  return (
    error.status === 403 &&
    (error.details?.causes?.some((cause) => cause.reason === 'NamespaceTerminating') ?? false)
  );
}
