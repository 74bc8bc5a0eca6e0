/** What each consumer was granted and charged, and for how many requests. */
import { consumerIdOf, type ProjectedEvent, projectIdOf } from './projected-event.js';

/** Added to the consumer's row. */
export type ConsumerBillingChange = {
  readonly consumerId: string;
  readonly projectId: string;
  readonly unit: string;
  grantedNanos: bigint;
  chargedNanos: bigint;
  requests: number;
  lastRequestAtMs: number | null;
};

export type ConsumerBillingChanges = Map<string, ConsumerBillingChange>;

export function applyToConsumerBilling(changes: ConsumerBillingChanges, { event, account, occurredAtMs }: ProjectedEvent): void {
  const consumerId = consumerIdOf(account);
  if (consumerId === null) return;
  let change = changes.get(consumerId);
  if (change === undefined) {
    const projectId = projectIdOf(account);
    change = { consumerId, projectId, unit: account.unit, grantedNanos: 0n, chargedNanos: 0n, requests: 0, lastRequestAtMs: null };
    changes.set(consumerId, change);
  }
  if (event.type === 'CreditGranted') change.grantedNanos += event.amountNanos;
  if (event.type === 'UsageRecorded') change.chargedNanos += event.chargedNanos;
  if (event.type === 'ReservationSettled') {
    change.requests += 1;
    change.lastRequestAtMs = occurredAtMs;
  }
}
