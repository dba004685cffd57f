import type { LogFields, Logger } from '../../operator/api/logger.ts';

/** One logged line. */
export interface LogLine {
  level: 'debug' | 'info' | 'warn' | 'error';
  message: string;
  fields: LogFields;
}

/** A logger that remembers what it is told. */
export function recordingLogger(): Logger & { lines: LogLine[] } {
  const lines: LogLine[] = [];
  const loggerWith = (inherited: LogFields): Logger => {
    const at =
      (level: LogLine['level']) =>
      (message: string, fields: LogFields = {}) =>
        void lines.push({ level, message, fields: { ...inherited, ...fields } });
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: (fields) => loggerWith({ ...inherited, ...fields }),
    };
  };
  return { ...loggerWith({}), lines };
}
