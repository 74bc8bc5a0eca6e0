/** The journal: one row per posting. */
import type { ProjectedEvent } from './projected-event.js';

export type JournalRow = {
  readonly accountId: string;
  readonly revision: number;
  readonly line: number;
  readonly eventId: string;
  readonly eventType: string;
  readonly runId: string | null;
  readonly unit: string;
  /** Money leaves this ledger account. */
  readonly debitAccount: string;
  /** Money arrives here. */
  readonly creditAccount: string;
  readonly amountNanos: bigint;
  readonly occurredAtMs: number;
};

export function applyToJournal(rows: JournalRow[], { event, eventId, revision, account, run, occurredAtMs }: ProjectedEvent): void {
  if (!('postings' in event)) return;
  for (const [line, posting] of event.postings.entries()) {
    rows.push({
      accountId: account.accountId,
      revision,
      line,
      eventId,
      eventType: event.type,
      runId: run?.runId ?? null,
      unit: account.unit,
      debitAccount: posting.from,
      creditAccount: posting.to,
      amountNanos: posting.amountNanos,
      occurredAtMs,
    });
  }
}
