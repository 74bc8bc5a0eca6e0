/** When a follower reads; what it delivers is the store contract's. Time stands still unless the test lets it pass. */
import { describe, expect, test } from '@jest/globals';
import type { Scheduler } from '../../platform/scheduler.js';
import type { RecordedEvent } from '../contract/envelope.js';
import { followLog } from './follow-log.js';

const REST_MS = 10;
const BATCH_MAX = 3;

const eventAt = (position: number) => ({ position: String(position) }) as RecordedEvent;

function startFollower() {
  const log: RecordedEvent[] = [];
  const batches: string[][] = [];
  const waiting: { readonly work: () => void; readonly delayMs: number }[] = [];
  let reads = 0;
  const scheduler: Scheduler = {
    defer: (work) => queueMicrotask(work),
    delay: (work, delayMs) => {
      const entry = { work, delayMs };
      waiting.push(entry);
      return () => void waiting.splice(waiting.indexOf(entry), waiting.includes(entry) ? 1 : 0);
    },
  };
  const follower = followLog({
    after: '0',
    batchMax: BATCH_MAX,
    restMs: REST_MS,
    scheduler,
    pollEveryMs: null,
    read: async (after, maxCount) => {
      reads += 1;
      return log.filter(({ position }) => position > after).slice(0, maxCount);
    },
    onEvents: (events) => void batches.push(events.map(({ position }) => position)),
  });
  const append = (position: number) => {
    log.push(eventAt(position));
    follower.wake(String(position));
  };
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  const passTime = async () => {
    for (const { work } of waiting.splice(0)) work();
    await settled();
  };
  return { append, batches, follower, passTime, readCount: () => reads, settled, waiting };
}

describe('resting', () => {
  test('what is appended during a rest comes together, with one read', async () => {
    const { append, batches, passTime, readCount, settled, waiting } = startFollower();
    await settled();
    append(1);
    await settled();
    expect(batches).toEqual([['1']]);
    const readsBefore = readCount();
    append(2);
    append(3);
    await settled();
    expect([batches.length, readCount(), waiting.map(({ delayMs }) => delayMs)]).toEqual([1, readsBefore, [REST_MS]]);
    await passTime();
    expect(batches).toEqual([['1'], ['2', '3']]);
    expect(readCount()).toBe(readsBefore + 1);
  });

  test('a full batch is followed by the next at once', async () => {
    const { append, batches, settled } = startFollower();
    for (let position = 1; position <= 4; position += 1) append(position);
    await settled();
    expect(batches).toEqual([['1', '2', '3'], ['4']]);
  });

  test('a follower stopped during its rest reads no more', async () => {
    const { append, follower, passTime, readCount, settled, waiting } = startFollower();
    append(1);
    await settled();
    const reads = readCount();
    await follower.stop();
    expect(waiting).toEqual([]);
    append(2);
    await passTime();
    expect(readCount()).toBe(reads);
  });
});
