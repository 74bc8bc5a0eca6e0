/** A worker over the in-process bus, and everything that it says; for tests of what it makes of each kind of run. */
import pino from 'pino';
import { Registry } from 'prom-client';
import { InProcessBus } from '../../../events/bus/in-process/in-process-bus.js';
import type { Message } from '../../../events/bus/message-bus.js';
import {
  DEFAULT_POOL,
  type JsonObject,
  RUN_RESULTS_TOPIC,
  RunAttemptFailedSchema,
  RunFinishedSchema,
  RunOutputSchema,
  type RunRequested,
  RunRequestedSchema,
  repliesTopic,
  runControlTopic,
  runRequestsTopic,
} from '../../../events/contract/index.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import type { Engine } from '../engine.js';
import type { MediaSource } from '../media-source.js';
import { startWorker } from '../worker.js';
import { workerMetrics } from '../worker-metrics.js';
import { ManualTime } from './manual-time.js';

const REPLIES = repliesTopic('api-1');

export async function workerUnderTest(engine: Engine, mediaSource?: MediaSource) {
  const time = new ManualTime();
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  const heard: Message[] = [];
  const onMessages = (messages: readonly Message[]) => {
    heard.push(...messages);
  };
  await bus.subscribe({ topic: REPLIES, group: 'test', onMessages });
  await bus.subscribe({ topic: RUN_RESULTS_TOPIC, group: 'test', onMessages });
  const worker = await startWorker({
    bus,
    pool: DEFAULT_POOL,
    workerId: 'worker-1',
    engineFor: () => engine,
    clock: time,
    scheduler: time,
    logger: pino({ level: 'silent' }),
    metrics: workerMetrics(new Registry()),
    ...(mediaSource === undefined ? {} : { mediaSource }),
  });
  let runs = 0;
  const of = (type: string) => heard.filter((message) => message.type === type).map(({ value }) => value);
  return {
    time,
    worker,
    outputs: () => of('RunOutput').map((value) => RunOutputSchema.parse(value)),
    finished: () => of('RunFinished').map((value) => RunFinishedSchema.parse(value)),
    failed: () => of('RunAttemptFailed').map((value) => RunAttemptFailedSchema.parse(value)),
    /** Bytes of the longest message. */
    longestBytes: () => Math.max(...heard.map(({ value }) => Buffer.byteLength(JSON.stringify(value)))),
    /** The run's id. */
    async ask(overrides: Partial<RunRequested> & Pick<RunRequested, 'input'>): Promise<string> {
      runs += 1;
      const value: RunRequested = {
        runId: `run_${runs}`,
        accountId: 'acc_1',
        attempt: 1,
        model: 'some-model',
        sampling: { temperature: 1, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: null },
        stop: [],
        outputTokensBudget: 100,
        stream: true,
        environment: 'live',
        replyTopic: REPLIES,
        deadlineMs: time.nowMs() + 60_000,
        ...overrides,
      };
      RunRequestedSchema.parse(value);
      const message = { key: value.runId, type: 'RunRequested', headers: {}, value: value as unknown as JsonObject };
      await bus.publish(runRequestsTopic(DEFAULT_POOL), [message]);
      return value.runId;
    },
    cancel: (runId: string) =>
      bus.publish(runControlTopic(DEFAULT_POOL), [{ key: runId, type: 'RunCancelRequested', headers: {}, value: { runId } }]),
    /** Resolves when the run's last word has been said. */
    async whenOver(): Promise<void> {
      const isOver = () => of('RunFinished').length + of('RunAttemptFailed').length > 0;
      await waitFor(isOver, { describe: () => `the end of the run; heard ${JSON.stringify(heard).slice(0, 2_000)}` });
    },
    async close(): Promise<void> {
      await worker.stop(0);
      await bus.close();
    },
  };
}
