/** An event on its way into the views: decoded, deduplicated, with what is known of its account. */
import type { AccountEvent, AccountHolder, Environment } from '../../../events/contract/index.js';
import type { RequestChange } from './requests.js';

/** What the views know of an account; set by `AccountOpened`. */
export type AccountContext = {
  readonly accountId: string;
  readonly holder: AccountHolder;
  readonly unit: string;
  readonly environment: Environment;
  /** Last revision applied. */
  revision: number;
};

export type ProjectedEvent = {
  readonly eventId: string;
  readonly revision: number;
  readonly occurredAtMs: number;
  readonly event: AccountEvent;
  readonly account: AccountContext;
  /** The run that the event belongs to, as changed so far; `null` for events without a run. */
  readonly run: RequestChange | null;
  /** Model of that run; `null` without one. */
  readonly model: string | null;
};

export function projectIdOf(account: AccountContext): string {
  return account.holder.projectId;
}

export function consumerIdOf(account: AccountContext): string | null {
  return account.holder.kind === 'consumer' ? account.holder.consumerId : null;
}
