/** The ledger over HTTP: several instances on one store, asked for by one client, as the API does. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import type { EventStore } from '../../../events/store/event-store.js';
import { createMemoryEventStore } from '../../../events/store/memory/memory-event-store.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { AccountLedger } from '../accounts/account-ledger.js';
import { inProcessLedgerClient } from '../in-process-ledger-client.js';
import { LedgerUnavailableError } from '../ledger-client.js';
import { memorySnapshotStore } from '../snapshots/snapshot-store.js';
import { ACCOUNT, NOW_MS, OPENING, reserve, runId, settle, USD } from '../testing/account-spec.js';
import { httpLedgerClient } from './http-ledger-client.js';
import { serveCalls } from './serve-calls.js';
import { CALLS_BYTES_MAX, CALLS_PATH, CALLS_PER_REQUEST_MAX } from './wire.js';

const SECRET = 'a-secret-of-the-deployment';
const logger = pino({ level: 'silent' });

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await stop(server);
});

async function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

async function startInstance(store: EventStore) {
  const clock = { nowMs: () => NOW_MS };
  const ledger = new AccountLedger({ store, snapshots: memorySnapshotStore(), clock, scheduler: eventLoopScheduler, logger });
  let requests = 0;
  const serve = serveCalls({ ledger: inProcessLedgerClient(ledger), settle: (command) => ledger.submit(command), secret: SECRET, logger });
  const server = createServer((request, response) => {
    requests += 1;
    if (request.url === CALLS_PATH) void serve(request, response);
    else response.writeHead(request.url === '/readyz' ? 200 : 404).end();
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  return { ledger, server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requestCount: () => requests };
}

const clientOf = (...instances: readonly string[]) => httpLedgerClient({ instances, secret: SECRET, logger });

const requestOf = (n: number, accountId = ACCOUNT) => {
  const { type: _type, ...request } = reserve({ runId: runId(n), accountId });
  return request;
};

describe('a ledger over HTTP', () => {
  test('says what the ledger itself says, amounts and refusals included', async () => {
    const instance = await startInstance(createMemoryEventStore());
    const client = clientOf(instance.url);
    expect(await client.balance(ACCOUNT)).toBeNull();
    expect(await client.openAccount({ accountId: ACCOUNT, opening: OPENING })).toMatchObject({ availableNanos: USD, heldNanos: 0n });
    expect(await client.reserve(requestOf(1))).toMatchObject({ status: 'reserved', heldNanos: 20_000_000n });
    expect(await client.reservation(ACCOUNT, runId(1))).toEqual({ status: 'open', deadlineMs: NOW_MS + 60_000 });
    await instance.ledger.submit(settle());
    expect(await client.reservation(ACCOUNT, runId(1))).toMatchObject({ status: 'settled', chargedNanos: 20_000_000n });
    const tooDear = { ...requestOf(2), terms: { kind: 'per_started_thousand', pricePerStartedThousandNanos: 5n * USD } } as const;
    expect(await client.reserve(tooDear)).toMatchObject({
      status: 'refused',
      reason: 'insufficient_credit',
      availableNanos: USD - 20_000_000n,
    });
    const grant = { accountId: ACCOUNT, grantId: 'grt_1', opening: OPENING, kind: 'top_up', amountNanos: 7n, reason: 'r' } as const;
    expect(await client.grant(grant)).toMatchObject({ status: 'granted', eventId: expect.stringMatching(/^[0-9a-f-]{36}$/) });
    expect(await client.balance(ACCOUNT)).toEqual(await inProcessLedgerClient(instance.ledger).balance(ACCOUNT));
  });

  test('what a request brings besides tokens travels: audio, its hash, the fewest tokens of use', async () => {
    const client = clientOf((await startInstance(createMemoryEventStore())).url);
    const audio = { bytes: 700_000, milliseconds: 61_000 };
    const heard = {
      ...requestOf(1),
      terms: { kind: 'per_started_audio_bytes', bytesPerUnit: 500_000, pricePerStartedUnitNanos: 10_000_000n },
      promptTokensMax: 0,
      outputTokensMax: 0,
      outputTokensMin: 0,
      audio,
      requestHash: 'a'.repeat(64),
    } as const;
    expect(await client.reserve(heard)).toMatchObject({ status: 'reserved', heldNanos: 20_000_000n, outputTokensBudget: 0 });
    expect(await client.reserve({ ...heard, requestHash: 'b'.repeat(64) })).toMatchObject({
      reason: 'reservation_exists_with_different_request',
    });
  });

  test('a run that is abandoned gets its whole hold back, once, and one that is settled or unknown stays as it is', async () => {
    const instance = await startInstance(createMemoryEventStore());
    for (const client of [clientOf(instance.url), inProcessLedgerClient(instance.ledger)]) {
      const n = instance.requestCount();
      const abandoned = { accountId: ACCOUNT, runId: runId(n), errorCode: 'run_abandoned' } as const;
      await client.abandonRun(abandoned);
      expect(await client.reservation(ACCOUNT, runId(n))).toEqual({ status: 'unknown' });
      await client.reserve(requestOf(n));
      const before = await client.balance(ACCOUNT);
      await client.abandonRun(abandoned);
      await client.abandonRun({ ...abandoned, errorCode: 'engine_failed' });
      expect(await client.reservation(ACCOUNT, runId(n))).toMatchObject({ status: 'settled', outcome: 'failed', chargedNanos: 0n });
      const after = await client.balance(ACCOUNT);
      expect([after?.heldNanos, after?.revision]).toEqual([0n, (before?.revision ?? 0) + 3]);
    }
  });

  test('two hundred parallel calls over two instances on credit for fifty admit exactly fifty, in few requests', async () => {
    const store = createMemoryEventStore();
    const [one, two] = [await startInstance(store), await startInstance(store)];
    const clients = [clientOf(one.url, two.url), clientOf(two.url), clientOf(one.url)];
    const results = await Promise.all(Array.from({ length: 200 }, (_, n) => clients[n % 3]?.reserve(requestOf(n))));
    expect(results.filter((result) => result?.status === 'reserved')).toHaveLength(50);
    expect(one.requestCount() + two.requestCount()).toBeLessThanOrEqual(6);
  });

  test('an account keeps to one instance while that lives, and accounts are spread', async () => {
    const store = createMemoryEventStore();
    const [one, two] = [await startInstance(store), await startInstance(store)];
    const client = clientOf(one.url, two.url);
    for (let n = 0; n < 40; n += 1) await client.balance(`acc_${n % 20}`);
    expect(one.ledger.cachedAccounts + two.ledger.cachedAccounts).toBe(20);
    expect(Math.min(one.ledger.cachedAccounts, two.ledger.cachedAccounts)).toBeGreaterThanOrEqual(3);
  });

  test('when an instance is gone the others serve its accounts, and a call that it had begun is not done twice', async () => {
    const store = createMemoryEventStore();
    const [one, two] = [await startInstance(store), await startInstance(store)];
    const client = clientOf(one.url, two.url);
    for (let n = 0; n < 10; n += 1) expect(await client.reserve(requestOf(n, `acc_${n}`))).toMatchObject({ status: 'reserved' });
    await stop(one.server);
    for (let n = 0; n < 10; n += 1) {
      // The same reservation again: known, whoever is asked.
      expect(await client.reserve(requestOf(n, `acc_${n}`))).toMatchObject({ status: 'reserved', heldNanos: 20_000_000n });
      expect(await client.balance(`acc_${n}`)).toMatchObject({ heldNanos: 20_000_000n });
    }
    expect(await client.isReady()).toBe(true);
  });

  test('without any instance a call is unavailable, soon, and readiness says so', async () => {
    const instance = await startInstance(createMemoryEventStore());
    const client = clientOf(instance.url);
    await stop(instance.server);
    await expect(client.reserve(requestOf(1))).rejects.toBeInstanceOf(LedgerUnavailableError);
    expect(await client.isReady()).toBe(false);
  });

  test('a store that is away is told as unavailable', async () => {
    const store = createMemoryEventStore();
    const away = new Proxy(store, {
      get: (target, name) => (name === 'readStream' ? () => Promise.reject(new Error('away')) : Reflect.get(target, name)),
    });
    const instance = await startInstance(away);
    await expect(clientOf(instance.url).balance(ACCOUNT)).rejects.toBeInstanceOf(LedgerUnavailableError);
  });
});

describe('what is refused', () => {
  const post = (url: string, body: string, secret = SECRET) =>
    fetch(`${url}${CALLS_PATH}`, { method: 'POST', headers: { authorization: `Bearer ${secret}` }, body });

  test.each([
    ['no JSON', '{'],
    ['no batch', '{}'],
    ['an empty batch', '[]'],
    ['an unknown method', '[{"method":"drop"}]'],
    ['an amount that is a number', JSON.stringify([{ method: 'grant', command: { accountId: 'acc_1', amountNanos: 5 } }])],
    ['more calls than allowed', JSON.stringify(Array(CALLS_PER_REQUEST_MAX + 1).fill({ method: 'balance', accountId: 'a' }))],
  ])('%s: 400', async (_what, body) => {
    const { url } = await startInstance(createMemoryEventStore());
    expect((await post(url, body)).status).toBe(400);
  });

  test('a wrong secret: 401, and the client counts it as unavailable', async () => {
    const { url } = await startInstance(createMemoryEventStore());
    expect((await post(url, '[{"method":"balance","accountId":"a"}]', 'other')).status).toBe(401);
    const client = httpLedgerClient({ instances: [url], secret: 'other', logger });
    await expect(client.balance('a')).rejects.toBeInstanceOf(LedgerUnavailableError);
  });

  test('a body beyond the bound: 413', async () => {
    const { url } = await startInstance(createMemoryEventStore());
    expect((await post(url, ' '.repeat(CALLS_BYTES_MAX + 1))).status).toBe(413);
  });
});
