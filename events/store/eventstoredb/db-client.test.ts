/** The traps of the EventStoreDB client, each shown on the real client where it lies open, and closed by ours. */

import { type AppendToStreamOptions, EventStoreDBClient, jsonEvent } from '@eventstore/db-client';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { NO_STREAM } from '../event-store.js';
import { freshStream, newEvents } from '../testing/example-events.js';
import { actualRevisionOf, connectDbClient, type DbClient, isRefusal, isWrongRevision, TimedOutError } from './db-client.js';
import { toWireEvent } from './event-format.js';
import { knownPosition, type LogPosition } from './position.js';
import { type DoubleMode, type EventStoreDouble, startEventStoreDouble } from './testing/double/event-store-double.js';

const TIMEOUT_MS = 5_000;

describe.each<DoubleMode>(['default', 'no batch append', 'no server features'])('EventStoreDB client, %s', (mode) => {
  let double: EventStoreDouble;
  let client: DbClient;
  /** The same client as it comes, without our guards. */
  let bare: EventStoreDBClient;

  beforeAll(async () => {
    double = await startEventStoreDouble({ mode });
    client = connectDbClient(double.connectionString);
    bare = EventStoreDBClient.connectionString(double.connectionString);
  });
  afterAll(async () => {
    await client.close();
    await bare.dispose();
    await double.stop();
  });

  const append = (stream: string, expectedRevision: number, count: number) =>
    client.append(stream, expectedRevision, newEvents(count).map(toWireEvent), TIMEOUT_MS);

  test('a wrong revision fails', async () => {
    const stream = freshStream();
    for (const expectedRevision of [0, 5]) {
      const error = await append(stream, expectedRevision, 1).catch((refusal: unknown) => refusal);
      expect(isWrongRevision(error) && actualRevisionOf(error)).toBe(NO_STREAM);
    }
    await append(stream, NO_STREAM, 2);
    for (const expectedRevision of [NO_STREAM, 0, 2, 9]) {
      const error = await append(stream, expectedRevision, 1).catch((refusal: unknown) => refusal);
      expect(isWrongRevision(error) && actualRevisionOf(error)).toBe(1);
    }
    expect(await append(stream, 1, 1)).toMatchObject({ revision: 2 });
  });

  test('left to itself the client appends whatever the revision, also when the fence goes by its successor’s name', async () => {
    const stream = freshStream();
    const event = () => jsonEvent({ type: 'ThingHappened', data: {} });
    await bare.appendToStream(stream, event());
    const renamed = { streamState: 'no_stream' } as AppendToStreamOptions;
    expect((await bare.appendToStream(stream, event(), renamed)).nextExpectedRevision).toBe(1n);
    await expect(bare.appendToStream(stream, event(), { expectedRevision: 'no_stream' })).rejects.toThrow();
  });

  test('a conflict is thrown, not returned', async () => {
    const stream = freshStream();
    await append(stream, NO_STREAM, 1);
    await expect(append(stream, NO_STREAM, 1)).rejects.toMatchObject({ type: 'wrong-expected-version' });
  });

  test('an append beyond the server’s size is refused for good', async () => {
    const [event] = newEvents(1);
    if (event === undefined) throw new Error('no event');
    const large = toWireEvent({ ...event, data: { text: 'x'.repeat(1_100_000) } });
    const error = await client.append(freshStream(), NO_STREAM, [large], TIMEOUT_MS).catch((refusal: unknown) => refusal);
    expect(isRefusal(error)).toBe(true);
  });

  test('the time of an event is read as the time it was written', async () => {
    const stream = freshStream();
    const beforeMs = Date.now();
    await append(stream, NO_STREAM, 1);
    const [event] = await client.readStream({ stream, fromRevision: 0, maxCount: 1 }, TIMEOUT_MS);
    const createdMs = event?.created.getTime() ?? 0;
    expect(createdMs).toBeGreaterThanOrEqual(beforeMs);
    expect(createdMs).toBeLessThanOrEqual(Date.now());
  });

  test('a read of $all includes the event at its position, a subscription begins behind it', async () => {
    const stream = freshStream();
    await append(stream, NO_STREAM, 3);
    const [first] = await client.readStream({ stream, fromRevision: 0, maxCount: 1 }, TIMEOUT_MS);
    const from = first?.position;
    if (from === undefined) throw new Error('an event without a position');
    const read = await client.readAll({ from, direction: 'forwards', maxCount: 3 }, TIMEOUT_MS);
    expect(read.map((event) => event.revision)).toEqual([0n, 1n, 2n]);
    const followed: bigint[] = [];
    const subscription = client.subscribeToAll(from, {
      onEvent: (event) => {
        if (event !== undefined) followed.push(event.revision);
      },
      onCheckpoint: () => {},
      onConfirmed: () => {},
      onLost: () => {},
    });
    await waitFor(() => followed.length === 2, { describe: () => `the two events behind: ${followed}` });
    subscription.stop();
    expect(followed).toEqual([1n, 2n]);
  });

  test('a checkpoint keeps commit and prepare position: from within an append the rest of it follows', async () => {
    const stream = freshStream();
    const origin = (await client.readAll({ from: null, direction: 'backwards', maxCount: 1 }, TIMEOUT_MS)).at(0)?.position ?? null;
    await append(stream, NO_STREAM, 300);
    const follow = async (after: LogPosition | null, count: number) => {
      const events: number[] = [];
      const checkpoints: LogPosition[] = [];
      const subscription = client.subscribeToAll(after, {
        onEvent: (event) => {
          if (event?.streamId === stream) events.push(Number(event.revision));
        },
        onCheckpoint: (position) => checkpoints.push(position),
        onConfirmed: () => {},
        onLost: () => {},
      });
      await waitFor(() => events.length === count, { describe: () => `${count} events; saw ${events.length}` });
      subscription.stop();
      return { events, checkpoint: checkpoints.at(-1) };
    };
    const { checkpoint } = await follow(origin, 300);
    if (checkpoint === undefined) throw new Error('no checkpoint came');
    // The events of one append share their commit position: the checkpoint is told from its neighbours by the prepare position alone.
    expect(checkpoint.prepare).toBeLessThan(checkpoint.commit);
    const whole = await client.readStream({ stream, fromRevision: 0, maxCount: 300 }, TIMEOUT_MS);
    const at = whole.findIndex((event) => knownPosition(event.position) === knownPosition(checkpoint));
    expect(at).toBeGreaterThan(0);
    expect((await follow(checkpoint, 299 - at)).events).toEqual(Array.from({ length: 299 - at }, (_, index) => at + 1 + index));
  });

  test('a read that is cut off rejects instead of ending early', async () => {
    const other = connectDbClient(double.connectionString);
    await append(freshStream(), NO_STREAM, 2_000);
    const reading = other.readAll({ from: null, direction: 'forwards', maxCount: 10_000 }, TIMEOUT_MS);
    const outcome = reading.then(
      () => 'resolved',
      () => 'rejected',
    );
    await other.readAll({ from: null, direction: 'backwards', maxCount: 1 }, TIMEOUT_MS);
    await other.close();
    expect(await outcome).toBe('rejected');
  });

  test('a server that accepts and never answers is given up after our own timeout', async () => {
    await double.freeze('writing');
    try {
      const stream = freshStream();
      let isBareSettled = false;
      const settle = () => {
        isBareSettled = true;
      };
      bare.appendToStream(freshStream(), jsonEvent({ type: 'ThingHappened', data: {} }), { deadline: 20 }).then(settle, settle);
      await waitFor(async () => (await double.count()).held === 1, { describe: 'the request to arrive' });
      // A plain append may be ended by the client's own deadline in the same moment.
      await expect(client.append(stream, NO_STREAM, newEvents(1).map(toWireEvent), 200)).rejects.toThrow(/no answer|Deadline exceeded/);
      await expect(client.readAll({ from: null, direction: 'forwards', maxCount: 1 }, 200)).rejects.toThrow(TimedOutError);
      // Ten times the deadline later the client's batch append still waits; its plain append does not.
      expect(isBareSettled).toBe(mode !== 'default');
    } finally {
      await double.thaw();
    }
  });
});

describe('EventStoreDB client beside another', () => {
  test('an answer that comes after another connection broke does not end the process', async () => {
    const [one, other] = await Promise.all([startEventStoreDouble(), startEventStoreDouble()]);
    const [client, breaking] = [connectDbClient(one.connectionString), connectDbClient(other.connectionString)];
    try {
      const write = (to: DbClient, stream = freshStream()) => to.append(stream, NO_STREAM, newEvents(1).map(toWireEvent), TIMEOUT_MS);
      await Promise.all([write(client), write(breaking)]);
      await Promise.all([one.freeze('accepting'), other.freeze('accepting')]);
      const stream = freshStream();
      const pending = write(client, stream).catch((error: unknown) => error);
      const broken = write(breaking).catch((error: unknown) => error);
      for (const double of [one, other]) await waitFor(async () => (await double.count()).held === 1, { describe: 'the append to arrive' });
      await other.kill();
      expect(await broken).toBeInstanceOf(Error);
      // The client tells this one too that it failed, though its own connection is fine.
      expect(await pending).toBeInstanceOf(Error);
      await one.thaw();
      const written = await waitFor(async () => (await client.readStream({ stream, fromRevision: 0, maxCount: 1 }, TIMEOUT_MS)).at(0), {
        describe: 'the append whose answer nobody expects any more',
      });
      expect(written.revision).toBe(0n);
      expect(await write(client)).toMatchObject({ revision: 0 });
    } finally {
      await Promise.all([client.close(), breaking.close()]);
      await Promise.all([one.stop(), other.stop()]);
    }
  });
});
