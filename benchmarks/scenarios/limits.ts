/** Limits that two API instances count together on a durable Postgres: requests a second and what one waits, on one key and on many. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Pool } from 'pg';
import { pino } from 'pino';
import { packageFile } from '../../platform/package-root.js';
import { startEmbeddedPostgres } from '../../platform/postgres/embedded.js';
import { migrate } from '../../platform/postgres/migrate.js';
import { createPostgresPool } from '../../platform/postgres/pool.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import type { LimitedCaller } from '../../services/api/limits/limiter.js';
import { PostgresLimiter } from '../../services/api/limits/postgres-limiter.js';
import { type Figure, percentile, type Scenario } from '../support/figures.js';

const CALLERS = 64;
const INSTANCES = 2;
const KEYS = 1_000;
const KEYS_PER_PROJECT = 5;
const ROUND_MS = 5_000;
const logger = pino({ level: 'warn' });

/** All kinds of limits, and none of them reached. */
const OFFER = {
  limits: {
    sliding_window: { requests_per_minute: 1e8, burst: 1e8 },
    concurrent_requests: 1e6,
    tokens_per_minute: 1e12,
    token_bucket: { per_minute: 1e8, per_day: 1e9 },
    headers: ['simple' as const],
  },
  plans: {},
};

export const limitsScenario: Scenario = {
  name: 'limits',
  async run(say) {
    const directory = mkdtempSync(`${tmpdir()}/farebox-bench-`);
    const database = await startEmbeddedPostgres({ dataDirectory: directory, logger });
    try {
      return await measure(database.connectionString, say);
    } finally {
      await database.stop();
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

async function measure(connectionString: string, say: (line: string) => void): Promise<Figure[]> {
  const settings = { synchronous_commit: 'off' };
  const pools = Array.from({ length: INSTANCES }, () =>
    createPostgresPool({ connectionString, connectionsMax: 2, applicationName: 'bench', logger, settings }),
  );
  await migrate({ pool: pools[0] as Pool, logger, sources: [{ owner: 'api', folder: packageFile('services/api/migrations/') }] });
  const limiters = pools.map(
    (pool, n) =>
      new PostgresLimiter({
        pool,
        offer: OFFER,
        instanceId: `ins_${n}`,
        scheduler: eventLoopScheduler,
        onTrouble: (message, error) => logger.warn({ err: error }, message),
      }),
  );
  const callers = Array.from({ length: KEYS }, (_, n) => ({ keyId: `key_${n}`, projectId: `prj_${Math.floor(n / KEYS_PER_PROJECT)}` }));
  await drive(limiters, callers, CALLERS, 1_000);
  const figures: Figure[] = [];
  const rounds: [string, LimitedCaller[], number][] = [
    ['one key', callers.slice(0, 1), CALLERS],
    [`${KEYS} keys`, callers, CALLERS],
    ['one key, one caller', callers.slice(0, 1), 1],
  ];
  for (const [name, keys, concurrency] of rounds) {
    const { requestsPerSecond, p50Ms, p99Ms } = await drive(limiters, keys, concurrency, ROUND_MS);
    say(`${name}: ${Math.round(requestsPerSecond)} requests/s, admitted after ${p50Ms.toFixed(2)} ms (p50), ${p99Ms.toFixed(2)} ms (p99)`);
    figures.push(
      { name: `limited requests, ${name}`, value: requestsPerSecond, unit: 'requests/s' },
      { name: `admission p50, ${name}`, value: p50Ms, unit: 'ms' },
      { name: `admission p99, ${name}`, value: p99Ms, unit: 'ms' },
    );
  }
  for (const limiter of limiters) await limiter.stop();
  for (const pool of pools) await pool.end();
  return figures;
}

/** Each caller has a request admitted and its tokens counted, settles them and releases it, over and over. */
async function drive(limiters: readonly PostgresLimiter[], callers: readonly LimitedCaller[], concurrency: number, durationMs: number) {
  const waitsMs: number[] = [];
  const startedMs = performance.now();
  const run = async (n: number) => {
    const limiter = limiters[n % limiters.length] as PostgresLimiter;
    for (let turn = n; performance.now() - startedMs < durationMs; turn += concurrency) {
      const caller = callers[turn % callers.length] as LimitedCaller;
      const askedMs = performance.now();
      const pass = await limiter.admit(caller);
      waitsMs.push(performance.now() - askedMs);
      const tokens = await limiter.reserveTokens(caller, 500);
      if (pass.status === 'refused' || 'status' in tokens) throw new Error('no limit was to be reached');
      tokens.settle(120);
      pass.release();
    }
  };
  await Promise.all(Array.from({ length: concurrency }, (_, n) => run(n)));
  const seconds = (performance.now() - startedMs) / 1_000;
  return { requestsPerSecond: waitsMs.length / seconds, p50Ms: percentile(waitsMs, 0.5), p99Ms: percentile(waitsMs, 0.99) };
}
