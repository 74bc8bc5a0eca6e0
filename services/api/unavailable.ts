/** Tells a database that cannot be reached or cannot write from a fault of ours: the first is a 503 that passes, the second a 500. */

/** Node's connection errors. */
const CONNECTION_CODES = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOENT', 'ENOTFOUND', 'EHOSTUNREACH']);
/**
 * Classes of SQLSTATE: 08 connection, 53 out of disk, memory or connections, 57 stopped by an operator or a timeout, 58 input or output
 * (https://www.postgresql.org/docs/current/errcodes-appendix.html).
 */
const SQLSTATE_CLASSES = new Set(['08', '53', '57', '58']);
/** node-postgres raises these without a code. */
const MESSAGES = /connection terminated|timeout exceeded when trying to connect|query read timeout|cannot use a pool after/i;

export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string') {
    if (CONNECTION_CODES.has(code)) return true;
    if (code.length === 5 && SQLSTATE_CLASSES.has(code.slice(0, 2))) return true;
  }
  if (error instanceof AggregateError) return error.errors.some(isDatabaseUnavailable);
  return MESSAGES.test(error.message);
}
