import { expect, jest, test } from '@jest/globals';
import { Pause } from './pause.js';

test('a pause lasts as long as it was to', async () => {
  const startedMs = performance.now();
  await new Pause().wait(20);
  // Timers of Node may fire a millisecond early.
  expect(performance.now() - startedMs).toBeGreaterThanOrEqual(19);
});

test('a pause that is ended is over at once, and the next one is whole again', async () => {
  const pause = new Pause();
  const cut = pause.wait(60_000);
  pause.end();
  await cut;
  const onTime = jest.fn();
  const next = pause.wait(10).then(onTime);
  expect(onTime).not.toHaveBeenCalled();
  await next;
  expect(onTime).toHaveBeenCalledTimes(1);
});

test('ending without a pause changes nothing', async () => {
  const pause = new Pause();
  pause.end();
  await pause.wait(1);
  pause.end();
});
