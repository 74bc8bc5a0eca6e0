/** The ledger's shell over a store: nothing is answered before it is durable, whatever the store does. */
import { describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { ChainWalk } from '../../../events/account-chain.js';
import { accountStream, type RecordedEvent } from '../../../events/contract/index.js';
import type { AppendResult, EventStore, StreamAppend } from '../../../events/store/event-store.js';
import { createMemoryEventStore } from '../../../events/store/memory/memory-event-store.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { stateToSnapshot } from '../domain/snapshot.js';
import { inProcessLedgerClient } from '../in-process-ledger-client.js';
import { LedgerUnavailableError } from '../ledger-client.js';
import { releaseOrphanedReservations } from '../reactors/release-orphaned-reservations.js';
import { memorySnapshotStore } from '../snapshots/snapshot-store.js';
import { ACCOUNT, NOW_MS, OPENING, reserve, runId, settle, USD } from '../testing/account-spec.js';
import { AccountLedger } from './account-ledger.js';
import { loadAccount, snapshotOf } from './account-loader.js';
import { SNAPSHOT_EVENTS } from './bounds.js';

const logger = pino({ level: 'silent' });
const clock = { nowMs: () => NOW_MS };

function setUp(wrap: (store: EventStore) => EventStore = (store) => store) {
  const truth = createMemoryEventStore();
  const store = wrap(truth);
  const snapshots = memorySnapshotStore();
  const orphans = releaseOrphanedReservations({ ledger: () => ledger, scheduler: eventLoopScheduler, logger });
  const options = { store, snapshots, clock, scheduler: eventLoopScheduler, logger, onOrphanedReservation: orphans.note };
  const ledger = new AccountLedger(options);
  const eventsOf = (accountId = ACCOUNT) => truth.readStream(accountStream(accountId));
  return { truth, snapshots, ledger, orphans, another: () => new AccountLedger(options), client: inProcessLedgerClient(ledger), eventsOf };
}

const withAppend = (append: (inner: EventStore, appends: readonly StreamAppend[]) => Promise<AppendResult[]>) => (store: EventStore) =>
  new Proxy(store, {
    get: (target, name) =>
      name === 'append' ? (appends: readonly StreamAppend[]) => append(target, appends) : Reflect.get(target, name, target)?.bind?.(target),
  });

/** Events of the chain that are not what their history gives, and how many have a hash. */
function chainOf(events: readonly RecordedEvent[]) {
  const walk = new ChainWalk();
  const broken = events.map((event) => walk.step(event)).filter((link) => link !== null);
  return { broken, linked: walk.linked };
}

const requestOf = (n: number) => {
  const { type: _type, ...request } = reserve({ runId: runId(n) });
  return request;
};

describe('the ledger over a store', () => {
  test('two hundred parallel calls on credit for fifty admit exactly fifty, on an account that did not exist', async () => {
    const { client, eventsOf } = setUp();
    const results = await Promise.all(Array.from({ length: 200 }, (_, n) => client.reserve(requestOf(n))));
    expect(results.filter((result) => result.status === 'reserved')).toHaveLength(50);
    expect((await eventsOf()).filter((event) => event.type === 'CreditReserved')).toHaveLength(50);
    expect(await client.balance(ACCOUNT)).toMatchObject({ availableNanos: 0n, heldNanos: USD });
  });

  test('two ledgers on one account admit no more than one would', async () => {
    const { client, another, eventsOf } = setUp();
    const other = inProcessLedgerClient(another());
    const results = await Promise.all(Array.from({ length: 200 }, (_, n) => (n % 2 === 0 ? client : other).reserve(requestOf(n))));
    expect(results.filter((result) => result.status === 'reserved')).toHaveLength(50);
    expect((await eventsOf()).filter((event) => event.type === 'CreditReserved')).toHaveLength(50);
  });

  test('commands of many accounts share appends', async () => {
    let appends = 0;
    const { ledger } = setUp(
      withAppend((inner, batch) => {
        appends += 1;
        return inner.append(batch);
      }),
    );
    await Promise.all(Array.from({ length: 100 }, (_, n) => ledger.submit({ ...reserve({ runId: runId(n) }), accountId: `acc_${n}` })));
    expect(appends).toBeLessThanOrEqual(25);
    expect(ledger.pendingCommands).toBe(0);
  });

  test('callers that come together are shared between the appends that may run at once', async () => {
    const sizes: number[] = [];
    const { ledger } = setUp(
      withAppend((inner, batch) => {
        sizes.push(batch.length);
        return inner.append(batch);
      }),
    );
    const reserveOnEach = (from: number) =>
      Promise.all(Array.from({ length: 64 }, (_, n) => ledger.submit({ ...reserve({ runId: runId(from + n) }), accountId: `acc_${n}` })));
    await reserveOnEach(0);
    sizes.length = 0;
    await reserveOnEach(100);
    expect(sizes).toEqual([32, 32]);
  });

  test('what needs no writing is not answered from a state that another writer has outdated', async () => {
    const { ledger, another, eventsOf } = setUp();
    await ledger.submit(reserve({ runId: runId(1) }));
    await another().submit(reserve({ runId: runId(2) }));
    // To the first ledger's cache the second run is unknown, and settling it would change nothing.
    const outcome = await ledger.submit(settle({ runId: runId(2) }));
    expect(outcome).toMatchObject({ kind: 'accepted', closed: { outcome: 'completed', chargedNanos: 20_000_000n } });
    expect((await eventsOf()).at(-1)).toMatchObject({ type: 'ReservationSettled', data: { runId: runId(2) } });
  });

  test('an ending that another ledger wrote under the same ids is what the caller and the cache are told', async () => {
    const { ledger, another, eventsOf } = setUp();
    await ledger.submit(reserve());
    await another().submit(settle());
    const written = await eventsOf();
    const outcome = await ledger.submit(settle({ outcome: 'failed', errorCode: 'engine_crashed' }));
    expect(outcome).toMatchObject({ kind: 'unchanged', closed: { outcome: 'completed', chargedNanos: 20_000_000n } });
    expect(await ledger.read(ACCOUNT)).toMatchObject({ availableNanos: USD - 20_000_000n, heldNanos: 0n, revision: written.length - 1 });
    expect(await eventsOf()).toEqual(written);
  });

  test('an append whose answer was lost is answered once and written once', async () => {
    let lost = 2;
    const { client, eventsOf } = setUp(
      withAppend(async (inner, batch) => {
        const results = await inner.append(batch);
        lost -= 1;
        if (lost >= 0) throw new Error('connection lost');
        return results;
      }),
    );
    expect(await client.reserve(requestOf(1))).toMatchObject({ status: 'reserved' });
    expect((await eventsOf()).map((event) => event.type)).toEqual(['AccountOpened', 'CreditGranted', 'CreditReserved']);
  });

  test('a store that stays away gives an unknown outcome, and what it left behind is released', async () => {
    let isAway = true;
    const { client, orphans, eventsOf } = setUp(
      withAppend(async (inner, batch) => {
        const results = await inner.append(batch);
        if (isAway) throw new Error('connection lost');
        return results;
      }),
    );
    await expect(client.reserve(requestOf(1))).rejects.toBeInstanceOf(LedgerUnavailableError);
    expect(orphans.waiting()).toBe(1);
    isAway = false;
    await waitFor(() => orphans.waiting() === 0, { describe: 'the orphaned hold to be released' });
    expect((await eventsOf()).at(-1)).toMatchObject({
      type: 'ReservationSettled',
      data: { outcome: 'failed', errorCode: 'run_abandoned' },
    });
    expect(await client.balance(ACCOUNT)).toMatchObject({ availableNanos: USD, heldNanos: 0n });
  });

  test('reserve and settle through the client, then a restart, give the same account', async () => {
    const { client, ledger, another } = setUp();
    await client.reserve(requestOf(1));
    const settled = await ledger.submit(settle());
    expect(settled).toMatchObject({ kind: 'accepted', closed: { outcome: 'completed', chargedNanos: 20_000_000n } });
    const restarted = inProcessLedgerClient(another());
    expect(await restarted.balance(ACCOUNT)).toEqual(await client.balance(ACCOUNT));
    expect(await restarted.reservation(ACCOUNT, runId(1))).toMatchObject({ status: 'settled', chargedNanos: 20_000_000n });
    expect(await restarted.reservation(ACCOUNT, runId(2))).toEqual({ status: 'unknown' });
    expect(await restarted.balance('acc_nobody')).toBeNull();
  });

  test('a snapshot and the events after it give the state that all events give', async () => {
    const { ledger, truth, snapshots } = setUp();
    const opening = { ...OPENING, starterNanos: 1_000_000n * USD };
    const runs = SNAPSHOT_EVENTS / 4 + 50;
    for (let begun = 0; begun < runs; begun += 100) {
      const batch = Array.from({ length: 100 }, (_, n) => runId(begun + n));
      await Promise.all(batch.map((id) => ledger.submit(reserve({ runId: id, opening }))));
      await Promise.all(batch.slice(1).map((id) => ledger.submit(settle({ runId: id }))));
    }
    await waitFor(async () => (await snapshots.load(ACCOUNT)) !== null, { describe: 'the snapshot' });
    const fromSnapshot = await loadAccount(ACCOUNT, truth, snapshots);
    const fromEvents = await loadAccount(ACCOUNT, truth, memorySnapshotStore());
    expect(fromSnapshot.snapshotRevision).toBeGreaterThan(0);
    expect(fromSnapshot.revision).toBe(fromEvents.revision);
    expect(stateToSnapshot(fromSnapshot.state)).toEqual(stateToSnapshot(fromEvents.state));
  });

  test('a grant names its event, and the same grant is credited once', async () => {
    const { client, eventsOf } = setUp();
    const grant = { accountId: ACCOUNT, grantId: 'grt_1', opening: OPENING, kind: 'top_up', amountNanos: USD, reason: 'cash' } as const;
    const results = await Promise.all([client.grant(grant), client.grant(grant), client.grant(grant)]);
    for (const result of results) expect(result).toMatchObject({ status: 'granted', availableNanos: 2n * USD });
    const granted = (await eventsOf()).filter((event) => event.type === 'CreditGranted' && event.data['kind'] === 'top_up');
    expect(granted).toHaveLength(1);
    expect(results[0]).toMatchObject({ eventId: granted[0]?.id });
  });
});

describe("the account's hash chain", () => {
  test('two ledgers that write one account in turn and at once leave one unbroken chain', async () => {
    const { client, ledger, another, eventsOf } = setUp();
    const other = another();
    const clients = [client, inProcessLedgerClient(other)] as const;
    await Promise.all(Array.from({ length: 40 }, (_, n) => clients[n % 2 === 0 ? 0 : 1].reserve(requestOf(n))));
    await Promise.all(
      Array.from({ length: 40 }, (_, n) => (n % 3 === 0 ? ledger : other).submit(settle({ runId: runId(n), attempt: n % 3 }))),
    );
    const events = await eventsOf();
    expect(events.length).toBeGreaterThan(100);
    expect(chainOf(events)).toEqual({ broken: [], linked: events.length });
  });

  test('a command that is decided again behind the events of another keeps its event ids and gets another hash', async () => {
    const tried: string[][] = [];
    const { ledger, another, eventsOf } = setUp(
      withAppend((inner, batch) => {
        tried.push(batch.flatMap(({ events }) => events.map((event) => `${event.id} ${event.metadata.chain}`)));
        return inner.append(batch);
      }),
    );
    await ledger.submit(reserve());
    await another().submit(reserve({ runId: runId(2) }));
    tried.length = 0;
    await ledger.submit(reserve({ runId: runId(3) }));
    const [[first = ''] = [], [second = ''] = []] = tried;
    expect(tried).toHaveLength(2);
    expect(first.split(' ')[0]).toBe(second.split(' ')[0]);
    expect(first.split(' ')[1]).not.toBe(second.split(' ')[1]);
    expect(chainOf(await eventsOf()).broken).toEqual([]);
  });

  test('an append whose answer was lost does not break it', async () => {
    let lost = 3;
    const { ledger, eventsOf } = setUp(
      withAppend(async (inner, batch) => {
        const results = await inner.append(batch);
        lost -= 1;
        if (lost >= 0) throw new Error('connection lost');
        return results;
      }),
    );
    for (let n = 0; n < 5; n += 1) await ledger.submit(reserve({ runId: runId(n) }));
    expect(chainOf(await eventsOf())).toMatchObject({ broken: [], linked: 7 });
  });

  test.each(['of this build', 'of a build that knew no chain'])('it goes on behind a snapshot %s', async (build) => {
    const { ledger, another, truth, snapshots, eventsOf } = setUp();
    await ledger.submit(reserve());
    const loaded = await loadAccount(ACCOUNT, truth, snapshots);
    const { chain, ...older } = snapshotOf(loaded);
    expect(chain).toBe((await eventsOf()).at(-1)?.metadata.chain);
    await snapshots.save(ACCOUNT, {
      revision: loaded.revision,
      state: build === 'of this build' ? { ...older, chain: chain ?? null } : older,
    });
    await another().submit(settle());
    expect(chainOf(await eventsOf())).toEqual({ broken: [], linked: 6 });
  });

  test('in older books it begins with the first event of this build', async () => {
    const { ledger, truth, another, eventsOf } = setUp();
    await ledger.submit(reserve());
    const older = (await eventsOf()).map(({ metadata: { chain: _chain, ...metadata }, ...event }) => ({ ...event, metadata }));
    await truth.append([{ stream: accountStream('acc_older'), expectedRevision: -1, events: older }]);
    const walk = new ChainWalk();
    await another().submit(settle({ accountId: 'acc_older' }));
    const events = await eventsOf('acc_older');
    for (const event of events) expect(walk.step(event)).toBeNull();
    expect([events.length, walk.linked]).toEqual([6, 3]);
  });

  test('an event that is changed, left out, put in or stripped of its hash is named', async () => {
    const { ledger, eventsOf } = setUp();
    await ledger.submit(reserve());
    await ledger.submit(settle());
    const events = await eventsOf();
    const changed = events.map((event) => (event.revision === 3 ? { ...event, data: { ...event.data, chargedNanos: '1' } } : event));
    expect(chainOf(changed).broken).toMatchObject([{ revision: 3, type: 'UsageRecorded' }]);
    const another = events.map((event) => (event.revision === 4 ? { ...event, id: events[0]?.id ?? '' } : event));
    expect(chainOf(another).broken).toMatchObject([{ revision: 4 }]);
    expect(chainOf(events.filter(({ revision }) => revision !== 2)).broken).toMatchObject([{ revision: 3 }]);
    const stripped = events.map((event) =>
      event.revision === 4 ? { ...event, metadata: { ...event.metadata, chain: undefined } } : event,
    );
    expect(chainOf(stripped as RecordedEvent[]).broken).toMatchObject([{ revision: 4, stored: null }, { revision: 5 }]);
  });
});
