/** U12 over real HTTP: one charge per key, replays, conflicts, and what a crash of the API leaves behind. */
import { createHash, randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { formatAmount } from '../../../../events/contract/index.js';
import { waitFor } from '../../../../platform/testing/wait-for.js';
import type { LedgerClient } from '../../../ledger/ledger-client.js';
import { CLAIM_LEASE_MS, type IdempotencyClaim } from '../../idempotency/idempotency-store.js';
import { requestDigest } from '../../idempotency/idempotent-run.js';
import { type ChatApi, eventsOf, startChatApi, type TestProject } from '../../testing/chat-api.js';
import { MemoryIdempotencyStore } from '../../testing/memory-idempotency-store.js';
import { echoScript } from '../../testing/scripted-worker.js';
import { CHAT_COMPLETIONS_PATH } from './index.js';

let api: ChatApi;
let project: TestProject;
const store = new MemoryIdempotencyStore();
beforeAll(async () => {
  // A ledger that has forgotten runs of long ago, without running as many as that takes.
  const wrapLedger = (ledger: LedgerClient): LedgerClient => ({
    ...ledger,
    reserve: async (command) =>
      command.runId === ANCIENT_RUN_ID ? { status: 'refused', reason: 'reservation_id_too_old' } : ledger.reserve(command),
  });
  api = await startChatApi({ idempotencyStore: store, wrapLedger });
  project = await api.signUp('1');
});
afterEach(() => {
  api.worker.script = echoScript;
});
afterAll(() => api.close());

const ANCIENT_RUN_ID = 'run_00000000000000000000000000';
const CHARGE = '0.000002';
const keyed = (key: string, body: Record<string, unknown> = {}, more: readonly (readonly [string, string])[] = []) =>
  api.chat(body, { key: project.key, headers: [['Idempotency-Key', key], ...more] });

/** What `attempt` cost the project. */
async function costOf(attempt: () => Promise<unknown>): Promise<string> {
  const before = (await api.ledger.balance(project.accountId))?.availableNanos ?? 0n;
  await attempt();
  const after = await api.ledger.balance(project.accountId);
  expect(after?.heldNanos).toBe(0n);
  return formatAmount(before - (after?.availableNanos ?? 0n));
}

describe('replay', () => {
  test('a completed request is answered again byte by byte, marked, and charged once', async () => {
    const key = randomUUID();
    const cost = await costOf(async () => {
      const first = await keyed(key);
      const second = await keyed(key);
      expect([first.status, second.status]).toEqual([200, 200]);
      expect(second.text).toBe(`${first.text.slice(0, -1)},"idempotent_replay":true}`);
      expect([first.headers['idempotent-replayed'], second.headers['idempotent-replayed']]).toEqual([undefined, 'true']);
    });
    expect(cost).toBe(CHARGE);
  });

  test('a stream is replayed as a stream: same id, same text, same charge', async () => {
    const key = randomUUID();
    const body = { stream: true, stream_options: { include_usage: true } };
    const cost = await costOf(async () => {
      const [first, second] = [await keyed(key, body), await keyed(key, body)];
      const [once, again] = [eventsOf(first.text), eventsOf(second.text)] as Record<string, unknown>[][];
      const textOf = (events: typeof once) =>
        (events ?? [])
          .map((event) => (event as { choices?: { delta?: { content?: string } }[] }).choices?.[0]?.delta?.content ?? '')
          .join('');
      expect(textOf(again)).toBe(textOf(once));
      expect(again?.[0]).toEqual(once?.[0]);
      expect(again?.at(-3)).toEqual({ ...once?.at(-3), idempotent_replay: true });
      expect(again?.slice(-2)).toEqual(once?.slice(-2));
    });
    expect(cost).toBe(CHARGE);
  });

  test('another body, another consumer: 422; another project: a request of its own', async () => {
    const key = randomUUID();
    await keyed(key);
    const otherBody = await keyed(key, { temperature: 0.5 });
    expect([otherBody.status, otherBody.body.error.code]).toEqual([422, 'idempotency_key_reused']);
    expect((await keyed(key, {}, [['X-Consumer-Email', 'a@example.com']])).status).toBe(422);
    const other = await api.signUp('1');
    const elsewhere = await api.chat({}, { key: other.key, headers: [['Idempotency-Key', key]] });
    expect([elsewhere.status, elsewhere.body.idempotent_replay]).toEqual([200, undefined]);
  });

  test.each(['', 'a b', 'x'.repeat(256), 'ü'])('the key %j is refused', async (key) => {
    const answer = await keyed(key);
    expect([answer.status, answer.body.error.param]).toEqual([400, 'Idempotency-Key']);
  });

  test('a key sent twice is refused', async () => {
    expect((await keyed('one', {}, [['Idempotency-Key', 'two']])).status).toBe(400);
  });
});

describe('while running and after failing', () => {
  test('409 while the first is in progress, also for many at once; one run', async () => {
    const key = randomUUID();
    api.worker.script = async () => undefined;
    const runs = api.worker.runs.length;
    const first = keyed(key);
    await waitFor(() => api.worker.runs.length === runs + 1, { describe: 'the run' });
    const others = await Promise.all(Array.from({ length: 10 }, () => keyed(key)));
    for (const other of others)
      expect([other.status, other.body.error.code, other.headers['retry-after']]).toEqual([409, 'request_in_progress', '1']);
    await api.worker.lastRun.finish();
    expect((await first).status).toBe(200);
    expect(api.worker.runs.length).toBe(runs + 1);
  });

  test('a failed request may be tried again under its key', async () => {
    const key = randomUUID();
    api.worker.script = (run) => run.fail('engine_failed', false);
    expect((await keyed(key)).status).toBe(503);
    api.worker.script = echoScript;
    expect(await costOf(async () => expect((await keyed(key)).status).toBe(200))).toBe(CHARGE);
  });

  test('so may one that was refused for want of credit', async () => {
    const poor = await api.signUp('0');
    const call = { key: poor.key, headers: [['Idempotency-Key', 'k']] as const };
    expect((await api.chat({}, call)).status).toBe(402);
    await api.ledger.grant({
      accountId: poor.accountId,
      grantId: 'grt_1',
      opening: { holder: { kind: 'project', projectId: poor.projectId }, unit: 'USD', environment: 'live', starterNanos: 0n },
      kind: 'top_up',
      amountNanos: 1_000_000_000n,
      reason: 'test',
    });
    expect((await api.chat({}, call)).status).toBe(200);
  });

  test('a client that leaves and asks again gets the answer of the run that went on, charged once', async () => {
    const key = randomUUID();
    api.worker.script = (run) => run.output('kept');
    const runs = api.worker.runs.length;
    const cost = await costOf(async () => {
      const controller = new AbortController();
      const body = JSON.stringify({ model: api.model, messages: [{ role: 'user', content: 'Hello there' }], stream: true });
      const headers = { authorization: `Bearer ${project.key}`, 'content-type': 'application/json', 'idempotency-key': key };
      const left = fetch(`${api.baseUrl}${CHAT_COMPLETIONS_PATH}`, { method: 'POST', headers, body, signal: controller.signal });
      await (await left).body?.getReader().read();
      controller.abort();
      await waitFor(() => api.api.limiter.concurrentOf(project.keyId) === 1, { describe: 'the request to go on' });
      await api.worker.lastRun.finish();
      await waitFor(() => api.api.limiter.concurrentOf(project.keyId) === 0, { describe: 'the request to end' });
      const again = await api.chat({}, { key: project.key, headers: [['Idempotency-Key', key]], raw: body });
      expect(again.text).toContain('"content":"kept"');
      expect(api.worker.cancelledRunIds.has(api.worker.lastRun.request.runId)).toBe(false);
    });
    expect([cost, api.worker.runs.length - runs]).toEqual([CHARGE, 1]);
  });
});

describe('after a crash of the instance that ran it', () => {
  const content = JSON.stringify({ model: 'farebox-tiny', messages: [{ role: 'user', content: 'Hello there' }] });
  const retry = (key: string) => api.chat({}, { key: project.key, headers: [['Idempotency-Key', key]], raw: content });

  /** Leaves what an instance leaves that dies after claiming: a claim of its own whose lease is over. */
  async function crashedClaim(runId: string): Promise<string> {
    const key = randomUUID();
    const claim: IdempotencyClaim = {
      projectId: project.projectId,
      key,
      requestDigest: requestDigest(CHAT_COMPLETIONS_PATH, null, Buffer.from(content)),
      runId,
      accountId: project.accountId,
      instanceId: 'ins_dead',
      nowMs: Date.now() - CLAIM_LEASE_MS,
    };
    await store.claim(claim);
    return key;
  }

  /** Runs once without a key, so that the ledger knows a run that was settled. */
  async function settledRunId(): Promise<string> {
    await api.chat({}, { key: project.key });
    return api.worker.lastRun.request.runId;
  }

  test('before it reserved: the retry runs, under the same run id, so that the dead instance cannot reserve again', async () => {
    const fresh = await api.signUp('1');
    const runId = (await api.chat({}, { key: fresh.key })).body.id.replace('chatcmpl-', 'run_');
    // The ledger of this project's account has never seen that run.
    const key = await crashedClaim(runId);
    expect(await costOf(async () => expect((await retry(key)).status).toBe(200))).toBe(CHARGE);
    expect(api.worker.lastRun.request.runId).toBe(runId);
  });

  test('after it reserved, still open: 409', async () => {
    api.worker.script = async () => undefined;
    const runs = api.worker.runs.length;
    const open = api.chat({}, { key: project.key });
    await waitFor(() => api.worker.runs.length > runs, { describe: 'the run' });
    const key = await crashedClaim(api.worker.lastRun.request.runId);
    expect((await retry(key)).status).toBe(409);
    await api.worker.lastRun.finish();
    await open;
  });

  test('after it was charged: the retry runs free of charge, and is replayed from then on', async () => {
    const runId = await settledRunId();
    const key = await crashedClaim(runId);
    const cost = await costOf(async () => {
      const answer = await retry(key);
      expect([answer.status, answer.body.farebox.credits_used]).toEqual([200, '0']);
      expect((await retry(key)).body.idempotent_replay).toBe(true);
    });
    expect(cost).toBe('0');
  });

  test('after it was refunded: the retry is an ordinary run', async () => {
    api.worker.script = (run) => run.fail('engine_failed', false);
    const runId = await settledRunId();
    api.worker.script = echoScript;
    const key = await crashedClaim(runId);
    expect(await costOf(async () => expect((await retry(key)).status).toBe(200))).toBe(CHARGE);
  });

  test('with a run id that the ledger no longer takes: the retry runs under a new one', async () => {
    const key = await crashedClaim(ANCIENT_RUN_ID);
    expect((await retry(key)).status).toBe(200);
    expect(api.worker.lastRun.request.runId).not.toBe(ANCIENT_RUN_ID);
  });
});

test('the digest tells endpoints, payers and bodies apart', () => {
  const digests = [
    requestDigest('/a', null, Buffer.from('x')),
    requestDigest('/b', null, Buffer.from('x')),
    requestDigest('/a', 'c@d', Buffer.from('x')),
    requestDigest('/a', null, Buffer.from('y')),
  ];
  expect(new Set(digests.map((digest) => digest.toString('hex'))).size).toBe(4);
  expect(digests[0]?.length).toBe(createHash('sha256').digest().length);
});
