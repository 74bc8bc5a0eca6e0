-- What a key may do, and keys that are on their way out: a rotated key works until `retires_at`, beside the one that replaces it.

alter table api.keys
  add column role text not null default 'owner' check (role in ('owner', 'developer', 'finance')),
  add column retires_at timestamptz;
