-- One row per payment, from its own stream. Money is counted in minor units of its currency, credit in nanos of the account's unit.
create table read_model.payments (
  payment_id text primary key,
  reference text not null,
  provider text not null,
  mode text not null,                -- live, test: the provider's
  environment text not null,         -- live, test: the account's
  account_id text not null,
  project_id text not null,
  consumer_id text,
  unit text not null,
  pack_id text not null,
  amount_minor numeric(40, 0) not null,
  currency text not null,
  credit_nanos numeric(40, 0) not null,
  status text not null,              -- opening, pending, paid, credited, disputed, partially_refunded, refunded, failed, abandoned, mismatched
  provider_reference text,
  provider_payment_id text,
  mismatch text,
  verified_nanos numeric(40, 0) not null,      -- credit that the provider's answers justify; zero until verified
  credited_nanos numeric(40, 0) not null,      -- booked on the account
  clawed_back_nanos numeric(40, 0) not null,   -- of that, booked back
  reversals text not null,                     -- JSON: refunds and disputes by their provider's id
  reversed_minor numeric(40, 0) not null,
  unbooked integer not null,                   -- amounts that are decided and not on the account yet
  opened_at timestamptz not null,
  expires_at timestamptz,
  verified_at timestamptz,
  credited_at timestamptz,
  updated_at timestamptz not null,
  revision bigint not null
) with (fillfactor = 70);
create index payments_by_project on read_model.payments (project_id, opened_at desc, payment_id desc);
create index payments_by_time on read_model.payments (provider, opened_at);
create index payments_unbooked on read_model.payments (updated_at) where unbooked > 0;
