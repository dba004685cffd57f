/** The parts of the JSON object (ECMAScript "JSON.parse source text access") that TypeScript's library doesn't have yet. */
interface SourceTextAccess {
  parse(
    text: string,
    reviver: (this: unknown, key: string, value: unknown, context: { source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): unknown;
}

const sourceTextAccess = JSON as Omit<JSON, 'parse'> & SourceTextAccess;
const INTEGER = /^-?\d+$/;

/**
 * Parses JSON so that `JSON.stringify` writes each integer as it was written: one that a JavaScript number can't hold
 * exactly (beyond 2^53) becomes a `JSON.rawJSON` value, a frozen object that only `JSON.stringify` understands:
 * `structuredClone` breaks it. Text without such integers is parsed at `JSON.parse`'s own speed. Throws SyntaxError.
 */
export function parseExactJson(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return sourceTextAccess.parse(text, (_key, value, { source }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && source !== undefined && INTEGER.test(source)
      ? sourceTextAccess.rawJSON(source)
      : value,
  );
}
