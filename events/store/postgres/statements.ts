/** The SQL of the Postgres event store, one named statement each, so that the server plans it once per connection. */

/**
 * Separates the members of a column that is sent as one text. `string_to_array` splits it at a fraction of what parsing an array literal
 * costs, quotes of JSON escaped one by one: 43k instead of 31k events/s at 1,000 streams of 4 events. JSON text escapes control characters,
 * and `checkAppends` keeps them out of the other columns.
 */
export const SEPARATOR = '\u001f';

const column = (parameter: number, type: string): string => `string_to_array($${parameter}, chr(31))::${type}[]`;

/**
 * Appends to many streams in one statement. A stream that stands where its writer expects gets its events; the others are left alone.
 *
 * One statement is one snapshot, and that is what makes the order sound: whoever sees revision N here sees a transaction that had ended
 * before this one was given its id, so revision N + 1 gets the greater id. A writer that sees an older state inserts a revision that is
 * taken, and the unique constraint ends its transaction: the store tries again.
 *
 * Parameters: per stream its name and expected revision; per event, as separated texts, its stream's index (from 1), stream, revision,
 * id, type, version, data and metadata. Returns one row: the transaction's id (null when every stream was refused), the indexes of the
 * refused streams and where those stand.
 */
export const APPEND = {
  name: 'event-store-append',
  text: `
    with wanted as materialized (
      select w.n, w.expected,
        coalesce(
          (select e.revision from event_store.events e where e.stream = w.stream and e.revision >= w.expected order by e.revision desc limit 1),
          (select e.revision from event_store.events e where e.stream = w.stream order by e.revision desc limit 1),
          -1
        ) as actual
      from unnest(${column(1, 'text')}, ${column(2, 'bigint')}) with ordinality as w (stream, expected, n)
    ), verdict as materialized (
      select array_agg(actual = expected order by n) as accepted from wanted
    ), written as (
      insert into event_store.events (transaction_id, ordinal, stream, revision, id, type, version, data, metadata)
      select pg_current_xact_id(), e.ordinal, e.stream, e.revision, e.id, e.type, e.version, e.data, e.metadata
      from unnest(
        ${column(3, 'integer')}, ${column(4, 'text')}, ${column(5, 'bigint')}, ${column(6, 'uuid')}, ${column(7, 'text')},
        ${column(8, 'smallint')}, ${column(9, 'json')}, ${column(10, 'json')}
      ) with ordinality as e (n, stream, revision, id, type, version, data, metadata, ordinal)
      where (select accepted from verdict)[e.n]
    )
    select case when bool_or(actual = expected) then pg_current_xact_id()::text end,
      array_agg(n::integer) filter (where actual <> expected),
      array_agg(actual::float8) filter (where actual <> expected)
    from wanted`,
} as const;

/**
 * What stands where refused batches wanted to go. Parameters, as separated texts: streams, their first and last revisions. A row per event:
 * index of the batch (from 1), event id, transaction id, ordinal.
 */
export const FIND_WRITTEN = {
  name: 'event-store-find-written',
  text: `
    select w.n::integer, e.id, e.transaction_id::text, e.ordinal
    from unnest(${column(1, 'text')}, ${column(2, 'bigint')}, ${column(3, 'bigint')}) with ordinality as w (stream, first, last, n)
    cross join lateral (
      select * from event_store.events e where e.stream = w.stream and e.revision between w.first and w.last order by e.revision
    ) e
    order by w.n, e.revision`,
} as const;

const EVENT_COLUMNS = 'e.transaction_id::text as xid, e.ordinal, e.stream, e.revision, e.id, e.type, e.version, e.data, e.metadata';

/** Parameters: stream, first revision, most rows. */
export const READ_STREAM = {
  name: 'event-store-read-stream',
  text: `select ${EVENT_COLUMNS} from event_store.events e where e.stream = $1 and e.revision >= $2 order by e.revision limit $3`,
} as const;

/**
 * The transaction id below which every append has ended, as the reading statement's own snapshot has it. Events of a transaction that is
 * still open would appear behind those above it, and be skipped. The parameter lists transactions that are known to append nothing.
 */
const horizon = (parameter: number): string => `(
  select coalesce(
    (select x from pg_snapshot_xip(s) as x where x <> all ($${parameter}::text::xid8[]) order by x limit 1), pg_snapshot_xmax(s)
  ) from pg_current_snapshot() as s)`;

/** Parameters: transaction id and ordinal to read after, most rows, bystanders. */
export const READ_ALL = {
  name: 'event-store-read-all',
  text: `select ${EVENT_COLUMNS} from event_store.events e
         where (e.transaction_id, e.ordinal) > ($1::text::xid8, $2::integer) and e.transaction_id < ${horizon(4)}
         order by e.transaction_id, e.ordinal limit $3`,
} as const;

/** The last event that `READ_ALL` would show: transaction id and ordinal. Parameter: bystanders. */
export const READ_HEAD = {
  name: 'event-store-read-head',
  text: `select e.transaction_id::text as xid, e.ordinal from event_store.events e
         where e.transaction_id < ${horizon(1)}
         order by e.transaction_id desc, e.ordinal desc limit 1`,
} as const;

/**
 * Open transactions that are certainly no appends. Transaction ids are counted for the whole server, so a bulk load or rebuild anywhere
 * would otherwise hold up every reader until it ends.
 *
 * An append takes its lock on the table before it takes its id, and keeps both to its end. The snapshot here is older than the look at the
 * locks: of its transactions, one that still holds its own id's lock and no such lock on the table is no append. (Sessions are looked at
 * for their table locks first and for their ids last, so one that ends in between does not count.) This holds as long as nobody appends
 * in a transaction that has written something before; the store never does.
 */
export const FIND_BYSTANDERS = {
  name: 'event-store-find-bystanders',
  text: `with locks as materialized (select locktype, transactionid, virtualtransaction, database, relation, mode from pg_locks where granted)
         select coalesce(array_agg(x), '{}')::text as bystanders
         from pg_snapshot_xip(pg_current_snapshot()) as x
         join locks own on own.locktype = 'transactionid' and own.transactionid = x::xid and own.mode = 'ExclusiveLock'
         where not exists (
           select from locks held
           where held.virtualtransaction = own.virtualtransaction and held.locktype = 'relation' and held.mode = 'RowExclusiveLock'
             and held.relation = 'event_store.events'::regclass
             and held.database = (select oid from pg_database where datname = current_database())
         )`,
} as const;

/**
 * Whether appends would succeed and be found. Transaction ids belong to one cluster: a log that was dumped and loaded into a younger one
 * would have its new events sorted before the old.
 */
export const READINESS = {
  name: 'event-store-readiness',
  text: `select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off' as "isWritable",
           coalesce((select e.transaction_id < pg_snapshot_xmax(pg_current_snapshot())
                     from event_store.events e order by e.transaction_id desc, e.ordinal desc limit 1), true) as "isOfThisCluster"`,
} as const;

/** Wakes subscribers in other processes. It need not wait for the disk: whoever misses it looks by himself a little later. */
export const NOTIFY = {
  name: 'event-store-notify',
  text: `select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)`,
} as const;
