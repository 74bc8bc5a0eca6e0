/** The harness: repetitions, superseded attempts, late and doubled messages, deadlines. Every message is handed in by the test. */
import { describe, expect, test } from '@jest/globals';
import { BusFullError, type Message, type MessageBus } from '../../../events/bus/message-bus.js';
import { type JsonObject, NO_USAGE, type RunOutput, type RunRequested, type RunSettled } from '../../../events/contract/index.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { HELD_BACK_CHARACTERS_MAX } from './held-back.js';
import {
  EMPTY_POOL_GRACE_MS,
  LATE_OUTPUTS_GRACE_MS,
  type RunEnding,
  RunInFlight,
  SETTLEMENT_GRACE_MS,
  WORKER_REPORT_GRACE_MS,
} from './run-in-flight.js';

const NOW_MS = 1_000_000;
const DEADLINE_MS = NOW_MS + 300_000;
const USAGE = { promptTokens: 3, cachedTokens: 0, completionTokens: 2 };

function requested(stream: boolean): RunRequested {
  return {
    runId: 'run_1',
    accountId: 'acc_1',
    attempt: 1,
    model: 'm',
    input: { kind: 'chat', messages: [{ role: 'user', content: 'x' }] },
    sampling: { temperature: 1, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: null },
    stop: [],
    outputTokensBudget: 10,
    stream,
    environment: 'live',
    replyTopic: 'replies',
    deadlineMs: DEADLINE_MS,
  };
}

/** Nothing waits: retries follow at once. */
const immediately: Scheduler = {
  defer: (work) => work(),
  delay: (work) => {
    work();
    return () => undefined;
  },
};

/** A run with a bus that only records, and fails as long as `refusals` lasts. */
function startRun(options: { stream?: boolean; refusals?: Error[]; ledgerFault?: Error } = {}) {
  const published: { topic: string; message: Message }[] = [];
  const refusals = options.refusals ?? [];
  const bus = {
    publish: async (topic: string, messages: readonly Message[]) => {
      const refusal = refusals.shift();
      if (refusal !== undefined) throw refusal;
      for (const message of messages) published.push({ topic, message });
    },
  } as unknown as MessageBus;
  const texts: string[] = [];
  const outputs: RunOutput[] = [];
  const endings: RunEnding[] = [];
  const abandonments: unknown[] = [];
  const troubles: string[] = [];
  const run = new RunInFlight({
    request: requested(options.stream ?? false),
    pool: 'default',
    bus,
    scheduler: immediately,
    onOutput: (output) => {
      texts.push(output.text);
      outputs.push(output);
    },
    abandon: async (abandoned) => {
      if (options.ledgerFault !== undefined) throw options.ledgerFault;
      abandonments.push(abandoned);
    },
    onEnded: (ending) => endings.push(ending),
    onTrouble: (trouble) => troubles.push(trouble),
  });
  const typesPublished = () => published.map(({ message }) => message.type);
  const lastValue = () => published.at(-1)?.message.value as JsonObject;
  return { run, published, texts, outputs, endings, abandonments, troubles, typesPublished, lastValue };
}

const output = (index: number, text: string, attempt = 1, execution = `worker/${attempt}`) => ({
  runId: 'run_1',
  attempt,
  execution,
  index,
  text,
});
const failed = (errorCode: 'engine_crashed' | 'engine_at_capacity', attempt = 1, retryable = true) => ({
  runId: 'run_1',
  attempt,
  execution: `worker/${attempt}`,
  errorCode,
  message: 'm',
  retryable,
});
function settled(overrides: Partial<RunSettled> = {}): RunSettled {
  return {
    runId: 'run_1',
    accountId: 'acc_1',
    outcome: 'completed',
    finishReason: 'stop',
    errorCode: null,
    attempt: 1,
    execution: `worker/${overrides.attempt ?? 1}`,
    usage: USAGE,
    systemFingerprint: 'fp',
    outputs: 0,
    heldNanos: '10',
    chargedNanos: '5',
    refundedNanos: '5',
    availableNanos: '0',
    revision: 4,
    ...overrides,
  };
}

describe('outputs', () => {
  test('the settlement may overtake the last texts; the run ends when all are here', () => {
    const { run, texts, endings } = startRun();
    run.onOutput(output(0, 'a'));
    run.onSettled(settled({ outputs: 2 }), NOW_MS);
    expect(endings).toEqual([]);
    run.onOutput(output(1, 'b'));
    expect([texts, endings[0]?.status]).toEqual([['a', 'b'], 'completed']);
  });

  test('repeated deliveries are handed on once', () => {
    const { run, texts } = startRun({ stream: true });
    for (const index of [0, 0, 1, 0, 1]) run.onOutput(output(index, String(index)));
    expect(texts).toEqual(['0', '1']);
  });

  test('texts that never come end the run as lost', () => {
    const { run, endings } = startRun();
    run.onSettled(settled({ outputs: 1 }), NOW_MS);
    run.onTick(NOW_MS + LATE_OUTPUTS_GRACE_MS - 1);
    expect(endings).toEqual([]);
    run.onTick(NOW_MS + LATE_OUTPUTS_GRACE_MS);
    expect(endings[0]?.status).toBe('answer_lost');
  });

  test('an announcement of what had been settled before is no answer', () => {
    const { run, endings } = startRun();
    run.onSettled(settled({ finishReason: null, usage: NO_USAGE }), NOW_MS);
    expect(endings[0]?.status).toBe('answer_lost');
  });
});

describe('what is held back', () => {
  test('every output as it came, in order: tool calls, probabilities, answers and vectors', () => {
    const { run, outputs } = startRun();
    const parts = [
      { ...output(0, ''), toolCalls: [{ call: 0, id: 'c', name: 'f', argumentsText: '{' }] },
      { ...output(1, 'x'), answer: 1, logprobs: [{ token: 'x', bytes: [120], logprob: -1, top: [] }], finishReason: 'stop' as const },
      { ...output(2, ''), answer: 2, embedding: 'AACAPw==' },
    ];
    for (const part of parts) run.onOutput(part);
    expect(outputs).toEqual([]);
    run.onSettled(settled({ outputs: 3 }), NOW_MS);
    expect(outputs).toEqual(parts);
  });

  test('beyond the bound nothing more is kept, and the answer is lost rather than cut', () => {
    const { run, outputs, endings } = startRun();
    const half = 'x'.repeat(HELD_BACK_CHARACTERS_MAX / 2);
    for (const index of [0, 1, 2]) run.onOutput(output(index, half));
    run.onSettled(settled({ outputs: 3 }), NOW_MS);
    run.onTick(NOW_MS + LATE_OUTPUTS_GRACE_MS);
    expect([outputs, endings[0]?.status]).toEqual([[], 'answer_lost']);
  });
});

describe('attempts', () => {
  test('a superseded attempt’s texts, failures and result are passed over', async () => {
    const { run, texts, endings, typesPublished, lastValue } = startRun();
    await run.publish();
    run.onOutput(output(0, 'old'));
    run.onAttemptFailed(failed('engine_crashed'));
    expect(lastValue()).toMatchObject({ attempt: 2 });
    run.onAttemptFailed(failed('engine_crashed'));
    run.onOutput(output(1, 'old'));
    run.onOutput(output(0, 'new', 2));
    run.onSettled(settled({ attempt: 2, outputs: 1 }), NOW_MS);
    expect([texts, endings[0]?.status, typesPublished()]).toEqual([['new'], 'completed', ['RunRequested', 'RunRequested']]);
  });

  test('once text was handed on, a stream is not repeated but given up', async () => {
    const { run, typesPublished, lastValue, endings } = startRun({ stream: true });
    await run.publish();
    run.onOutput(output(0, 'a'));
    run.onAttemptFailed(failed('engine_crashed'));
    expect([typesPublished(), lastValue()]).toEqual([
      ['RunRequested', 'RunFinished'],
      expect.objectContaining({ outcome: 'failed', errorCode: 'engine_crashed' }),
    ]);
    run.onSettled(settled({ outcome: 'failed', finishReason: null, chargedNanos: '0' }), NOW_MS);
    expect(endings[0]).toMatchObject({ status: 'not_completed', failure: { errorCode: 'engine_crashed' } });
  });

  test('a result that the books had already accepted wins over giving up', async () => {
    const { run, endings, texts } = startRun();
    run.onOutput(output(0, 'answer'));
    run.onAttemptFailed(failed('engine_at_capacity', 1, false));
    run.onSettled(settled({ outputs: 1 }), NOW_MS);
    expect([endings[0]?.status, texts]).toEqual(['completed', ['answer']]);
  });
});

describe('a request that two workers were given', () => {
  const other = 'worker-b/1';

  test('the answer is the text of the execution that the books accepted, whole and unmixed', () => {
    const { run, texts, endings } = startRun();
    run.onOutput(output(0, 'a0'));
    run.onOutput(output(0, 'b0', 1, other));
    run.onOutput(output(1, 'a1'));
    run.onSettled(settled({ execution: other, outputs: 2 }), NOW_MS);
    run.onOutput(output(2, 'a2'));
    expect(endings).toEqual([]);
    run.onOutput(output(1, 'b1', 1, other));
    expect([texts, endings[0]?.status]).toEqual([['b0', 'b1'], 'completed']);
  });

  test('a stream follows the first to speak, and ends well when the books accepted that one', () => {
    const { run, texts, endings } = startRun({ stream: true });
    run.onOutput(output(0, 'a0'));
    run.onOutput(output(0, 'b0', 1, other));
    run.onAttemptFailed({ ...failed('engine_crashed'), execution: other });
    run.onOutput(output(1, 'a1'));
    run.onSettled(settled({ outputs: 2 }), NOW_MS);
    expect([texts, endings[0]?.status]).toEqual([['a0', 'a1'], 'completed']);
  });

  test('a stream whose books accepted the other one is broken off rather than called whole', () => {
    const { run, endings } = startRun({ stream: true });
    run.onOutput(output(0, 'a0'));
    run.onSettled(settled({ execution: other, outputs: 1 }), NOW_MS);
    expect(endings[0]?.status).toBe('answer_lost');
  });

  test('a settlement before any text decides whose text a stream takes', () => {
    const { run, texts, endings } = startRun({ stream: true });
    run.onSettled(settled({ execution: other, outputs: 1 }), NOW_MS);
    run.onOutput(output(0, 'a0'));
    run.onOutput(output(0, 'b0', 1, other));
    expect([texts, endings[0]?.status]).toEqual([['b0'], 'completed']);
  });
});

describe('a worker that is lost', () => {
  const started = (execution: string, attempt = 1) => ({ runId: 'run_1', attempt, execution });

  test('who was only taken for lost may still finish first, beside the next attempt: what the books accept is the answer', async () => {
    const { run, endings, texts } = startRun();
    await run.publish();
    run.onStarted(started('w1/7'));
    run.onOutput(output(0, 'first ', 1, 'w1/7'));
    run.onWorkerLost('w1');
    run.onOutput(output(0, 'second', 2, 'w2/1'));
    run.onOutput(output(1, 'attempt', 1, 'w1/7'));
    run.onSettled(settled({ attempt: 1, execution: 'w1/7', outputs: 2 }), NOW_MS);
    expect([endings[0]?.status, texts]).toEqual(['completed', ['first ', 'attempt']]);
  });

  test('a request that was delivered again after the loss, beside the next attempt, is answered with whichever result is booked', async () => {
    const { run, endings, texts, typesPublished } = startRun();
    await run.publish();
    run.onStarted(started('w1/7'));
    run.onWorkerLost('w1');
    run.onStarted(started('w2/3'));
    run.onOutput(output(0, 'again', 1, 'w2/3'));
    run.onSettled(settled({ attempt: 1, execution: 'w2/3', outputs: 1 }), NOW_MS);
    expect([endings[0]?.status, texts, typesPublished()]).toEqual(['completed', ['again'], ['RunRequested', 'RunRequested']]);
  });

  test('two that have the run may be lost one after the other', async () => {
    const { run, typesPublished } = startRun();
    await run.publish();
    run.onStarted(started('w1/7'));
    run.onStarted(started('w2/3'));
    run.onWorkerLost('w1');
    expect(typesPublished()).toEqual(['RunRequested']);
    run.onWorkerLost('w2');
    expect(typesPublished()).toEqual(['RunRequested', 'RunRequested']);
  });

  test('before any text the run is tried elsewhere; another worker’s loss is nothing to it', async () => {
    const { run, lastValue, typesPublished } = startRun();
    await run.publish();
    run.onStarted(started('w1/7'));
    run.onWorkerLost('w');
    run.onWorkerLost('w2');
    expect(typesPublished()).toEqual(['RunRequested']);
    run.onWorkerLost('w1');
    expect([typesPublished(), lastValue()]).toEqual([['RunRequested', 'RunRequested'], expect.objectContaining({ attempt: 2 })]);
  });

  test('in the middle of a stream the run is given up and refunded', async () => {
    const { run, lastValue, endings } = startRun({ stream: true });
    await run.publish();
    run.onOutput(output(0, 'a', 1, 'w1/7'));
    run.onWorkerLost('w1');
    expect(lastValue()).toMatchObject({ outcome: 'failed', errorCode: 'worker_lost', outputs: 0 });
    run.onSettled(settled({ outcome: 'failed', finishReason: null, chargedNanos: '0' }), NOW_MS);
    expect(endings[0]).toMatchObject({ status: 'not_completed', failure: { errorCode: 'worker_lost' } });
  });

  test('a run that another worker is at work on too goes on', async () => {
    const { run, typesPublished } = startRun();
    await run.publish();
    run.onStarted(started('w1/7'));
    run.onStarted(started('w2/1'));
    run.onWorkerLost('w1');
    expect(typesPublished()).toEqual(['RunRequested']);
  });

  test('a run that no worker had taken waits for one', async () => {
    const { run, typesPublished } = startRun();
    await run.publish();
    run.onWorkerLost('w1');
    expect(typesPublished()).toEqual(['RunRequested']);
  });
});

describe('publishing', () => {
  test('what the bus does not take is given up, persistently', async () => {
    const { run, typesPublished, lastValue } = startRun({ refusals: [new BusFullError('full'), new Error('down'), new Error('down')] });
    await run.publish();
    expect([typesPublished(), lastValue()['errorCode']]).toEqual([['RunFinished'], 'engine_at_capacity']);
  });

  test('when even giving up cannot be published, the ledger is told directly and the client is answered', async () => {
    const refusals = Array.from({ length: 4 }, () => new Error('down'));
    const { run, endings, abandonments } = startRun({ refusals });
    await run.publish();
    expect(endings).toEqual([{ status: 'unsettled', failure: { errorCode: 'run_abandoned', message: expect.any(String) } }]);
    expect(abandonments).toEqual([{ accountId: 'acc_1', runId: 'run_1', errorCode: 'run_abandoned' }]);
  });

  test('when the ledger cannot be told either, that is logged, the client is answered and the hold expires', async () => {
    const refusals = Array.from({ length: 4 }, () => new Error('down'));
    const { run, endings, troubles } = startRun({ refusals, ledgerFault: new Error('ledger down') });
    await run.publish();
    expect([endings.length, endings[0]?.status]).toEqual([1, 'unsettled']);
    expect(troubles.at(-1)).toContain('could not be abandoned');
  });

  test('a failure that the bus takes is not told twice', async () => {
    const { run, abandonments, endings } = startRun({ refusals: [new Error('down')] });
    await run.publish();
    expect([abandonments, endings]).toEqual([[], []]);
  });
});

describe('time', () => {
  test('a run that nobody has, in a pool where nobody is, is given up in time; a worker that comes meanwhile is waited for', async () => {
    const { run, endings, typesPublished, lastValue } = startRun();
    const aMomentAfter = NOW_MS + EMPTY_POOL_GRACE_MS;
    run.onTick(NOW_MS, false);
    run.onTick(aMomentAfter - 1, false);
    run.onTick(aMomentAfter, true);
    run.onTick(aMomentAfter, false);
    run.onTick(aMomentAfter + EMPTY_POOL_GRACE_MS - 1, false);
    expect(typesPublished()).toEqual([]);
    run.onTick(aMomentAfter + EMPTY_POOL_GRACE_MS, false);
    run.onTick(aMomentAfter + EMPTY_POOL_GRACE_MS + 1, false);
    await waitFor(() => typesPublished().length > 0, { describe: 'the failure to be reported' });
    expect([typesPublished(), lastValue()['errorCode']]).toEqual([['RunFinished'], 'worker_lost']);
    run.onSettled(settled({ outcome: 'failed', chargedNanos: '0' }), NOW_MS);
    expect(endings[0]).toMatchObject({ status: 'not_completed', failure: { errorCode: 'worker_lost' } });
  });

  test('a run that a worker has is not stranded, whoever else is there', () => {
    const { run, typesPublished } = startRun();
    run.onTick(NOW_MS, false);
    run.onStarted({ runId: 'run_1', attempt: 1, execution: 'worker/1' });
    run.onTick(NOW_MS + EMPTY_POOL_GRACE_MS, false);
    run.onTick(NOW_MS + 2 * EMPTY_POOL_GRACE_MS, false);
    expect(typesPublished()).toEqual([]);
    run.onWorkerLost('worker');
    expect(typesPublished()).toEqual(['RunRequested']);
    // The second attempt waits where nobody is.
    run.onTick(NOW_MS + 3 * EMPTY_POOL_GRACE_MS, false);
    run.onTick(NOW_MS + 4 * EMPTY_POOL_GRACE_MS, false);
    expect(typesPublished()).toEqual(['RunRequested', 'RunFinished']);
  });

  test('after the deadline the failure is reported before the workers are stopped; then the settlement is awaited', async () => {
    const { run, typesPublished, endings } = startRun();
    run.onTick(DEADLINE_MS + WORKER_REPORT_GRACE_MS - 1);
    expect(typesPublished()).toEqual([]);
    run.onTick(DEADLINE_MS + WORKER_REPORT_GRACE_MS);
    await waitFor(() => typesPublished().length === 2, { describe: 'both messages' });
    expect(typesPublished()).toEqual(['RunFinished', 'RunCancelRequested']);
    run.onSettled(settled({ outcome: 'failed', finishReason: null, chargedNanos: '0' }), NOW_MS);
    expect(endings[0]).toMatchObject({ status: 'not_completed', failure: { errorCode: 'deadline_exceeded' } });
  });

  test('without any word the run ends as unsettled', () => {
    const { run, endings } = startRun();
    run.onTick(DEADLINE_MS + SETTLEMENT_GRACE_MS);
    expect(endings[0]?.status).toBe('unsettled');
    run.onSettled(settled(), NOW_MS);
    expect(endings).toHaveLength(1);
  });
});

test('a cancelled run hands nothing on and waits for its settlement', async () => {
  const { run, texts, endings, typesPublished } = startRun({ stream: true });
  run.cancel();
  run.cancel();
  run.onOutput(output(0, 'late'));
  await waitFor(() => typesPublished().length === 1, { describe: 'the cancellation' });
  run.onSettled(settled({ outcome: 'cancelled', finishReason: null }), NOW_MS);
  expect([texts, typesPublished(), endings[0]?.status]).toEqual([[], ['RunCancelRequested'], 'not_completed']);
});
