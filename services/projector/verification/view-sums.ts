/** What the views say, in sums that the log can be held against: row by row where there is one per account, per account where there are more. */
import type { ClientBase, Pool } from 'pg';
import type { Position } from '../../../events/contract/index.js';
import { READ_MODEL_LOCK } from '../postgres/apply-page.js';
import { readCheckpoint } from '../postgres/read-past.js';

export const CHECKED_VIEWS = [
  'account_balances',
  'requests',
  'usage_quarters',
  'consumer_billing',
  'journal',
  'trial_balance',
  'payments',
] as const;
export type CheckedView = (typeof CHECKED_VIEWS)[number];

/** Named numbers of one key; a missing name is zero. */
export type Sums = Readonly<Record<string, bigint>>;
export type ViewSums = Readonly<Record<CheckedView, ReadonlyMap<string, Sums>>>;

type ViewSnapshot = {
  /** Position up to which the views claim to hold the log. */
  readonly position: Position;
  /** Events that they claim to hold. */
  readonly events: number;
  readonly sums: ViewSums;
};

const QUERIES: Readonly<Record<CheckedView, string>> = {
  account_balances: `select account_id as key, available_nanos, held_nanos, charged_nanos, granted_nanos, revision from read_model.account_balances`,
  requests: `select account_id as key, count(*) as runs, count(*) filter (where status = 'reserved') as reserved,
      count(*) filter (where status = 'completed') as completed, count(*) filter (where status = 'cancelled') as cancelled,
      count(*) filter (where status = 'failed') as failed, count(*) filter (where status = 'expired') as expired,
      sum(held_nanos) as held_nanos, sum(charged_nanos) as charged_nanos, sum(refunded_nanos) as refunded_nanos,
      sum(prompt_tokens) as prompt_tokens, sum(cached_tokens) as cached_tokens, sum(completion_tokens) as completion_tokens,
      sum(audio_ms) as audio_ms
    from read_model.requests group by account_id`,
  usage_quarters: `select project_id || ' ' || consumer_id || ' ' || model as key, sum(requests) as requests, sum(completed) as completed,
      sum(cancelled) as cancelled, sum(failed) as failed, sum(expired) as expired, sum(prompt_tokens) as prompt_tokens,
      sum(cached_tokens) as cached_tokens, sum(completion_tokens) as completion_tokens, sum(charged_nanos) as charged_nanos,
      sum(extract(epoch from quarter_start)::bigint * requests) as quarters
    from read_model.usage_quarters group by 1`,
  consumer_billing: `select consumer_id as key, granted_nanos, charged_nanos, requests from read_model.consumer_billing`,
  journal: `select account_id as key, count(*) as lines, sum(amount_nanos) as amount_nanos,
      sum(amount_nanos) filter (where credit_account = 'revenue') as revenue_nanos, sum(revision) as revisions
    from read_model.journal group by account_id`,
  trial_balance: `select unit || ' ' || environment || ' ' || ledger_account as key, balance_nanos, postings from read_model.trial_balance`,
  payments: `select provider || ' ' || unit || ' ' || environment as key, count(*) as payments, sum(verified_nanos) as verified_nanos,
      sum(credited_nanos) as credited_nanos, sum(clawed_back_nanos) as clawed_back_nanos, sum(reversed_minor) as reversed_minor,
      sum(unbooked) as unbooked, sum(revision) as revisions
    from read_model.payments group by 1`,
};

/** Reads everything from one snapshot; a rebuild that wants to swap waits meanwhile. */
export async function readViewSums(pool: Pool): Promise<ViewSnapshot> {
  const client = await pool.connect();
  try {
    // A session's lock, taken before the snapshot: views swapped in after a snapshot would look empty to it.
    await client.query('set statement_timeout = 0');
    await client.query('select pg_advisory_lock_shared($1)', [READ_MODEL_LOCK]);
    await client.query('begin isolation level repeatable read read only');
    const position = await readCheckpoint(client, 'read_model');
    const checkpoint = await client.query<{ events: string }>(
      'select coalesce(sum(events), 0)::text as events from read_model.checkpoints',
    );
    const sums: Partial<Record<CheckedView, ReadonlyMap<string, Sums>>> = {};
    for (const view of CHECKED_VIEWS) sums[view] = await readSums(client, view);
    return { position, events: Number(checkpoint.rows[0]?.events ?? 0), sums: sums as ViewSums };
  } finally {
    // Closing the connection gives back the lock and the setting.
    client.release(true);
  }
}

/** Numbers come as text, whatever their type. */
async function readSums(client: ClientBase, view: CheckedView): Promise<ReadonlyMap<string, Sums>> {
  const { rows } = await client.query<{ key: string; sums: Record<string, string | null> }>(
    `select key, (select json_object_agg(name, value) from json_each_text(to_json(counted)) as field (name, value) where name <> 'key') as sums
     from (${QUERIES[view]}) as counted`,
  );
  return new Map(rows.map(({ key, sums }) => [key, sumsFromText(sums)]));
}

function sumsFromText(texts: Readonly<Record<string, string | null>>): Sums {
  return Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, BigInt(text ?? '0')]));
}
