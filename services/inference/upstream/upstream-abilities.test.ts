/** What the upstream engine makes of calls, formats, probabilities and vectors, as upstreams send them and as they should not. */
import { afterEach, describe, expect, test } from '@jest/globals';
import type { TokenLogprob, ToolCallDelta, ToolUse } from '../../../events/contract/index.js';
import type { EmbeddingRun, EngineRun } from '../engine.js';
import { ManualTime } from '../testing/manual-time.js';
import { failoverEngine } from './failover-engine.js';
import { chunkOf, type OpenAiExchange, type OpenAiServer, startOpenAiServer } from './testing/openai-server.js';
import { engineAt, PLAIN_SAMPLING, runOf, silentLogger } from './testing/upstream-under-test.js';
import { TOOL_CALLS_MAX } from './tool-calls.js';
import type { UpstreamEngine } from './upstream-engine.js';

type Answering = (exchange: OpenAiExchange) => void | Promise<void>;

const USAGE = { prompt_tokens: 20, completion_tokens: 2, total_tokens: 22 };
const SCHEMA: ToolUse['tools'][number]['parameters'] = {
  type: 'object',
  properties: { line: { enum: ['bus', 'tram'] } },
  required: ['line'],
  additionalProperties: false,
};
const TOOLS = [
  { name: 'fare_of', description: 'What a ride costs', parameters: SCHEMA },
  { name: 'now', parameters: {} },
];
const use = (choice: ToolUse['choice'] = 'auto', parallel = true): ToolUse => ({ tools: TOOLS, choice, parallel });

const open: { server: OpenAiServer; engine: UpstreamEngine }[] = [];

async function upstream(answer: Answering, overrides: Parameters<typeof engineAt>[1] = {}) {
  const server = await startOpenAiServer(answer);
  const engine = engineAt(server.baseUrl, overrides);
  open.push({ server, engine });
  return { server, engine };
}

afterEach(async () => {
  for (const { server, engine } of open.splice(0)) {
    expect(engine.load()).toEqual({ active: 0, queued: 0 });
    await engine.close();
    await server.close();
  }
});

async function hear(engine: UpstreamEngine, overrides: Partial<EngineRun>) {
  let text = '';
  const deltas: ToolCallDelta[] = [];
  const logprobs: TokenLogprob[] = [];
  const result = await engine.run(
    runOf({
      onText: (piece, chances) => {
        text += piece;
        logprobs.push(...(chances ?? []));
      },
      onToolCalls: (parts) => deltas.push(...parts),
      ...overrides,
    }),
  );
  return { result, text, deltas, logprobs };
}

const call = (part: Record<string, unknown>) => chunkOf({ tool_calls: [part] });
const started = (index: number | undefined, id: string, name: string, argumentsText = '') =>
  call({ ...(index === undefined ? {} : { index }), id, type: 'function', function: { name, arguments: argumentsText } });
const more = (index: number, argumentsText: string) => call({ index, function: { arguments: argumentsText } });
/** Says these events, then ends as OpenAI does. */
const saying =
  (events: readonly unknown[], finish = 'tool_calls'): Answering =>
  (exchange) => {
    exchange.open();
    for (const event of events) exchange.event(event);
    exchange.finish(finish).usage(USAGE).done();
  };

describe('the request', () => {
  test('carries tools, choice, format, biases, probabilities and the calls of earlier turns', async () => {
    const { engine, server } = await upstream((exchange) => exchange.refuse(500, {}));
    const run = {
      messages: [
        { role: 'user', content: 'fare?' },
        { role: 'assistant', content: '', toolCalls: [{ id: 'c1', name: 'now', arguments: '{}' }] },
        { role: 'tool', content: '12:00', toolCallId: 'c1' },
      ],
      toolUse: use({ name: 'fare_of' }, false),
      format: { kind: 'json_schema', schema: SCHEMA },
      sampling: { ...PLAIN_SAMPLING, seed: 9, logitBias: [[50, -100]], logprobs: 2 },
    } satisfies Partial<EngineRun>;
    await expect(engine.run(runOf(run))).rejects.toThrow();
    expect(server.exchanges[0]?.request.body).toMatchObject({
      messages: [
        { role: 'user', content: 'fare?' },
        { role: 'assistant', content: null, tool_calls: [{ id: 'c1', type: 'function', function: { name: 'now', arguments: '{}' } }] },
        { role: 'tool', content: '12:00', tool_call_id: 'c1' },
      ],
      tools: [
        { type: 'function', function: TOOLS[0] },
        { type: 'function', function: TOOLS[1] },
      ],
      tool_choice: { type: 'function', function: { name: 'fare_of' } },
      parallel_tool_calls: false,
      response_format: { type: 'json_schema', json_schema: { name: 'answer', schema: SCHEMA, strict: true } },
      logit_bias: { 50: -100 },
      logprobs: true,
      top_logprobs: 2,
      seed: 9,
    });
  });

  test('of a prompt goes to the older completions, with its limit and probabilities by their older names', async () => {
    const { engine, server } = await upstream((exchange) => exchange.refuse(500, {}), { target: { outputLimit: 'max_completion_tokens' } });
    const run = { messages: [], prompt: [1, 2, 3], sampling: { ...PLAIN_SAMPLING, logprobs: 2 }, outputTokensBudget: 7 };
    await expect(engine.run(runOf(run))).rejects.toThrow();
    expect(server.exchanges[0]?.request.path).toBe('/v1/completions');
    expect(server.exchanges[0]?.request.body).toMatchObject({ prompt: [1, 2, 3], max_tokens: 7, logprobs: 2 });
    expect(server.exchanges[0]?.request.body).not.toHaveProperty('messages');
  });

  test.each<[string, Partial<EngineRun>]>([
    ['tools', { toolUse: use() }],
    ['response_format', { format: { kind: 'json_object' } }],
    ['logprobs', { sampling: { ...PLAIN_SAMPLING, logprobs: 0 } }],
    ['logit_bias', { sampling: { ...PLAIN_SAMPLING, logitBias: [[1, 1]] } }],
  ])('is not made of a server that does not know %s', async (parameter, run) => {
    const { engine, server } = await upstream(() => {}, { target: { parameters: ['temperature'] } });
    await expect(engine.run(runOf(run))).rejects.toMatchObject({ message: expect.stringContaining(parameter), retryable: false });
    expect(server.exchanges).toEqual([]);
  });
});

describe('calls', () => {
  test('come in parts, interleaved, numbered from 0 without gaps', async () => {
    const events = [started(3, 'a', 'fare_of', '{"li'), started(7, 'b', 'now'), more(3, 'ne":"bus"}'), more(7, '{}')];
    const { engine } = await upstream(saying(events));
    const { deltas, result, text } = await hear(engine, { toolUse: use() });
    expect(deltas).toEqual([
      { call: 0, id: 'a', name: 'fare_of', argumentsText: '{"li' },
      { call: 1, id: 'b', name: 'now', argumentsText: '' },
      { call: 0, argumentsText: 'ne":"bus"}' },
      { call: 1, argumentsText: '{}' },
    ]);
    expect({ text, finishReason: result.finishReason }).toEqual({ text: '', finishReason: 'tool_calls' });
  });

  test.each<[string, unknown[]]>([
    ['without numbers', [started(undefined, 'a', 'now'), started(undefined, 'b', 'now', '{}')]],
    ['all numbered 0', [started(0, 'a', 'now'), started(0, 'b', 'now', '{}')]],
  ])('%s are told apart by their ids, and an answer with calls ends by them', async (_name, events) => {
    const { engine } = await upstream(saying(events, 'stop'));
    const { deltas, result } = await hear(engine, { toolUse: use() });
    expect(deltas.map(({ call: number, id }) => [number, id])).toEqual([
      [0, 'a'],
      [1, 'b'],
    ]);
    expect(result.finishReason).toBe('tool_calls');
  });

  test.each(['', 'x'.repeat(81), 'line\nbreak'])('an id that no client could send back (%j) is replaced by one of ours', async (id) => {
    const { engine } = await upstream(saying([started(0, id, 'now')]));
    expect((await hear(engine, { toolUse: use() })).deltas[0]?.id).toMatch(/^call_[0-9a-f]{24}$/);
  });

  test.each<[string, ToolUse | undefined, unknown[], string]>([
    ['where none was offered', undefined, [started(0, 'a', 'now')], 'none was offered'],
    ['of a tool that was not', use(), [started(0, 'a', 'rm')], 'not offered'],
    ['of another tool than named', use({ name: 'fare_of' }), [started(0, 'a', 'now')], 'another tool'],
    ['without a name', use(), [more(0, '{}')], 'no name'],
    ['more than one where one was allowed', use('auto', false), [started(0, 'a', 'now'), started(1, 'b', 'now')], 'one was allowed'],
    [
      'more than there may be',
      use(),
      Array.from({ length: TOOL_CALLS_MAX + 1 }, (_, index) => started(index, `c${index}`, 'now')),
      `more than ${TOOL_CALLS_MAX}`,
    ],
    ['with arguments that are not JSON', use(), [started(0, 'a', 'now', '{"half')], 'arguments'],
    ['with arguments that are no object', use(), [started(0, 'a', 'now', '[1]')], 'arguments'],
    ['with arguments that do not validate', use(), [started(0, 'a', 'fare_of', '{"line":"ship"}')], 'arguments'],
    ['with an argument too many', use(), [started(0, 'a', 'fare_of', '{"line":"bus","x":1}')], 'arguments'],
    ['none where there had to be one', use('required'), [chunkOf({ content: 'Sure!' })], 'had to'],
  ])('%s fail the run for good', async (_name, toolUse, events, reason) => {
    const { engine } = await upstream(saying(events), { contextTokens: 100_000 });
    const run = hear(engine, { outputTokensBudget: 1_000, ...(toolUse === undefined ? {} : { toolUse }) });
    await expect(run).rejects.toMatchObject({ code: 'engine_failed', retryable: false, message: expect.stringContaining(reason) });
  });

  test('a call that the budget cuts is cut, and is no fault of its upstream', async () => {
    const { engine } = await upstream(saying([started(0, 'a', 'fare_of', '{"li')], 'length'));
    expect((await hear(engine, { toolUse: use('required') })).result.finishReason).toBe('length');
  });

  test('arguments count as generated: an upstream that goes on beyond the budget is cut', async () => {
    const events = [started(0, 'a', 'fare_of'), ...Array.from({ length: 20 }, () => more(0, ' '))];
    const { engine } = await upstream(saying(events));
    const { result, deltas } = await hear(engine, { toolUse: use(), outputTokensBudget: 10 });
    expect(result).toMatchObject({ finishReason: 'length', usage: { completionTokens: 10 }, usageSource: 'counted_locally' });
    expect(deltas).toHaveLength(10);
  });
});

describe('formats and probabilities', () => {
  test.each([
    ['{"line":"bus"}', true],
    ['{"line":"ship"}', false],
    ['{"line":"bus"', false],
    ['Sure! {"line":"bus"}', false],
  ])('of the answer %j it is said whether it validates: %s', async (content, isValid) => {
    const { engine } = await upstream(saying([chunkOf({ content })], 'stop'));
    const run = hear(engine, { format: { kind: 'json_schema', schema: SCHEMA } });
    if (isValid) expect((await run).result.outcome).toBe('completed');
    else await expect(run).rejects.toMatchObject({ code: 'engine_failed', retryable: false });
  });

  test('JSON mode takes an object only', async () => {
    const { engine } = await upstream(saying([chunkOf({ content: '[1]' })], 'stop'));
    await expect(hear(engine, { format: { kind: 'json_object' } })).rejects.toMatchObject({ code: 'engine_failed' });
  });

  const sampling = { ...PLAIN_SAMPLING, logprobs: 1 };
  const said = { token: 'Hé', logprob: 0.0001, bytes: null };
  const TOP = [
    { token: 'Ho', logprob: -2, bytes: [72, 111] },
    { token: 'Hu', logprob: -3, bytes: null },
  ];

  test('probabilities come with their text, as many alternatives as were asked for', async () => {
    const chunk = chunkOf({ content: 'Hé' });
    const event = { ...chunk, choices: [{ ...chunk.choices[0], logprobs: { content: [{ ...said, top_logprobs: TOP }] } }] };
    const { engine } = await upstream(saying([event], 'stop'));
    expect((await hear(engine, { sampling })).logprobs).toEqual([
      { token: 'Hé', bytes: [72, 195, 169], logprob: 0, top: [{ token: 'Ho', bytes: [72, 111], logprob: -2 }] },
    ]);
  });

  test('those of the older completions are understood, most likely first', async () => {
    const lists = { tokens: ['Hé'], token_logprobs: [-0.5], top_logprobs: [{ Hu: -3, Ho: -2 }], text_offset: [0] };
    const event = { choices: [{ index: 0, text: 'Hé', logprobs: lists, finish_reason: null }] };
    const { engine } = await upstream(saying([event], 'stop'));
    expect((await hear(engine, { prompt: 'x', messages: [], sampling })).logprobs).toEqual([
      { token: 'Hé', bytes: [72, 195, 169], logprob: -0.5, top: [{ token: 'Ho', bytes: [72, 111], logprob: -2 }] },
    ]);
  });

  test('an upstream that gives none when asked fails the run', async () => {
    const { engine } = await upstream(saying([chunkOf({ content: 'Hé' })], 'stop'));
    await expect(hear(engine, { sampling })).rejects.toMatchObject({ message: expect.stringContaining('probabilities') });
  });
});

describe('embeddings', () => {
  const asked = (overrides: Partial<EmbeddingRun> = {}): EmbeddingRun => ({
    runId: 'run_embed',
    inputs: ['one', 'two'],
    signal: new AbortController().signal,
    ...overrides,
  });
  const base64 = (...numbers: number[]) => Buffer.from(Float32Array.from(numbers).buffer).toString('base64');
  const answering =
    (data: unknown, usage: unknown = { prompt_tokens: 4 }): Answering =>
    (exchange) =>
      exchange.refuse(200, { object: 'list', data, usage });

  test('are put in order by their index, numbers or base64, and brought to unit length', async () => {
    const rows = [
      { index: 1, embedding: base64(0, 2) },
      { index: 0, embedding: [3, 4] },
    ];
    const { engine, server } = await upstream(answering(rows));
    const { vectors, usage, usageSource } = await engine.embed(asked());
    expect(vectors.map((vector) => [...vector].map((number) => Math.round(number * 1_000)))).toEqual([
      [600, 800],
      [0, 1_000],
    ]);
    expect({ usage, usageSource }).toEqual({ usage: { promptTokens: 4, cachedTokens: 0, completionTokens: 0 }, usageSource: 'engine' });
    expect(server.exchanges[0]?.request).toMatchObject({
      path: '/v1/embeddings',
      body: { model: 'acme/model-7b', input: ['one', 'two'], encoding_format: 'float' },
    });
  });

  test('longer than asked for are cut to what was, and are of unit length again', async () => {
    const { engine, server } = await upstream(answering([{ index: 0, embedding: [3, 4, 12] }]));
    const { vectors } = await engine.embed(asked({ inputs: ['one'], dimensions: 2 }));
    expect([...(vectors[0] ?? [])].map((number) => number.toFixed(3))).toEqual(['0.600', '0.800']);
    expect(server.exchanges[0]?.request.body).toMatchObject({ dimensions: 2 });
  });

  test.each([[null], [{ prompt_tokens: 0 }], [{ prompt_tokens: 5_000 }], [{ prompt_tokens: 'four' }]])(
    'counts like %j are not believed, and ours are marked as such',
    async (usage) => {
      const { engine } = await upstream(answering([{ index: 0, embedding: [1] }], usage));
      expect(await engine.embed(asked({ inputs: ['one two three'] }))).toMatchObject({
        usage: { promptTokens: 4 },
        usageSource: 'counted_locally',
      });
    },
  );

  test.each<[string, unknown]>([
    ['one too few', [{ index: 0, embedding: [1] }]],
    ['one input twice', [0, 0].map((index) => ({ index, embedding: [1] }))],
    ['another input', [0, 2].map((index) => ({ index, embedding: [1] }))],
    ['different lengths', [0, 1].map((index) => ({ index, embedding: Array(index + 1).fill(1) }))],
    ['no direction', [0, 1].map((index) => ({ index, embedding: [0, 0] }))],
    ['no numbers', [0, 1].map((index) => ({ index, embedding: base64(Number.NaN) }))],
    ['words', 'none'],
  ])('%s fail the run', async (_name, data) => {
    const { engine } = await upstream(answering(data));
    await expect(engine.embed(asked())).rejects.toMatchObject({ code: 'engine_failed' });
  });

  test('a refusal is understood as for answers', async () => {
    const { engine } = await upstream((exchange) => exchange.refuse(429, {}));
    await expect(engine.embed(asked())).rejects.toMatchObject({ code: 'engine_at_capacity', retryable: true });
  });

  test('an abort closes the connection', async () => {
    const abort = new AbortController();
    const { engine, server } = await upstream(() => abort.abort());
    await expect(engine.embed(asked({ signal: abort.signal }))).rejects.toMatchObject({ name: 'EngineError' });
    await server.exchanges[0]?.closed;
  });

  test('fail over to the next server, and one that keeps failing is left out', async () => {
    const bad = await upstream((exchange) => exchange.refuse(500, {}));
    const good = await upstream(answering([0, 1].map((index) => ({ index, embedding: [1] }))));
    const engine = failoverEngine({
      engines: [
        { name: 'bad', engine: bad.engine },
        { name: 'good', engine: good.engine },
      ],
      breaker: { failuresMax: 2, openMs: 1_000 },
      clock: new ManualTime(),
      logger: silentLogger,
    });
    for (let run = 0; run < 4; run += 1) expect((await engine.embed?.(asked()))?.systemFingerprint).toBe('fp_near_acme-model-7b');
    expect([bad.server.exchanges.length, good.server.exchanges.length]).toEqual([2, 4]);
    expect(engine.transcribe).toBeUndefined();
  });
});
