-- The read models. Owned by the projector; the API only reads them. Every table can be rebuilt from the event store.
-- Amounts are nanos of the account's unit. A single amount fits a bigint (the ledger bounds it); sums of them are numeric, because ten of
-- the largest grants would not. Tables whose rows are updated for ever keep room on their pages, so that updates need not touch an index.

create schema if not exists read_model;

-- One row per account; `revision` is the last event applied and also deduplicates redelivered events.
create table read_model.account_balances (
  account_id text primary key,
  holder_kind text not null,
  project_id text not null,
  consumer_id text,
  unit text not null,
  environment text not null,
  available_nanos numeric(40, 0) not null,
  held_nanos numeric(40, 0) not null,
  charged_nanos numeric(40, 0) not null,
  granted_nanos numeric(40, 0) not null,
  revision bigint not null,
  updated_at timestamptz not null
) with (fillfactor = 50);
create index account_balances_by_project on read_model.account_balances (project_id);

-- One row per run, from its four facts.
create table read_model.requests (
  run_id text primary key,
  account_id text not null,
  project_id text not null,
  consumer_id text,
  key_id text not null,
  model text not null,
  unit text not null,
  status text not null,              -- reserved, completed, cancelled, failed, expired
  finish_reason text,
  error_code text,
  attempt integer,
  prompt_tokens integer,
  cached_tokens integer,
  completion_tokens integer,
  held_nanos bigint not null,
  charged_nanos bigint,
  refunded_nanos bigint,
  price_version text not null,
  terms text not null,               -- JSON, as frozen into CreditReserved
  prompt_tokens_max integer not null,
  output_tokens_budget integer not null,
  reserved_at timestamptz not null,
  deadline_at timestamptz not null,
  settled_at timestamptz,
  reserved_event_id uuid not null,
  usage_event_id uuid,
  refund_event_id uuid,
  settled_event_id uuid
);
create index requests_by_project on read_model.requests (project_id, reserved_at desc);
create index requests_open on read_model.requests (deadline_at) where status = 'reserved';

-- Usage in quarters of an hour: every time zone's day is made of whole ones, so days in any zone add up to the range.
create table read_model.usage_quarters (
  project_id text not null,
  quarter_start timestamptz not null,
  consumer_id text not null,         -- '' when the project paid
  model text not null,
  unit text not null,
  requests bigint not null,
  completed bigint not null,
  cancelled bigint not null,
  failed bigint not null,
  expired bigint not null,
  prompt_tokens bigint not null,
  cached_tokens bigint not null,
  completion_tokens bigint not null,
  charged_nanos numeric(40, 0) not null,
  primary key (project_id, quarter_start, consumer_id, model)
) with (fillfactor = 80);

-- What each consumer was granted, charged and refunded.
create table read_model.consumer_billing (
  consumer_id text primary key,
  project_id text not null,
  unit text not null,
  granted_nanos numeric(40, 0) not null,
  charged_nanos numeric(40, 0) not null,
  requests bigint not null,
  last_request_at timestamptz
) with (fillfactor = 50);
create index consumer_billing_by_project on read_model.consumer_billing (project_id);

-- The journal: one row per posting, in the order of its account's stream.
create table read_model.journal (
  account_id text not null,
  revision bigint not null,
  line smallint not null,
  event_id uuid not null,
  event_type text not null,
  run_id text,
  unit text not null,
  debit_account text not null,       -- money leaves
  credit_account text not null,      -- money arrives
  amount_nanos bigint not null,
  occurred_at timestamptz not null,
  primary key (account_id, revision, line)
);

-- The trial balance: what stands on each ledger account; sums to zero per unit and environment.
create table read_model.trial_balance (
  unit text not null,
  environment text not null,
  ledger_account text not null,
  balance_nanos numeric(40, 0) not null,
  postings bigint not null,
  primary key (unit, environment, ledger_account)
);

-- How far a projection has come in the global order; written in the transaction that writes its rows.
create table read_model.checkpoints (
  projection text primary key,
  position text not null,
  events bigint not null,
  updated_at timestamptz not null
);
