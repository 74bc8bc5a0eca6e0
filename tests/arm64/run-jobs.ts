/**
 * The inference worker with the bundled model, asked over the in-process bus as an API would ask it. Started by `run.ts` in the machine's own
 * architecture and in ARM64; prints a `JobReport` as its only line on standard output.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { InProcessBus } from '../../events/bus/in-process/in-process-bus.js';
import type { Message, MessageBus } from '../../events/bus/message-bus.js';
import {
  DEFAULT_POOL,
  type JsonObject,
  RUN_RESULTS_TOPIC,
  RunAttemptFailedSchema,
  RunFinishedSchema,
  RunOutputSchema,
  RunRequestedSchema,
  repliesTopic,
  runRequestsTopic,
} from '../../events/contract/index.js';
import { createLogger } from '../../platform/logging.js';
import { createMetrics } from '../../platform/metrics.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { readEnvironment } from '../../platform/settings.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { loadPreset } from '../../presets/load-preset.js';
import { ENGINE_SETTINGS, engineSettingsOf } from '../../services/inference/engine-settings.js';
import { LlamaEngine } from '../../services/inference/llama/llama-engine.js';
import { startEngines } from '../../services/inference/serving.js';
import { JOBS, type Job, type JobOutcome, type JobReport } from './job-report.js';

/** Each job takes a few seconds under emulation; a machine ten times slower still passes. */
const JOB_TIMEOUT_MS = 60_000;
const REPLIES = repliesTopic('arm64');

const settings = readEnvironment(z.object(ENGINE_SETTINGS), process.env);
const preset = loadPreset('farebox');
const model = preset.models[0]?.id ?? '';
const bus = new InProcessBus({ scheduler: eventLoopScheduler });
const heard: Message[] = [];
const onMessages = (messages: readonly Message[]) => {
  heard.push(...messages);
};
await bus.subscribe({ topic: REPLIES, group: 'arm64', onMessages });
await bus.subscribe({ topic: RUN_RESULTS_TOPIC, group: 'arm64', onMessages });

const startedAtMs = performance.now();
const engines = await startEngines({
  settings: engineSettingsOf(settings),
  preset,
  environment: {},
  bus,
  pools: [DEFAULT_POOL],
  workerId: 'ins_arm64',
  logger: createLogger({ level: 'warn', name: 'arm64' }),
  metrics: createMetrics(),
  tellsStarts: true,
  takesWorkWhenWarm: true,
});
try {
  const startMs = performance.now() - startedAtMs;
  const jobs: JobOutcome[] = [];
  for (const [index, job] of JOBS.entries()) jobs.push(await runJob(bus, job, `run_${index + 1}`));
  const { arch, version: nodeVersion } = process;
  const report: JobReport = { arch, nodeVersion, nativeFiles: nativeFiles(), startMs, jobs };
  process.stdout.write(`${JSON.stringify(report)}\n`);
} finally {
  await engines.stop();
  await bus.close();
}

/** Throws when the worker reports the job as failed. */
async function runJob(to: MessageBus, job: Job, runId: string): Promise<JobOutcome> {
  const { name, ...asked } = job;
  const attempt = { runId, accountId: 'acc_arm64', attempt: 1, model, replyTopic: REPLIES, deadlineMs: Date.now() + JOB_TIMEOUT_MS };
  const value = RunRequestedSchema.parse({ ...attempt, ...asked }) as JsonObject;
  const publishedAtMs = performance.now();
  await to.publish(runRequestsTopic(DEFAULT_POOL), [{ key: runId, type: 'RunRequested', headers: {}, value }]);
  const finished = await waitFor(() => heardOf('RunFinished', RunFinishedSchema, runId)[0] ?? failureOf(runId), {
    timeoutMs: JOB_TIMEOUT_MS,
    describe: () => `the result of ${name}; heard ${JSON.stringify(heard)}`,
  });
  const durationMs = performance.now() - publishedAtMs;
  // Results and replies are two topics: the last text may come after the result, and the result says how many pieces there are.
  const outputs = await waitFor(
    () => {
      const pieces = heardOf('RunOutput', RunOutputSchema, runId);
      return pieces.length >= finished.outputs && pieces;
    },
    { timeoutMs: JOB_TIMEOUT_MS, describe: `${finished.outputs} pieces of ${name}` },
  );
  return { name, text: outputs.map(({ text }) => text).join(''), outputs: outputs.length, durationMs, finished };
}

function heardOf<Value extends { readonly runId: string }>(type: string, schema: z.ZodType<Value>, runId: string): Value[] {
  return heard
    .filter((message) => message.type === type)
    .map(({ value }) => schema.parse(value))
    .filter((value) => value.runId === runId);
}

function failureOf(runId: string): null {
  const [failure] = heardOf('RunAttemptFailed', RunAttemptFailedSchema, runId);
  if (failure !== undefined) throw new Error(`${runId} failed: ${failure.errorCode}, ${failure.message}`);
  return null;
}

/** From the kernel's list of what the model's process has mapped; an emulator maps its program's files like any other. */
function nativeFiles(): string[] {
  const pid = engines.live instanceof LlamaEngine ? engines.live.childPid : null;
  if (pid === null) throw new Error('there is no process with the model');
  const paths = readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .map((line) => /@node-llama-cpp\/[^/]+\/bins\/(.+)$/.exec(line)?.[1]);
  return [...new Set(paths.filter((path) => path !== undefined))].sort();
}
