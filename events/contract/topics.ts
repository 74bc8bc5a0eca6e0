/** Names of bus topics. `.v1` is the message contract's version: an incompatible change gets a new topic. */

/** Work for the inference workers of one pool. Key: run id. */
export function runRequestsTopic(pool: string): string {
  return `inference.run-requests.v1.${pool}`;
}

/** Cancellations for the workers of one pool; every worker reads all of them. Key: run id. */
export function runControlTopic(pool: string): string {
  return `inference.run-control.v1.${pool}`;
}

/** Final results of runs, read by the ledger's settling reactor. Key: account id. */
export const RUN_RESULTS_TOPIC = 'inference.run-results.v1';

/** Everything one API instance waits for: output deltas, failed attempts, settlements. Key: run id. */
export function repliesTopic(instanceId: string): string {
  return `api.replies.v1.${instanceId}`;
}

/** Signs of life of every inference worker, read by every API instance. Key: worker id. */
export const WORKERS_TOPIC = 'inference.workers.v1';

/** What the relay publishes from the account streams. Key: account id. */
export const ACCOUNT_EVENTS_TOPIC = 'ledger.account-events.v1';

export const DEFAULT_POOL = 'default';
