/** What every room logs through; `runtime/logging.ts` makes the real one. */

/** Structured facts beside a message. Never a secret: the logger redacts by key, but doesn't know values. */
export type LogFields = Record<string, unknown>;

/** A logger with fixed fields. Methods never throw. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to each line. */
  child(fields: LogFields): Logger;
}

/** Discards everything: for tests and for code that runs before logging is set up. */
export const SILENT: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => SILENT,
};
