/** No more than so many run at once, nobody is forgotten, and failures give their place back. */
import { expect, test } from '@jest/globals';
import { createInFlightLimit } from './in-flight-limit.js';

test('a hundred pieces of work, three at a time, some of which fail', async () => {
  const limit = createInFlightLimit(3);
  let running = 0;
  let runningMax = 0;
  const outcomes = await Promise.allSettled(
    Array.from({ length: 100 }, (_, index) =>
      limit.run(async () => {
        running += 1;
        runningMax = Math.max(runningMax, running);
        await new Promise<void>((resolve) => setImmediate(resolve));
        running -= 1;
        if (index % 7 === 0) throw new Error('this one fails');
        return index;
      }),
    ),
  );
  expect([running, runningMax]).toEqual([0, 3]);
  expect(outcomes.filter((outcome) => outcome.status === 'rejected')).toHaveLength(15);
  expect(await limit.run(async () => 'free again')).toBe('free again');
});
