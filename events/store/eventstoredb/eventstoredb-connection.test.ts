/** How the store gets to its server: TLS, users, certificates, clusters. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { type EventStore, NO_STREAM } from '../event-store.js';
import { freshStream, newEvents } from '../testing/example-events.js';
import type { EventStoreDbConnection } from './connection-string.js';
import { createEventStoreDbStore } from './eventstoredb-store.js';
import { type DoubleSettings, type EventStoreDouble, startEventStoreDouble } from './testing/double/event-store-double.js';
import { makeTestCertificates, type TestCertificates } from './testing/double/test-certificates.js';

const logger = pino({ level: 'silent' });
const releasers: (() => Promise<unknown>)[] = [];
let folder: string;
let certificates: TestCertificates;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'farebox-certificates-'));
  certificates = await makeTestCertificates(folder);
});
afterEach(async () => {
  while (releasers.length > 0) await releasers.pop()?.();
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function startDouble(settings: Partial<DoubleSettings> = {}): Promise<EventStoreDouble> {
  const double = await startEventStoreDouble(settings);
  releasers.push(() => double.stop());
  return double;
}

function openStore(connection: EventStoreDbConnection): EventStore {
  const store = createEventStoreDbStore({ ...connection, logger });
  releasers.push(() => store.close());
  return store;
}

async function appendAndRead(store: EventStore): Promise<string> {
  const stream = freshStream();
  const [result] = await store.append([{ stream, expectedRevision: NO_STREAM, events: newEvents(2) }]);
  expect(await store.readStream(stream)).toHaveLength(2);
  return result?.status ?? 'nothing';
}

const secured = (needsUserCertificate: boolean) => ({ caFile: certificates.caFile, server: certificates.server, needsUserCertificate });

describe('TLS', () => {
  test('is on unless it is turned off: a server without it is not ready and gets no append', async () => {
    const double = await startDouble();
    const store = openStore({ connectionString: `esdb://localhost:${double.port}` });
    expect(await store.isReady()).toBe(false);
    await expect(appendAndRead(store)).rejects.toThrow();
    expect((await double.count()).events).toBe(0);
  });

  test('trusts the authority it is given, and no other', async () => {
    const double = await startDouble({ tls: secured(false) });
    const { connectionString } = double;
    expect(await appendAndRead(openStore({ connectionString, tlsCaFile: certificates.caFile }))).toBe('appended');
    expect(await openStore({ connectionString }).isReady()).toBe(false);
  });

  test('shows a user certificate where the server wants one', async () => {
    const double = await startDouble({ tls: secured(true) });
    const connection = { connectionString: double.connectionString, tlsCaFile: certificates.caFile };
    expect(await appendAndRead(openStore({ ...connection, userCertificate: certificates.user }))).toBe('appended');
    expect(await openStore(connection).isReady()).toBe(false);
  });

  test('certificate files that are not there are noticed at once', () => {
    const connection = { connectionString: 'esdb://localhost:2113', logger };
    expect(() => createEventStoreDbStore({ ...connection, tlsCaFile: '/nowhere/ca.pem' })).toThrow(/not found/);
    const userCertificate = { certFile: '/nowhere/user.crt', keyFile: '/nowhere/user.key' };
    expect(() => createEventStoreDbStore({ ...connection, userCertificate })).toThrow(/not found/);
  });
});

describe.each(['default', 'no batch append'] as const)('a user, %s', (mode) => {
  test('is sent with everything, and a wrong password is refused at once', async () => {
    const double = await startDouble({ mode, tls: secured(false), user: 'farebox:p@ss-w/rd' });
    const connection = { connectionString: double.connectionString, tlsCaFile: certificates.caFile };
    expect(await appendAndRead(openStore({ ...connection, user: { name: 'farebox', password: 'p@ss-w/rd' } }))).toBe('appended');
    const stranger = openStore({ ...connection, user: { name: 'farebox', password: 'guess' } });
    expect(await stranger.isReady()).toBe(false);
    await expect(appendAndRead(stranger)).rejects.toMatchObject({ type: 'access-denied' });
  });
});

describe('a cluster', () => {
  test('its leader is found by gossip', async () => {
    const double = await startDouble();
    const address = `127.0.0.1:${double.port}`;
    expect(await appendAndRead(openStore({ connectionString: `esdb://${address},${address}?tls=false` }))).toBe('appended');
  });
});
