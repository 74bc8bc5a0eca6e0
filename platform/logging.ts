/** One logger for a process: JSON lines on standard error, with everything that could open a door struck out. */
import { destination, type Logger, pino } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Fields that never reach a log, wherever a careless caller puts them (two levels deep, as pino's paths allow). */
const SECRET_FIELDS = ['authorization', 'cookie', 'x-api-key', 'apiKey', 'adminKey', 'secret', 'password', 'connectionString'];

export function createLogger(options: { readonly level: LogLevel; readonly name: string }): Logger {
  const paths = SECRET_FIELDS.flatMap((field) => [`["${field}"]`, `*["${field}"]`, `*.*["${field}"]`]);
  return pino(
    { name: options.name, level: options.level, serializers: { err: errorToLog }, redact: { paths, censor: '[secret]' } },
    destination({ dest: 2, sync: true }),
  );
}

/** What a log needs of an error. Drivers hang whole connections on theirs, which would drown the line and might hold secrets. */
function errorToLog(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code, cause } = error as Error & { code?: unknown };
  return { type: error.name, message: error.message, code, stack: error.stack, cause: cause === undefined ? undefined : errorToLog(cause) };
}
