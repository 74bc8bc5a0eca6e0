/**
 * The long simulation, over all cores. `FAREBOX_SIM_HISTORIES` sets how many histories, `FAREBOX_SIM_FIRST_SEED` where they begin;
 * `FAREBOX_SIM_SEED` runs one seed alone and prints all of its trace.
 */
import { expect, test } from '@jest/globals';
import { describeSeed } from './failure-report.js';
import { runHistory } from './history.js';
import { runSeeds } from './seed-range.js';

/** About a minute on two cores. */
const HISTORIES_DEFAULT = 5_000;
/** Far beyond the seeds of the quick loop. */
const FIRST_SEED_DEFAULT = 10_000;
/** The slowest history took 0.1 s on a crowded machine. */
const SECONDS_PER_HISTORY_MAX = 0.25;

const seedAlone = process.env['FAREBOX_SIM_SEED'];
const count = Number(process.env['FAREBOX_SIM_HISTORIES'] ?? HISTORIES_DEFAULT);
const first = Number(process.env['FAREBOX_SIM_FIRST_SEED'] ?? FIRST_SEED_DEFAULT);

if (seedAlone !== undefined) {
  test(`seed ${seedAlone} holds every invariant`, async () => {
    const seed = Number(seedAlone);
    process.stdout.write(await describeSeed(seed, { linesMax: Number.POSITIVE_INFINITY }));
    expect((await runHistory(seed)).violation).toBeNull();
  });
} else {
  test(
    `${count} histories hold every invariant`,
    async () => {
      const result = await runSeeds({ first, count });
      const { histories, seconds, threads, events, steps, failed } = result;
      const rate = (histories / seconds).toFixed(0);
      process.stdout.write(
        `simulation: ${histories} histories, ${steps} steps, ${events} events; ${rate} histories/s on ${threads} threads\n`,
      );
      const [seed] = failed;
      if (seed !== undefined) throw new Error(`seeds ${failed.slice(0, 10).join(', ')} fail\n${await describeSeed(seed)}`);
      expect(histories).toBe(count);
    },
    60_000 + count * SECONDS_PER_HISTORY_MAX * 1_000,
  );
}
