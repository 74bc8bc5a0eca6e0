/** Whatever fails between store and bus, subscribers get every account event, in order, and nothing else. */
import { afterEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { InProcessBus } from '../bus/in-process/in-process-bus.js';
import type { Message, MessageBus } from '../bus/message-bus.js';
import { ACCOUNT_EVENTS_TOPIC, BEFORE_EVERYTHING, eventIdOf, type NewEvent, type Position, type RecordedEvent } from '../contract/index.js';
import type { EventStore } from '../store/event-store.js';
import { createMemoryEventStore } from '../store/memory/memory-event-store.js';
import { type CheckpointStore, type RelayOptions, startRelay } from './relay.js';
import { eventOfMessage, MalformedRelayedEventError, messageOfEvent } from './relayed-event.js';

const releasers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const release of releasers.splice(0).reverse()) await release();
});

const newEvent = (n: number): NewEvent => ({
  id: eventIdOf(`command-${n}`, 'Counted'),
  type: 'Counted',
  version: 1,
  data: { n },
  metadata: { commandId: `command-${n}`, occurredAtMs: n },
});

const numberOf = (message: Message) => eventOfMessage(message).data['n'] as number;

function checkpointInMemory(at: Position = BEFORE_EVERYTHING): CheckpointStore & { position: Position } {
  const checkpoint = {
    position: at,
    load: () => Promise.resolve(checkpoint.position),
    save: (position: Position) => {
      checkpoint.position = position;
      return Promise.resolve();
    },
  };
  return checkpoint;
}

async function setUp(overrides: { queueMax?: number; onMessages?: (batch: readonly Message[]) => Promise<void> | void } = {}) {
  const store = createMemoryEventStore();
  const bus = new InProcessBus({ scheduler: eventLoopScheduler, queueMax: () => overrides.queueMax });
  releasers.push(
    () => store.close(),
    () => bus.close(),
  );
  const received: Message[] = [];
  const onMessages = overrides.onMessages ?? (() => {});
  await bus.subscribe({
    topic: ACCOUNT_EVENTS_TOPIC,
    group: 'reader',
    onMessages: async (batch) => {
      await onMessages(batch);
      received.push(...batch);
    },
  });
  const relay = async (options: Partial<RelayOptions> = {}) => {
    const started = await startRelay({ store, bus, checkpoints: checkpointInMemory(), onError: () => {}, ...options });
    releasers.push(() => started.stop());
    return started;
  };
  return { store, bus, received, relay };
}

async function append(store: EventStore, stream: string, from: number, count: number, firstNumber: number): Promise<Position> {
  const events = Array.from({ length: count }, (_, index) => newEvent(firstNumber + index));
  const [result] = await store.append([{ stream, expectedRevision: from - 1, events }]);
  if (result?.status !== 'appended') throw new Error(`append answered ${result?.status}`);
  return result.position;
}

test('events of accounts arrive in the order of the log, those of streams that nobody reads do not', async () => {
  const { store, received, relay } = await setUp();
  await append(store, 'account-acc_a', 0, 3, 0);
  await append(store, 'other-x', 0, 2, 100);
  const started = await relay();
  await append(store, 'account-acc_b', 0, 2, 3);
  const last = await append(store, 'other-x', 2, 1, 200);
  await waitFor(() => started.position() === last, { describe: 'the end of the log' });
  await waitFor(() => received.length === 5, { describe: 'five events' });
  expect(received.map(numberOf)).toEqual([0, 1, 2, 3, 4]);
  expect(received[3]).toMatchObject({ key: 'acc_b', type: 'Counted', headers: { stream: 'account-acc_b', revision: '0' } });
});

test('a relay that starts again goes on after its checkpoint', async () => {
  const { store, received, relay } = await setUp();
  const checkpoints = checkpointInMemory();
  const first = await relay({ checkpoints });
  const position = await append(store, 'account-acc_a', 0, 4, 0);
  await waitFor(() => checkpoints.position === position, { describe: 'the checkpoint' });
  await first.stop();
  await append(store, 'account-acc_a', 4, 3, 4);
  await relay({ checkpoints });
  await waitFor(() => received.length === 7, { describe: 'the rest' });
  expect(received.map(numberOf)).toEqual([0, 1, 2, 3, 4, 5, 6]);
});

describe('failures', () => {
  test('a publication that fails is tried again, and nothing is skipped', async () => {
    const { store, bus, received, relay } = await setUp();
    let attempts = 0;
    const errors: unknown[] = [];
    const unreliable: MessageBus = {
      publish: (topic, messages) => {
        attempts += 1;
        return attempts % 3 === 0 ? bus.publish(topic, messages) : Promise.reject(new Error('broker gone'));
      },
      subscribe: (options) => bus.subscribe(options),
      isReady: () => bus.isReady(),
      close: () => bus.close(),
    };
    const started = await relay({ bus: unreliable, onError: (error) => errors.push(error) });
    await append(store, 'account-acc_a', 0, 2, 0);
    const last = await append(store, 'account-acc_a', 2, 2, 2);
    await waitFor(() => started.position() === last, { describe: 'the end of the log' });
    await waitFor(() => received.length === 4, { describe: 'four events' });
    expect(received.map(numberOf)).toEqual([0, 1, 2, 3]);
    expect(errors.length).toBeGreaterThanOrEqual(2);
  });

  test('a checkpoint that cannot be saved means redelivery, not loss', async () => {
    const { store, received, relay } = await setUp();
    const checkpoints = checkpointInMemory();
    let failures = 2;
    const save = (position: Position) => {
      if (failures === 0) return checkpoints.save(position);
      failures -= 1;
      return Promise.reject(new Error('disk full'));
    };
    const last = await append(store, 'account-acc_a', 0, 2, 0);
    await relay({ checkpoints: { load: checkpoints.load, save } });
    await waitFor(() => checkpoints.position === last, { describe: 'the checkpoint' });
    await waitFor(() => received.length === 6, { describe: 'three deliveries' });
    expect(received.map(numberOf)).toEqual([0, 1, 0, 1, 0, 1]);
  });

  test('a full bus is waited for without a word', async () => {
    let open: () => void = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { store, bus, received, relay } = await setUp({ queueMax: 3, onMessages: () => opened });
    const errors: unknown[] = [];
    let pauses = 0;
    const scheduler = {
      delay: (work: () => void, delayMs: number) => {
        pauses += 1;
        return eventLoopScheduler.delay(work, delayMs);
      },
    };
    await relay({ scheduler, onError: (error) => errors.push(error) });
    await append(store, 'account-acc_a', 0, 2, 0);
    await waitFor(() => bus.waiting(ACCOUNT_EVENTS_TOPIC, 'reader') === 2, { describe: 'the first two' });
    await append(store, 'account-acc_a', 2, 2, 2);
    await waitFor(() => pauses >= 2, { describe: 'a relay that waits' });
    open();
    await waitFor(() => received.length === 4, { describe: 'all four' });
    expect([received.map(numberOf), errors]).toEqual([[0, 1, 2, 3], []]);
  });

  test('a relay that waits for a full bus can be stopped', async () => {
    const { store, bus, relay } = await setUp({ queueMax: 1 });
    let pauses = 0;
    const scheduler = {
      delay: () => {
        pauses += 1;
        return () => {};
      },
    };
    const started = await relay({ scheduler });
    await append(store, 'account-acc_a', 0, 2, 0);
    await waitFor(() => pauses === 1, { describe: 'a relay that waits' });
    await started.stop();
    expect(bus.waiting(ACCOUNT_EVENTS_TOPIC, 'reader')).toBe(0);
  });
});

describe('a relayed event', () => {
  const recorded = fc.record({
    id: fc.uuid(),
    type: fc.constantFrom('CreditReserved', 'UsageRecorded'),
    version: fc.integer({ min: 1, max: 9 }),
    data: fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null))),
    metadata: fc.record({ commandId: fc.string({ minLength: 1 }), occurredAtMs: fc.nat() }),
    stream: fc.string({ minLength: 1 }).map((id) => `account-${id}`),
    revision: fc.nat(),
    position: fc.string({ minLength: 1 }),
  });

  test('comes back as it was stored, also after it was written as JSON', () => {
    fc.assert(
      fc.property(recorded, (event) => {
        const message = messageOfEvent(event) as Message;
        expect(eventOfMessage(message)).toEqual(event);
        expect(eventOfMessage(JSON.parse(JSON.stringify(message)) as Message)).toEqual(JSON.parse(JSON.stringify(event)));
        expect(eventOfMessage(message).data).toBe(event.data);
      }),
    );
  });

  test('that lacks a part is refused', () => {
    const event: RecordedEvent = { ...newEvent(1), stream: 'account-acc_a', revision: 0, position: '1' };
    const message = messageOfEvent(event) as Message;
    for (const header of ['event-id', 'stream', 'revision', 'position']) {
      const headers = Object.fromEntries(Object.entries(message.headers).filter(([name]) => name !== header));
      expect(() => eventOfMessage({ ...message, headers })).toThrow(MalformedRelayedEventError);
    }
    for (const part of ['version', 'data', 'metadata']) {
      const value = Object.fromEntries(Object.entries(message.value).filter(([name]) => name !== part));
      expect(() => eventOfMessage({ ...message, value })).toThrow(MalformedRelayedEventError);
    }
    expect(() => eventOfMessage({ ...message, headers: { ...message.headers, revision: 'none' } })).toThrow(MalformedRelayedEventError);
  });
});
