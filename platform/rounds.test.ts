/** Rounds follow one another, survive a failure, and end when they are stopped. Time passes when the test says so. */
import { expect, test } from '@jest/globals';
import { startRounds } from './rounds.js';
import { waitFor } from './testing/wait-for.js';

function manualScheduler() {
  const waiting: { call: () => void; delayMs: number }[] = [];
  return {
    waiting,
    scheduler: {
      defer: (call: () => void) => void waiting.push({ call, delayMs: 0 }),
      delay(call: () => void, delayMs: number) {
        const entry = { call, delayMs };
        waiting.push(entry);
        return () => void waiting.splice(waiting.indexOf(entry), 1);
      },
    },
    next: () => waiting.shift()?.call(),
  };
}

test('a round at once, then one after each pause, also after one that failed', async () => {
  const { scheduler, waiting, next } = manualScheduler();
  const errors: unknown[] = [];
  let rounds = 0;
  const round = async () => {
    rounds += 1;
    if (rounds === 2) throw new Error('the second');
  };
  const running = startRounds({ round, pauseMs: 500, scheduler, onError: (error) => errors.push(error) });
  await waitFor(() => waiting.length === 1, { describe: 'the first pause' });
  expect([rounds, waiting[0]?.delayMs]).toEqual([1, 500]);
  next();
  await waitFor(() => waiting.length === 1, { describe: 'the second pause' });
  expect([rounds, errors.length]).toEqual([2, 1]);
  next();
  await waitFor(() => rounds === 3 && waiting.length === 1, { describe: 'the third round' });
  await running.stop();
  expect(waiting).toEqual([]);
});

test('stopping waits for the round under way, and no other follows', async () => {
  const { scheduler, waiting } = manualScheduler();
  let release = () => {};
  const round = () =>
    new Promise<void>((resolve) => {
      release = resolve;
    });
  const running = startRounds({ round, pauseMs: 1, scheduler, onError: () => undefined });
  let isStopped = false;
  const stopping = running.stop().then(() => {
    isStopped = true;
  });
  await Promise.resolve();
  expect(isStopped).toBe(false);
  release();
  await stopping;
  expect(waiting).toEqual([]);
});
