-- Idempotency keys: one row per (project, key). The row is claimed by one INSERT … ON CONFLICT before anything runs, and every later change is
-- fenced by the run that holds it. Answers are kept for replays until they expire.

create schema if not exists api;

create table api.idempotency_keys (
  project_id text not null,
  key text not null,
  request_sha256 bytea not null check (length(request_sha256) = 32),
  state text not null check (state in ('running', 'completed', 'failed')),
  run_id text not null,
  account_id text not null,
  instance_id text not null,
  lease_until timestamptz not null,
  -- A run under this key that was charged and whose answer was lost: later attempts are free.
  charged_run_id text,
  answer text,
  expires_at timestamptz not null,
  primary key (project_id, key)
);
create index idempotency_keys_expiry on api.idempotency_keys (expires_at);
create index idempotency_keys_running on api.idempotency_keys (instance_id) where state = 'running';
