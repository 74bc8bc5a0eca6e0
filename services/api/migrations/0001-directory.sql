-- The directory: mutable rows that say who is who. The only place that holds e-mail addresses and names, so erasing a person is an update here
-- and the books, which know opaque ids only, still verify.

create schema if not exists api;

create table api.projects (
  project_id text primary key,
  name text not null,
  slug text not null,
  environment text not null check (environment in ('live', 'test')),
  created_at timestamptz not null,
  constraint projects_slug_unique unique (slug)
);

create table api.keys (
  key_id text primary key,
  project_id text not null references api.projects (project_id),
  name text not null,
  environment text not null check (environment in ('live', 'test')),
  hint text not null,
  secret_sha256 bytea not null check (length(secret_sha256) = 32),
  created_at timestamptz not null,
  last_used_at timestamptz,
  revoked_at timestamptz,
  constraint keys_secret_unique unique (secret_sha256)
);
create index keys_by_project on api.keys (project_id, key_id desc);

create table api.consumers (
  consumer_id text primary key,
  project_id text not null references api.projects (project_id),
  email text not null,
  email_normalised text not null,
  name text,
  created_at timestamptz not null,
  constraint consumers_email_unique unique (project_id, email_normalised)
);
create index consumers_by_project on api.consumers (project_id, consumer_id desc);
