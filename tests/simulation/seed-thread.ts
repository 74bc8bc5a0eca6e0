/** Thread of `runSeeds`: runs the seeds it is given and says which failed. */
import { parentPort } from 'node:worker_threads';
import { runHistory } from './history.js';
import type { SeedRange, TurnResult } from './seed-range.js';

parentPort?.on('message', async ({ first, count }: SeedRange) => {
  const failed: number[] = [];
  let events = 0;
  let steps = 0;
  for (let seed = first; seed < first + count; seed += 1) {
    const result = await runHistory(seed);
    events += result.events;
    steps += result.steps;
    if (result.violation !== null) failed.push(seed);
  }
  const answer: TurnResult = { histories: count, events, steps, failed };
  parentPort?.postMessage(answer);
});
