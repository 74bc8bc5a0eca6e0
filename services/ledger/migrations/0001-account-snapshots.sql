-- Snapshots of account states: disposable, rebuilt from the event store.

create schema if not exists ledger;

create table ledger.account_snapshots (
  account_id text primary key,
  revision bigint not null,
  state json not null
);
