/** `POST /v1/chat/completions`: one test for each status and for each way to reach it, over real HTTP with the real ledger. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { BusFullError, type MessageBus } from '../../../../events/bus/message-bus.js';
import { formatAmount, type RunErrorCode } from '../../../../events/contract/index.js';
import { waitFor } from '../../../../platform/testing/wait-for.js';
import { type LedgerClient, LedgerUnavailableError } from '../../../ledger/ledger-client.js';
import { type ChatApi, startChatApi } from '../../testing/chat-api.js';
import { echoScript } from '../../testing/scripted-worker.js';

let api: ChatApi;
beforeAll(async () => {
  api = await startChatApi();
});
afterEach(() => {
  api.worker.script = echoScript;
});
afterAll(() => api.close());

async function balance(accountId = api.project.accountId) {
  const found = await api.ledger.balance(accountId);
  return { available: formatAmount(found?.availableNanos ?? 0n), held: formatAmount(found?.heldNanos ?? 0n) };
}

/** Runs `attempt` and shows that it left nothing held and nothing charged. */
async function withoutCharge<Result>(attempt: () => Promise<Result>): Promise<Result> {
  const before = await balance();
  const result = await attempt();
  expect(await balance()).toEqual(before);
  return result;
}

describe('200', () => {
  test('the answer has OpenAI’s shape, the charge that was booked, and every family of headers', async () => {
    const project = await api.signUp('1');
    const answer = await api.chat({}, { key: project.key });
    expect(answer.status).toBe(200);
    const requestId = answer.headers['x-request-id'] as string;
    expect(requestId).toMatch(/^req_[0-9a-z]{26}$/);
    // 10 prompt tokens at 0.10 and 5 completion tokens at 0.20 per million.
    expect(answer.body).toEqual({
      id: `chatcmpl-${requestId.slice(4)}`,
      object: 'chat.completion',
      created: expect.any(Number),
      model: api.model,
      choices: [{ index: 0, message: { role: 'assistant', content: 'Hello there', refusal: null }, logprobs: null, finish_reason: 'stop' }],
      usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15, prompt_tokens_details: { cached_tokens: 0 } },
      system_fingerprint: 'fp_scripted',
      pool: 'default',
      farebox: {
        request_id: requestId,
        credits_used: '0.000002',
        unit: 'USD',
        verified: false,
        verification_mode: 'none',
        provider: 'farebox',
      },
    });
    expect(await balance(project.accountId)).toEqual({ available: '0.999998', held: '0' });
    expect(answer.headers).toMatchObject({
      'x-ratelimit-limit': '600',
      'x-ratelimit-remaining': '599',
      'x-ratelimit-limit-requests': '600',
      'x-ratelimit-limit-tokens': '1500000',
      'x-ratelimit-remaining-tokens': '1499985',
      'x-ratelimit-limit-minute': '1200',
      'x-ratelimit-remaining-day': '199999',
    });
    expect(answer.headers['x-ratelimit-reset']).toMatch(/^\d{10}$/);
    expect(answer.headers['x-ratelimit-reset-requests']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  });

  test('defaults, zeros and text parts reach the worker as meant; unknown parameters do not reach it at all', async () => {
    const answer = await api.chat({
      messages: [
        { role: 'developer', content: 'Be brief.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'One' },
            { type: 'text', text: ' two' },
          ],
          name: 'ann',
        },
      ],
      temperature: 0,
      top_p: null,
      seed: 0,
      stop: 'END',
      max_completion_tokens: 7,
      store: true,
      user: 'somebody',
      invented: { deep: true },
      tools: [],
      functions: [],
      function_call: 'auto',
      logit_bias: {},
      n: 1,
      modalities: ['text'],
      logprobs: false,
      response_format: { type: 'text' },
    });
    expect(answer.status).toBe(200);
    const { request } = api.worker.lastRun;
    expect(request.input.kind === 'chat' && request.input.messages).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'One two', name: 'ann' },
    ]);
    expect(request.sampling).toEqual({ temperature: 0, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: 0 });
    expect(request).toMatchObject({ stop: ['END'], outputTokensBudget: 7, stream: false, attempt: 1 });
    expect(JSON.stringify(request)).not.toContain('invented');
  });

  test('a consumer is found or created and pays instead of the project', async () => {
    const before = await balance();
    const headers = [
      ['X-Consumer-Email', 'Jane@Example.com'],
      ['X-Consumer-Name', 'Jané'],
    ] as const;
    expect((await api.chat({}, { headers })).status).toBe(200);
    expect((await api.chat({}, { headers: [['X-Consumer-Email', 'jane@example.com']] })).status).toBe(200);
    const [consumer] = await api.directory.listConsumers(api.project.projectId, { limit: 5, after: null });
    expect(consumer).toMatchObject({ email: 'Jane@Example.com' });
    expect(await balance(`acc_${consumer?.consumerId.slice(4)}`)).toEqual({ available: '0.099996', held: '0' });
    expect(await balance()).toEqual(before);
  });

  test('a failed attempt is repeated elsewhere, answered once and charged once', async () => {
    const project = await api.signUp('1');
    api.worker.script = async (run) => {
      await run.output('half an ans');
      if (run.request.attempt < 3) await run.fail('engine_crashed', true);
      else await run.finish();
    };
    const answer = await api.chat({}, { key: project.key });
    expect([answer.status, answer.body.choices[0].message.content]).toEqual([200, 'half an ans']);
    expect(api.worker.lastRun.request.attempt).toBe(3);
    expect(await balance(project.accountId)).toEqual({ available: '0.999998', held: '0' });
  });

  test('without max_tokens the output is capped to what the balance affords', async () => {
    // The prompt's bound is 91 tokens at 100 nanos; the rest pays for ten tokens of output at 200 nanos.
    const project = await api.signUp('0.0000111');
    expect((await api.chat({}, { key: project.key })).status).toBe(200);
    expect(api.worker.lastRun.request.outputTokensBudget).toBe(10);
  });

  test('a model that says nothing answers with an empty text', async () => {
    api.worker.script = (run) => run.finish('length', { promptTokens: 3, cachedTokens: 2, completionTokens: 0 });
    const answer = await api.chat();
    expect(answer.body.choices[0]).toMatchObject({ message: { content: '' }, finish_reason: 'length' });
    expect(answer.body.usage.prompt_tokens_details.cached_tokens).toBe(2);
  });
});

describe('400', () => {
  const user = (content: unknown) => [{ role: 'user', content }];
  const malformed: readonly [string, string | Buffer][] = [
    ['broken JSON', '{"model": '],
    ['no body', ''],
    ['a body that is no object', '[1]'],
    ['nesting beyond 32 levels', `{"messages":${'['.repeat(40)}${']'.repeat(40)}}`],
    ['bytes that are not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
  ];
  test.each(malformed)('%s', async (_name, raw) => {
    const answer = await withoutCharge(() =>
      api.call('/v1/chat/completions', { raw, method: 'POST', headers: [['Content-Type', 'application/json']] }),
    );
    expect(answer.status).toBe(400);
    expect(answer.body).toEqual({
      error: { type: 'invalid_request_error', code: expect.any(String), message: expect.any(String) },
      detail: answer.body.error.message,
    });
  });

  const invalid: readonly [string, Record<string, unknown>, string, string][] = [
    ['a missing model', { model: undefined }, 'invalid_request', 'model'],
    ['missing messages', { messages: undefined }, 'invalid_request', 'messages'],
    ['no messages', { messages: [] }, 'invalid_request', 'messages'],
    ['a content that is a number', { messages: user(7) }, 'invalid_request', 'messages[0].content'],
    ['a content that is missing', { messages: [{ role: 'user' }] }, 'invalid_request', 'messages[0].content'],
    ['an unknown role', { messages: [{ role: 'king', content: 'x' }] }, 'invalid_request', 'messages[0].role'],
    ['a temperature above 2', { temperature: 2.1 }, 'invalid_request', 'temperature'],
    ['a temperature that is text', { temperature: '1' }, 'invalid_request', 'temperature'],
    ['top_p above 1', { top_p: 1.5 }, 'invalid_request', 'top_p'],
    ['max_tokens of zero', { max_tokens: 0 }, 'invalid_request', 'max_tokens'],
    ['max_tokens above the model’s maximum', { max_tokens: 1_025 }, 'invalid_request', 'max_tokens'],
    ['max_completion_tokens above it', { max_completion_tokens: 1e9 }, 'invalid_request', 'max_completion_tokens'],
    ['an unsafe integer', { seed: 2 ** 60 }, 'invalid_request', 'seed'],
    ['five stop sequences', { stop: ['a', 'b', 'c', 'd', 'e'] }, 'invalid_request', 'stop'],
    ['an empty stop sequence', { stop: [''] }, 'invalid_request', 'stop'],
    ['stream that is text', { stream: 'yes' }, 'invalid_request', 'stream'],
    [
      'an image',
      { messages: user([{ type: 'image_url', image_url: { url: 'https://x' } }]) },
      'unsupported_parameter',
      'messages[0].content[0].type',
    ],
    ['a sound', { messages: user([{ type: 'input_audio', input_audio: {} }]) }, 'unsupported_parameter', 'messages[0].content[0].type'],
    [
      'a message of the role function',
      { messages: [{ role: 'function', name: 'f', content: 'x' }] },
      'unsupported_parameter',
      'messages[0].role',
    ],
    [
      'a function_call',
      { messages: [{ role: 'assistant', content: 'x', function_call: {} }] },
      'unsupported_parameter',
      'messages[0].function_call',
    ],
    ['functions', { functions: [{ name: 'f' }] }, 'unsupported_parameter', 'functions'],
    ['a function_call that names one', { function_call: { name: 'f' } }, 'unsupported_parameter', 'function_call'],
    ['no answers', { n: 0 }, 'invalid_request', 'n'],
    ['more answers than there may be', { n: 9 }, 'invalid_request', 'n'],
    ['half an answer', { n: 1.5 }, 'invalid_request', 'n'],
    ['logprobs that are a number', { logprobs: 3 }, 'invalid_request', 'logprobs'],
    ['top_logprobs above 20', { logprobs: true, top_logprobs: 21 }, 'invalid_request', 'top_logprobs'],
    ['top_logprobs without logprobs', { top_logprobs: 2 }, 'invalid_request', 'top_logprobs'],
    ['a bias for what is no token', { logit_bias: { hello: 5 } }, 'invalid_request', 'logit_bias'],
    ['a bias for a token below zero', { logit_bias: { '-1': 5 } }, 'invalid_request', 'logit_bias'],
    ['a bias for a token beyond any vocabulary', { logit_bias: { 99999999999: 5 } }, 'invalid_request', 'logit_bias'],
    ['a bias above 100', { logit_bias: { 1: 101 } }, 'invalid_request', 'logit_bias.1'],
    [
      'more biases than there may be',
      { logit_bias: Object.fromEntries(Array.from({ length: 301 }, (_, token) => [token, 1])) },
      'invalid_request',
      'logit_bias',
    ],
    ['a quantization that is a number', { quantization: 4 }, 'invalid_request', 'quantization'],
    ['a quantization that the model does not have', { quantization: 'fp99' }, 'invalid_request', 'quantization'],
    ['a reasoning effort', { reasoning_effort: 'high' }, 'unsupported_parameter', 'reasoning_effort'],
    ['a sound as answer', { modalities: ['text', 'audio'] }, 'unsupported_parameter', 'modalities'],
  ];
  test.each(invalid)('%s', async (_name, body, code, param) => {
    const answer = await withoutCharge(() => api.chat(body));
    expect([answer.status, answer.body.error.code, answer.body.error.param]).toEqual([400, code, param]);
    expect(answer.body.detail).toBe(answer.body.error.message);
  });

  const consumers: readonly [string, readonly (readonly [string, string])[]][] = [
    ['without @', [['X-Consumer-Email', 'jane.example.com']]],
    ['with two @', [['X-Consumer-Email', 'jane@a@b']]],
    ['of 255 characters', [['X-Consumer-Email', `${'a'.repeat(250)}@b.cd`]]],
    [
      'sent twice',
      [
        ['X-Consumer-Email', 'a@example.com'],
        ['X-Consumer-Email', 'b@example.com'],
      ],
    ],
    ['twice in one header', [['X-Consumer-Email', 'a@example.com, b@example.com']]],
    ['that is empty', [['X-Consumer-Email', '']]],
    ['with a control character', [['X-Consumer-Email', 'ja\u0085ne@example.com']]],
    [
      'with a name beyond its bound',
      [
        ['X-Consumer-Email', 'a@example.com'],
        ['X-Consumer-Name', 'n'.repeat(201)],
      ],
    ],
  ];
  test.each(consumers)('a consumer’s e-mail %s', async (_name, headers) => {
    const answer = await withoutCharge(() => api.chat({}, { headers }));
    expect([answer.status, answer.body.error.param.slice(0, 11)]).toEqual([400, 'X-Consumer-']);
  });

  test('a prompt longer than the context, as the engine finds it, is refunded', async () => {
    api.worker.script = (run) => run.fail('context_length_exceeded', false, 'The prompt has 5000 tokens and the context 4096.');
    const answer = await withoutCharge(() => api.chat());
    expect([answer.status, answer.body.error.code]).toEqual([400, 'context_length_exceeded']);
    expect(answer.body.error.message).toContain('5000');
  });
});

describe('401 and 403', () => {
  test('no key, a wrong scheme, an unknown and a malformed key are refused before the body is read', async () => {
    const missing = await api.chat({}, { key: null });
    expect([missing.status, missing.body.error.code, missing.body.error.type]).toEqual([401, 'missing_api_key', 'authentication_error']);
    expect(missing.headers).toMatchObject({ 'x-ratelimit-limit': '600', 'x-ratelimit-remaining': '0', 'x-request-id': expect.any(String) });
    const unknown = await api.chat({}, { key: `fb_live_${'x'.repeat(43)}` });
    const malformed = await api.chat({}, { key: null, headers: [['Authorization', 'Basic abc']] });
    expect([unknown.status, unknown.text]).toEqual([401, malformed.text]);
    expect(unknown.body.error.code).toBe('invalid_api_key');
  });

  test('x-api-key is as good as a bearer token', async () => {
    expect((await api.chat({}, { key: null, headers: [['x-api-key', api.project.key]] })).status).toBe(200);
  });

  test('a revoked key is told so', async () => {
    const project = await api.signUp();
    await api.directory.revokeKey(project.projectId, project.keyId, Date.now());
    const answer = await api.chat({}, { key: project.key });
    expect([answer.status, answer.body.error.code]).toEqual([403, 'api_key_revoked']);
  });
});

describe('402', () => {
  test('the refusal says what is missing, what is affordable and where to top up, and never says when to retry', async () => {
    const project = await api.signUp('0.0000111');
    const answer = await api.chat({ max_tokens: 1_000 }, { key: project.key });
    expect(answer.status).toBe(402);
    expect(answer.body.error).toMatchObject({
      type: 'billing_error',
      code: 'insufficient_credits',
      checkout_url: `https://farebox.example/top-up?project=${project.projectId}`,
    });
    expect(answer.body.error.message).toContain('max_tokens up to 10.');
    const several = await api.chat({ max_tokens: 1_000, n: 3 }, { key: project.key });
    expect(several.body.error.message).toContain('max_tokens up to 3 for each answer.');
    expect(answer.headers['retry-after']).toBeUndefined();
    expect(await balance(project.accountId)).toEqual({ available: '0.0000111', held: '0' });
  });

  test('a consumer without credit gets a link of their own while the project is not charged', async () => {
    const poor = await startChatApi({ preset: (preset) => ({ ...preset, starter_credit: { ...preset.starter_credit, consumer: 0n } }) });
    const answer = await poor.chat({}, { headers: [['X-Consumer-Email', 'jane@example.com']] });
    expect([answer.status, answer.body.error.message.slice(0, 8)]).toEqual([402, 'Consumer']);
    expect(answer.body.error.checkout_url).toMatch(/^https:\/\/farebox\.example\/top-up\?consumer=con_[0-9a-z]{26}$/);
    expect(poor.worker.runs).toHaveLength(0);
    await poor.close();
  });

  test('hunt says 403 and detail; huru 402 and its own shape', async () => {
    const hunt = await startChatApi({ preset: 'hunt' });
    const poorHunter = await hunt.signUp('0');
    const atHunt = await hunt.chat({}, { key: poorHunter.key });
    expect([atHunt.status, Object.keys(atHunt.body)]).toEqual([403, ['detail']]);
    await hunt.close();
    const huru = await startChatApi({ preset: 'huru' });
    const poor = await huru.signUp('0');
    const atHuru = await huru.chat({}, { key: poor.key });
    expect([atHuru.status, Object.keys(atHuru.body), Object.keys(atHuru.body.error)]).toEqual([
      402,
      ['error'],
      ['type', 'code', 'message', 'checkout_url'],
    ]);
    expect((await huru.chat({ functions: [{}] })).body.error).toMatchObject({ type: 'invalid_request_error', code: 'invalid_request' });
    expect((await huru.chat({}, { key: 'sk_live_wrong' })).body.error.code).toBe('authentication_error');
    expect((await huru.chat()).body.huru).toMatchObject({ credits_used: 1, verified: false });
    await huru.close();
  });
});

describe('404, 405, 413, 415', () => {
  test('404 names the nearest model that is offered', async () => {
    const answer = await withoutCharge(() => api.chat({ model: 'farebox-tinny' }));
    expect([answer.status, answer.body.error.code]).toEqual([404, 'model_not_found']);
    expect(answer.body.error.message).toContain('"farebox-tiny"');
  });

  test('404 for an endpoint that does not exist, 405 with what would be allowed', async () => {
    expect((await api.call('/v1/wizards')).body.error.code).toBe('endpoint_not_found');
    const answer = await api.call('/v1/chat/completions');
    expect([answer.status, answer.headers['allow'], answer.body.error.code]).toEqual([405, 'POST', 'method_not_allowed']);
  });

  test('413 for more than a mebibyte, announced or not', async () => {
    const raw = JSON.stringify({ model: api.model, messages: [{ role: 'user', content: 'x'.repeat(1_100_000) }] });
    const announced = await api.chat({}, { raw });
    expect([announced.status, announced.body.error.code]).toEqual([413, 'body_too_large']);
    const chunked = await api.chat({}, { raw, headers: [['Transfer-Encoding', 'chunked']] });
    expect(chunked.status).toBe(413);
  });

  test('415 for a form', async () => {
    const answer = await api.chat({}, { raw: 'model=x', headers: [['Content-Type', 'application/x-www-form-urlencoded']] });
    expect([answer.status, answer.body.error.code]).toEqual([415, 'unsupported_media_type']);
  });
});

describe('429', () => {
  test('beyond the burst of the sliding window: Retry-After, and nothing reaches the ledger', async () => {
    const limits = { sliding_window: { requests_per_minute: 1, burst: 2 }, headers: ['simple' as const] };
    const limited = await startChatApi({ preset: (preset) => ({ ...preset, limits }) });
    const statuses = [await limited.chat(), await limited.chat(), await limited.chat()];
    expect(statuses.map((answer) => [answer.status, answer.headers['x-ratelimit-remaining']])).toEqual([
      [200, '0'],
      [200, '0'],
      [429, '0'],
    ]);
    expect(Number(statuses[2]?.headers['retry-after'])).toBeGreaterThan(60);
    expect(statuses[2]?.body.error).toMatchObject({ type: 'rate_limit_error', code: 'rate_limit_exceeded' });
    expect(limited.worker.runs).toHaveLength(2);
    await limited.close();
  });

  test('beyond the project’s bucket, and beyond the tokens a minute', async () => {
    const bucket = await startChatApi({
      preset: (preset) => ({ ...preset, limits: { token_bucket: { per_minute: 1, per_day: 10 }, headers: ['minute_day' as const] } }),
    });
    expect([(await bucket.chat()).status, (await bucket.chat()).status]).toEqual([200, 429]);
    await bucket.close();
    const tokens = await startChatApi({
      preset: (preset) => ({ ...preset, limits: { tokens_per_minute: 200, headers: ['requests_tokens' as const] } }),
    });
    tokens.worker.script = async (run) => {
      await run.output('x');
      await run.finish('stop', { promptTokens: 120, cachedTokens: 0, completionTokens: 70 });
    };
    const first = await tokens.chat({ max_tokens: 100 });
    expect([first.status, first.headers['x-ratelimit-remaining-tokens']]).toEqual([200, '10']);
    const second = await tokens.chat({ max_tokens: 100 });
    expect([second.status, second.body.error.message.includes('200 tokens a minute')]).toEqual([429, true]);
    await tokens.close();
  });

  test('more at the same time than the key may; the count returns to zero', async () => {
    const limited = await startChatApi({
      preset: (preset) => ({ ...preset, limits: { concurrent_requests: 1, headers: ['simple' as const] } }),
    });
    limited.worker.script = async () => undefined;
    const first = limited.chat();
    await waitFor(() => limited.worker.runs.length === 1, { describe: 'the first run' });
    const second = await limited.chat();
    expect([second.status, second.body.error.code, second.headers['retry-after']]).toEqual([429, 'concurrency_limited', '1']);
    await limited.worker.lastRun.finish();
    expect((await first).status).toBe(200);
    expect(limited.api.limiter.concurrentOf(limited.project.keyId)).toBe(0);
    await limited.close();
  });
});

describe('500 and 503', () => {
  const failures: readonly [string, RunErrorCode, string][] = [
    ['a full engine', 'engine_at_capacity', 'engine_at_capacity'],
    ['a model that loads', 'model_loading', 'model_loading'],
    ['a model that cannot be served', 'model_unavailable', 'provider_unavailable'],
    ['a broken engine', 'engine_failed', 'provider_unavailable'],
    ['a run beyond its deadline', 'deadline_exceeded', 'run_timed_out'],
  ];
  test.each(failures)('%s: 503 with Retry-After, refunded, not told why', async (_name, errorCode, code) => {
    api.worker.script = (run) => run.fail(errorCode, false, 'inner detail');
    const answer = await withoutCharge(() => api.chat());
    expect([answer.status, answer.body.error.code]).toEqual([503, code]);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(answer.text).not.toContain('inner detail');
  });

  test('a full engine is not asked again; a broken one three times', async () => {
    const before = api.worker.runs.length;
    api.worker.script = (run) => run.fail('engine_at_capacity', true);
    expect((await api.chat()).status).toBe(503);
    expect(api.worker.runs.length - before).toBe(1);
    api.worker.script = (run) => run.fail('engine_crashed', true);
    expect((await withoutCharge(() => api.chat())).status).toBe(503);
    expect(api.worker.runs.length - before).toBe(4);
  });

  test('a bus that takes no more: 503, and the hold is released', async () => {
    const full = await startChatApi({
      wrapBus: (bus) => ({
        publish: (topic, messages) =>
          topic.includes('run-requests') ? Promise.reject(new BusFullError('full')) : bus.publish(topic, messages),
        subscribe: (options) => bus.subscribe(options),
        isReady: () => bus.isReady(),
        close: () => bus.close(),
      }),
    });
    const answer = await full.chat();
    expect([answer.status, answer.body.error.code]).toEqual([503, 'engine_at_capacity']);
    expect(await full.ledger.balance(full.project.accountId)).toMatchObject({ availableNanos: 1_000_000_000n, heldNanos: 0n });
    await full.close();
  });

  const deadBus = (bus: MessageBus): MessageBus => ({
    publish: () => Promise.reject(new Error('the bus is down')),
    subscribe: (options) => bus.subscribe(options),
    isReady: async () => false,
    close: () => bus.close(),
  });

  test('a bus that takes nothing at all: 503, and the hold is back at once, not at its expiry', async () => {
    const cut = await startChatApi({ wrapBus: deadBus });
    const keyed = { headers: [['Idempotency-Key', 'once']] as const };
    for (const call of [{}, keyed, keyed]) {
      const answer = await cut.chat({}, call);
      expect([answer.status, answer.body.error.code]).toEqual([503, 'provider_unavailable']);
      expect(await cut.ledger.balance(cut.project.accountId)).toMatchObject({ availableNanos: 1_000_000_000n, heldNanos: 0n });
    }
    await waitFor(() => cut.api.replies.runsInFlight === 0, { describe: 'the runs to be forgotten' });
    await cut.close();
  });

  test('and when the ledger cannot be told either: 503, and the hold waits for its expiry', async () => {
    const wrapLedger = (ledger: LedgerClient): LedgerClient => ({
      ...ledger,
      abandonRun: () => Promise.reject(new LedgerUnavailableError('store down')),
    });
    const cut = await startChatApi({ wrapBus: deadBus, wrapLedger });
    expect((await cut.chat()).status).toBe(503);
    const held = await cut.ledger.balance(cut.project.accountId);
    expect([(held?.availableNanos ?? 0n) + (held?.heldNanos ?? 0n), held?.heldNanos === 0n]).toEqual([1_000_000_000n, false]);
    await cut.close();
  });

  test('a ledger that cannot answer: 503; a fault of ours: 500 without its text', async () => {
    let fault: Error = new LedgerUnavailableError('store down');
    const broken = await startChatApi({ wrapLedger: (ledger) => ({ ...ledger, reserve: () => Promise.reject(fault) }) });
    const unavailable = await broken.chat();
    expect([unavailable.status, unavailable.body.error.code]).toEqual([503, 'ledger_unavailable']);
    fault = new TypeError('secret inner state');
    const internal = await broken.chat();
    expect([internal.status, internal.body.error.code, internal.text.includes('secret')]).toEqual([500, 'internal_error', false]);
    expect(broken.api.limiter.concurrentOf(broken.project.keyId)).toBe(0);
    await broken.close();
  });

  test('while draining: 503 for new work, health still answers, and the run under way is answered', async () => {
    const draining = await startChatApi();
    draining.worker.script = async () => undefined;
    const underWay = draining.chat();
    await waitFor(() => draining.worker.runs.length === 1, { describe: 'the run' });
    const drained = draining.api.drain(10_000);
    expect((await draining.chat()).body.error.code).toBe('shutting_down');
    expect((await draining.call('/healthz')).status).toBe(200);
    const signUp = await draining.call('/v1/projects', { key: null, json: { name: 'Late', slug: 'late', environment: 'live' } });
    expect([signUp.status, signUp.body.error.code]).toEqual([503, 'shutting_down']);
    await draining.worker.lastRun.finish();
    expect((await underWay).status).toBe(200);
    expect(await drained).toEqual({ drained: true });
    await draining.close();
  });
});

test('a client that goes away: the worker is told, what it generated is settled by policy, and every counter returns to zero', async () => {
  const project = await api.signUp('1');
  api.worker.script = async () => undefined;
  const controller = new AbortController();
  const runsBefore = api.worker.runs.length;
  const call = fetch(`${api.baseUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${project.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: api.model, messages: [{ role: 'user', content: 'Hello' }] }),
    signal: controller.signal,
  });
  await waitFor(() => api.worker.runs.length > runsBefore, { describe: 'the run' });
  controller.abort();
  await expect(call).rejects.toThrow();
  const run = api.worker.lastRun;
  await waitFor(() => api.worker.cancelledRunIds.has(run.request.runId), { describe: 'the cancellation' });
  expect(api.api.limiter.concurrentOf(project.keyId)).toBe(0);
  await run.cancelled({ promptTokens: 10, cachedTokens: 0, completionTokens: 5 });
  await waitFor(() => api.api.replies.runsInFlight === 0, { describe: 'the settlement' });
  expect(await balance(project.accountId)).toEqual({ available: '0.999998', held: '0' });
});
