/** A few hundred histories for the quick loop, and the promise that a seed tells the same story every time. */
import { describe, expect, test } from '@jest/globals';
import { describeSeed } from './failure-report.js';
import { runHistory } from './history.js';
import { PLANTED_BUGS } from './mutations/planted-bugs.js';
import { SEEDS_PER_TURN } from './seed-range.js';

/** Seeds of the quick loop; the long simulation begins with others. */
const QUICK_SEEDS = 3 * SEEDS_PER_TURN;
const REPLAYED_SEEDS = 20;

test(`${QUICK_SEEDS} histories hold every invariant`, async () => {
  let runs = 0;
  for (let seed = 1; seed <= QUICK_SEEDS; seed += 1) {
    const result = await runHistory(seed);
    if (result.violation !== null) throw new Error(await describeSeed(seed));
    runs += result.runs;
  }
  expect(runs).toBeGreaterThan(QUICK_SEEDS);
});

describe('a seed', () => {
  test('tells the same history every time, with its trace kept or not', async () => {
    for (let seed = 1; seed <= REPLAYED_SEEDS; seed += 1) {
      const first = await runHistory(seed);
      const again = await runHistory(seed, { keepsTrace: true });
      expect([again.traceHash, again.steps, again.events]).toEqual([first.traceHash, first.steps, first.events]);
      expect(again.trace.length).toBeGreaterThan(first.steps / 2);
    }
  });

  test('that fails prints the same report byte for byte', async () => {
    const mutation = PLANTED_BUGS.find(({ name }) => name === 'holds never expire');
    if (mutation === undefined) throw new Error('the bug is not planted any more');
    let seed = 1;
    while ((await runHistory(seed, { mutation })).violation === null) seed += 1;
    const report = await describeSeed(seed, { mutation });
    expect(report).toContain(`seed ${seed}: 4 liveness: not converged without faults`);
    expect(report).toContain('"deployment"');
    expect(await describeSeed(seed, { mutation })).toBe(report);
  });

  test('differs from its neighbour', async () => {
    const hashes = new Set<string>();
    for (let seed = 1; seed <= REPLAYED_SEEDS; seed += 1) hashes.add((await runHistory(seed)).traceHash);
    expect(hashes.size).toBe(REPLAYED_SEEDS);
  });
});
