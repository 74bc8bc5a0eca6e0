/**
 * Appends to many streams in one statement: one round trip, one transaction, one flush. Each stream's head is looked up and compared in
 * the statement that inserts, and the primary key (stream, revision) is the fence: a race that the comparison cannot see fails the whole
 * statement, nothing is written, and the next try sees what the other writer did.
 *
 * Events are inserted in the order of their streams' names, so writers wait for one another in one order only and cannot deadlock. Stream
 * order agrees with log order: a transaction that sees revision N began after the one that wrote it had ended, and took a higher id.
 */
import type { Pool } from 'pg';
import { type AppendResult, NO_STREAM, type StreamAppend } from '../event-store.js';
import { positionOf } from './position.js';

/** Channel of the wake-up; its payload is the transaction id. */
export const APPEND_CHANNEL = 'event_store_append';

/** Tries of a whole batch before its streams are written one by one, where one race cannot hold up the others. */
const BATCH_ATTEMPTS_MAX = 3;
/** A single stream that lost a race shows a moved head on the second try. */
const SINGLE_ATTEMPTS_MAX = 3;
const UNIQUE_VIOLATION = '23505';

/**
 * Texts travel as one string a column, separated by line feeds, which occur neither in stringified JSON (it escapes control characters) nor in
 * names (the port's bounds forbid them): half the cost of array literals, whose every quote must be escaped and unescaped. Rows come in the
 * order of `sequence` because a function scan feeds the insert directly.
 */
const APPEND = `
with heads as materialized (
  select array_agg(
    coalesce((select e.revision from event_store.events e where e.stream = w.stream order by e.revision desc limit 1), -1)
    order by w.place
  ) as revisions
  from unnest(string_to_array($1, E'\\n')) with ordinality as w(stream, place)
), written as (
  insert into event_store.events (transaction_id, sequence, stream, revision, event_id, type, version, data, metadata)
  select pg_current_xact_id(), n.sequence, n.stream, n.revision, n.event_id, n.type, n.version, n.data, n.metadata
  from unnest(
    $3::integer[], string_to_array($4, E'\\n'), $5::bigint[], $6::uuid[], string_to_array($7, E'\\n'), $8::smallint[],
    string_to_array($9, E'\\n'), string_to_array($10, E'\\n')
  ) with ordinality as n(append, stream, revision, event_id, type, version, data, metadata, sequence)
  where (select revisions from heads)[n.append] = ($2::bigint[])[n.append]
  returning 1
)
select
  pg_current_xact_id()::text as transaction_id,
  nullif(revisions, $2::bigint[]) as revisions,
  case when exists (select from written) then pg_notify('${APPEND_CHANNEL}', pg_current_xact_id()::text) end
from heads`;

/** What stands where the batches that found a moved head would have stood. */
const LOOK_FOR_EARLIER_TRY = `
select
  coalesce((select e.revision from event_store.events e where e.stream = w.stream order by e.revision desc limit 1), -1) as head,
  array(
    select e.event_id from event_store.events e
    where e.stream = w.stream and e.revision > w.expected and e.revision <= w.expected + w.events order by e.revision
  )::text[] as ids,
  last.transaction_id::text as transaction_id,
  last.sequence
from unnest($1::text[], $2::bigint[], $3::integer[]) with ordinality as w(stream, expected, events, place)
left join event_store.events last on last.stream = w.stream and last.revision = w.expected + w.events
order by w.place`;

type Batch = readonly { readonly append: StreamAppend; readonly index: number }[];
type AppendRow = { readonly transaction_id: string; readonly revisions: readonly string[] | null };
type EarlierRow = {
  readonly head: string;
  readonly ids: readonly string[];
  readonly transaction_id: string | null;
  readonly sequence: number | null;
};

/** Results by index of `appends`, which must be within the port's bounds. */
export async function appendEvents(pool: Pool, appends: readonly StreamAppend[]): Promise<AppendResult[]> {
  const results: AppendResult[] = new Array(appends.length);
  const batch = appends.map((append, index) => ({ append, index })).sort((a, b) => (a.append.stream < b.append.stream ? -1 : 1));
  if (await writeBatch(pool, batch, results, BATCH_ATTEMPTS_MAX)) return results;
  for (const single of batch) {
    if (!(await writeBatch(pool, [single], results, SINGLE_ATTEMPTS_MAX))) {
      throw new Error(`stream ${single.append.stream} neither takes nor shows revision ${single.append.expectedRevision + 1}`);
    }
  }
  return results;
}

/** Fills in the results of the batch; `false` when every try lost a race and nothing was written. */
async function writeBatch(pool: Pool, batch: Batch, results: AppendResult[], attemptsMax: number): Promise<boolean> {
  const values = appendParameters(batch);
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const row = await insert(pool, values);
    if (row !== null) {
      await fillResults(pool, batch, row, results);
      return true;
    }
  }
  return false;
}

/** `null` when another writer won the race for a revision. */
async function insert(pool: Pool, values: unknown[]): Promise<AppendRow | null> {
  try {
    const { rows } = await pool.query<AppendRow>({ name: 'event_store_append', text: APPEND, values });
    return rows[0] ?? null;
  } catch (error) {
    if ((error as { code?: string }).code === UNIQUE_VIOLATION) return null;
    throw error;
  }
}

function appendParameters(batch: Batch): unknown[] {
  const streams: string[] = [];
  const expected: number[] = [];
  const places: number[] = [];
  const eventStreams: string[] = [];
  const revisions: number[] = [];
  const ids: string[] = [];
  const types: string[] = [];
  const versions: number[] = [];
  const bodies: string[] = [];
  const metadata: string[] = [];
  for (const { append } of batch) {
    streams.push(append.stream);
    expected.push(append.expectedRevision);
    let revision = append.expectedRevision;
    for (const event of append.events) {
      revision += 1;
      places.push(streams.length);
      eventStreams.push(append.stream);
      revisions.push(revision);
      ids.push(event.id);
      types.push(event.type);
      versions.push(event.version);
      bodies.push(JSON.stringify(event.data));
      metadata.push(JSON.stringify(event.metadata));
    }
  }
  const lines = (texts: readonly string[]) => texts.join('\n');
  const list = (items: readonly (number | string)[]) => `{${items.join(',')}}`;
  return [
    lines(streams),
    list(expected),
    list(places),
    lines(eventStreams),
    list(revisions),
    list(ids),
    lines(types),
    list(versions),
    lines(bodies),
    lines(metadata),
  ];
}

async function fillResults(pool: Pool, batch: Batch, row: AppendRow, results: AppendResult[]): Promise<void> {
  const moved: { append: StreamAppend; index: number }[] = [];
  let sequence = 0;
  batch.forEach(({ append, index }, place) => {
    sequence += append.events.length;
    const head = row.revisions === null ? append.expectedRevision : Number(row.revisions[place]);
    if (head === append.expectedRevision) {
      const revision = append.expectedRevision + append.events.length;
      results[index] = { status: 'appended', revision, position: positionOf(row.transaction_id, sequence), replayed: false };
    } else if (head < append.expectedRevision) results[index] = { status: 'conflict', actualRevision: head };
    else moved.push({ append, index });
  });
  if (moved.length > 0) await lookForEarlierTry(pool, moved, results);
}

async function lookForEarlierTry(pool: Pool, moved: Batch, results: AppendResult[]): Promise<void> {
  const { rows } = await pool.query<EarlierRow>({
    name: 'event_store_earlier_try',
    text: LOOK_FOR_EARLIER_TRY,
    values: [
      moved.map(({ append }) => append.stream),
      moved.map(({ append }) => append.expectedRevision),
      moved.map(({ append }) => append.events.length),
    ],
  });
  moved.forEach(({ append, index }, place) => {
    const row = rows[place];
    const isWritten =
      row !== undefined && row.ids.length === append.events.length && append.events.every(({ id }, at) => row.ids[at] === id);
    if (isWritten && row.transaction_id !== null && row.sequence !== null) {
      const revision = append.expectedRevision + append.events.length;
      results[index] = { status: 'appended', revision, position: positionOf(row.transaction_id, row.sequence), replayed: true };
    } else results[index] = { status: 'conflict', actualRevision: row === undefined ? NO_STREAM : Number(row.head) };
  });
}
