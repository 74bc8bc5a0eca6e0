/** The judge of `npm run test:arm64`: what it lets pass and what it must not. The reports are made up, so that it can be wrong on purpose. */
import { describe, expect, test } from '@jest/globals';
import { checksOf } from './checks.js';
import { JOBS, type JobOutcome, type JobReport } from './job-report.js';

const NATIVE_FILES = ['libggml-cpu-armv8.2_2.so', 'llama-addon.node'];

function reportOf(arch: string, change: (outcome: JobOutcome) => JobOutcome = (outcome) => outcome): JobReport {
  const jobs = JOBS.map((job): JobOutcome => {
    const usage = { promptTokens: 30, cachedTokens: 3, completionTokens: 5 };
    const finished: JobOutcome['finished'] = {
      runId: 'run_1',
      accountId: 'acc_1',
      attempt: 1,
      execution: 'ins_1/1',
      outcome: 'completed',
      finishReason: 'stop',
      usage,
      errorCode: null,
      systemFingerprint: 'fp_tiny',
      outputs: 2,
      replyTopic: 'replies',
    };
    return change({ name: job.name, text: 'Ships sail on the sea.', outputs: 2, durationMs: 10, finished });
  });
  return { arch, nodeVersion: 'v20.20.2', nativeFiles: NATIVE_FILES.map((path) => `linux-${arch}/${path}`), startMs: 10, jobs };
}

const failuresOf = (arm64: JobReport, own = reportOf('x64')) =>
  checksOf(arm64, own)
    .filter(({ holds }) => !holds)
    .map(({ guarantee }) => guarantee.replace(/^"[^"]+" /, ''));

const finishedWith = (change: Partial<JobOutcome['finished']>) =>
  reportOf('arm64', (outcome) => ({ ...outcome, finished: { ...outcome.finished, ...change } }));
const usageWith = (change: Partial<JobOutcome['finished']['usage']>) =>
  finishedWith({ usage: { promptTokens: 30, cachedTokens: 3, completionTokens: 5, ...change } });

describe('checks of the ARM64 worker', () => {
  test('equal reports pass', () => {
    expect(failuresOf(reportOf('arm64'))).toEqual([]);
  });

  test('an answer that rounding has turned passes with other completion tokens', () => {
    const turned = reportOf('arm64', (outcome) => {
      if (outcome.name !== 'greedy') return outcome;
      const usage = { ...outcome.finished.usage, completionTokens: 9 };
      return { ...outcome, text: 'Boats sail.', finished: { ...outcome.finished, usage } };
    });
    expect(failuresOf(turned)).toEqual([]);
  });

  test.each<[string, JobReport, string]>([
    ['another architecture', { ...reportOf('arm64'), arch: 'x64' }, 'the worker is an ARM64 program'],
    [
      'the wrong native files',
      { ...reportOf('arm64'), nativeFiles: ['linux-x64/llama-addon.node'] },
      'its model runs in the ARM64 build of',
    ],
    ['no native files', { ...reportOf('arm64'), nativeFiles: [] }, 'its model runs in the ARM64 build of llama.cpp'],
    ['a cancelled run', finishedWith({ outcome: 'cancelled', finishReason: null }), 'is completed'],
    ['no text', reportOf('arm64', (outcome) => ({ ...outcome, text: '' })), 'has text, in as many pieces as its result says'],
    ['a missing piece', reportOf('arm64', (outcome) => ({ ...outcome, outputs: 1 })), 'has text, in as many pieces as its result says'],
    ['other prompt tokens', usageWith({ promptTokens: 31 }), 'has the same prompt tokens in both'],
    ['more cached than there are', usageWith({ cachedTokens: 31 }), 'has no more cached tokens than its prompt'],
    ['no completion tokens', usageWith({ completionTokens: 0 }), 'has completion tokens within its budget'],
    ['more than the budget', usageWith({ completionTokens: 1_000 }), 'has completion tokens within its budget'],
    ['a full budget that is not full', finishedWith({ finishReason: 'length' }), 'has completion tokens within its budget'],
    ['another fingerprint', finishedWith({ systemFingerprint: 'fp_other' }), 'has the same system fingerprint in both'],
    ['no fingerprint', finishedWith({ systemFingerprint: null }), 'has the same system fingerprint in both'],
    ['another count for the same text', usageWith({ completionTokens: 6 }), 'is the same text in both, and the same tokens'],
    ['a seed without effect', onlyFor('seeded again', 'Something else.'), 'the same seed gives the same answer'],
    ['another echo', onlyFor('test key', 'Something else.'), 'a test key gets the same echo in both'],
    [
      'nothing but other answers',
      reportOf('arm64', (outcome) => ({ ...outcome, text: '%%%' })),
      'some answer of the model is the same in both',
    ],
  ])('%s is found', (_, report, guarantee) => {
    expect(failuresOf(report)).toContainEqual(expect.stringContaining(guarantee));
  });

  test('a report without all jobs is refused', () => {
    expect(() => checksOf({ ...reportOf('arm64'), jobs: [] }, reportOf('x64'))).toThrow(/no outcome of job 0/);
  });
});

function onlyFor(name: string, text: string): JobReport {
  return reportOf('arm64', (outcome) => (outcome.name === name ? { ...outcome, text } : outcome));
}
