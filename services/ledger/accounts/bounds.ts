/** Every bound of the ledger's shell, in one place, with its reason. */

/** Tries of one append whose answer was lost, and of one command after conflicts. More would only hide a store that is down. */
export const APPEND_ATTEMPTS_MAX = 5;

/** First pause after a failed append; doubles with each try. */
export const APPEND_RETRY_DELAY_MS = 20;

/** Accounts whose state stays in memory. At about 1 kB for a quiet account this is tens of megabytes. */
export const ACCOUNTS_CACHED_MAX = 10_000;

/** Commands waiting for a decision over all accounts; beyond it callers are told at once that the ledger is overloaded. */
export const COMMANDS_QUEUED_MAX = 20_000;

/** Commands of one account decided together. Four events each stay below the store's bound for one stream. */
export const COMMANDS_PER_APPEND_MAX = 500;

/** Accounts in one append. */
export const ACCOUNTS_PER_APPEND_MAX = 500;

/** Fewer accounts are not split over two appends: an append costs as much as some ten accounts in it. */
export const ACCOUNTS_PER_APPEND_MIN = 16;

/**
 * Appends under way at once: the database works on one while the next is decided. What waits is shared between them, because callers that
 * are answered together come back together: 64 of them in one append kept ledger and database waiting for each other, 13k operations/s
 * instead of 20k. A third only splits the batches further, 17k (`npm run bench -- ledger`).
 */
export const APPENDS_IN_FLIGHT_MAX = 2;

/** A caller waits no longer than this for a command; then its outcome is unknown. */
export const COMMAND_TIMEOUT_MS = 5_000;

/** How often waiting commands are looked through for ones that waited too long. */
export const TIMEOUT_SWEEP_MS = 500;

/** Events after which an account's next snapshot is written: a cold load then folds at most this many, some tens of milliseconds. */
export const SNAPSHOT_EVENTS = 10_000;
