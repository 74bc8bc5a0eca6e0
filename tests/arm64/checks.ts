/** What must hold of the jobs that ran in ARM64, by themselves and beside the same jobs on the machine's own architecture. */
import { JOBS, type JobOutcome, type JobReport } from './job-report.js';

export type Check = { readonly guarantee: string; readonly holds: boolean; readonly seen: string };

export function checksOf(arm64: JobReport, own: JobReport): readonly Check[] {
  const outcomes = JOBS.map((job, index) => ({ job, here: outcomeOf(arm64, index), there: outcomeOf(own, index) }));
  const checks: Check[] = [];
  const check = (guarantee: string, holds: boolean, seen: unknown) => checks.push({ guarantee, holds, seen: JSON.stringify(seen) });

  check('the worker is an ARM64 program', arm64.arch === 'arm64', arm64.arch);
  const { nativeFiles } = arm64;
  const isArm64Only = nativeFiles.length > 0 && nativeFiles.every((path) => path.startsWith('linux-arm64/'));
  check('its model runs in the ARM64 build of llama.cpp', isArm64Only && nativeFiles.includes('linux-arm64/llama-addon.node'), nativeFiles);

  for (const { job, here, there } of outcomes) {
    const { outcome, finishReason, usage, outputs } = here.finished;
    const { promptTokens, cachedTokens, completionTokens } = usage;
    const name = `"${job.name}"`;
    check(`${name} is completed`, outcome === 'completed' && finishReason !== null, { outcome, finishReason });
    check(`${name} has text, in as many pieces as its result says`, here.text !== '' && here.outputs === outputs, here);
    check(`${name} has the same prompt tokens in both`, promptTokens > 0 && promptTokens === there.finished.usage.promptTokens, usage);
    check(`${name} has no more cached tokens than its prompt`, cachedTokens <= promptTokens, usage);
    // A budget may be reached by the very token that ends the answer, so `stop` says nothing of it.
    const isWithinBudget =
      finishReason === 'length' ? completionTokens === job.outputTokensBudget : completionTokens <= job.outputTokensBudget;
    check(`${name} has completion tokens within its budget`, completionTokens > 0 && isWithinBudget, { usage, finishReason });
    const fingerprints = [here, there].map(({ finished }) => finished.systemFingerprint);
    check(`${name} has the same system fingerprint in both`, fingerprints[0] !== null && fingerprints[0] === fingerprints[1], fingerprints);
    if (here.text === there.text) {
      check(`${name} is the same text in both, and the same tokens`, completionTokens === there.finished.usage.completionTokens, usage);
    }
  }

  const [once, again] = ['seeded', 'seeded again'].map((name) => outcomes.find(({ job }) => job.name === name)?.here);
  const isRepeated = once !== undefined && once.text === again?.text && countOf(once) === countOf(again);
  check('the same seed gives the same answer', isRepeated, [once?.text, again?.text]);
  const echoes = outcomes.filter(({ job }) => job.environment === 'test');
  check('a test key gets the same echo in both', echoes.length > 0 && echoes.every(isSame), echoes);
  // Other kernels round differently, so an answer may turn at a near tie; one that computes wrongly never gets a sentence right.
  const same = outcomes.filter(({ job }) => job.environment === 'live').filter(isSame);
  check(
    'some answer of the model is the same in both',
    same.length > 0,
    outcomes.map(({ here, there }) => [here.text, there.text]),
  );
  return checks;
}

export const countOf = (outcome: JobOutcome) => outcome.finished.usage.completionTokens;

export const isSame = ({ here, there }: { readonly here: JobOutcome; readonly there: JobOutcome }) =>
  here.text === there.text && countOf(here) === countOf(there);

function outcomeOf(report: JobReport, index: number): JobOutcome {
  const outcome = report.jobs[index];
  if (outcome === undefined || outcome.name !== JOBS[index]?.name) throw new Error(`no outcome of job ${index}: ${JSON.stringify(report)}`);
  return outcome;
}
