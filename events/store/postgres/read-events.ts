/**
 * Reads the log and single streams. A page of the log ends before the oldest transaction that is still under way and might be an append:
 * its events, once committed, would stand earlier than what has been read, and be skipped.
 *
 * Other transactions take ids from the same counter, in any database of the server, and a long one (a rebuild, a bulk load) would freeze all
 * readers. They can be told apart: an append holds a lock on the table before it takes its id. `findBystanders` looks for transactions that
 * have an id and no such lock; readers pass over those.
 */
import type { Pool } from 'pg';
import type { Position, RecordedEvent } from '../../contract/envelope.js';
import { parsePosition, positionOf } from './position.js';

const COLUMNS = 'transaction_id, sequence, stream, revision, event_id, type, version, data, metadata';

/** The transaction id before which every append has ended, by the reading statement's own snapshot. `bystanders` is a list of xid8. */
const horizon = (bystanders: string) => `
(select coalesce(
   (select x from pg_snapshot_xip(s) as x where not (x = any(${bystanders}::xid8[])) order by x limit 1),
   pg_snapshot_xmax(s)
 ) from pg_current_snapshot() as s)`;

const READ_LOG = `
select ${COLUMNS} from event_store.events
where (transaction_id, sequence) > ($1::xid8, $2::integer) and transaction_id < ${horizon('$4')}
order by transaction_id, sequence limit $3`;

const READ_HEAD = `
select transaction_id, sequence from event_store.events
where transaction_id < ${horizon('$1')} order by transaction_id desc, sequence desc limit 1`;

const READ_STREAM = `select ${COLUMNS} from event_store.events where stream = $1 and revision >= $2 order by revision limit $3`;

/**
 * Transactions that certainly are no appends. The snapshot is older than the look at the locks, so an append among its transactions had the
 * table's lock before that look, and has it still unless it has ended. One whose own lock is not there (yet) counts as a possible append.
 */
const FIND_BYSTANDERS = `
with locks as materialized (select locktype, transactionid, virtualtransaction, relation, mode from pg_locks where granted)
select coalesce(array_agg(x), '{}')::text as bystanders
from pg_snapshot_xip(pg_current_snapshot()) as x
join locks own on own.locktype = 'transactionid' and own.transactionid = x::xid and own.mode = 'ExclusiveLock'
where not exists (
  select from locks held where held.virtualtransaction = own.virtualtransaction
    and held.locktype = 'relation' and held.relation = 'event_store.events'::regclass and held.mode = 'RowExclusiveLock'
)`;

/** Everything stays the text that the server sent: numbers are parsed where needed, and JSON once. */
const RAW_TEXT = { getTypeParser: () => (text: string) => text };

/** In the order of `COLUMNS`. */
type EventRow = readonly [string, string, string, string, string, string, string, string, string];

/** An array literal of xid8. */
export type Bystanders = string;
export const NO_BYSTANDERS: Bystanders = '{}';

export async function readLogPage(pool: Pool, after: Position, maxCount: number, bystanders: Bystanders): Promise<RecordedEvent[]> {
  const { transactionId, sequence } = parsePosition(after);
  return readRows(pool, 'event_store_read_log', READ_LOG, [transactionId, sequence, maxCount, bystanders]);
}

export function readStreamPage(pool: Pool, stream: string, fromRevision: number, maxCount: number): Promise<RecordedEvent[]> {
  return readRows(pool, 'event_store_read_stream', READ_STREAM, [stream, fromRevision, maxCount]);
}

/** Position of the last event that readers see, or `null`. */
export async function readHead(pool: Pool, bystanders: Bystanders): Promise<Position | null> {
  const { rows } = await pool.query<[string, string]>({
    name: 'event_store_head',
    text: READ_HEAD,
    values: [bystanders],
    rowMode: 'array',
    types: RAW_TEXT,
  });
  return rows[0] === undefined ? null : positionOf(rows[0][0], rows[0][1]);
}

export async function findBystanders(pool: Pool): Promise<Bystanders> {
  const { rows } = await pool.query<{ bystanders: string }>({ name: 'event_store_bystanders', text: FIND_BYSTANDERS });
  return rows[0]?.bystanders ?? NO_BYSTANDERS;
}

async function readRows(pool: Pool, name: string, text: string, values: unknown[]): Promise<RecordedEvent[]> {
  const { rows } = await pool.query<EventRow & unknown[]>({ name, text, values, rowMode: 'array', types: RAW_TEXT });
  return rows.map(eventFromRow);
}

function eventFromRow([transactionId, sequence, stream, revision, id, type, version, data, metadata]: EventRow): RecordedEvent {
  return {
    id,
    type,
    version: Number(version),
    data: JSON.parse(data),
    metadata: JSON.parse(metadata),
    stream,
    revision: Number(revision),
    position: positionOf(transactionId, sequence),
  };
}
