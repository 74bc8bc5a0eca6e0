-- What a receipt needs: where a run's facts stand in its account's stream, and the hashes that name request and answer; and what was heard,
-- which audio is priced by. Rows from before are without: `farebox rebuild` fills what their events hold.
alter table read_model.requests
  add column reserved_revision bigint,   -- of CreditReserved in the account's stream
  add column settled_revision bigint,    -- of ReservationSettled; the charge and the refund stand right before it
  add column request_hash text,          -- SHA-256 of the request's body, hex
  add column response_hash text,         -- SHA-256 of the answer, hex; null where there was none
  add column system_fingerprint text,    -- what ran; null where nothing did
  add column audio_bytes_held bigint,    -- the audio that the hold was computed by; null without audio
  add column audio_ms_held bigint,
  add column audio_bytes bigint,         -- of the usage; null without audio
  add column audio_ms bigint;
