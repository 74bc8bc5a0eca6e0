-- Limits that hold across API instances. Counts are decided here, in one function and by this server's clock: no lock is held while an instance
-- thinks, and clocks of instances do not matter. A ring has 61 places of a sixtieth of its window each; a place counts until all of it has left.

create schema if not exists api;

-- Whose limits apply to a project; null: the preset's default.
alter table api.projects add column plan text;

-- What each key has counted. Updated for ever, so the pages keep room. `under_way` has how many requests each instance is serving.
create table api.limited_keys (
  key_id text primary key,
  requests_slot_ms float8 not null default 1000,
  requests_head bigint not null default 0,
  requests_total bigint not null default 0,
  requests integer[] not null default array_fill(0, array[61]),
  tokens_head bigint not null default 0,
  tokens_total bigint not null default 0,
  tokens bigint[] not null default array_fill(0::bigint, array[61]),
  under_way jsonb not null default '{}',
  counted_at_ms float8 not null default 0
) with (fillfactor = 40);

-- How much is missing in each project's buckets.
create table api.limited_projects (
  project_id text primary key,
  minute_used float8 not null default 0,
  day_used float8 not null default 0,
  refilled_at_ms float8 not null default 0
) with (fillfactor = 40);

-- API instances. What one that is silent for longer than its lease has under way counts no more.
create table api.limited_instances (
  instance_id text primary key,
  last_batch bigint not null,
  alive_until_ms float8 not null
) with (fillfactor = 40);

-- Counts one batch of an instance: corrections, then requests, then tokens, key by key. Everything comes sorted, so that two batches lock in
-- the same order. A batch whose number was seen counts nothing. `given_now_ms` is for tests; null is this server's clock.
create function api.count_limits(
  given_instance text, batch bigint, lease_ms float8, given_now_ms float8, projects jsonb
) returns json language plpgsql as $$
declare
  now_ms constant float8 := coalesce(given_now_ms, extract(epoch from clock_timestamp())::float8 * 1000);
  known api.limited_instances;
  lapsed boolean;
  project record;
  bucket api.limited_projects;
  asked record;
  counts api.limited_keys;
  request_ring integer[];
  token_ring bigint[];
  slot bigint;
  place integer;
  total bigint;
  bound bigint;
  admitted bigint;
  elsewhere bigint;
  elsewhere_by_instance jsonb;
  correction jsonb;
  taken boolean[];
  key_answers json[];
  answers json[] := array[]::json[];
begin
  select * into known from api.limited_instances i where i.instance_id = given_instance for update;
  lapsed := known.alive_until_ms is null or known.alive_until_ms < now_ms;
  insert into api.limited_instances as i (instance_id, last_batch, alive_until_ms) values (given_instance, batch, now_ms + lease_ms)
  on conflict (instance_id) do update set last_batch = excluded.last_batch, alive_until_ms = excluded.alive_until_ms
  where i.last_batch < excluded.last_batch;
  if not found then return json_build_object('overtaken', true); end if;

  for project in select * from jsonb_to_recordset(projects) as p (id text, minute float8, day float8, keys jsonb) loop
    bucket := null;
    if project.minute is not null then
      select * into bucket from api.limited_projects p where p.project_id = project.id for update;
      if not found then
        insert into api.limited_projects (project_id) values (project.id) on conflict do nothing;
        select * into bucket from api.limited_projects p where p.project_id = project.id for update;
      end if;
      -- A smaller bucket than before is empty at worst.
      bucket.minute_used := greatest(0,
        least(bucket.minute_used, project.minute) - greatest(0, now_ms - bucket.refilled_at_ms) * project.minute / 60000);
      bucket.day_used := greatest(0,
        least(bucket.day_used, project.day) - greatest(0, now_ms - bucket.refilled_at_ms) * project.day / 86400000);
      bucket.refilled_at_ms := greatest(bucket.refilled_at_ms, now_ms);
    end if;

    key_answers := array[]::json[];
    for asked in select * from jsonb_to_recordset(project.keys) as k (
      id text, requests integer, burst bigint, slot_ms float8, concurrent bigint, under_way integer,
      tokens_limit bigint, tokens bigint[], corrections jsonb
    ) loop
      select * into counts from api.limited_keys k where k.key_id = asked.id for update;
      if not found then
        insert into api.limited_keys (key_id) values (asked.id) on conflict do nothing;
        select * into counts from api.limited_keys k where k.key_id = asked.id for update;
      end if;
      request_ring := counts.requests;
      token_ring := counts.tokens;
      admitted := asked.requests;

      if asked.burst is not null then
        total := counts.requests_total;
        slot := floor(now_ms / counts.requests_slot_ms);
        if slot - counts.requests_head >= 61 then
          request_ring := array_fill(0, array[61]);
          total := 0;
        else
          for passed in counts.requests_head + 1 .. slot loop
            place := passed % 61 + 1;
            total := total - request_ring[place];
            request_ring[place] := 0;
          end loop;
        end if;
        counts.requests_head := greatest(counts.requests_head, slot);
        if counts.requests_slot_ms <> asked.slot_ms then
          -- Another plan has another window: what still counted goes on counting, from now.
          counts.requests_slot_ms := asked.slot_ms;
          counts.requests_head := floor(now_ms / asked.slot_ms);
          request_ring := array_fill(0, array[61]);
          request_ring[counts.requests_head % 61 + 1] := total;
        end if;
        counts.requests_total := total;
        admitted := least(admitted, asked.burst - total);
      end if;
      if project.minute is not null then
        -- A millionth of a request makes up for rounding, so that a promised time is kept.
        admitted := least(admitted, floor(least(project.minute - bucket.minute_used, project.day - bucket.day_used) + 1e-6)::bigint);
      end if;
      elsewhere := 0;
      if asked.concurrent is not null then
        elsewhere_by_instance := counts.under_way - given_instance;
        if elsewhere_by_instance <> '{}' then
          -- Asked with the key's lock in hand: an instance whose first batch held it a moment ago is alive only since then. Whoever lives on
          -- without its lease says everything anew, so the dead are forgotten.
          select coalesce(sum(value::bigint), 0), coalesce(jsonb_object_agg(key, value::bigint), '{}')
          into elsewhere, elsewhere_by_instance
          from jsonb_each_text(elsewhere_by_instance) join api.limited_instances i on i.instance_id = key and i.alive_until_ms > now_ms;
        end if;
        admitted := least(admitted, asked.concurrent - elsewhere - asked.under_way);
      end if;
      admitted := greatest(0, admitted);
      if asked.concurrent is not null then
        counts.under_way := case when asked.under_way + admitted = 0 then elsewhere_by_instance
          else elsewhere_by_instance || jsonb_build_object(given_instance, asked.under_way + admitted) end;
      end if;
      if admitted > 0 and asked.burst is not null then
        place := counts.requests_head % 61 + 1;
        request_ring[place] := request_ring[place] + admitted;
        counts.requests_total := counts.requests_total + admitted;
      end if;
      if admitted > 0 and project.minute is not null then
        bucket.minute_used := bucket.minute_used + admitted;
        bucket.day_used := bucket.day_used + admitted;
      end if;

      taken := array[]::boolean[];
      if asked.tokens_limit is not null then
        total := counts.tokens_total;
        slot := floor(now_ms / 1000);
        if slot - counts.tokens_head >= 61 then
          token_ring := array_fill(0::bigint, array[61]);
          total := 0;
        else
          for passed in counts.tokens_head + 1 .. slot loop
            place := passed % 61 + 1;
            total := total - token_ring[place];
            token_ring[place] := 0;
          end loop;
        end if;
        counts.tokens_head := greatest(counts.tokens_head, slot);
        if jsonb_array_length(asked.corrections) > 0 then
          for correction in select value from jsonb_array_elements(asked.corrections) loop
            slot := (correction->>0)::bigint;
            if slot > counts.tokens_head - 61 then
              place := slot % 61 + 1;
              token_ring[place] := token_ring[place] + (correction->>1)::bigint;
              total := total + (correction->>1)::bigint;
            end if;
          end loop;
        end if;
        place := counts.tokens_head % 61 + 1;
        foreach bound in array asked.tokens loop
          if total + bound <= asked.tokens_limit then
            total := total + bound;
            token_ring[place] := token_ring[place] + bound;
            taken := taken || true;
          else
            taken := taken || false;
          end if;
        end loop;
        counts.tokens_total := total;
      end if;

      update api.limited_keys k
      set requests_slot_ms = counts.requests_slot_ms, requests_head = counts.requests_head, requests_total = counts.requests_total,
          requests = request_ring, tokens_head = counts.tokens_head, tokens_total = counts.tokens_total,
          tokens = token_ring, under_way = counts.under_way, counted_at_ms = now_ms
      where k.key_id = counts.key_id;
      -- Nobody waits for what was only corrected.
      key_answers := key_answers || case when asked.requests = 0 and asked.tokens = '{}' then 'null'::json else json_build_object(
        'admitted', admitted, 'elsewhere', elsewhere, 'taken', taken,
        'requests', request_ring, 'requests_head', counts.requests_head, 'tokens', token_ring, 'tokens_head', counts.tokens_head) end;
    end loop;

    if project.minute is not null then
      update api.limited_projects p
      set minute_used = bucket.minute_used, day_used = bucket.day_used, refilled_at_ms = bucket.refilled_at_ms
      where p.project_id = bucket.project_id;
    end if;
    answers := answers || json_build_object(
      'minute_used', bucket.minute_used, 'day_used', bucket.day_used, 'refilled_at_ms', bucket.refilled_at_ms,
      'keys', array_to_json(key_answers));
  end loop;
  return json_build_object('now_ms', now_ms, 'lapsed', lapsed, 'projects', array_to_json(answers));
end $$;
