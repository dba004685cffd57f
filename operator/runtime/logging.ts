/**
 * The log: one JSON object a line with Flux's keys (`ts level msg …`), so that `flux logs` reads it; or, for
 * people, one line of text. Everything passes the redaction first.
 */

import { type DestinationStream, destination, type Logger as Pino, pino, stdTimeFunctions } from 'pino';
import type { LogFields, Logger } from '../api/logger.ts';
import { redactFields, redactText } from './redaction.ts';

/** Flux's level names; each shows the ones after it too. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'error';

/** How and where to log. */
export interface LoggerOptions {
  level: LogLevel;
  encoding: 'json' | 'console';
  /** Each call is one line with its line feed. Default: standard error, written at once. */
  destination?: DestinationStream;
}

/** The process's logger. Its methods never throw. */
export function createLogger(o: LoggerOptions): Logger {
  const out = o.destination ?? destination({ fd: 2, sync: true });
  const stream = o.encoding === 'json' ? out : { write: (line: string) => out.write(asText(line)) };
  return wrap(
    pino(
      {
        level: o.level,
        base: null,
        messageKey: 'msg',
        timestamp: () => stdTimeFunctions.isoTime().replace('"time"', '"ts"'),
        // Flux has no "warn", and its CLI filters by name: a warning is information that one should read.
        formatters: { level: (label) => ({ level: label === 'warn' ? 'info' : label }) },
      },
      stream,
    ),
  );
}

function wrap(target: Pino): Logger {
  const at =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, fields?: LogFields): void => {
      if (!target.isLevelEnabled(level)) return;
      try {
        target[level](redactFields(fields ?? {}), redactText(message));
      } catch {
        // A field's getter or toJSON threw: the message is worth more than its fields.
        target[level](redactText(message));
      }
    };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => wrap(target.child(redactFields(fields))),
  };
}

/** `ts level msg key=value …`, tab-separated as zap's console encoding. */
function asText(line: string): string {
  const { ts, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const rest = Object.entries(fields).map(([key, value]) => `${key}=${fieldText(value)}`);
  return `${[ts, level, msg, rest.join(' ')].filter((part) => part !== '').join('\t')}\n`;
}

function fieldText(value: unknown): string {
  return typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}
