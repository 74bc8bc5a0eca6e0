/** `POST /v1/completions` (V5) over real HTTP with the real ledger: prompts of every form, streams, replays, charges and refusals. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { formatAmount } from '../../../../events/contract/index.js';
import { waitFor } from '../../../../platform/testing/wait-for.js';
import { type Call, type ChatApi, eventsOf, startChatApi } from '../../testing/chat-api.js';
import { echoScript } from '../../testing/scripted-worker.js';
import { COMPLETIONS_PATH } from './request-schema.js';

type Choice = { text: string; index: number; logprobs: unknown; finish_reason: string | null };

let api: ChatApi;
beforeAll(async () => {
  api = await startChatApi();
});
afterEach(() => {
  api.worker.script = echoScript;
});
afterAll(() => api.close());

const complete = (body: Record<string, unknown> = {}, call: Call = {}) =>
  api.call(COMPLETIONS_PATH, { json: { model: api.model, prompt: 'Once upon', ...body }, ...call });
const openai = () => new OpenAI({ baseURL: `${api.baseUrl}/v1`, apiKey: api.project.key, maxRetries: 0 });
const availableOf = async (accountId: string) => formatAmount((await api.ledger.balance(accountId))?.availableNanos ?? 0n);

describe('200', () => {
  test('OpenAI’s shape, the charge that was booked, and the metadata object', async () => {
    const project = await api.signUp('1');
    const answer = await complete({}, { key: project.key });
    const requestId = answer.headers['x-request-id'] as string;
    expect(answer.body).toMatchObject({
      id: `cmpl-${requestId.slice(4)}`,
      object: 'text_completion',
      created: expect.any(Number),
      model: api.model,
      choices: [{ text: 'Once upon', index: 0, logprobs: null, finish_reason: 'stop' }],
      usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15, prompt_tokens_details: { cached_tokens: 0 } },
      system_fingerprint: 'fp_scripted',
      pool: 'default',
      farebox: expect.objectContaining({ request_id: requestId, credits_used: '0.000002' }),
    });
    expect(await availableOf(project.accountId)).toBe('0.999998');
  });

  test('the documented request: a prompt and max_tokens; parameters reach the worker', async () => {
    await complete({
      max_tokens: 50,
      temperature: 0,
      stop: ['END'],
      seed: 3,
      logit_bias: { 5: 1 },
      user: 'ann',
      best_of: 1,
      echo: false,
      suffix: '',
    });
    expect(api.worker.lastRun.request).toMatchObject({
      input: { kind: 'completion', prompts: ['Once upon'] },
      stop: ['END'],
      outputTokensBudget: 50,
      sampling: { temperature: 0, seed: 3, logitBias: [[5, 1]] },
    });
  });

  test('without max_tokens the model may use its maximum', async () => {
    await complete();
    expect(api.worker.lastRun.request.outputTokensBudget).toBe(api.preset.models[0]?.max_output_tokens);
  });

  const forms: readonly [string, unknown, unknown[], string[]][] = [
    ['an array of texts', ['one', 'two'], ['one', 'two'], ['one', 'two']],
    ['an array with one text', ['one'], ['one'], ['one']],
    ['tokens', [1, 2, 3], [[1, 2, 3]], ['1 2 3']],
    ['arrays of tokens', [[1, 2], [3]], [[1, 2], [3]], ['1 2', '3']],
  ];
  test.each(forms)('%s', async (_name, prompt, prompts, texts) => {
    const answer = await complete({ prompt });
    expect(api.worker.lastRun.request.input).toEqual({ kind: 'completion', prompts });
    expect(answer.body.choices.map(({ text, index }: Choice) => [text, index])).toEqual(texts.map((text, index) => [text, index]));
  });

  test('n answers to each of several prompts are numbered prompt by prompt and all metered', async () => {
    const project = await api.signUp('1');
    const answer = await complete({ prompt: ['one', 'two'], n: 2, max_tokens: 10 }, { key: project.key });
    expect(answer.body.choices.map(({ text, index }: Choice) => [index, text])).toEqual([
      [0, 'one'],
      [1, 'one'],
      [2, 'two'],
      [3, 'two'],
    ]);
    expect(api.worker.lastRun.request).toMatchObject({ answers: 2, outputTokensBudget: 40 });
    expect(answer.body.usage.completion_tokens).toBe(20);
    // 10 prompt tokens at 0.10 and 20 completion tokens at 0.20 per million.
    expect(await availableOf(project.accountId)).toBe('0.999995');
  });

  test('logprobs in the legacy shape, plain and streamed', async () => {
    const chance = (token: string, logprob: number) => ({ token, logprob, bytes: [...Buffer.from(token)] });
    api.worker.script = async (run) => {
      for (const token of ['a', 'time'])
        await run.output(token, { logprobs: [{ ...chance(token, -1), top: [chance(token, -1), chance('x', -3)] }] });
      await run.finish();
    };
    expect((await complete({ logprobs: 2 })).body.choices[0].logprobs).toEqual({
      tokens: ['a', 'time'],
      token_logprobs: [-1, -1],
      top_logprobs: [
        { a: -1, x: -3 },
        { time: -1, x: -3 },
      ],
      text_offset: [0, 1],
    });
    const chunks = eventsOf((await complete({ logprobs: 2, stream: true })).text) as {
      choices: { logprobs: { text_offset: number[] } | null }[];
    }[];
    expect(chunks.slice(1, 3).map(({ choices }) => choices[0]?.logprobs?.text_offset)).toEqual([[0], [1]]);
    expect(api.worker.lastRun.request.sampling.logprobs).toBe(2);
  });

  test('a consumer pays instead of the project', async () => {
    const before = await availableOf(api.project.accountId);
    expect((await complete({}, { headers: [['X-Consumer-Email', 'reader@example.com']] })).status).toBe(200);
    expect(await availableOf(api.project.accountId)).toBe(before);
  });
});

describe('streams', () => {
  test('chunks of the same object, metadata in the first and the last, then [DONE]', async () => {
    const answer = await complete({ stream: true, stream_options: { include_usage: true } });
    expect(answer.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    const events = eventsOf(answer.text) as Record<string, unknown>[];
    const choice = (text: string, finish: string | null = null) => [{ text, index: 0, logprobs: null, finish_reason: finish }];
    expect(events.slice(0, -1).map(({ object, choices }) => [object, choices])).toEqual(
      [choice(''), choice('Once '), choice('upon'), choice('', 'stop'), []].map((choices) => ['text_completion', choices]),
    );
    expect([events[0]?.['farebox'], events[3]?.['farebox']]).toEqual([
      { request_id: answer.headers['x-request-id'] },
      expect.objectContaining({ credits_used: '0.000002' }),
    ]);
    expect([events[4]?.['usage'], events[5]]).toEqual([expect.objectContaining({ total_tokens: 15 }), '[DONE]']);
  });

  test('OpenAI’s client, plain and streamed over several prompts', async () => {
    const plain = await openai().completions.create({ model: api.model, prompt: ['one', 'two'], n: 2 });
    expect(plain.choices.map(({ text }) => text)).toEqual(['one', 'one', 'two', 'two']);
    const stream = await openai().completions.create({ model: api.model, prompt: ['one', 'two'], stream: true });
    const texts = ['', ''];
    const ends: number[] = [];
    for await (const { choices } of stream) {
      for (const { index, text, finish_reason } of choices) {
        texts[index] += text;
        if (finish_reason !== null) ends.push(index);
      }
    }
    expect([texts, ends]).toEqual([
      ['one', 'two'],
      [0, 1],
    ]);
  });

  test('a reader that leaves cancels its run', async () => {
    const project = await api.signUp('1');
    api.worker.script = (run) => run.output('Once upon');
    const controller = new AbortController();
    const client = new OpenAI({ baseURL: `${api.baseUrl}/v1`, apiKey: project.key, maxRetries: 0 });
    const stream = await client.completions.create({ model: api.model, prompt: 'x', stream: true }, { signal: controller.signal });
    const run = api.worker.lastRun;
    controller.abort();
    for await (const _chunk of stream);
    await waitFor(() => api.worker.cancelledRunIds.has(run.request.runId), { describe: 'the cancellation' });
    await run.cancelled();
    await waitFor(() => api.api.replies.runsInFlight === 0, { describe: 'the settlement' });
    expect(await availableOf(project.accountId)).toBe('1');
  });
});

describe('idempotency', () => {
  test('replayed byte by byte and as a stream, charged once', async () => {
    const project = await api.signUp('1');
    const ask = (stream: boolean) => complete({ stream }, { key: project.key, headers: [['Idempotency-Key', `key-${stream}`]] });
    const [first, again] = [await ask(false), await ask(false)];
    expect(again.text).toBe(`${first.text.slice(0, -1)},"idempotent_replay":true}`);
    expect([first.headers['idempotent-replayed'], again.headers['idempotent-replayed']]).toEqual([undefined, 'true']);
    const [once, replayed] = [await ask(true), await ask(true)].map(({ text }) => eventsOf(text) as Record<string, unknown>[]);
    expect(replayed?.at(-2)).toEqual({ ...once?.at(-2), idempotent_replay: true });
    expect(await availableOf(project.accountId)).toBe('0.999996');
  });

  test('a key of another endpoint is another request', async () => {
    const headers = [['Idempotency-Key', 'shared']] as const;
    const json = { model: api.model, prompt: 'x', messages: [{ role: 'user', content: 'x' }] };
    expect((await api.call(COMPLETIONS_PATH, { json, headers })).status).toBe(200);
    expect((await api.call('/v1/chat/completions', { json, headers })).body.error.code).toBe('idempotency_key_reused');
  });
});

describe('refusals: typed, nothing held, nothing run', () => {
  const cases: readonly [string, Record<string, unknown>, number, string, string | undefined][] = [
    ['no prompt', { prompt: undefined }, 400, 'invalid_request', 'prompt'],
    ['null as prompt', { prompt: null }, 400, 'invalid_request', 'prompt'],
    ['an empty prompt', { prompt: '' }, 400, 'invalid_request', 'prompt'],
    ['no prompts', { prompt: [] }, 400, 'invalid_request', 'prompt'],
    ['an empty text among others', { prompt: ['x', ''] }, 400, 'invalid_request', 'prompt[1]'],
    ['an empty list of tokens', { prompt: [[1], []] }, 400, 'invalid_request', 'prompt[1]'],
    ['a number as prompt', { prompt: 7 }, 400, 'invalid_request', 'prompt'],
    ['texts and tokens mixed', { prompt: ['x', [1]] }, 400, 'invalid_request', 'prompt[1]'],
    ['a token below zero', { prompt: [1, -1] }, 400, 'invalid_request', 'prompt[1]'],
    ['half a token', { prompt: [[1, 2.5]] }, 400, 'invalid_request', 'prompt[0][1]'],
    ['33 prompts', { prompt: Array.from({ length: 33 }, () => 'x') }, 400, 'invalid_request', 'prompt'],
    ['more answers than one request may have', { prompt: Array.from({ length: 10 }, () => 'x'), n: 8 }, 400, 'invalid_request', 'n'],
    ['logprobs above 5', { logprobs: 6 }, 400, 'invalid_request', 'logprobs'],
    ['logprobs as chat has them', { logprobs: true }, 400, 'invalid_request', 'logprobs'],
    ['max_tokens of zero', { max_tokens: 0 }, 400, 'invalid_request', 'max_tokens'],
    ['max_tokens above the model’s', { max_tokens: 100_000 }, 400, 'invalid_request', 'max_tokens'],
    ['best_of', { best_of: 2 }, 400, 'unsupported_parameter', 'best_of'],
    ['echo', { echo: true }, 400, 'unsupported_parameter', 'echo'],
    ['suffix', { suffix: 'The end' }, 400, 'unsupported_parameter', 'suffix'],
    ['an unknown model', { model: 'gpt-99' }, 404, 'model_not_found', 'model'],
    ['a model of another use', { model: 'qwen-3-embedding-0.6b' }, 400, 'invalid_request', 'model'],
  ];
  test.each(cases)('%s', async (_name, body, status, code, param) => {
    const before = await api.ledger.balance(api.project.accountId);
    const runs = api.worker.runs.length;
    const answer = await complete(body);
    expect([answer.status, answer.body.error?.code, answer.body.error?.param]).toEqual([status, code, param]);
    expect([await api.ledger.balance(api.project.accountId), api.worker.runs.length]).toEqual([before, runs]);
  });

  test('a prompt longer than the context, as the engine finds it, names the prompt and is refunded', async () => {
    const before = await availableOf(api.project.accountId);
    api.worker.script = (run) => run.fail('context_length_exceeded', false, 'The prompt has 5000 tokens and the context 4096.');
    const answer = await complete();
    expect([answer.status, answer.body.error.code, answer.body.error.param]).toEqual([400, 'context_length_exceeded', 'prompt']);
    expect(await availableOf(api.project.accountId)).toBe(before);
  });

  test('402 says how many tokens each answer can have', async () => {
    const poor = await api.signUp('0.0000111');
    const answer = await complete({ prompt: ['a', 'b'], max_tokens: 1_000 }, { key: poor.key });
    // Two prompts of at most 3 tokens at 100 nanos; the rest pays for 52 tokens of output at 200 nanos.
    expect([answer.status, answer.body.error.message]).toEqual([402, expect.stringContaining('max_tokens up to 26 for each answer')]);
  });
});
