-- What was paid at Farebox's own checkout page: the stand-in for a provider's books, which the ledger asks like any other provider's.
create schema if not exists payments;

create table payments.local_payments (
  reference text primary key,
  account_id text not null,
  amount_minor bigint not null,
  currency text not null,
  offered_at timestamptz not null,
  paid_at timestamptz
);
create index local_payments_by_time on payments.local_payments (offered_at);
