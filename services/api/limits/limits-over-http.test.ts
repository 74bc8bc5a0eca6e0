/** The headers of each offer on every answer that a key is asked for, refusals included, whichever limiter counts. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createPostgresPool } from '../../../platform/postgres/pool.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { loadPreset } from '../../../presets/load-preset.js';
import type { Preset } from '../../../presets/preset-schema.js';
import { type ApiDatabase, openApiDatabase } from '../testing/api-database.js';
import { type Answer, type ChatApi, startChatApi } from '../testing/chat-api.js';
import { PostgresLimiter } from './postgres-limiter.js';

const EPOCH_SECONDS = /^1[7-9]\d{8}$|^2\d{9}$/;
const ISO_8601 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;
const NUMBER = /^\d+$/;

const SIMPLE = { 'x-ratelimit-limit': NUMBER, 'x-ratelimit-remaining': NUMBER, 'x-ratelimit-reset': EPOCH_SECONDS };
const REQUESTS_TOKENS = {
  'x-ratelimit-limit-requests': NUMBER,
  'x-ratelimit-remaining-requests': NUMBER,
  'x-ratelimit-reset-requests': ISO_8601,
  'x-ratelimit-limit-tokens': NUMBER,
  'x-ratelimit-remaining-tokens': NUMBER,
};
const MINUTE_DAY = {
  'x-ratelimit-limit-minute': NUMBER,
  'x-ratelimit-remaining-minute': NUMBER,
  'x-ratelimit-reset-minute': EPOCH_SECONDS,
  'x-ratelimit-limit-day': NUMBER,
  'x-ratelimit-remaining-day': NUMBER,
  'x-ratelimit-reset-day': EPOCH_SECONDS,
};

/** As documented, but that the limit is reached with the fifth request. */
const OFFERS: [string, Readonly<Record<string, RegExp>>, (limits: Preset['limits']) => Preset['limits']][] = [
  ['hunt', SIMPLE, (limits) => ({ ...limits, sliding_window: { requests_per_minute: 4, burst: 4 } })],
  ['hoonify-ai', REQUESTS_TOKENS, (limits) => ({ ...limits, sliding_window: { requests_per_minute: 4, burst: 4 } })],
  ['hiveops', REQUESTS_TOKENS, (limits) => ({ ...limits, sliding_window: { requests_per_minute: 4, burst: 4 } })],
  ['huru', MINUTE_DAY, (limits) => ({ ...limits, token_bucket: { per_minute: 4, per_day: 1_000 } })],
  [
    'farebox',
    { ...SIMPLE, ...REQUESTS_TOKENS, ...MINUTE_DAY },
    (limits) => ({ ...limits, sliding_window: { requests_per_minute: 4, burst: 4 } }),
  ],
];

let database: ApiDatabase;
beforeAll(async () => {
  database = await openApiDatabase();
});
afterAll(() => database.close());

const releases: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const release of releases.splice(0)) await release();
});

async function open(name: string, tightened: (limits: Preset['limits']) => Preset['limits'], isShared: boolean): Promise<ChatApi> {
  const loaded = loadPreset(name);
  const preset = { ...loaded, limits: tightened(loaded.limits), policies: { ...loaded.policies, https_only: false } };
  const limiter = new PostgresLimiter({
    pool: database.pool,
    offer: preset,
    instanceId: `ins_${name}_${isShared}`,
    scheduler: eventLoopScheduler,
    onTrouble: () => undefined,
  });
  const api = await startChatApi({ preset: () => preset, ...(isShared ? { limiter } : {}) });
  releases.push(async () => {
    await api.close();
    await limiter.stop();
  });
  return api;
}

function expectFamilies(answer: Answer, families: Readonly<Record<string, RegExp>>): void {
  const found = Object.fromEntries(Object.keys(families).map((name) => [name, answer.headers[name]]));
  expect(found).toEqual(Object.fromEntries(Object.entries(families).map(([name, pattern]) => [name, expect.stringMatching(pattern)])));
  const foreign = Object.keys({ ...SIMPLE, ...REQUESTS_TOKENS, ...MINUTE_DAY }).filter((name) => !(name in families));
  expect(foreign.filter((name) => answer.headers[name] !== undefined)).toEqual([]);
}

describe.each([
  ['in one process', false],
  ['across instances', true],
])('limits counted %s', (_place, isShared) => {
  test.each(OFFERS)('%s: every answer shows what is left', async (name, families, tightened) => {
    const api = await open(name, tightened, isShared);
    const remaining = Object.keys(families).find((header) => /remaining($|-requests|-minute)/.test(header)) ?? '';
    const answers = {
      answered: await api.chat(),
      streamed: await api.chat({ stream: true }),
      'a body that is no JSON': await api.call('/v1/chat/completions', { raw: '{', headers: [['content-type', 'application/json']] }),
      'a model that is not there': await api.chat({ model: 'no-such-model' }),
      'beyond the limit': await api.chat(),
    };
    expect(Object.values(answers).map(({ status }) => status)).toEqual([200, 200, 400, 404, 429]);
    for (const answer of Object.values(answers)) expectFamilies(answer, families);
    expect(Object.values(answers).map(({ headers }) => headers[remaining])).toEqual(['3', '2', '1', '0', '0']);
    const retryAfterSeconds = Number(answers['beyond the limit'].headers['retry-after']);
    expect(retryAfterSeconds).toBeGreaterThanOrEqual(1);
    expect(retryAfterSeconds).toBeLessThanOrEqual(61);
    expect(api.worker.runs).toHaveLength(2);
  });

  test.each(OFFERS)('%s: who is not known sees the limits, and that nothing of them is left', async (name, families, tightened) => {
    const api = await open(name, tightened, isShared);
    const answers = [
      await api.chat({}, { key: null }),
      await api.chat({}, { key: `${api.preset.api_keys.live_prefix}unknown` }),
      await api.call('/v1/no-such-endpoint', { key: null }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([401, 401, 404]);
    for (const answer of answers) {
      expectFamilies(answer, families);
      for (const header of Object.keys(families).filter((known) => known.includes('remaining'))) expect(answer.headers[header]).toBe('0');
      expect(answer.headers['retry-after']).toBeUndefined();
    }
  });

  test('tokens: the bound is counted before, the engine’s count after, and the answer shows the latter', async () => {
    const api = await open('hiveops', (limits) => ({ ...limits, tokens_per_minute: 2_000 }), isShared);
    const answered = await api.chat({ max_tokens: 1_000 });
    const used = answered.body.usage.total_tokens;
    expect(answered.headers['x-ratelimit-remaining-tokens']).toBe(String(2_000 - used));
    api.worker.script = async () => undefined;
    const slow = api.chat({ max_tokens: 1_000 });
    slow.catch(() => undefined);
    const refused = await refusedSoon(api);
    expect(refused.body.error).toMatchObject({ code: expect.stringMatching(/rate_limit/) });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(59);
    await api.worker.lastRun.finish();
    expect((await slow).status).toBe(200);
  });
});

/** Another run of the same size, once the first has been counted. */
async function refusedSoon(api: ChatApi): Promise<Answer> {
  await waitFor(() => api.worker.runs.length === 2, { describe: 'the first run to be under way' });
  const refused = await api.chat({ max_tokens: 1_000 });
  expect(refused.status).toBe(429);
  return refused;
}

test('a database that cannot be reached is a typed 503 with headers; nothing is held and nothing runs', async () => {
  const preset = loadPreset('farebox');
  const pool = createPostgresPool({
    // Nobody listens there.
    connectionString: 'postgres://nobody@127.0.0.1:1/nowhere',
    applicationName: 'test',
    connectionsMax: 1,
    logger: pino({ level: 'silent' }),
  });
  const limiter = new PostgresLimiter({
    pool,
    offer: preset,
    instanceId: 'ins_cut',
    scheduler: eventLoopScheduler,
    onTrouble: () => undefined,
  });
  const api = await startChatApi({ limiter });
  releases.push(async () => {
    await api.close();
    await limiter.stop();
    await pool.end();
  });
  const before = await api.ledger.balance(api.project.accountId);
  const answer = await api.chat();
  expect(answer.status).toBe(503);
  expect(answer.body.error).toMatchObject({ message: 'The service is temporarily unavailable.' });
  expectFamilies(answer, { ...SIMPLE, ...REQUESTS_TOKENS, ...MINUTE_DAY });
  expect(api.worker.runs).toHaveLength(0);
  expect(await api.ledger.balance(api.project.accountId)).toEqual(before);
});
