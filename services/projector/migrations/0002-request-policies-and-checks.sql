-- What a cancelled run costs, and who counted its tokens. Rows from before are without: `farebox rebuild` fills them.
alter table read_model.requests
  add column usage_source text,      -- counted_locally; null where the engine counted
  add column cancel_policy text,     -- charge_generated, refund_all
  add constraint requests_books_close check (charged_nanos + refunded_nanos = held_nanos);  -- while one of them is null, so is this

-- Positions are compared as the event store compares them.
alter table read_model.checkpoints alter column position type text collate "C";
