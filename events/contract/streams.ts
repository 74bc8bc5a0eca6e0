/** Names of event-store streams. A stream is the unit of consistency; snapshots live elsewhere. */

const ACCOUNT_STREAM_PREFIX = 'account-';

/** Every fact about one account's money, in order. */
export function accountStream(accountId: string): string {
  return `${ACCOUNT_STREAM_PREFIX}${accountId}`;
}

/** The account a stream belongs to, or `null` when it is not an account stream. */
export function accountIdOfStream(stream: string): string | null {
  return stream.startsWith(ACCOUNT_STREAM_PREFIX) ? stream.slice(ACCOUNT_STREAM_PREFIX.length) : null;
}
