/** Streamed chat completions: the framing byte by byte, OpenAI's own client, failures half way, slow readers and readers that leave. */
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { formatAmount } from '../../../../events/contract/index.js';
import { eventLoopScheduler } from '../../../../platform/scheduler.js';
import { waitFor } from '../../../../platform/testing/wait-for.js';
import { type ChatApi, eventsOf, startChatApi } from '../../testing/chat-api.js';
import { echoScript } from '../../testing/scripted-worker.js';

type Chunk = { choices: { delta: { content?: string }; finish_reason: string | null }[] } & Record<string, unknown>;

let api: ChatApi;
let huru: ChatApi;
let hunt: ChatApi;
beforeAll(async () => {
  [api, huru, hunt] = await Promise.all([startChatApi(), startChatApi({ preset: 'huru' }), startChatApi({ preset: 'hunt' })]);
});
afterEach(() => {
  for (const each of [api, huru, hunt]) each.worker.script = echoScript;
});
afterAll(() => Promise.all([api.close(), huru.close(), hunt.close()]));

const openai = (target: ChatApi) => new OpenAI({ baseURL: `${target.baseUrl}/v1`, apiKey: target.project.key, maxRetries: 0 });
const hello = { messages: [{ role: 'user' as const, content: 'Hello there' }] };

async function available(target: ChatApi, accountId = target.project.accountId): Promise<string> {
  const balance = await target.ledger.balance(accountId);
  expect(balance?.heldNanos).toBe(0n);
  return formatAmount(balance?.availableNanos ?? 0n);
}

describe('framing', () => {
  test('in_chunks: every event before [DONE] has a delta; metadata rides in the first and the last', async () => {
    const answer = await api.chat({ stream: true });
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-ratelimit-limit': '600',
      'x-request-id': expect.any(String),
    });
    const requestId = answer.headers['x-request-id'] as string;
    const common = {
      id: `chatcmpl-${requestId.slice(4)}`,
      object: 'chat.completion.chunk',
      created: expect.any(Number),
      model: api.model,
      system_fingerprint: 'fp_scripted',
      pool: 'default',
    };
    const choice = (delta: unknown, finish: string | null) => [{ index: 0, delta, logprobs: null, finish_reason: finish }];
    expect(eventsOf(answer.text)).toEqual([
      { ...common, choices: choice({ role: 'assistant', content: '', refusal: null }, null), farebox: { request_id: requestId } },
      { ...common, choices: choice({ content: 'Hello ' }, null) },
      { ...common, choices: choice({ content: 'there' }, null) },
      {
        ...common,
        choices: choice({}, 'stop'),
        farebox: {
          request_id: requestId,
          credits_used: '0.000002',
          unit: 'USD',
          verified: false,
          verification_mode: 'none',
          provider: 'farebox',
        },
      },
      '[DONE]',
    ]);
    expect(answer.text.endsWith('data: [DONE]\n\n')).toBe(true);
  });

  test('U13, events: the stream opens and closes with an event of its own, as documented', async () => {
    const answer = await huru.chat({ stream: true });
    const requestId = answer.headers['x-request-id'];
    const events = eventsOf(answer.text);
    expect(events[0]).toEqual({ huru: { request_id: requestId } });
    expect(events.at(-2)).toEqual({
      huru: { request_id: requestId, credits_used: 1, verified: false, verification_mode: 'none', provider: 'farebox' },
    });
    expect(events.at(-1)).toBe('[DONE]');
  });

  test('no metadata where the document shows none', async () => {
    const answer = await hunt.chat({ stream: true });
    expect(answer.text).not.toContain('hunt":');
    expect(eventsOf(answer.text)).toHaveLength(5);
  });

  test('stream_options.include_usage: one more chunk without choices, and usage: null in the others', async () => {
    const answer = await api.chat({ stream: true, stream_options: { include_usage: true } });
    const chunks = eventsOf(answer.text).slice(0, -1) as Chunk[];
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15, prompt_tokens_details: { cached_tokens: 0 } },
    });
    for (const chunk of chunks.slice(0, -1)) expect(chunk['usage']).toBeNull();
  });

  test('text that breaks lines, ends frames or needs escapes arrives as it was', async () => {
    const text = 'a\n\ndata: [DONE]\n\n"\\ \u2028 €😀\u0000';
    api.worker.script = async (run) => {
      await run.output(text);
      await run.finish();
    };
    const chunks = eventsOf((await api.chat({ stream: true })).text).slice(0, -1) as Chunk[];
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe(text);
  });

  test('the charge is shown only when it is booked', async () => {
    let finish: () => Promise<void> = async () => undefined;
    api.worker.script = async (run) => {
      await run.output('early');
      finish = () => run.finish();
    };
    const response = await fetch(`${api.baseUrl}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${api.project.key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: api.model, ...hello, stream: true }),
    });
    const reader = response.body?.getReader();
    if (reader === undefined) throw new Error('no body');
    let text = '';
    while (!text.includes('early')) text += Buffer.from((await reader.read()).value ?? []).toString();
    expect(text).not.toContain('credits_used');
    await finish();
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += Buffer.from(part.value).toString();
    expect(text).toContain('credits_used');
  });
});

describe('H12: OpenAI’s Node client, unchanged', () => {
  test('plain and streamed, choices[0] of every chunk included', async () => {
    const completion = await openai(api).chat.completions.create({ model: api.model, ...hello });
    expect(completion.choices[0]?.message.content).toBe('Hello there');
    expect(completion.usage?.total_tokens).toBe(15);
    for (const target of [api, hunt]) {
      const stream = await openai(target).chat.completions.create({ model: target.model, ...hello, stream: true });
      let text = '';
      // As the documents' examples do it: `choices[0]` without asking whether there is one.
      for await (const chunk of stream)
        text += (chunk as unknown as Chunk & { choices: [Chunk['choices'][0]] }).choices[0].delta.content ?? '';
      expect(text).toBe('Hello there');
    }
  });

  test('its stream helper gathers the whole message and the usage', async () => {
    const stream = openai(api).chat.completions.stream({ model: api.model, ...hello, stream_options: { include_usage: true } });
    const final = await stream.finalChatCompletion();
    expect(final.choices[0]?.message.content).toBe('Hello there');
    expect(final.usage?.completion_tokens).toBe(5);
  });

  test('huru’s events pass through the client’s iterator', async () => {
    const stream = await openai(huru).chat.completions.create({ model: huru.model, ...hello, stream: true });
    let text = '';
    for await (const chunk of stream) text += chunk.choices?.[0]?.delta?.content ?? '';
    expect(text).toBe('Hello there');
  });

  test('refusals become its typed errors', async () => {
    await expect(openai(api).chat.completions.create({ model: 'gpt-4o', ...hello })).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
    });
    await expect(openai(api).chat.completions.create({ model: api.model, ...hello, temperature: 3 })).rejects.toMatchObject({
      status: 400,
      param: 'temperature',
    });
  });

  test('models.list and models.retrieve', async () => {
    const ids: string[] = [];
    for await (const model of openai(huru).models.list()) ids.push(model.id);
    expect(ids).toContain('huru/chat-1');
    expect((await openai(huru).models.retrieve('huru/chat-1')).object).toBe('model');
  });
});

describe('failures', () => {
  test('before the first text: an ordinary status, and repetitions like without a stream', async () => {
    const before = await available(api);
    api.worker.script = (run) => run.fail('engine_crashed', true);
    const refused = await api.chat({ stream: true });
    expect([refused.status, refused.body.error.code]).toEqual([503, 'provider_unavailable']);
    api.worker.script = (run) => (run.request.attempt === 1 ? run.fail('engine_crashed', true) : echoScript(run));
    expect(eventsOf((await api.chat({ stream: true })).text).at(-1)).toBe('[DONE]');
    expect(await available(api)).not.toBe(before);
  });

  test('before the first text was written: an ordinary status, and the text does not follow it', async () => {
    const writes: (() => void)[] = [];
    const held = await startChatApi({ scheduler: { ...eventLoopScheduler, defer: (work) => void writes.push(work) } });
    held.worker.script = async (run) => {
      await run.output('Once upon');
      await run.fail('engine_crashed', true);
    };
    const answer = await held.chat({ stream: true });
    expect([answer.status, answer.text.includes('Once')]).toEqual([503, false]);
    // What was put off must find nothing left to write: a second head would throw.
    expect(writes.length).toBeGreaterThan(0);
    for (const write of writes) write();
    expect(await available(held)).toBe('1');
    await held.close();
  });

  test('half way: an error event in the dialect, no [DONE], refunded, not repeated', async () => {
    for (const target of [api, hunt]) {
      const before = await available(target);
      const runs = target.worker.runs.length;
      target.worker.script = async (run) => {
        await run.output('Once upon');
        await run.fail('engine_crashed', true);
      };
      const answer = await target.chat({ stream: true });
      expect(answer.status).toBe(200);
      expect(answer.text).toContain('event: error\ndata: {');
      expect(eventsOf(answer.text).at(-1)).toMatchObject({ error: { type: 'service_unavailable_error' }, detail: expect.any(String) });
      expect(target.worker.runs.length - runs).toBe(1);
      expect(await available(target)).toBe(before);
      const stream = await openai(target).chat.completions.create({ model: target.model, ...hello, stream: true });
      const reading = async () => {
        for await (const _chunk of stream);
      };
      await expect(reading()).rejects.toBeInstanceOf(OpenAI.APIError);
    }
  });
});

test('a stream that stays silent opens with a comment, and a first attempt that then fails is still repeated', async () => {
  const runs = api.worker.runs.length;
  api.worker.script = async () => undefined;
  const call = api.chat({ stream: true });
  await waitFor(() => api.worker.runs.length > runs, { describe: 'the run' });
  const first = api.worker.lastRun;
  api.api.replies.tick(Date.now() + 16_000);
  api.worker.script = echoScript;
  await first.fail('engine_crashed', true);
  const answer = await call;
  expect(answer.text).toContain(': the run goes on\n\n');
  const events = eventsOf(answer.text) as Chunk[];
  expect([events.length, events[1]?.choices[0]?.delta.content, events.at(-1)]).toEqual([5, 'Hello ', '[DONE]']);
});

describe('readers', () => {
  test('one that leaves half way: the worker is told within the tick, and the slot is free', async () => {
    const project = await api.signUp('1');
    api.worker.script = (run) => run.output('Once upon');
    const controller = new AbortController();
    const client = new OpenAI({ baseURL: `${api.baseUrl}/v1`, apiKey: project.key, maxRetries: 0 });
    const stream = await client.chat.completions.create({ model: api.model, ...hello, stream: true }, { signal: controller.signal });
    const run = api.worker.lastRun;
    controller.abort();
    for await (const _chunk of stream);
    await waitFor(() => api.worker.cancelledRunIds.has(run.request.runId), { describe: 'the cancellation' });
    await waitFor(() => api.api.limiter.concurrentOf(project.keyId) === 0, { describe: 'the slot' });
    await run.cancelled({ promptTokens: 10, cachedTokens: 0, completionTokens: 5 });
    await waitFor(() => api.api.replies.runsInFlight === 0, { describe: 'the settlement' });
    expect(await available(api, project.accountId)).toBe('0.999998');
  });

  test('one that does not read: its memory is bounded, then it is given up and the run cancelled', async () => {
    const project = await api.signUp('1');
    const piece = 'x'.repeat(65_536);
    const runsBefore = api.worker.runs.length;
    let written = 0;
    api.worker.script = async (run) => {
      while (!api.worker.cancelledRunIds.has(run.request.runId) && written < 1_000) {
        await run.output(piece);
        written += 1;
        await new Promise((resolve) => setImmediate(resolve));
      }
      await run.cancelled();
    };
    const body = JSON.stringify({ model: api.model, ...hello, stream: true });
    const socket = connect(api.port, '127.0.0.1');
    // Nothing listens for data, so after the kernel's buffers nothing is taken any more.
    socket.pause();
    socket.on('error', () => undefined);
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${project.key}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await waitFor(() => api.worker.runs.length > runsBefore, { describe: 'the run' });
    await waitFor(() => api.worker.cancelledRunIds.has(api.worker.lastRun.request.runId), { describe: 'the cancellation' });
    await waitFor(() => api.api.replies.runsInFlight === 0, { describe: 'the settlement' });
    expect(written).toBeLessThan(1_000);
    expect(await available(api, project.accountId)).toBe('1');
    socket.destroy();
  });
});
