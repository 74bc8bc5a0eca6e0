/** The worker loop over the in-process bus: what it reports for every way a run can go. */
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Registry } from 'prom-client';
import { InProcessBus } from '../../events/bus/in-process/in-process-bus.js';
import type { Message } from '../../events/bus/message-bus.js';
import { UnknownTopicError } from '../../events/bus/message-bus.js';
import {
  DEFAULT_POOL,
  type JsonObject,
  NO_USAGE,
  RUN_RESULTS_TOPIC,
  RunAttemptFailedSchema,
  RunFinishedSchema,
  RunOutputSchema,
  type RunRequested,
  repliesTopic,
  runControlTopic,
  runRequestsTopic,
} from '../../events/contract/index.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { EchoEngine } from './echo/echo-engine.js';
import { EngineError } from './engine.js';
import { HeldEngine } from './testing/held-engine.js';
import { silentLogger } from './testing/llama-engines.js';
import { ManualTime } from './testing/manual-time.js';
import { startWorker, type Worker } from './worker.js';
import { watchEngines, workerMetrics } from './worker-metrics.js';

const REPLIES = repliesTopic('api-1');
const DRAIN_MS = 5_000;

let time: ManualTime;
let bus: InProcessBus;
let held: HeldEngine;
let worker: Worker;
let registry: Registry;
/** Everything that was published to the replies and the results, in order. */
let heard: Message[];

beforeEach(async () => {
  time = new ManualTime();
  bus = new InProcessBus({ scheduler: eventLoopScheduler });
  held = new HeldEngine();
  registry = new Registry();
  heard = [];
  const onMessages = (messages: readonly Message[]) => {
    heard.push(...messages);
  };
  await bus.subscribe({ topic: REPLIES, group: 'test', onMessages });
  await bus.subscribe({ topic: RUN_RESULTS_TOPIC, group: 'test', onMessages });
  const echo = new EchoEngine();
  watchEngines(registry, { held, echo }, () => time.nowMs());
  worker = await startWorker({
    bus,
    pool: DEFAULT_POOL,
    workerId: 'worker-1',
    engineFor: ({ environment, model }) => (environment === 'test' ? echo : model === 'unserved' ? null : held),
    clock: time,
    scheduler: time,
    logger: silentLogger,
    metrics: workerMetrics(registry),
  });
});

afterEach(async () => {
  for (const { finish } of held.runs) finish();
  await worker.stop(0);
  await bus.close();
});

let nextRun = 0;

function request(overrides: Partial<RunRequested> = {}): RunRequested {
  nextRun += 1;
  return {
    runId: `run_${nextRun}`,
    accountId: 'acc_1',
    attempt: 1,
    model: 'some-model',
    input: { kind: 'chat', messages: [{ role: 'user', content: 'one two three' }] },
    sampling: { temperature: 1, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: null },
    stop: [],
    outputTokensBudget: 100,
    stream: true,
    environment: 'live',
    replyTopic: REPLIES,
    deadlineMs: time.nowMs() + 60_000,
    ...overrides,
  };
}

function ask(...requests: readonly RunRequested[]): Promise<void> {
  const messages = requests.map((value) => ({
    key: value.runId,
    type: 'RunRequested',
    headers: {},
    value: value as unknown as JsonObject,
  }));
  return bus.publish(runRequestsTopic(DEFAULT_POOL), messages);
}

function cancel(runId: string): Promise<void> {
  return bus.publish(runControlTopic(DEFAULT_POOL), [{ key: runId, type: 'RunCancelRequested', headers: {}, value: { runId } }]);
}

const taken = (count: number) => waitFor(() => held.runs.length >= count, { describe: `${count} runs at the engine` });
const heardOf = (type: string) => heard.filter((message) => message.type === type);
const whenHeard = (type: string, count = 1) =>
  waitFor(() => heardOf(type).length >= count, { describe: () => `${count} ${type}; heard ${JSON.stringify(heard)}` });

const outputs = () => heardOf('RunOutput').map((message) => RunOutputSchema.parse(message.value));
const finished = () => heardOf('RunFinished').map((message) => RunFinishedSchema.parse(message.value));
const failed = () => heardOf('RunAttemptFailed').map((message) => RunAttemptFailedSchema.parse(message.value));

describe('a run that completes', () => {
  test('streams text as it comes, numbered, what came in one turn together, and then its result', async () => {
    const asked = request();
    await ask(asked);
    await taken(1);
    held.latest.run.onText('one ');
    held.latest.run.onText('two ');
    await whenHeard('RunOutput');
    held.latest.run.onText('three');
    held.latest.finish();
    await whenHeard('RunFinished');
    expect(outputs()).toEqual([
      { runId: asked.runId, attempt: 1, execution: 'worker-1/1', index: 0, text: 'one two ' },
      { runId: asked.runId, attempt: 1, execution: 'worker-1/1', index: 1, text: 'three' },
    ]);
    expect(finished()).toEqual([
      {
        runId: asked.runId,
        accountId: 'acc_1',
        attempt: 1,
        execution: 'worker-1/1',
        outcome: 'completed',
        finishReason: 'stop',
        usage: { promptTokens: 5, cachedTokens: 1, completionTokens: 3 },
        errorCode: null,
        systemFingerprint: 'fp_held',
        outputs: 2,
        responseHash: createHash('sha256').update('["one two three",[]]\n').digest('hex'),
        replyTopic: REPLIES,
      },
    ]);
    expect(heard.map(({ type, key }) => [type, key])).toEqual([
      ['RunOutput', asked.runId],
      ['RunOutput', asked.runId],
      ['RunFinished', 'acc_1'],
    ]);
    expect(worker.runsInFlight).toBe(0);
  });

  test('without streaming comes in one piece at the end', async () => {
    await ask(request({ stream: false }));
    await taken(1);
    for (const text of ['a', 'b', 'c']) held.latest.run.onText(text);
    held.latest.finish();
    await whenHeard('RunFinished');
    expect(outputs()).toMatchObject([{ index: 0, text: 'abc' }]);
    expect(finished()).toMatchObject([{ outputs: 1 }]);
  });

  test('of a test key is served by the echo engine', async () => {
    await ask(request({ environment: 'test' }));
    await whenHeard('RunFinished');
    expect(outputs()).toMatchObject([{ text: 'one two three' }]);
    expect(finished()).toMatchObject([{ systemFingerprint: 'fp_echo', usage: { promptTokens: 8, cachedTokens: 0, completionTokens: 4 } }]);
    expect(held.runs).toEqual([]);
  });

  test('among many: every result comes after its own outputs', async () => {
    await ask(...Array.from({ length: 300 }, () => request({ environment: 'test' })));
    await whenHeard('RunFinished', 300);
    const firstHeard = (type: string, runId: unknown) =>
      heard.findIndex((message) => message.type === type && message.value['runId'] === runId);
    for (const { runId } of finished()) expect(firstHeard('RunOutput', runId)).toBeLessThan(firstHeard('RunFinished', runId));
  });
});

test('where starts are told, a request is done with only when its API knows who has it; an API that is gone need not', async () => {
  const teller = await startWorker({
    bus,
    pool: 'telling',
    workerId: 'worker-2',
    engineFor: () => held,
    clock: time,
    scheduler: time,
    logger: silentLogger,
    metrics: workerMetrics(new Registry()),
    tellsStarts: true,
  });
  const publish = bus.publish.bind(bus);
  let refusals = 2;
  bus.publish = (topic, messages) => {
    if (topic === 'api.replies.v1.gone') return Promise.reject(new UnknownTopicError('gone'));
    if (messages[0]?.type !== 'RunStarted' || refusals === 0) return publish(topic, messages);
    refusals -= 1;
    return Promise.reject(new Error('away'));
  };
  const [known, orphan] = [request(), request({ replyTopic: 'api.replies.v1.gone' })];
  const topic = runRequestsTopic('telling');
  await publish(
    topic,
    [known, orphan].map((value) => ({ key: value.runId, type: 'RunRequested', headers: {}, value: value as never })),
  );
  await taken(2);
  await whenHeard('RunStarted');
  expect(heardOf('RunStarted').map(({ value }) => value)).toEqual([{ runId: known.runId, attempt: 1, execution: 'worker-2/1' }]);
  await waitFor(() => bus.waiting(topic, 'inference-telling') === 0, { describe: 'the requests to be done with' });
  expect(held.runs).toHaveLength(2);
  bus.publish = publish;
  for (const { finish } of held.runs) finish();
  await teller.stop(0);
});

test('a run whose texts the bus does not take is reported as failed, at no cost', async () => {
  const publish = bus.publish.bind(bus);
  bus.publish = (topic, messages) => (topic === REPLIES ? Promise.reject(new Error('away')) : publish(topic, messages));
  const asked = request();
  await ask(asked);
  await taken(1);
  held.latest.run.onText('never read');
  held.latest.finish();
  await waitFor(
    () => {
      time.advance(1_000);
      return heardOf('RunFinished').length === 1;
    },
    { describe: 'the result' },
  );
  expect(finished()[0]).toMatchObject({ runId: asked.runId, outcome: 'failed', errorCode: 'engine_failed', usage: NO_USAGE, outputs: 0 });
});

describe('a run that does not', () => {
  test.each([true, false])('fails its attempt, retryable %s, as the engine says, and nothing is settled', async (retryable) => {
    const asked = request();
    await ask(asked);
    await taken(1);
    held.latest.fail(new EngineError('engine_crashed', 'gone', retryable));
    await whenHeard('RunAttemptFailed');
    expect(failed()).toEqual([
      { runId: asked.runId, attempt: 1, execution: 'worker-1/1', errorCode: 'engine_crashed', message: 'gone', retryable },
    ]);
    expect(finished()).toEqual([]);
  });

  test('fails by a bug of the engine without telling its insides', async () => {
    await ask(request());
    await taken(1);
    held.latest.fail(new Error('secret'));
    await whenHeard('RunAttemptFailed');
    expect(failed()).toMatchObject([{ errorCode: 'engine_failed', message: 'The engine failed.', retryable: true }]);
  });

  test('is cancelled: its tokens are reported and what was said stays said', async () => {
    const asked = request();
    await ask(asked);
    await taken(1);
    held.latest.run.onText('one ');
    await whenHeard('RunOutput');
    await cancel(asked.runId);
    await whenHeard('RunFinished');
    expect(finished()).toMatchObject([{ outcome: 'cancelled', finishReason: null, usage: { completionTokens: 2 }, outputs: 1 }]);
  });

  test('is cancelled before it was asked for', async () => {
    const asked = request();
    await cancel(asked.runId);
    // A turn of its own, so that the two topics cannot swap.
    await ask(request({ environment: 'test' }));
    await whenHeard('RunFinished');
    await ask(asked);
    await whenHeard('RunFinished', 2);
    expect(finished().at(-1)).toMatchObject({ runId: asked.runId, outcome: 'cancelled', usage: { promptTokens: 0 }, outputs: 0 });
    expect(held.runs).toEqual([]);
  });

  test('takes longer than it may', async () => {
    await ask(request({ deadlineMs: time.nowMs() + 1_000 }));
    await taken(1);
    time.advance(999);
    expect(held.latest.run.signal.aborted).toBe(false);
    time.advance(500);
    await whenHeard('RunAttemptFailed');
    expect(failed()).toMatchObject([{ errorCode: 'deadline_exceeded', retryable: false }]);
    expect(finished()).toEqual([]);
  });

  test('has waited past its deadline', async () => {
    await ask(request({ deadlineMs: time.nowMs() }));
    await whenHeard('RunAttemptFailed');
    expect(failed()).toMatchObject([{ errorCode: 'deadline_exceeded', retryable: false }]);
    expect(held.runs).toEqual([]);
  });

  test('is for a model that is not served here', async () => {
    await ask(request({ model: 'unserved' }));
    await whenHeard('RunAttemptFailed');
    expect(failed()).toMatchObject([{ errorCode: 'model_unavailable', retryable: true }]);
  });

  test('cannot be read: it is passed over and the next one is served', async () => {
    const spoilt = { ...request(), stop: 'not a list' } as unknown as RunRequested;
    await ask(spoilt, request({ environment: 'test' }));
    await whenHeard('RunFinished');
    expect(finished()).toHaveLength(1);
    expect(failed()).toEqual([]);
  });
});

describe('attempts', () => {
  test('a redelivered attempt is run once', async () => {
    const asked = request({ environment: 'test' });
    await ask(asked, asked);
    await ask(asked, request({ environment: 'test' }));
    await whenHeard('RunFinished', 2);
    expect(finished().filter(({ runId }) => runId === asked.runId)).toHaveLength(1);
  });

  test('a newer attempt silences the older one; an older one that comes late is ignored', async () => {
    const first = request();
    await ask(first);
    await taken(1);
    await ask({ ...first, attempt: 3 });
    await taken(2);
    expect(held.runs[0]?.run.signal.aborted).toBe(true);
    held.runs[0]?.run.onText('stale');
    await ask({ ...first, attempt: 2 });
    held.runs[1]?.run.onText('fresh');
    held.runs[1]?.finish();
    await whenHeard('RunFinished');
    await waitFor(() => worker.runsInFlight === 0);
    expect(outputs()).toMatchObject([{ attempt: 3, index: 0, text: 'fresh' }]);
    expect(finished()).toMatchObject([{ attempt: 3, outputs: 1 }]);
    expect(failed()).toEqual([]);
    expect(held.runs).toHaveLength(2);
  });
});

describe('stopping', () => {
  test('waits for the runs under way and takes no further one', async () => {
    await ask(request());
    await taken(1);
    const stopped = worker.stop(DRAIN_MS);
    await ask(request());
    held.latest.run.onText('the end');
    held.latest.finish();
    await stopped;
    await whenHeard('RunFinished');
    expect(outputs()).toMatchObject([{ text: 'the end' }]);
    expect(held.runs).toHaveLength(1);
  });

  test('fails what is left after the drain as retryable', async () => {
    await ask(request());
    await taken(1);
    const stopped = worker.stop(DRAIN_MS);
    await new Promise((resolve) => setImmediate(resolve));
    time.advance(DRAIN_MS);
    await stopped;
    await whenHeard('RunAttemptFailed');
    expect(failed()).toMatchObject([{ errorCode: 'engine_failed', retryable: true }]);
  });

  test('does not wait for an engine that lets nothing go', async () => {
    held.obeysAbort = false;
    await ask(request());
    await taken(1);
    const stopped = worker.stop(DRAIN_MS);
    let isStopped = false;
    void stopped.then(() => {
      isStopped = true;
    });
    await waitFor(() => {
      time.advance(1_000);
      return isStopped;
    });
    expect(held.latest.run.signal.aborted).toBe(true);
  });
});

describe('reports', () => {
  test('a bus that is full for a moment gets them later', async () => {
    const publish = bus.publish.bind(bus);
    let refusals = 2;
    bus.publish = (topic, messages) => {
      if (topic !== REPLIES || refusals === 0) return publish(topic, messages);
      refusals -= 1;
      return Promise.reject(new Error('full'));
    };
    await ask(request({ environment: 'test' }));
    await waitFor(() => {
      time.advance(50);
      return heardOf('RunFinished').length === 1;
    });
    expect(heard.map(({ type }) => type)).toEqual(['RunOutput', 'RunFinished']);
  });

  test('gauges show load, loading and tokens', async () => {
    await registry.metrics();
    await ask(request());
    await taken(1);
    expect(await registry.metrics()).toContain('farebox_inference_runs_in_flight 1');
    expect(await registry.metrics()).toContain('farebox_inference_engine_active{engine="held"} 1');
    held.latest.finish();
    await whenHeard('RunFinished');
    time.advance(1_500);
    const metrics = await registry.metrics();
    expect(metrics).toContain('farebox_inference_completion_tokens_per_second 2');
    expect(metrics).toContain('farebox_inference_tokens_total{kind="completion"} 3');
    expect(metrics).toContain('farebox_inference_engine_loaded{engine="echo"} 1');
    expect(metrics).toContain('farebox_inference_runs_in_flight 0');
  });
});
