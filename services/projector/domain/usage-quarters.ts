/**
 * Usage in quarters of an hour, counted when a run settles. Every time zone's day consists of whole quarters, so that days in any zone add
 * up to the range that contains them.
 *
 * A run's usage is recorded in the write that settles it, at the same moment, so both count in the quarter of the settlement.
 */
import { BrokenBooksError } from './broken-books-error.js';
import { consumerIdOf, type ProjectedEvent, projectIdOf } from './projected-event.js';

export const QUARTER_MS = 15 * 60 * 1_000;

/** Added to the row of its key. */
export type UsageQuarterChange = {
  readonly projectId: string;
  readonly quarterStartMs: number;
  /** Empty when the project paid. */
  readonly consumerId: string;
  readonly model: string;
  readonly unit: string;
  requests: number;
  completed: number;
  cancelled: number;
  failed: number;
  expired: number;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  chargedNanos: bigint;
};

export type UsageQuarterChanges = Map<string, UsageQuarterChange>;

export function applyToUsageQuarters(changes: UsageQuarterChanges, projected: ProjectedEvent): void {
  const { event } = projected;
  if (event.type === 'UsageRecorded') {
    const change = changeOf(changes, projected);
    change.promptTokens += event.usage.promptTokens;
    change.cachedTokens += event.usage.cachedTokens;
    change.completionTokens += event.usage.completionTokens;
    change.chargedNanos += event.chargedNanos;
  } else if (event.type === 'ReservationSettled') {
    const change = changeOf(changes, projected);
    change.requests += 1;
    change[event.outcome] += 1;
  }
}

function changeOf(changes: UsageQuarterChanges, { event, account, model, occurredAtMs }: ProjectedEvent): UsageQuarterChange {
  if (model === null) throw new BrokenBooksError(`${event.type} of ${account.accountId} belongs to no reservation`);
  const projectId = projectIdOf(account);
  const consumerId = consumerIdOf(account) ?? '';
  const quarterStartMs = occurredAtMs - (occurredAtMs % QUARTER_MS);
  const key = `${projectId} ${quarterStartMs} ${consumerId} ${model}`;
  let change = changes.get(key);
  if (change === undefined) {
    change = {
      projectId,
      quarterStartMs,
      consumerId,
      model,
      unit: account.unit,
      requests: 0,
      completed: 0,
      cancelled: 0,
      failed: 0,
      expired: 0,
      promptTokens: 0,
      cachedTokens: 0,
      completionTokens: 0,
      chargedNanos: 0n,
    };
    changes.set(key, change);
  }
  return change;
}
