/** Every planted bug is caught, and soon: a simulation that lets one pass would let a real one pass too. */
import { afterAll, describe, expect, test } from '@jest/globals';
import { runHistory } from './history.js';
import { PLANTED_BUGS } from './mutations/planted-bugs.js';

/** Most bugs show in the first histories; the rarest needed about eighty. */
const SEEDS_MAX = 500;
const TIMEOUT_MS = 300_000;

describe('the simulation catches', () => {
  const caught: string[] = [];

  test.each(PLANTED_BUGS.map((mutation) => ({ name: mutation.name, mutation })))(
    '$name',
    async ({ name, mutation }) => {
      for (let seed = 1; seed <= SEEDS_MAX; seed += 1) {
        const { violation } = await runHistory(seed, { mutation });
        if (violation === null) continue;
        caught.push(`${String(seed).padStart(4)}  ${name}: ${violation.invariant}`);
        return;
      }
      expect(`${name} was caught within ${SEEDS_MAX} histories`).toBe(true);
    },
    TIMEOUT_MS,
  );

  afterAll(() => {
    process.stdout.write(`seeds until each planted bug was caught, and the invariant it broke\n${caught.join('\n')}\n`);
  });

  test('at least thirty bugs are planted, each with a name of its own', () => {
    expect(PLANTED_BUGS.length).toBeGreaterThanOrEqual(30);
    expect(new Set(PLANTED_BUGS.map(({ name }) => name)).size).toBe(PLANTED_BUGS.length);
  });
});
