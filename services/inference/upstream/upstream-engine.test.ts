/** What the upstream engine makes of everything an upstream may do, over real connections. */
import { once } from 'node:events';
import { afterEach, describe, expect, test } from '@jest/globals';
import { NO_USAGE } from '../../../events/contract/index.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { ManualTime } from '../testing/manual-time.js';
import { chunkOf, type OpenAiExchange, type OpenAiServer, startOpenAiServer } from './testing/openai-server.js';
import { engineAt, PLAIN_SAMPLING, recordingLogger, runOf, speak, user } from './testing/upstream-under-test.js';
import type { UpstreamEngine } from './upstream-engine.js';

type Answering = (exchange: OpenAiExchange) => void | Promise<void>;

const USAGE = { prompt_tokens: 20, completion_tokens: 2, total_tokens: 22 };
const open: { server: OpenAiServer; engine: UpstreamEngine }[] = [];

async function upstream(answer: Answering, overrides: Parameters<typeof engineAt>[1] = {}) {
  const server = await startOpenAiServer(answer);
  const engine = engineAt(server.baseUrl, overrides);
  open.push({ server, engine });
  const first = async () => waitFor(() => server.exchanges[0], { describe: 'a request at the upstream' });
  return { server, engine, first };
}

/** Answers in two tokens and says how it went. */
const inTwoTokens: Answering = (exchange) => exchange.open().text('Two', ' coins').finish('stop').usage(USAGE).done();

afterEach(async () => {
  for (const { server, engine } of open.splice(0)) {
    expect(engine.load()).toEqual({ active: 0, queued: 0 });
    await engine.close();
    await server.close();
  }
});

describe('a run that goes well', () => {
  test('text comes as it is generated, counted by the upstream', async () => {
    const { engine } = await upstream((exchange) => {
      exchange
        .open()
        .event(chunkOf({ role: 'assistant', content: '' }))
        .text('Two', ' coins')
        .finish('stop');
      exchange.usage({ ...USAGE, prompt_tokens_details: { cached_tokens: 16 } }).done();
    });
    const { result, pieces } = await speak(engine);
    expect(pieces).toEqual(['Two', ' coins']);
    expect(result).toEqual({
      outcome: 'completed',
      finishReason: 'stop',
      usage: { promptTokens: 20, cachedTokens: 16, completionTokens: 2 },
      usageSource: 'engine',
      systemFingerprint: 'fp_near_acme-model-7b',
    });
  });

  test('text is handed on before the upstream has finished', async () => {
    const { engine, first } = await upstream((exchange) => void exchange.open().text('Two'));
    let onText = () => {};
    const heard = new Promise<void>((resolve) => {
      onText = resolve;
    });
    const result = engine.run(runOf({ onText }));
    await heard;
    (await first()).text(' coins').finish('stop').usage(USAGE).done();
    expect((await result).usage.completionTokens).toBe(2);
  });

  test('the request names model, budget and the parameters that the upstream knows, and asks for counts', async () => {
    const target = {
      apiKey: 'sk-secret',
      parameters: ['temperature', 'top_p', 'top_k', 'min_p', 'presence_penalty', 'seed', 'stop'] as const,
    };
    const { engine, server } = await upstream(inTwoTokens, { target });
    const sampling = { ...PLAIN_SAMPLING, temperature: 0.5, seed: 7, presencePenalty: 1, frequencyPenalty: 1 };
    await speak(engine, {
      sampling,
      stop: ['a', 'b', 'c', 'd', 'e'],
      messages: [user('hi'), { role: 'assistant', content: 'ho', name: 'ada' }],
    });
    expect(server.exchanges[0]?.request).toMatchObject({
      path: '/v1/chat/completions',
      headers: { authorization: 'Bearer sk-secret', accept: 'text/event-stream', 'content-type': 'application/json' },
    });
    expect(server.exchanges[0]?.request.body).toEqual({
      model: 'acme/model-7b',
      messages: [
        { role: 'user', content: 'hi' },
        { role: 'assistant', content: 'ho', name: 'ada' },
      ],
      stream: true,
      stream_options: { include_usage: true },
      max_tokens: 100,
      temperature: 0.5,
      top_p: 1,
      top_k: -1,
      min_p: 0,
      presence_penalty: 1,
      seed: 7,
      stop: ['a', 'b', 'c', 'd'],
    });
  });

  test.each([
    ['unasked', undefined],
    ['every_chunk', { include_usage: true, continuous_usage_stats: true }],
  ] as const)('usage %s asks for %j', async (usage, streamOptions) => {
    const { engine, server } = await upstream(inTwoTokens, { target: { usage, outputLimit: 'max_completion_tokens' } });
    await speak(engine);
    expect(server.exchanges[0]?.request.body['stream_options']).toEqual(streamOptions);
    expect(server.exchanges[0]?.request.body).toMatchObject({ max_completion_tokens: 100 });
  });

  test.each([
    ['length', 'length'],
    ['eos_token', 'stop'],
    ['content_filter', 'stop'],
  ])('the finish reason %s is told as %s', async (theirs, ours) => {
    const { engine } = await upstream((exchange) => exchange.open().text('Two').finish(theirs).usage(USAGE).done());
    expect((await speak(engine)).result.finishReason).toBe(ours);
  });

  test("the upstream's own fingerprint becomes part of ours", async () => {
    const { engine } = await upstream((exchange) => {
      exchange.open().event({ ...chunkOf({ content: 'Two' }, 'stop'), system_fingerprint: 'b7411-3ab/x' });
      exchange.usage(USAGE).done();
    });
    expect((await speak(engine)).result.systemFingerprint).toBe('fp_near_acme-model-7b_b7411-3ab-x');
  });

  test('the thoughts of a reasoning model are counted and not part of the answer', async () => {
    const { engine } = await upstream((exchange) => {
      exchange
        .open()
        .event(chunkOf({ reasoning_content: 'Hmm' }))
        .event(chunkOf({ reasoning: ' so' }))
        .text('Two')
        .finish('stop')
        .done();
    });
    const { result, text } = await speak(engine);
    expect(text).toBe('Two');
    expect(result).toMatchObject({ usageSource: 'counted_locally', usage: { completionTokens: 3 } });
  });

  test('the connection is used again for the next run', async () => {
    const ports: (number | undefined)[] = [];
    const { engine } = await upstream((exchange) => {
      ports.push(exchange.response.socket?.remotePort);
      return inTwoTokens(exchange);
    });
    for (let run = 0; run < 3; run += 1) await speak(engine);
    // The end of the first body may come after the next request was made; not that of all of them.
    expect(new Set(ports).size).toBeLessThan(3);
  });

  test('a character cut in two by the upstream arrives whole', async () => {
    const { engine } = await upstream((exchange) => exchange.open().text('a\ud83d', '\ude00b').finish('stop').usage(USAGE).done());
    expect((await speak(engine)).pieces).toEqual(['a', '😀b']);
  });

  test('a long answer poured out faster than it is read arrives whole and in order', async () => {
    const pieces = Array.from({ length: 20_000 }, (_, index) => `${index} ${'x'.repeat(200)}`);
    let waits = 0;
    const { engine } = await upstream(
      async (exchange) => {
        exchange.open();
        for (const piece of pieces) {
          if (exchange.response.write(`data: ${JSON.stringify(chunkOf({ content: piece }))}\n\n`)) continue;
          waits += 1;
          await once(exchange.response, 'drain');
        }
        exchange.finish('stop').usage({ prompt_tokens: 20, completion_tokens: 20_000 }).done();
      },
      { contextTokens: 100_000 },
    );
    const { result, text } = await speak(engine, { outputTokensBudget: 20_000 });
    expect(text).toBe(pieces.join(''));
    expect(result.usage.completionTokens).toBe(20_000);
    expect(waits).toBeGreaterThan(0);
  });
});

describe('counts', () => {
  test('an upstream that gives none is counted here, and the result says so', async () => {
    const { logger, lines } = recordingLogger();
    const answer: Answering = (exchange) => exchange.open().text('Two', ' coins').finish('stop').done();
    const { engine } = await upstream(answer, { logger, countTokens: (text) => text.split(' ').length });
    expect((await speak(engine, { messages: [user('one two three')] })).result).toMatchObject({
      usageSource: 'counted_locally',
      usage: { promptTokens: 7, cachedTokens: 0, completionTokens: 2 },
    });
    expect(lines).toMatchObject([{ level: 40, fault: 'usage_missing', upstream: 'near' }]);
  });

  test('counts above the budget are capped, with a warning', async () => {
    const { logger, lines } = recordingLogger();
    const answer: Answering = (exchange) =>
      exchange.open().text('Two').finish('stop').usage({ prompt_tokens: 20, completion_tokens: 5_000 }).done();
    const { engine } = await upstream(answer, { logger });
    expect((await speak(engine, { outputTokensBudget: 10 })).result.usage.completionTokens).toBe(10);
    expect(lines).toMatchObject([{ level: 40, fault: 'completion_tokens_above_budget' }]);
  });

  test('an upstream that goes on beyond the budget is cut there and its connection closed', async () => {
    const { engine, first } = await upstream(async (exchange) => {
      exchange.open();
      while (!exchange.response.destroyed) {
        exchange.text('more ');
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
    const { result, pieces } = await speak(engine, { outputTokensBudget: 10 });
    expect(pieces).toHaveLength(10);
    expect(result).toMatchObject({
      outcome: 'completed',
      finishReason: 'length',
      usage: { completionTokens: 10 },
      usageSource: 'counted_locally',
    });
    const exchange = await first();
    await exchange.closed;
    expect(exchange.wasCutOff).toBe(true);
  });

  test('counts that come with every chunk tell when the budget is passed, and what was handed out before', async () => {
    const chunk = (content: string, tokens: number) => ({
      ...chunkOf({ content }),
      usage: { prompt_tokens: 20, completion_tokens: tokens },
    });
    const { engine } = await upstream((exchange) => void exchange.open().event(chunk('eight', 8)).event(chunk('sixteen', 16)));
    const { result, text } = await speak(engine, { outputTokensBudget: 10 });
    expect(text).toBe('eight');
    expect(result).toMatchObject({ finishReason: 'length', usageSource: 'engine', usage: { promptTokens: 20, completionTokens: 8 } });
  });

  test('one chunk with more text than the budget has room for is not handed on', async () => {
    const { engine } = await upstream((exchange) => void exchange.open().text('x'.repeat(3_000)));
    const { result, text } = await speak(engine, { outputTokensBudget: 10 });
    expect({ text, finishReason: result.finishReason }).toEqual({ text: '', finishReason: 'length' });
  });

  test('a stop sequence that the upstream does not know ends the answer here', async () => {
    const answer: Answering = (exchange) => void exchange.open().text('Two co', 'ins. EN', 'D and on');
    const { engine, first } = await upstream(answer, { target: { parameters: [] } });
    const { result, text } = await speak(engine, { stop: ['END'] });
    expect(text).toBe('Two coins. ');
    expect(result).toMatchObject({ outcome: 'completed', finishReason: 'stop', usageSource: 'counted_locally' });
    await (await first()).closed;
  });

  test('what might have become a stop sequence is handed on when the answer ends', async () => {
    const { engine } = await upstream((exchange) => exchange.open().text('The E', 'N').finish('stop').usage(USAGE).done());
    expect((await speak(engine, { stop: ['END'] })).text).toBe('The EN');
  });
});

describe('an upstream that fails', () => {
  test.each([
    [400, {}, 'engine_failed', false],
    [400, { error: { code: 'context_length_exceeded' } }, 'context_length_exceeded', false],
    [400, { error: { type: 'exceed_context_size_error', code: 400 } }, 'context_length_exceeded', false],
    [400, { object: 'error', message: "This model's maximum context length is 4096 tokens." }, 'context_length_exceeded', false],
    [401, { error: { message: 'no' } }, 'model_unavailable', false],
    [402, {}, 'model_unavailable', false],
    [403, {}, 'model_unavailable', false],
    [404, { error: 'model not found' }, 'model_unavailable', false],
    [408, {}, 'engine_failed', true],
    [418, {}, 'engine_failed', false],
    [429, {}, 'engine_at_capacity', true],
    [500, {}, 'engine_failed', true],
    [502, null, 'engine_failed', true],
    [503, {}, 'engine_at_capacity', true],
  ])('%d %j fails the run as %s, retryable: %s', async (status, body, code, retryable) => {
    const { engine } = await upstream((exchange) => exchange.refuse(status, body));
    await expect(engine.run(runOf())).rejects.toMatchObject({ name: 'EngineError', code, retryable });
  });

  test('a redirect is not followed', async () => {
    const elsewhere = await upstream(inTwoTokens);
    const location = `${elsewhere.server.baseUrl}/chat/completions`;
    const { engine } = await upstream((exchange) => exchange.refuse(307, {}, { location }));
    await expect(engine.run(runOf())).rejects.toMatchObject({ code: 'model_unavailable', retryable: false });
    expect(elsewhere.server.exchanges).toEqual([]);
  });

  test('neither the key nor a prompt comes into errors or the log, even when the upstream quotes them', async () => {
    const { logger, lines } = recordingLogger();
    const answer: Answering = ({ request, ...exchange }) => {
      const isFirst = JSON.stringify(request.body).includes('canary-one');
      const message = `${request.headers.authorization} ${JSON.stringify(request.body)}`;
      exchange.response.writeHead(isFirst ? 400 : 401, { 'content-type': 'application/json' });
      exchange.response.end(JSON.stringify({ error: { message, type: 'invalid_request_error', code: 'invalid_api_key' } }));
    };
    const { engine } = await upstream(answer, { logger, target: { apiKey: 'sk-very-secret' } });
    const first = await engine.run(runOf({ messages: [user('canary-one')] })).catch((error: Error) => error.message);
    const second = await engine.run(runOf({ messages: [user('canary-two')] })).catch((error: Error) => error.message);
    const seen = JSON.stringify([first, second, lines]);
    expect(lines).toMatchObject([{ status: 400, code: 'invalid_api_key' }, { status: 401 }]);
    for (const secret of ['sk-very', 'canary']) expect(seen).not.toContain(secret);
  });

  test('an endless error body is not read to its end', async () => {
    const { engine, first } = await upstream(async (exchange) => {
      exchange.response.writeHead(500);
      while (!exchange.response.destroyed) {
        exchange.response.write('x'.repeat(10_000));
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
    await expect(engine.run(runOf())).rejects.toMatchObject({ code: 'engine_failed', retryable: true });
    await (await first()).closed;
  });

  test('a connection that is refused fails the run as retryable', async () => {
    const { engine, server } = await upstream(inTwoTokens);
    await server.close();
    open.length = 0;
    await expect(engine.run(runOf())).rejects.toMatchObject({
      code: 'engine_failed',
      retryable: true,
      message: expect.stringContaining('ECONNREFUSED'),
    });
    await engine.close();
  });

  test('a connection that breaks in the middle of an answer fails the run, although text was handed out', async () => {
    const { engine } = await upstream((exchange) => void exchange.open().text('Two'));
    const { server } = open[0] as (typeof open)[number];
    const onText = () => server.exchanges[0]?.reset();
    await expect(engine.run(runOf({ onText }))).rejects.toMatchObject({ code: 'engine_failed', retryable: true });
  });

  test.each<[string, Answering]>([
    ['ends without a finish reason', (exchange) => void exchange.open().text('Two').response.end()],
    ['says [DONE] without a finish reason', (exchange) => exchange.open().text('Two').done()],
    ['finishes with error', (exchange) => exchange.open().text('Two').finish('error').done()],
    [
      'reports an error in its stream',
      (exchange) =>
        exchange
          .open()
          .text('Two')
          .event({ error: { message: 'oh' } })
          .done(),
    ],
    ['names an event error', (exchange) => exchange.open().raw('event: error\ndata: oh\n\n').done()],
    ['sends what is not JSON', (exchange) => exchange.open().event('{"choices": [').done()],
    ['sends JSON that is no chunk', (exchange) => exchange.open().event({ choices: 'none' }).done()],
    ['sends a number', (exchange) => exchange.open().event('42').done()],
    [
      'sends what is not UTF-8',
      (exchange) =>
        exchange
          .open()
          .raw(Buffer.from([0x64, 0xff, 0xfe]))
          .done(),
    ],
    ['sends an endless line', (exchange) => void exchange.open().raw(`data: ${'x'.repeat(1_100_000)}`)],
  ])('an upstream that %s fails the run as retryable', async (_name, answer) => {
    const { engine } = await upstream(answer);
    await expect(engine.run(runOf())).rejects.toMatchObject({ code: 'engine_failed', retryable: true });
  });

  test('an error in the stream is understood by its code', async () => {
    const { engine } = await upstream((exchange) =>
      exchange
        .open()
        .event({ error: { message: 'later', code: 429 } })
        .done(),
    );
    await expect(engine.run(runOf())).rejects.toMatchObject({ code: 'engine_at_capacity', retryable: true });
  });

  test('an answer that is no event stream is refused for good', async () => {
    const { engine } = await upstream((exchange) => exchange.refuse(200, { choices: [] }));
    await expect(engine.run(runOf())).rejects.toMatchObject({ code: 'engine_failed', retryable: false });
  });

  test('a finished answer needs neither [DONE] nor counts to be complete', async () => {
    const { engine } = await upstream((exchange) => void exchange.open().text('Two').finish('stop').response.end());
    expect((await speak(engine)).result).toMatchObject({ outcome: 'completed', usageSource: 'counted_locally' });
  });

  test('a budget that the context has no room for is asked for again as what fits', async () => {
    const { engine, server } = await upstream(
      (exchange) => {
        if ((exchange.request.body['max_tokens'] as number) + 20 <= 1_000) return inTwoTokens(exchange);
        return exchange.refuse(400, { error: { message: 'maximum context length is 1000 tokens' } });
      },
      { contextTokens: 1_000 },
    );
    expect((await speak(engine, { outputTokensBudget: 990 })).result.outcome).toBe('completed');
    // 17 bytes of prompt and the allowance for the template.
    expect(server.exchanges.map(({ request }) => request.body['max_tokens'])).toEqual([990, 1_000 - 17 - 80]);
  });
});

describe('a second try', () => {
  test('is not made once text was handed out', async () => {
    const error = { message: 'the context size is exceeded', code: 400 };
    const { engine, server } = await upstream((exchange) => exchange.open().text('Two').event({ error }).done(), { contextTokens: 1_000 });
    await expect(engine.run(runOf({ outputTokensBudget: 990 }))).rejects.toMatchObject({
      code: 'context_length_exceeded',
      retryable: false,
    });
    expect(server.exchanges).toHaveLength(1);
  });
});

describe('time', () => {
  const limits = { firstByteMsMax: 8_000, idleMsMax: 2_000 };

  test('an upstream that never begins is given up after the first-byte limit', async () => {
    const time = new ManualTime();
    const { engine, first } = await upstream((exchange) => void exchange.open(), { scheduler: time, target: limits });
    const run = engine.run(runOf());
    run.catch(() => {});
    const exchange = await first();
    time.advance(7_999);
    expect(engine.load().active).toBe(1);
    time.advance(2_001);
    await expect(run).rejects.toMatchObject({ code: 'engine_failed', retryable: true, message: expect.stringContaining('silent') });
    await exchange.closed;
  });

  test('an upstream that falls silent in the middle is given up after the idle limit', async () => {
    const time = new ManualTime();
    const { engine } = await upstream((exchange) => void exchange.open().text('Two'), { scheduler: time, target: limits });
    let onText = () => {};
    const heard = new Promise<void>((resolve) => {
      onText = resolve;
    });
    const run = engine.run(runOf({ onText }));
    run.catch(() => {});
    await heard;
    time.advance(1_999);
    expect(engine.load().active).toBe(1);
    time.advance(501);
    await expect(run).rejects.toMatchObject({ code: 'engine_failed', retryable: true });
  });

  test('an upstream that is slow but never silent is waited for', async () => {
    const time = new ManualTime();
    const { engine, first } = await upstream((exchange) => void exchange.open(), { scheduler: time, target: limits });
    let pieces = 0;
    const onText = () => {
      pieces += 1;
    };
    const run = engine.run(runOf({ onText }));
    const exchange = await first();
    for (let piece = 1; piece <= 8; piece += 1) {
      exchange.text('.');
      await waitFor(() => pieces === piece, { describe: `piece ${piece}` });
      time.advance(1_900);
    }
    exchange.finish('stop').usage(USAGE).done();
    expect((await run).outcome).toBe('completed');
  });

  test('a cancelled run ends and its connection is closed within a second, counted as far as it got', async () => {
    const { engine, first } = await upstream((exchange) => void exchange.open().text('Two', ' coins'));
    const abort = new AbortController();
    let pieces = 0;
    let onBoth = () => {};
    const both = new Promise<void>((resolve) => {
      onBoth = resolve;
    });
    const onText = () => {
      pieces += 1;
      if (pieces === 2) onBoth();
    };
    const run = engine.run(runOf({ onText, signal: abort.signal }));
    await both;
    const exchange = await first();
    const abortedAtMs = performance.now();
    abort.abort();
    expect(await run).toMatchObject({
      outcome: 'cancelled',
      finishReason: null,
      usage: { completionTokens: 3 },
      usageSource: 'counted_locally',
    });
    await exchange.closed;
    expect(performance.now() - abortedAtMs).toBeLessThan(1_000);
    expect(exchange.wasCutOff).toBe(true);
  });

  test('a run cancelled before its upstream said anything costs nothing', async () => {
    const { engine, first } = await upstream(() => {});
    const abort = new AbortController();
    const run = engine.run(runOf({ signal: abort.signal }));
    const exchange = await first();
    abort.abort();
    expect(await run).toEqual({ outcome: 'cancelled', finishReason: null, usage: NO_USAGE });
    await exchange.closed;
  });
});
