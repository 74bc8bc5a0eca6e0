/** `waitFor` returns what it waited for, and says what never came. */
import { expect, test } from '@jest/globals';
import { waitFor } from './wait-for.js';

test('the first truthy answer is returned', async () => {
  const answers = [null, 0, 'third'];
  expect(await waitFor(() => answers.shift())).toBe('third');
});

test('a condition that never holds is named when the time is up', async () => {
  await expect(waitFor(() => false, { timeoutMs: 1, describe: () => 'the moon' })).rejects.toThrow('waited 1 ms in vain for the moon');
});

test('a condition that throws ends the wait', async () => {
  const broken = async () => {
    throw new Error('broken');
  };
  await expect(waitFor(broken)).rejects.toThrow('broken');
});
