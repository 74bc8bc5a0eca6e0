-- How far each relay has come in the global order of its event store.
create schema if not exists relay;

create table relay.checkpoints (
  relay text primary key,
  position text collate "C" not null, -- compared as the event store compares it
  updated_at timestamptz not null
);
