/** Pools and variants, from the headers to the topic that the run goes to. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type ChatApi, CONTEXT_TOKENS_MAX, startChatApi } from '../testing/chat-api.js';
import type { EngineContext } from './engine-context.js';

/** Pools that have a ready worker now. */
let ready: string[];
const inReadyPools: EngineContext = (_model, environment, wanted) => {
  const pool = (wanted?.pools ?? ready).find((name) => ready.includes(name));
  if (pool === undefined) return null;
  const systemFingerprint = `fp_${environment}_${wanted?.quantization}`;
  return { pool, contextTokensMax: CONTEXT_TOKENS_MAX, systemFingerprint };
};

let api: ChatApi;
beforeAll(async () => {
  ready = [];
  api = await startChatApi({ preset: 'hoonify-dev', engineContext: inReadyPools, pools: ['na', 'eu', 'apac'] });
});
afterAll(() => api.close());
beforeEach(() => {
  ready = ['na', 'eu', 'apac'];
});

type Header = readonly [string, string];
const pin = (pool: string): Header => ['X-Hoonify-Pool', pool];
const NEAREST: Header = ['X-Hoonify-Pool-Fallback', 'nearest'];
const STRICT: Header = ['X-Hoonify-Pool-Fallback', 'strict'];

const available = async () => (await api.ledger.balance(api.project.accountId))?.availableNanos;

describe('D4: pools', () => {
  test.each(['na', 'eu', 'apac'])('a run that is pinned to %s is run there', async (pool) => {
    expect((await api.chat({}, { headers: [pin(pool)] })).status).toBe(200);
    expect(api.worker.pools.at(-1)).toBe(pool);
  });

  test('the name is taken in any case', async () => {
    expect((await api.chat({}, { headers: [pin('APAC')] })).status).toBe(200);
    expect(api.worker.pools.at(-1)).toBe('apac');
  });

  test.each([
    ['strict by default', []],
    ['strict when said so', [STRICT]],
  ])('%s: a pool without a ready worker is 503, and nothing was held or run', async (_what, fallback) => {
    ready = ['na'];
    const before = [await available(), api.worker.runs.length];
    const answer = await api.chat({}, { headers: [pin('eu'), ...fallback] });
    expect([answer.status, answer.body.error.code]).toEqual([503, 'provider_unavailable']);
    expect(answer.body.error.message).toContain('pool eu');
    expect(answer.headers['retry-after']).toBeDefined();
    expect([await available(), api.worker.runs.length]).toEqual(before);
  });

  test('nearest: the next pool in the order of the preset', async () => {
    const served: (string | undefined)[] = [];
    for (const left of [['na', 'eu', 'apac'], ['eu', 'na'], ['apac', 'eu'], ['apac']]) {
      ready = left;
      await api.chat({}, { headers: [pin('apac'), NEAREST] });
      served.push(api.worker.pools.at(-1));
    }
    expect(served).toEqual(['apac', 'na', 'apac', 'apac']);
    ready = [];
    expect((await api.chat({}, { headers: [pin('apac'), NEAREST] })).status).toBe(503);
  });

  test.each([
    ['a pool that does not exist', [pin('mars')], 'X-Hoonify-Pool'],
    ['an empty pool', [pin('')], 'X-Hoonify-Pool'],
    ['a pool named twice', [pin('na'), pin('eu')], 'X-Hoonify-Pool'],
    ['an unknown fallback', [pin('na'), ['X-Hoonify-Pool-Fallback', 'maybe']], 'X-Hoonify-Pool-Fallback'],
  ] as [string, Header[], string][])('400: %s', async (_what, headers, param) => {
    const before = await available();
    const answer = await api.chat({}, { headers });
    expect([answer.status, answer.body.error]).toMatchObject([400, { type: 'invalid_request_error', param }]);
    expect(await available()).toBe(before);
  });

  test('400: a pool that does not have the model, which says where it is', async () => {
    const answer = await api.chat({ model: 'deepseek-v3' }, { headers: [pin('apac')] });
    expect([answer.status, answer.body.error.message.includes('na, eu')]).toEqual([400, true]);
    expect((await api.chat({ model: 'deepseek-v3' }, { headers: [pin('apac'), NEAREST] })).status).toBe(200);
    expect(api.worker.pools.at(-1)).toBe('na');
  });

  test('without the header any pool serves', async () => {
    ready = ['eu'];
    expect((await api.chat()).status).toBe(200);
    expect(api.worker.pools.at(-1)).toBe('eu');
  });
});

describe('D8', () => {
  test('the answer names the pool that served it, in its body, in each event and in a header', async () => {
    ready = ['eu'];
    const plain = await api.chat({}, { headers: [pin('na'), NEAREST] });
    expect([plain.body.pool, plain.headers['x-hoonify-pool'], plain.body.system_fingerprint]).toEqual(['eu', 'eu', 'fp_scripted']);
    const stream = await api.chat({ stream: true }, { headers: [pin('na'), NEAREST] });
    const events = stream.text.split('\n\n').filter((event) => event.startsWith('data: {'));
    expect(events.length).toBeGreaterThan(2);
    for (const event of events) expect(JSON.parse(event.slice('data: '.length)).pool).toBe('eu');
    expect(stream.headers['x-hoonify-pool']).toBe('eu');
  });

  test('a replay names the pool of the run that it repeats', async () => {
    const headers: Header[] = [['Idempotency-Key', 'pool-of-a-replay']];
    await api.chat({}, { headers: [...headers, pin('apac')] });
    expect((await api.chat({}, { headers })).body.pool).toBe('apac');
  });

  test('one process stands in for every pool and says its own name', async () => {
    const one = await startChatApi({ preset: 'hoonify-dev' });
    const answer = await one.chat({}, { headers: [pin('eu')] });
    expect([answer.status, answer.body.pool]).toEqual([200, 'default']);
    await one.close();
  });

  test('presets without pools say nothing of them, and refuse a pool that is asked for', async () => {
    const other = await startChatApi({ preset: 'hiveops' });
    expect((await other.chat()).body).not.toHaveProperty('pool');
    expect((await other.chat({}, { headers: [['X-HiveOps-Pool', 'eu']] })).status).toBe(400);
    await other.close();
  });
});

describe('U3: attempts', () => {
  test('a failed attempt is repeated in the pool of the run, three times at most; then 503 with everything refunded', async () => {
    const before = await available();
    const { script } = api.worker;
    const [runs, pools] = [api.worker.runs.length, api.worker.pools.length];
    api.worker.script = (run) => run.fail('engine_crashed', true);
    const answer = await api.chat({}, { headers: [pin('eu')] });
    api.worker.script = script;
    expect([answer.status, answer.body.error.code]).toEqual([503, 'provider_unavailable']);
    expect(api.worker.runs.slice(runs).map(({ request }) => request.attempt)).toEqual([1, 2, 3]);
    expect(api.worker.pools.slice(pools)).toEqual(['eu', 'eu', 'eu']);
    expect(await available()).toBe(before);
  });
});

describe('D6: quantisations', () => {
  test('the cheapest is taken where none is named, and charged at its own price', async () => {
    expect((await api.chat()).status).toBe(200);
    expect(api.worker.lastRun.request.quantization).toBe('int4');
    const cheap = await charged({});
    expect(await charged({ quantization: 'fp16' })).toBeGreaterThan(cheap ?? 0n);
    expect(api.worker.lastRun.request.quantization).toBe('fp16');
  });

  async function charged(body: Readonly<Record<string, unknown>>): Promise<bigint> {
    const before = (await available()) ?? 0n;
    await api.chat(body);
    return before - ((await available()) ?? 0n);
  }

  test.each(['int8', 'FP16', '', 4])('400: %j, which is not exposed', async (quantization) => {
    const answer = await api.chat({ quantization });
    expect([answer.status, answer.body.error.param]).toEqual([400, 'quantization']);
  });
});

describe('D5: X-Hoonify-Idempotency-Key', () => {
  const keyed = (...headers: Header[]) => api.chat({}, { headers });

  test('replays as Idempotency-Key does, and both are one name for one key', async () => {
    const first = await keyed(['X-Hoonify-Idempotency-Key', 'b2c9f5f2-6d0a-4f7e-9a50-0b8f3d9d7c11']);
    const again = await keyed(['X-Hoonify-Idempotency-Key', 'b2c9f5f2-6d0a-4f7e-9a50-0b8f3d9d7c11']);
    const plain = await keyed(['Idempotency-Key', 'b2c9f5f2-6d0a-4f7e-9a50-0b8f3d9d7c11']);
    expect([first.status, again.body.id, plain.body.id]).toEqual([200, first.body.id, first.body.id]);
    expect(again.headers['idempotent-replayed']).toBe('true');
  });

  test('five minutes later the key is forgotten and runs anew', async () => {
    const clock = { timeMs: 1_800_000_000_000, nowMs: () => clock.timeMs };
    const timed = await startChatApi({ preset: 'hoonify-dev', clock });
    const ask = async () => (await timed.chat({}, { headers: [['X-Hoonify-Idempotency-Key', 'five-minutes']] })).body.id;
    const first = await ask();
    clock.timeMs += 299_999;
    expect(await ask()).toBe(first);
    clock.timeMs += 1;
    expect(await ask()).not.toBe(first);
    await timed.close();
  });

  test('400: two different keys', async () => {
    const answer = await keyed(['X-Hoonify-Idempotency-Key', 'one'], ['Idempotency-Key', 'other']);
    expect(answer.status).toBe(400);
  });
});
