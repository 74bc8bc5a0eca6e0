/** What the waiting API is told: always what the books hold, whichever result closed them. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { InProcessBus } from '../../../events/bus/in-process/in-process-bus.js';
import type { MessageBus } from '../../../events/bus/message-bus.js';
import { UnknownTopicError } from '../../../events/bus/message-bus.js';
import { RUN_RESULTS_TOPIC, type RunFinished, type RunSettled } from '../../../events/contract/index.js';
import { createMemoryEventStore } from '../../../events/store/memory/memory-event-store.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { AccountLedger } from '../accounts/account-ledger.js';
import { memorySnapshotStore } from '../snapshots/snapshot-store.js';
import { ACCOUNT, NOW_MS, reserve, runId, settle } from '../testing/account-spec.js';
import { settleFinishedRuns } from './settle-finished-runs.js';

const REPLIES = 'api.replies.v1.test';
const logger = pino({ level: 'silent' });

const finished = (overrides: Partial<RunFinished> = {}): RunFinished => ({
  runId: runId(1),
  accountId: ACCOUNT,
  attempt: 1,
  execution: 'worker/1',
  outcome: 'completed',
  finishReason: 'stop',
  usage: { promptTokens: 100, cachedTokens: 0, completionTokens: 50 },
  errorCode: null,
  systemFingerprint: 'fp',
  outputs: 3,
  replyTopic: REPLIES,
  ...overrides,
});

let bus: InProcessBus;
let ledger: AccountLedger;
let replies: RunSettled[];
/** What the bus says to the next announcements instead of taking them. */
let refusals: Error[];

function refusing(real: InProcessBus): MessageBus {
  return {
    publish: (topic, messages) => {
      const refusal = refusals.shift();
      return refusal === undefined ? real.publish(topic, messages) : Promise.reject(refusal);
    },
    subscribe: (options) => real.subscribe(options),
    isReady: () => real.isReady(),
    close: () => real.close(),
  };
}

beforeEach(async () => {
  bus = new InProcessBus({ scheduler: eventLoopScheduler });
  const store = createMemoryEventStore();
  const clock = { nowMs: () => NOW_MS };
  ledger = new AccountLedger({ store, snapshots: memorySnapshotStore(), clock, scheduler: eventLoopScheduler, logger });
  replies = [];
  await bus.subscribe({
    topic: REPLIES,
    group: 'test',
    onMessages: (messages) => void replies.push(...messages.map(({ value }) => value as unknown as RunSettled)),
  });
  refusals = [];
  await settleFinishedRuns({ bus: refusing(bus), settle: (command) => ledger.submit(command), logger });
});

afterEach(() => bus.close());

async function report(...values: readonly unknown[]): Promise<void> {
  await bus.publish(
    RUN_RESULTS_TOPIC,
    values.map((value) => ({ key: ACCOUNT, type: 'RunFinished', headers: {}, value: value as never })),
  );
}

const told = (count: number) => waitFor(() => replies.length === count, { describe: () => `${count} replies; heard ${replies.length}` });

test('a result is settled and announced with its execution, charge and balance', async () => {
  await ledger.submit(reserve());
  await report(finished());
  await told(1);
  expect(replies[0]).toMatchObject({ outcome: 'completed', attempt: 1, execution: 'worker/1', outputs: 3, chargedNanos: '20000000' });
});

test('a result that comes a second time is announced again, and charged once', async () => {
  await ledger.submit(reserve());
  await report(finished(), finished());
  await told(2);
  expect(replies[1]).toEqual(replies[0]);
});

test('a result for a run that had ended otherwise is announced as what the books hold, and as nobody\u2019s answer', async () => {
  await ledger.submit(reserve());
  await ledger.submit(settle({ outcome: 'failed', errorCode: 'deadline_exceeded', finishReason: null }));
  await report(finished());
  await told(1);
  expect(replies[0]).toMatchObject({
    outcome: 'failed',
    finishReason: null,
    attempt: 0,
    execution: '',
    chargedNanos: '0',
    usage: settle({ outcome: 'failed' }).usage,
  });
});

test('what cannot be read, and what no account knows, is passed over without holding up the rest', async () => {
  await ledger.submit(reserve());
  await report({ runId: 7 }, finished({ runId: runId(9) }), finished());
  await told(1);
  expect(replies[0]).toMatchObject({ runId: runId(1), outcome: 'completed' });
});

test('a settlement that the bus does not take is announced until it does, and is no second charge', async () => {
  await ledger.submit(reserve());
  refusals = [new Error('away'), new Error('still away')];
  await report(finished());
  await told(1);
  expect(replies[0]).toMatchObject({ outcome: 'completed', execution: 'worker/1', chargedNanos: '20000000' });
  expect(await ledger.read(ACCOUNT, runId(1))).toMatchObject({ heldNanos: 0n, closed: { chargedNanos: 20_000_000n } });
});

test('a caller whose topic is gone does not hold up the others', async () => {
  await ledger.submit(reserve());
  await ledger.submit(reserve({ runId: runId(2) }));
  refusals = [new UnknownTopicError('gone')];
  await report(finished({ replyTopic: 'api.replies.v1.gone' }), finished({ runId: runId(2) }));
  await told(1);
  expect(replies[0]).toMatchObject({ runId: runId(2) });
});
