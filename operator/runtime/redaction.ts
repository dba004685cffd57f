/** Keeps secrets out of the log: by the key under which a value stands, and credentials within URLs. */

const SECRET_KEY =
  /pass(word|wd|phrase)|token|^identity|authorization|credential|private_?key|cookie|plaintext|^(data|stringdata|binarydata)$/i;
const URL_CREDENTIALS = /([a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi;
const DEEPEST = 8;

/** What stands in a secret's place. */
export const REDACTED = '[redacted]';

/** The text without user names and passwords in URLs. */
export function redactText(text: string): string {
  return text.includes('://') ? text.replace(URL_CREDENTIALS, `$1${REDACTED}@`) : text;
}

/**
 * A copy of the fields that may be logged, as JSON: values under a key that names a secret are replaced,
 * errors become their message, bytes their length. Total: cycles and depths end in a mark.
 */
export function redactFields(fields: Record<string, unknown>): Record<string, unknown> {
  return redactObject(fields, DEEPEST);
}

function redactObject(fields: object, depth: number): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    copy[key] = SECRET_KEY.test(key) && value !== undefined ? REDACTED : redactValue(value, depth - 1);
  }
  return copy;
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'function' || typeof value === 'symbol') return `[${typeof value}]`;
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Error) return redactText(value.message);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid date' : value.toISOString();
  if (value instanceof URL) return redactText(value.href);
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth <= 0) return '[too deep]';
  if (Array.isArray(value) || value instanceof Set) {
    return Array.from(value, (item: unknown) => redactValue(item, depth - 1));
  }
  return redactObject(value instanceof Map ? Object.fromEntries(value) : value, depth);
}
