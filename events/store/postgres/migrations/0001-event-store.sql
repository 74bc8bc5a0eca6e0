-- The event store: append-only streams in one global order.

create schema if not exists event_store;

-- Where each stream stands; the row that writers of a stream take turns on.
create table event_store.streams (
  stream text primary key,
  revision bigint not null
);

-- `transaction_id` then `sequence` is the global order. Sequence numbers alone will not do: a transaction that took a lower one may commit
-- later. Readers stay below the oldest transaction that is still open, so nothing can appear behind them.
create table event_store.events (
  transaction_id xid8 not null default pg_current_xact_id(),
  sequence bigint generated always as identity,
  stream text not null,
  revision bigint not null,
  id uuid not null,
  type text not null,
  version integer not null,
  data json not null,
  metadata json not null,
  primary key (stream, revision)
);
create index events_in_order on event_store.events (transaction_id, sequence);
