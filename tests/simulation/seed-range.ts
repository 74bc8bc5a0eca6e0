/** Runs many histories over all cores: each thread takes the next seeds until all are taken. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

/** Threads; more than this many histories at once only fill memory. */
const THREADS_MAX = 8;
/** Seeds a thread takes at once: about a second's worth, so that threads end together. */
export const SEEDS_PER_TURN = 100;

export type SeedRange = { readonly first: number; readonly count: number };
export type TurnResult = {
  readonly histories: number;
  readonly events: number;
  readonly steps: number;
  readonly failed: readonly number[];
};
export type RangeResult = TurnResult & { readonly seconds: number; readonly threads: number };

/** Stops early once a seed has failed; every failed seed of the turns under way is named, lowest first. */
export async function runSeeds({ first, count }: SeedRange): Promise<RangeResult> {
  const startedMs = performance.now();
  const total = { histories: 0, events: 0, steps: 0, failed: [] as number[] };
  const end = first + count;
  let next = first;
  const threads = Math.min(availableParallelism(), THREADS_MAX, Math.ceil(count / SEEDS_PER_TURN));
  const runThread = () =>
    new Promise<void>((resolve, reject) => {
      const thread = new Worker(new URL('./seed-thread.js', import.meta.url));
      const giveTurn = () => {
        if (next >= end || total.failed.length > 0) {
          void thread.terminate().then(() => resolve());
          return;
        }
        const turn: SeedRange = { first: next, count: Math.min(SEEDS_PER_TURN, end - next) };
        next += turn.count;
        thread.postMessage(turn);
      };
      thread.on('message', (result: TurnResult) => {
        total.histories += result.histories;
        total.events += result.events;
        total.steps += result.steps;
        total.failed.push(...result.failed);
        giveTurn();
      });
      thread.on('error', reject);
      giveTurn();
    });
  await Promise.all(Array.from({ length: threads }, runThread));
  total.failed.sort((left, right) => left - right);
  return { ...total, seconds: (performance.now() - startedMs) / 1_000, threads };
}
