/** The SQL of the Postgres event store, one named statement each, so that the server plans it once per connection. */

/** The global order as text that compares like the pair it is made of: both numbers padded to the digits of their types. */
const POSITION = `lpad(e.transaction_id::text, 20, '0') || '-' || lpad(e.sequence::text, 19, '0')`;

const EVENT_COLUMNS = `${POSITION} as position, e.stream, e.revision::float8 as revision, e.id, e.type, e.version, e.data, e.metadata`;

/**
 * Appends to many streams in one statement. Each stream whose revision is the expected one moves on and gets its events; the others are left
 * alone. Rows are locked in the order of their names, so that two writers of the same streams wait for each other instead of deadlocking.
 *
 * Parameters: per stream its name, expected revision and number of events; per event its stream's index, revision, id, type, version,
 * data and metadata. Returns a row per accepted stream: its index and the position of its last event.
 */
export const APPEND = {
  name: 'event-store-append',
  text: `
    with wanted as (
      select * from unnest($1::text[], $2::bigint[], $3::bigint[]) with ordinality as w (stream, expected, added, n)
    ), created as (
      insert into event_store.streams (stream, revision)
      select stream, added - 1 from wanted where expected = -1 order by stream
      on conflict (stream) do nothing
      returning stream
    ), locked as (
      select s.stream from event_store.streams s
      where s.stream in (select stream from wanted where expected >= 0) order by s.stream for update
    ), moved as (
      update event_store.streams s set revision = s.revision + w.added
      from wanted w join locked l on l.stream = w.stream
      where s.stream = w.stream and w.expected >= 0 and s.revision = w.expected
      returning s.stream
    ), accepted as (
      select w.n, w.stream from wanted w where w.stream in (select stream from created union all select stream from moved)
    ), inserted as (
      insert into event_store.events (stream, revision, id, type, version, data, metadata)
      select a.stream, e.revision, e.id, e.type, e.version, e.data, e.metadata
      from unnest($4::bigint[], $5::bigint[], $6::uuid[], $7::text[], $8::integer[], $9::json[], $10::json[])
        with ordinality as e (n, revision, id, type, version, data, metadata, ordinal)
      join accepted a on a.n = e.n
      order by e.ordinal
      returning transaction_id, sequence, stream
    )
    select a.n::float8 as n, max(${POSITION}) as position from inserted e join accepted a on a.stream = e.stream group by a.n`,
} as const;

/** Where streams stand, for those that were not accepted. Parameter: names. */
export const STREAM_REVISIONS = {
  name: 'event-store-stream-revisions',
  text: 'select stream, revision::float8 as revision from event_store.streams where stream = any($1::text[])',
} as const;

/** Parameters: stream, first revision, most rows. */
export const READ_STREAM = {
  name: 'event-store-read-stream',
  text: `select ${EVENT_COLUMNS} from event_store.events e where e.stream = $1 and e.revision >= $2 order by e.revision limit $3`,
} as const;

/** Parameters: transaction id and sequence to read after, most rows. */
export const READ_ALL = {
  name: 'event-store-read-all',
  text: `select ${EVENT_COLUMNS} from event_store.events e
         where (e.transaction_id, e.sequence) > ($1::text::xid8, $2::bigint)
           and e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
         order by e.transaction_id, e.sequence limit $3`,
} as const;

export const READ_HEAD = {
  name: 'event-store-read-head',
  text: `select ${POSITION} as position from event_store.events e
         where e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
         order by e.transaction_id desc, e.sequence desc limit 1`,
} as const;
