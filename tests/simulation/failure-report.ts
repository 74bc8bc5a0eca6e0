/** What is printed of a failing seed: enough to replay it byte for byte and to see what went wrong. */
import { type HistoryResult, runHistory } from './history.js';
import type { Mutation } from './mutations/mutation.js';

/** Lines of the trace that are printed; `FAREBOX_SIM_SEED` alone prints all of them. */
const TRACE_LINES_PRINTED = 150;

/** Runs the seed again with its trace kept. */
export async function describeSeed(
  seed: number,
  options: { readonly linesMax?: number; readonly mutation?: Mutation } = {},
): Promise<string> {
  const { linesMax = TRACE_LINES_PRINTED, mutation } = options;
  const result = await runHistory(seed, { keepsTrace: true, ...(mutation === undefined ? {} : { mutation }) });
  return reportOf(result, linesMax);
}

function reportOf({ seed, plan, violation, trace, traceHash, steps, events, runs }: HistoryResult, linesMax: number): string {
  const left = Math.max(0, trace.length - linesMax);
  return [
    `seed ${seed}: ${violation === null ? 'holds' : violation.message}`,
    `replay: FAREBOX_SIM_SEED=${seed} node --experimental-vm-modules node_modules/jest/bin/jest.js dist/tests/simulation/simulation.test.js`,
    `${steps} steps, ${runs} runs, ${events} events, trace hash ${traceHash}`,
    `fault plan: ${JSON.stringify(plan)}`,
    ...(left > 0 ? [`… ${left} earlier lines`] : []),
    ...trace.slice(left),
    '',
  ].join('\n');
}
