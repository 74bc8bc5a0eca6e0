/** Who is there, what is served, and who is lost; over the real bus, with a worker's own announcements. Time passes when the test says so. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { InProcessBus } from '../../../events/bus/in-process/in-process-bus.js';
import { type JsonObject, WORKER_LOST_AFTER_MS, WORKERS_TOPIC, type WorkerSeen } from '../../../events/contract/index.js';
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
    seen.map((value) => ({ key: value.workerId, type: 'WorkerSeen', headers: {}, value: value as JsonObject })),
  );
  await waitFor(() => bus.waiting(WORKERS_TOPIC, 'ins_1') === 0, { describe: 'the signs to be heard' });
}

test('nobody serves anything until a worker is ready; then what it said is known', async () => {
  expect([watch.contextOf('m', 'live'), watch.contextOf('m', 'test')]).toEqual([null, null]);
  await hear(worker('w1', { status: 'loading' }));
  expect([watch.readyWorkers, watch.contextOf('m', 'live')]).toEqual([0, null]);
  await hear(worker('w1'));
  expect(watch.contextOf('m', 'live')).toEqual({ pool: 'default', contextTokensMax: 4_096, systemFingerprint: 'fp_w1' });
  expect(watch.contextOf('other', 'live')).toBeNull();
  expect(watch.contextOf('other', 'test')).toEqual({ pool: 'default', contextTokensMax: 100, systemFingerprint: 'fp_echo' });
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

test('a run goes to the first of its pools that serves it, and nowhere else; without a wish to any, the default one first', async () => {
  await hear(worker('w_eu', { pool: 'eu' }), worker('w_apac', { pool: 'apac' }));
  const inPools = (pools: readonly string[] | null) => watch.contextOf('m', 'live', { quantization: null, pools })?.pool;
  expect([inPools(['na']), inPools(['na', 'eu']), inPools(['apac', 'eu']), inPools(null)]).toEqual([undefined, 'eu', 'apac', 'apac']);
  await hear(worker('w_default'));
  expect([inPools(null), inPools(['na'])]).toEqual(['default', undefined]);
  expect(watch.contextOf('m', 'test', { quantization: null, pools: ['na'] })).toBeNull();
  expect(watch.contextOf('m', 'test', { quantization: null, pools: ['eu'] })?.pool).toBe('eu');
});

test('a pool whose last worker leaves serves nothing more', async () => {
  const wanted = { quantization: null, pools: ['eu'] };
  await hear(worker('w_eu', { pool: 'eu' }));
  expect(watch.contextOf('m', 'live', wanted)).not.toBeNull();
  await hear(worker('w_eu', { pool: 'eu', status: 'leaving' }));
  expect(watch.contextOf('m', 'live', wanted)).toBeNull();
});

test('a pool has workers while one loads or is ready, and none when the last one leaves or is lost', async () => {
  const seen: boolean[] = [];
  const note = () => seen.push(watch.hasWorkers('eu'));
  note();
  await hear(worker('w_eu', { pool: 'eu', status: 'loading' }), worker('w_na', { pool: 'na' }));
  note();
  await hear(worker('w_eu', { pool: 'eu' }));
  note();
  await hear(worker('w_eu', { pool: 'eu', status: 'leaving' }));
  note();
  await hear(worker('w_new', { pool: 'eu' }));
  note();
  nowMs += WORKER_LOST_AFTER_MS;
  watch.onTick(nowMs);
  note();
  expect(seen).toEqual([false, true, true, false, true, false]);
});

test('a variant is served by whoever has it, and by whoever has one thing for all of them', async () => {
  const served = (quantization: string) => ({ model: 'm', quantization, contextTokens: 4_096, systemFingerprint: `fp_${quantization}` });
  await hear(worker('w1', { models: [served('int4')] }));
  const asked = (quantization: string) => watch.contextOf('m', 'live', { quantization, pools: null })?.systemFingerprint;
  expect([asked('int4'), asked('fp16')]).toEqual(['fp_int4', undefined]);
  await hear(worker('w2'));
  expect([asked('int4'), asked('fp16')]).toEqual(['fp_int4', 'fp_w2']);
});
