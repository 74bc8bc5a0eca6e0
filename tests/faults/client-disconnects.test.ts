/**
 * Clients vanish at every stage: while they send, while they wait, while they read; orderly or torn away; streamed or not. Every run ends once, is
 * charged by the preset's stated policy, and leaves nothing held and nothing counted.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { waitFor } from '../../platform/testing/wait-for.js';
import { expectBooksInOrder } from '../support/book-checks.js';
import type { Books } from '../support/books.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient, type SignedUp } from '../support/farebox-client.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import { type Leaving, leave, leaveAfterReceiving, leaveAfterSending, opened, rawRequest } from '../support/raw-request.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

const PATH = '/v1/chat/completions';
const OFFSETS = 24;
const CONCURRENT_MAX = 40;
const LEAVINGS: readonly Leaving[] = ['fin', 'rst'];

/** The echo engine answers at once, whatever the length, so its answer is long; the model takes its time and is cancelled half way. */
const PROMPTS = { echo: 'The quick brown fox jumps over the lazy dog. '.repeat(400), tiny: 'Tell me a long story about a dragon.' };
const SCENES = [
  { engine: 'echo', policy: 'charge_generated' },
  { engine: 'echo', policy: 'refund_all' },
  { engine: 'tiny', policy: 'charge_generated' },
  { engine: 'tiny', policy: 'refund_all' },
] as const;

describe.each(SCENES)('a client that vanishes, with the engine $engine and the policy $policy', ({ engine, policy }) => {
  const prompt = PROMPTS[engine];
  let files: TemporaryDirectory;
  let deployment: EmbeddedDeployment;
  let client: FareboxClient;
  let books: Books;
  let project: SignedUp;
  beforeAll(async () => {
    files = await makeTemporaryDirectory();
    const preset = writePreset(files.path, 'farebox', (offer) => {
      liftLimits(offer);
      offer.limits.concurrent_requests = CONCURRENT_MAX;
      offer.policies.cancelled_run = policy;
      offer.starter_credit.project = '1000';
    });
    deployment = await createEmbeddedDeployment({ preset, environment: { FAREBOX_ENGINE: engine } });
    await deployment.start();
    client = createFareboxClient(deployment);
    project = await client.signUp('Leaver');
    books = await deployment.openBooks();
  }, 120_000);
  afterAll(async () => {
    client?.close();
    await books?.close();
    await deployment?.dispose();
    await files?.remove();
  }, 120_000);

  const request = (stream: boolean, headers: readonly (readonly [string, string])[] = []) =>
    rawRequest(deployment.baseUrl, {
      path: PATH,
      key: project.key,
      json: { model: 'farebox-tiny', messages: [{ role: 'user', content: prompt }], max_tokens: 1_000, stream },
      headers,
    });

  /** Nothing runs, nothing is held, the limiter admits as many at once as it should, and the books agree. */
  async function expectNothingLeftBehind(): Promise<void> {
    await waitFor(async () => (await client.metric('farebox_api_runs_in_flight')) === 0, { describe: 'the API to wait for no run' });
    await waitFor(async () => (await client.metric('farebox_inference_runs_in_flight')) === 0, { describe: 'the worker to be idle' });
    await waitFor(async () => (await client.balance(project.key)).held === '0', { describe: 'holds to end' });
    await waitFor(asManyAtOnceAsAllowed, { describe: 'the limiter to have forgotten those who left' });
    await expectBooksInOrder(books);
    await expectChargedByPolicy();
  }

  async function asManyAtOnceAsAllowed(): Promise<boolean> {
    const answers = await Promise.all(Array.from({ length: CONCURRENT_MAX }, () => client.chat(project.key, { max_tokens: 4 })));
    return answers.every(({ status }) => status === 200);
  }

  async function expectChargedByPolicy(): Promise<void> {
    const { rows } = await books.pool.query<{ broken: string }>(
      `select count(*)::text as broken from read_model.requests where status = 'reserved'
        or (status = 'cancelled' and $1 = 'refund_all' and charged_nanos > 0)
        or (status = 'completed' and charged_nanos = 0)
        or (status in ('failed', 'expired') and charged_nanos > 0)`,
      [policy],
    );
    expect(rows[0]?.broken).toBe('0');
  }

  test.each([false, true])('while sending its request (stream: %s): nothing runs, nothing is charged', async (stream) => {
    const whole = request(stream);
    const before = await client.balance(project.key);
    const cuts = Array.from({ length: OFFSETS }, (_, index) => 1 + Math.floor((index * (whole.bytes.length - 2)) / (OFFSETS - 1)));
    for (const how of LEAVINGS) await Promise.all(cuts.map((bytes) => leaveAfterSending(whole, bytes, how)));
    await waitFor(async () => (await client.metric('farebox_api_runs_in_flight')) === 0, { describe: 'the API to be idle' });
    expect(await client.balance(project.key)).toEqual(before);
    await expectNothingLeftBehind();
  });

  test.each([false, true])('after sending it, at many moments of the run (stream: %s)', async (stream) => {
    const whole = request(stream);
    // A moment is a number of turns of the event loop after the last byte: no clock decides where the run is then.
    const moments = Array.from({ length: OFFSETS }, (_, index) => index * index);
    await Promise.all(
      moments.map(async (turns, index) => {
        const { socket, closed } = await opened(whole);
        socket.write(whole.bytes);
        for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        leave(socket, LEAVINGS[index % 2] ?? 'rst');
        await closed;
      }),
    );
    await expectNothingLeftBehind();
  });

  test.each([false, true])('while reading, after any number of bytes (stream: %s)', async (stream) => {
    const whole = request(stream);
    const length = (await client.chat(project.key, { messages: [{ role: 'user', content: prompt }], max_tokens: 1_000, stream })).text
      .length;
    const cuts = Array.from({ length: OFFSETS }, (_, index) => 1 + Math.floor((index * length) / OFFSETS));
    for (const how of LEAVINGS) await Promise.all(cuts.map((bytes) => leaveAfterReceiving(whole, bytes, how)));
    await expectNothingLeftBehind();
  });

  test('with an idempotency key the run goes on: asking again gets the answer, and one charge covers both', async () => {
    const runsBefore = (await books.runs()).size;
    const keys = Array.from({ length: OFFSETS }, (_, index) => `left-${index}`);
    await Promise.all(
      keys.map((key, index) => leaveAfterReceiving(request(index % 2 === 0, [['Idempotency-Key', key]]), 1 + index * 100, 'rst')),
    );
    const again = async (key: string, index: number) => {
      const body = { model: 'farebox-tiny', messages: [{ role: 'user', content: prompt }], max_tokens: 1_000, stream: index % 2 === 0 };
      const answered = async () => {
        const answer = await client.call(PATH, { key: project.key, json: body, headers: [['Idempotency-Key', key]] });
        return answer.status === 200 ? answer : null;
      };
      return waitFor(answered, { describe: `the answer to ${key}` });
    };
    const answers = await Promise.all(keys.map(again));
    for (const { text } of answers) expect(text).toContain('"idempotent_replay":true');
    await expectBooksInOrder(books);
    expect((await books.runs()).size - runsBefore).toBe(OFFSETS);
    await expectNothingLeftBehind();
    const { rows } = await books.pool.query<{ keys: string }>(
      `select count(*)::text as keys from api.idempotency_keys where key like 'left-%' and state = 'completed'`,
    );
    expect(rows[0]?.keys).toBe(String(OFFSETS));
  });

  test('a model’s run is cut short, and costs what the policy says', async () => {
    const { rows } = await books.pool.query<{ cancelled: number; charged: number; uncharged: number }>(
      `select count(*)::int as cancelled, count(*) filter (where charged_nanos > 0)::int as charged,
        count(*) filter (where completion_tokens > 0 and charged_nanos = 0)::int as uncharged
      from read_model.requests where status = 'cancelled'`,
    );
    const { cancelled = 0, charged = 0, uncharged = 0 } = rows[0] ?? {};
    if (engine === 'tiny') expect(cancelled).toBeGreaterThan(0);
    expect(policy === 'refund_all' ? charged : uncharged).toBe(0);
  });
});
