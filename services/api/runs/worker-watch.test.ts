/** Who is there, what is served, and who is lost; over the real bus, with a worker's own announcements. Time passes when the test says so. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { InProcessBus } from '../../../events/bus/in-process/in-process-bus.js';
import { WORKER_LOST_AFTER_MS, WORKERS_TOPIC, type WorkerSeen } from '../../../events/contract/index.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { WorkerWatch } from './worker-watch.js';

let nowMs: number;
let bus: InProcessBus;
let watch: WorkerWatch;
let lost: string[];
let errors: unknown[];

beforeEach(async () => {
  nowMs = 1_000_000;
  lost = [];
  errors = [];
  bus = new InProcessBus({ scheduler: eventLoopScheduler });
  watch = new WorkerWatch({
    bus,
    clock: { nowMs: () => nowMs },
    instanceId: 'ins_1',
    onLost: (workerId) => lost.push(workerId),
    onError: (error) => errors.push(error),
  });
  await watch.start();
});

afterEach(async () => {
  await watch.stop();
  await bus.close();
});

const worker = (workerId: string, overrides: Partial<WorkerSeen> = {}): WorkerSeen => ({
  workerId,
  pool: 'default',
  status: 'ready',
  models: [{ model: 'm', contextTokens: 4_096, systemFingerprint: `fp_${workerId}` }],
  testEngine: { contextTokens: 100, systemFingerprint: 'fp_echo' },
  runs: 0,
  runsMax: 8,
  ...overrides,
});

async function hear(...seen: readonly WorkerSeen[]): Promise<void> {
  await bus.publish(
    WORKERS_TOPIC,
    seen.map((value) => ({ key: value.workerId, type: 'WorkerSeen', headers: {}, value })),
  );
  await waitFor(() => bus.waiting(WORKERS_TOPIC, 'ins_1') === 0, { describe: 'the signs to be heard' });
}

test('nobody serves anything until a worker is ready; then what it said is known', async () => {
  expect([watch.contextOf('m', 'live'), watch.contextOf('m', 'test')]).toEqual([null, null]);
  await hear(worker('w1', { status: 'loading' }));
  expect([watch.readyWorkers, watch.contextOf('m', 'live')]).toEqual([0, null]);
  await hear(worker('w1'));
  expect(watch.contextOf('m', 'live')).toEqual({ contextTokensMax: 4_096, systemFingerprint: 'fp_w1' });
  expect(watch.contextOf('other', 'live')).toBeNull();
  expect(watch.contextOf('other', 'test')).toEqual({ contextTokensMax: 100, systemFingerprint: 'fp_echo' });
});

test('a prompt must fit the smallest context of those that may get it', async () => {
  await hear(worker('w1'), worker('w2', { models: [{ model: 'm', contextTokens: 2_048, systemFingerprint: 'fp' }] }));
  expect(watch.contextOf('m', 'live')?.contextTokensMax).toBe(2_048);
});

test('a worker that leaves serves nothing new and is not lost before its time', async () => {
  await hear(worker('w1'));
  await hear(worker('w1', { status: 'leaving' }));
  watch.onTick(nowMs);
  expect([watch.readyWorkers, lost]).toEqual([0, []]);
});

test('a worker that falls silent is lost once, and is welcome when it is heard again', async () => {
  await hear(worker('w1'), worker('w2'));
  nowMs += WORKER_LOST_AFTER_MS - 1;
  await hear(worker('w2'));
  watch.onTick(nowMs);
  expect(lost).toEqual([]);
  nowMs += 1;
  watch.onTick(nowMs);
  watch.onTick(nowMs);
  expect([lost, watch.readyWorkers]).toEqual([['w1'], 1]);
  await hear(worker('w1'));
  expect(watch.readyWorkers).toBe(2);
});

test('a worker that was only met in a run is missed too, unless it is heard in time', async () => {
  watch.met('w1');
  watch.met('w2');
  expect([watch.readyWorkers, watch.contextOf('m', 'live')]).toEqual([0, null]);
  nowMs += WORKER_LOST_AFTER_MS - 1;
  await hear(worker('w2'));
  watch.met('w1');
  nowMs += 1;
  watch.onTick(nowMs);
  expect([lost, watch.readyWorkers]).toEqual([['w1'], 1]);
});

test('a sign that cannot be read is reported and changes nothing', async () => {
  await hear(worker('w1'), { ...worker('w2'), runs: -1 });
  expect([watch.readyWorkers, errors.length]).toEqual([1, 1]);
});
