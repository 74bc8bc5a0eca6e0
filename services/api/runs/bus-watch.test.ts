/** The bus is up until it has failed twice in a row, and up again at once. */
import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { BusWatch } from './bus-watch.js';

test('one bad look changes nothing, two do, and a good one is enough to come back', async () => {
  const answers: boolean[] = [];
  const seen: boolean[] = [];
  const watch = new BusWatch(
    {
      isReady: async () => {
        seen.push(watch.isUp);
        return answers[seen.length - 1] ?? true;
      },
    },
    pino({ level: 'silent' }),
  );
  answers.push(false, true, false, false, true, true);
  await waitFor(() => seen.length >= 6, { describe: 'six looks' });
  watch.stop();
  expect(seen.slice(0, 6)).toEqual([true, true, true, true, false, true]);
});
