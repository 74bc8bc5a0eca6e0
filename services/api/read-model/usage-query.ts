/**
 * Usage of a project by day in a time zone. Quarters of an hour are summed, which every zone's days are made of, so days and totals come from
 * the same rows; totals are summed by Postgres on their own (`grouping sets`), not from the days.
 */
import type { ClientBase } from 'pg';
import type { Nanos } from '../../../events/contract/index.js';
import {
  type ReportBoundary,
  USAGE_DAYS_DEFAULT,
  USAGE_DAYS_MAX,
  USAGE_GROUPS_MAX,
  type UsageQuery,
  type UsageReport,
  type UsageResult,
  type UsageSums,
} from './read-model.js';

const DAY_MS = 86_400_000;

const SUMS = `sum(q.requests)::text as requests, sum(q.completed)::text as completed, sum(q.cancelled)::text as cancelled,
  sum(q.failed)::text as failed, sum(q.expired)::text as expired, sum(q.prompt_tokens)::text as prompt_tokens,
  sum(q.cached_tokens)::text as cached_tokens, sum(q.completion_tokens)::text as completion_tokens, sum(q.charged_nanos)::text as charged_nanos`;

/** Parameters 1 to 5 of every query on the quarters of a range. */
const IN_RANGE = `q.project_id = $1 and q.unit = $2
  and q.quarter_start >= to_timestamp($3::float8 / 1000) and q.quarter_start < to_timestamp($4::float8 / 1000)`;

type SumsRow = { readonly [Field in SumsField]: string | null };
type SumsField =
  | 'requests'
  | 'completed'
  | 'cancelled'
  | 'failed'
  | 'expired'
  | 'prompt_tokens'
  | 'cached_tokens'
  | 'completion_tokens'
  | 'charged_nanos';

type Range = { readonly fromMs: number; readonly toMs: number; readonly firstDay: string; readonly lastDay: string };

/** Runs inside the caller's snapshot, so that days, totals and groups describe the same moment. */
export async function queryUsage(client: ClientBase, query: UsageQuery): Promise<UsageResult> {
  const range = await resolveRange(client, query);
  if (range.fromMs >= range.toMs) return { status: 'refused', reason: 'range_empty' };
  const dates = calendarDays(range.firstDay, range.lastDay);
  if (dates === null) return { status: 'refused', reason: 'range_too_long' };

  const parameters = [query.projectId, query.unit, range.fromMs, range.toMs];
  const { rows } = await client.query<SumsRow & { readonly day: string | null; readonly is_total: number }>(
    `select (q.quarter_start at time zone $5)::date::text as day, grouping((q.quarter_start at time zone $5)::date) as is_total, ${SUMS}
     from read_model.usage_quarters q where ${IN_RANGE}
     group by grouping sets (((q.quarter_start at time zone $5)::date), ())`,
    [...parameters, query.timezone],
  );
  const byDate = new Map(rows.filter((row) => row.is_total === 0).map((row) => [row.day, sumsFromRow(row)]));
  const totals = rows.find((row) => row.is_total === 1);
  const grouped = query.groupBy === null ? null : await queryGroups(client, parameters, query.groupBy);
  const report: UsageReport = {
    fromMs: range.fromMs,
    toMs: range.toMs,
    totals: totals === undefined ? NO_USE : sumsFromRow(totals),
    days: dates.map((date) => ({ date, ...(byDate.get(date) ?? NO_USE) })),
    groups: grouped === null ? null : grouped.slice(0, USAGE_GROUPS_MAX),
    areGroupsTruncated: grouped !== null && grouped.length > USAGE_GROUPS_MAX,
  };
  return { status: 'reported', report };
}

/**
 * Boundaries are resolved by Postgres, so that one implementation of the time zone decides where days begin and which day a row is in. A report
 * up to now includes this very millisecond.
 */
async function resolveRange(client: ClientBase, query: UsageQuery): Promise<Range> {
  const { rows } = await client.query<{ from_ms: number; to_ms: number; first_day: string; last_day: string }>(
    `with ends as (
       select case when $4::text is null then to_timestamp($6::float8 / 1000) + interval '1 millisecond'
                   when $5 = 'local' then $4::text::timestamp at time zone $1 else $4::text::timestamptz end as ends_at
     ), bounds as (
       select ends_at,
              case when $2::text is null
                     then (((ends_at - interval '1 microsecond') at time zone $1)::date - $7::integer)::timestamp at time zone $1
                   when $3 = 'local' then $2::text::timestamp at time zone $1 else $2::text::timestamptz end as begins_at
       from ends
     ), quarters as (
       select date_bin('15 minutes', begins_at, 'epoch'::timestamptz) as from_at,
              date_bin('15 minutes', ends_at + interval '15 minutes' - interval '1 microsecond', 'epoch'::timestamptz) as to_at
       from bounds
     )
     select (extract(epoch from from_at) * 1000)::float8 as from_ms, (extract(epoch from to_at) * 1000)::float8 as to_ms,
            (from_at at time zone $1)::date::text as first_day, ((to_at - interval '1 microsecond') at time zone $1)::date::text as last_day
     from quarters`,
    [query.timezone, ...boundary(query.from), ...boundary(query.to), query.nowMs, USAGE_DAYS_DEFAULT - 1],
  );
  const row = rows[0];
  if (row === undefined) throw new Error('a select without from gives one row');
  return { fromMs: row.from_ms, toMs: row.to_ms, firstDay: row.first_day, lastDay: row.last_day };
}

function boundary(value: ReportBoundary | null): [string | null, string | null] {
  return value === null ? [null, null] : [value.text, value.kind];
}

async function queryGroups(client: ClientBase, parameters: readonly unknown[], groupBy: 'model' | 'consumer') {
  const column = groupBy === 'model' ? 'q.model' : 'q.consumer_id';
  const { rows } = await client.query<SumsRow & { readonly key: string }>(
    `select ${column} as key, ${SUMS} from read_model.usage_quarters q where ${IN_RANGE}
     group by ${column} order by sum(q.charged_nanos) desc, ${column} limit $5`,
    [...parameters, USAGE_GROUPS_MAX + 1],
  );
  return rows.map((row) => ({ key: row.key, ...sumsFromRow(row) }));
}

/** Dates from first to last, both included; `null` beyond `USAGE_DAYS_MAX`. Calendar arithmetic only, so UTC serves for every zone. */
function calendarDays(firstDay: string, lastDay: string): string[] | null {
  const firstMs = Date.parse(`${firstDay}T00:00:00Z`);
  const days = (Date.parse(`${lastDay}T00:00:00Z`) - firstMs) / DAY_MS + 1;
  if (days > USAGE_DAYS_MAX) return null;
  return Array.from({ length: days }, (_, index) => new Date(firstMs + index * DAY_MS).toISOString().slice(0, 10));
}

/** Zero, and known to be zero: nothing happened. */
const NO_USE: UsageSums = {
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

/** Sums of no rows are null in SQL and zero here. */
function sumsFromRow(row: SumsRow): UsageSums {
  const nanos: Nanos = BigInt(row.charged_nanos ?? '0');
  return {
    requests: Number(row.requests ?? 0),
    completed: Number(row.completed ?? 0),
    cancelled: Number(row.cancelled ?? 0),
    failed: Number(row.failed ?? 0),
    expired: Number(row.expired ?? 0),
    promptTokens: Number(row.prompt_tokens ?? 0),
    cachedTokens: Number(row.cached_tokens ?? 0),
    completionTokens: Number(row.completion_tokens ?? 0),
    chargedNanos: nanos,
  };
}
