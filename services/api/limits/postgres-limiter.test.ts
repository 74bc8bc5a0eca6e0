/** Limits that hold across API instances, on a real Postgres. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Pool } from 'pg';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { TEST_DATABASE_URL_VARIABLE } from '../../../platform/testing/postgres-for-tests.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { RefusalError } from '../refusals.js';
import { type ApiDatabase, openApiDatabase } from '../testing/api-database.js';
import type { LimitedCaller, LimitPass, LimitRefusal } from './limiter.js';
import type { LimitsOffer } from './plan-limits.js';
import { PostgresLimiter } from './postgres-limiter.js';
import { sweepLimits } from './sweep-limits.js';
import { HELD_LEASE_MS, HELD_OFFER, HELD_REQUESTS_MAX } from './testing/held-offer.js';
import { describeLimiterContract, HUNT, newCaller } from './testing/limiter-contract.js';

/** Three months: longer than any test's clock runs. */
const LEASE_FOR_EVER_MS = 8e9;
let instances = 0;
let database: ApiDatabase;
const opened: PostgresLimiter[] = [];

beforeAll(async () => {
  database = await openApiDatabase();
});
afterAll(async () => {
  await Promise.all(opened.map((limiter) => limiter.stop()));
  await database.close();
});

const HOLD_REQUESTS = fileURLToPath(new URL('./testing/hold-requests.js', import.meta.url));

async function connectionString(): Promise<string> {
  const { rows } = await database.pool.query<{ name: string }>('select current_database() as name');
  const url = new URL(process.env[TEST_DATABASE_URL_VARIABLE] ?? '');
  url.pathname = `/${rows[0]?.name}`;
  return url.href;
}

function openLimiter(options: {
  readonly offer?: LimitsOffer;
  readonly pool?: Pool;
  readonly leaseMs?: number;
  readonly nowMs?: () => number;
  readonly isFrozen?: boolean;
}): PostgresLimiter {
  const { isFrozen = false, ...given } = options;
  instances += 1;
  const limiter = new PostgresLimiter({
    pool: database.pool,
    offer: HUNT,
    instanceId: `ins_${instances}`,
    // A frozen instance has no time: it neither beats nor says anything of its own accord.
    scheduler: isFrozen ? { ...eventLoopScheduler, delay: () => () => undefined } : eventLoopScheduler,
    onTrouble: () => undefined,
    ...given,
  });
  if (options.pool === undefined && !isFrozen) opened.push(limiter);
  return limiter;
}

describeLimiterContract('the limiter of two instances', async (offer, clock) => {
  const under = await openApiDatabase();
  const limiters = [1, 2].map(() => openLimiter({ pool: under.pool, offer, leaseMs: LEASE_FOR_EVER_MS, nowMs: () => clock.nowMs() }));
  return {
    limiters,
    settled: async () => {
      for (const limiter of limiters) await limiter.settled();
    },
    close: async () => {
      await Promise.all(limiters.map((limiter) => limiter.stop()));
      await under.close();
    },
  };
});

const isPass = (answer: LimitPass | LimitRefusal): answer is LimitPass => answer.status === 'admitted';

async function burst(limiters: readonly PostgresLimiter[], caller: LimitedCaller, count: number): Promise<LimitPass[]> {
  const answers = await Promise.all(Array.from({ length: count }, (_, n) => limiters[n % limiters.length]?.admit(caller)));
  return answers.filter((answer) => answer !== undefined).filter(isPass);
}

describe('two instances', () => {
  test.each<[string, LimitsOffer['limits'], number]>([
    ['the sliding window', { sliding_window: { requests_per_minute: 50, burst: 100 }, headers: ['simple'] }, 100],
    ['concurrency', { concurrent_requests: 100, headers: ['simple'] }, 100],
    ['the project’s bucket', { token_bucket: { per_minute: 100, per_day: 1_000 }, headers: ['minute_day'] }, 100],
    ['the project’s day', { token_bucket: { per_minute: 1_000, per_day: 100 }, headers: ['minute_day'] }, 100],
  ])('a burst of four times the limit through both admits exactly the limit of %s', async (_name, limits, limit) => {
    // The time of the buckets stands still, or one of them could give a request back in the middle of the burst.
    const limiters = [1, 2].map(() => openLimiter({ offer: { limits, plans: {} }, nowMs: () => 1e12 }));
    expect(await burst(limiters, newCaller(), 4 * limit)).toHaveLength(limit);
  });

  test('an instance whose very first batch is being written counts for one that waits behind it', async () => {
    const key = newCaller().keyId;
    const asked = { id: key, requests: 5, concurrent: 5, under_way: 0, tokens: [], corrections: [] };
    const count = (instance: string) => [instance, 1, 60_000, null, JSON.stringify([{ id: `prj_of_${key}`, keys: [asked] }])];
    const statement = 'select api.count_limits($1, $2, $3, $4, $5) as answer';
    const admittedOf = ({ rows }: { readonly rows: readonly { readonly answer: { projects: { keys: { admitted: number }[] }[] } }[] }) =>
      rows[0]?.answer.projects[0]?.keys[0]?.admitted;
    const [first, second] = [await database.pool.connect(), await database.pool.connect()];
    try {
      await first.query('begin');
      const taken = admittedOf(await first.query(statement, count(`first_${key}`)));
      const waiting = second.query(statement, count(`second_${key}`));
      const isWaiting = async () =>
        (await database.pool.query(`select 1 from pg_stat_activity where wait_event_type = 'Lock' and query = $1`, [statement]))
          .rowCount === 1;
      await waitFor(isWaiting, { describe: 'the second to wait' });
      await first.query('commit');
      expect([taken, admittedOf(await waiting)]).toEqual([5, 0]);
    } finally {
      first.release();
      second.release();
    }
  });

  test('a burst of runs counts exactly the tokens there are', async () => {
    const offer: LimitsOffer = { limits: { tokens_per_minute: 1_000, headers: ['requests_tokens'] }, plans: {} };
    const limiters = [openLimiter({ offer }), openLimiter({ offer })];
    const caller = newCaller();
    const answers = await Promise.all(Array.from({ length: 400 }, (_, n) => limiters[n % 2]?.reserveTokens(caller, 10)));
    expect(answers.filter((answer) => answer !== undefined && !('status' in answer))).toHaveLength(100);
  });

  test('keys and projects of any order never lock each other out', async () => {
    const offer: LimitsOffer = { limits: { ...HUNT.limits, token_bucket: { per_minute: 1_000, per_day: 10_000 } }, plans: {} };
    const limiters = [openLimiter({ offer }), openLimiter({ offer }), openLimiter({ offer })];
    const callers = Array.from({ length: 60 }, (_, n) => newCaller(`prj_shared_${n % 7}`));
    const rounds = Array.from({ length: 20 }, async (_, round) => {
      const mixed = [...callers].sort((a, b) => (a.keyId + round < b.keyId + round ? -1 : 1));
      const answers = await Promise.all(mixed.map((caller, n) => limiters[(n + round) % 3]?.admit(caller)));
      for (const answer of answers) if (answer?.status === 'admitted') answer.release();
      return answers.length;
    });
    expect(await Promise.all(rounds)).toEqual(rounds.map(() => 60));
    for (const limiter of limiters) await limiter.settled();
    const { rows } = await database.pool.query(
      `select count(*)::int as left from api.limited_keys where key_id = any($1) and under_way <> '{}'`,
      [callers.map(({ keyId }) => keyId)],
    );
    expect(rows).toEqual([{ left: 0 }]);
  });

  test('clocks of instances that are hours apart make no difference', async () => {
    const limiters = [openLimiter({}), openLimiter({})];
    const caller = newCaller();
    const now = Date.now;
    try {
      Date.now = () => now() + 7_200_000;
      expect(await burst([limiters[0] as PostgresLimiter], caller, 10)).toHaveLength(10);
    } finally {
      Date.now = now;
    }
    expect(await burst([limiters[1] as PostgresLimiter], caller, 1)).toHaveLength(0);
    const resetMs = limiters[1]?.usageOf(caller).requests?.resetMs ?? 0;
    const { rows } = await database.pool.query(`select extract(epoch from clock_timestamp())::float8 * 1000 as now`);
    expect(Math.abs(resetMs - 60_000 - rows[0].now)).toBeLessThan(2_000);
  });
});

describe('an instance that is gone', () => {
  test('one that was killed gives back what it had under way, and the living one never exceeds the limit', async () => {
    const caller = newCaller();
    const child = spawn(process.execPath, [HOLD_REQUESTS, await connectionString(), caller.keyId, 'ins_killed'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [admitted] = (await once(child.stdout, 'data')) as [Buffer];
    expect(admitted.toString()).toBe(`${HELD_REQUESTS_MAX}\n`);
    const living = openLimiter({ offer: HELD_OFFER, leaseMs: HELD_LEASE_MS });
    expect(await burst([living], caller, 5)).toHaveLength(0);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const killedAtMs = performance.now();
    const passes: LimitPass[] = [];
    await waitFor(async () => passes.push(...(await burst([living], caller, 5))) >= HELD_REQUESTS_MAX, {
      describe: 'the slots of the dead',
    });
    expect(passes).toHaveLength(HELD_REQUESTS_MAX);
    // Within its lease, of which up to a beat had gone.
    expect(performance.now() - killedAtMs).toBeGreaterThan(HELD_LEASE_MS / 2);
  });

  test('what it had under way is free when its lease has ended, and not before', async () => {
    let nowMs = 1_000_000;
    const gone = openLimiter({ leaseMs: 10_000, nowMs: () => nowMs, isFrozen: true });
    const stays = openLimiter({ leaseMs: 10_000, nowMs: () => nowMs });
    const caller = newCaller();
    expect(await burst([gone], caller, 10)).toHaveLength(10);
    nowMs += 9_999;
    expect(await burst([stays], caller, 1)).toHaveLength(0);
    nowMs += 2;
    expect(await burst([stays], caller, 20)).toHaveLength(10);
  });

  test('one that comes back says what it still has under way', async () => {
    let nowMs = 1_000_000;
    const paused = openLimiter({ leaseMs: 10_000, nowMs: () => nowMs, isFrozen: true });
    const other = openLimiter({ leaseMs: 1e9, nowMs: () => nowMs });
    const caller = newCaller();
    expect(await burst([paused], caller, 6)).toHaveLength(6);
    nowMs += 20_000;
    await paused.admit(newCaller());
    await paused.settled();
    expect(await burst([other], caller, 10)).toHaveLength(4);
  });

  test('one that is stopped leaves nothing under way', async () => {
    const stopped = openLimiter({});
    const caller = newCaller();
    expect(await burst([stopped], caller, 10)).toHaveLength(10);
    await stopped.stop();
    expect(await burst([openLimiter({})], caller, 10)).toHaveLength(10);
    await expect(stopped.admit(caller)).rejects.toMatchObject({ refusal: 'shutting_down' });
  });

  test('a living one keeps its lease while its requests last', async () => {
    const living = openLimiter({ leaseMs: 200 });
    const caller = newCaller();
    expect(await burst([living], caller, 10)).toHaveLength(10);
    const leaseOf = async () => {
      const { rows } = await database.pool.query(
        `select i.last_batch::int as batch from api.limited_keys k join api.limited_instances i on k.under_way ? i.instance_id where k.key_id = $1`,
        [caller.keyId],
      );
      return rows[0].batch as number;
    };
    const first = await leaseOf();
    await waitFor(async () => (await leaseOf()) >= first + 6, { describe: 'six beats, which is more than a lease' });
    expect(await burst([openLimiter({ leaseMs: 200 })], caller, 1)).toHaveLength(0);
  });
});

test('a sweep takes away what counts for nothing any more, and nothing else', async () => {
  const offer: LimitsOffer = { limits: { ...HUNT.limits, token_bucket: { per_minute: 60, per_day: 1_000 } }, plans: {} };
  const [used, idle] = [newCaller(), newCaller()];
  await burst([openLimiter({ offer })], used, 3);
  await burst([openLimiter({ offer, nowMs: () => Date.now() - 3 * 86_400_000 })], idle, 3);
  const left = async () => {
    const { rows } = await database.pool.query(
      `select array(select key_id from api.limited_keys where key_id = any($1)) as keys,
              array(select project_id from api.limited_projects where project_id = any($2)) as projects,
              (select count(*)::int from api.limited_instances where alive_until_ms < extract(epoch from now()) * 1000 - 600000) as dead`,
      [
        [used.keyId, idle.keyId],
        [used.projectId, idle.projectId],
      ],
    );
    return rows[0];
  };
  expect((await left()).dead).toBeGreaterThanOrEqual(1);
  await sweepLimits(database.pool);
  expect(await left()).toEqual({ keys: [used.keyId], projects: [used.projectId], dead: 0 });
});

describe('a database that fails', () => {
  /** Lets the connection of the next statement fail, before or after it was carried out. */
  function failing() {
    const state = { fails: null as 'before' | 'after' | null };
    const pool = {
      query: async (...query: Parameters<Pool['query']>) => {
        const fails = state.fails;
        if (fails === 'before') throw new Error('Connection terminated unexpectedly');
        const answer = await (database.pool.query as (...given: unknown[]) => Promise<unknown>)(...query);
        if (fails === 'after') throw new Error('Connection terminated unexpectedly');
        return answer;
      },
    } as unknown as Pool;
    return { state, pool };
  }

  test.each(['before', 'after'] as const)('nobody is let in uncounted, and a failure %s the count leaves nothing behind', async (when) => {
    const { state, pool } = failing();
    const limiter = openLimiter({ pool });
    const caller = newCaller();
    const [first] = await burst([limiter], caller, 1);
    state.fails = when;
    const refused = await limiter.admit(caller).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(RefusalError);
    expect(refused).toMatchObject({ refusal: 'provider_unavailable' });
    state.fails = null;
    first?.release();
    await limiter.settled();
    expect(await burst([openLimiter({})], caller, 20)).toHaveLength(10);
  });

  test('a batch that is counted late, when its askers have long been refused, is set right by the next', async () => {
    const limiter = openLimiter({});
    const caller = newCaller();
    const [first] = await burst([limiter], caller, 1);
    const blocker = await database.pool.connect();
    try {
      await blocker.query('begin');
      await blocker.query('select 1 from api.limited_keys where key_id = $1 for update', [caller.keyId]);
      await expect(limiter.admit(caller)).rejects.toMatchObject({ refusal: 'provider_unavailable' });
      await blocker.query('commit');
    } finally {
      blocker.release();
    }
    first?.release();
    await limiter.settled();
    expect(await burst([openLimiter({})], caller, 20)).toHaveLength(10);
  });

  test.each(['before', 'after'] as const)('tokens given back when an answer is lost %s the count are given back once', async (when) => {
    const { state, pool } = failing();
    const offer: LimitsOffer = { limits: { tokens_per_minute: 1_000, headers: ['requests_tokens'] }, plans: {} };
    const limiter = openLimiter({ pool, offer });
    const caller = newCaller();
    const [given, kept] = [await limiter.reserveTokens(caller, 400), await limiter.reserveTokens(caller, 400)];
    if ('status' in given || 'status' in kept) throw new Error('refused');
    state.fails = when;
    given.settle(0);
    await limiter.settled();
    state.fails = null;
    const other = openLimiter({ offer });
    // Any later batch brings it; what was counted by the lost one is not counted again.
    await limiter.reserveTokens(newCaller(), 1);
    expect(await other.reserveTokens(caller, 601)).toMatchObject({ status: 'refused' });
    expect('status' in (await other.reserveTokens(caller, 600))).toBe(false);
  });
});
