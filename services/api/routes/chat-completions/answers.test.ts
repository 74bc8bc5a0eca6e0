/** Several answers, probabilities and structured outputs over real HTTP, plain and streamed, with OpenAI's own client. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { formatAmount } from '../../../../events/contract/index.js';
import { type ChatApi, eventsOf, startChatApi } from '../../testing/chat-api.js';
import { echoScript, SCRIPTED_USAGE } from '../../testing/scripted-worker.js';

type Choice = { index: number; delta: { content?: string; role?: string }; logprobs: unknown; finish_reason: string | null };
type Chunk = { choices: Choice[]; usage?: Record<string, number> | null } & Record<string, unknown>;

let api: ChatApi;
beforeAll(async () => {
  api = await startChatApi();
});
afterEach(() => {
  api.worker.script = echoScript;
});
afterAll(() => api.close());

const openai = () => new OpenAI({ baseURL: `${api.baseUrl}/v1`, apiKey: api.project.key, maxRetries: 0 });
const hello = [{ role: 'user' as const, content: 'Hello there' }];
const chunksOf = (text: string) => eventsOf(text).filter((event) => event !== '[DONE]') as Chunk[];
const textsOf = (chunks: readonly Chunk[], count: number) => {
  const texts = Array.from({ length: count }, () => '');
  for (const { index, delta } of chunks.flatMap(({ choices }) => choices)) texts[index] = (texts[index] ?? '') + (delta.content ?? '');
  return texts;
};

describe('n', () => {
  test('each answer is a choice of its own and metered; the budget is shared out', async () => {
    const project = await api.signUp('1');
    const answer = await api.chat({ n: 3, max_tokens: 7 }, { key: project.key });
    expect(answer.body.choices).toEqual(
      [0, 1, 2].map((index) => ({
        index,
        message: { role: 'assistant', content: 'Hello there', refusal: null },
        logprobs: null,
        finish_reason: 'stop',
      })),
    );
    expect(answer.body.usage).toMatchObject({ prompt_tokens: 10, completion_tokens: 15, total_tokens: 25 });
    expect(api.worker.lastRun.request).toMatchObject({ answers: 3, outputTokensBudget: 21 });
    // 10 prompt tokens at 0.10 and 15 completion tokens at 0.20 per million.
    expect(formatAmount((await api.ledger.balance(project.accountId))?.availableNanos ?? 0n)).toBe('0.999996');
  });

  test('one answer is asked for as before', async () => {
    await api.chat({ n: 1 });
    expect(api.worker.lastRun.request.answers).toBeUndefined();
  });

  test('without max_tokens the balance is shared out, and less than a token each is refused', async () => {
    // The prompt's bound is 91 tokens at 100 nanos; the rest pays for five and for two tokens at 200 nanos.
    const five = await api.signUp('0.0000101');
    expect((await api.chat({ n: 3 }, { key: five.key })).status).toBe(200);
    expect(api.worker.lastRun.request.outputTokensBudget).toBe(5);
    const two = await api.signUp('0.0000095');
    expect((await api.chat({ n: 3 }, { key: two.key })).status).toBe(402);
    expect(await api.ledger.balance(two.accountId)).toMatchObject({ availableNanos: 9_500n, heldNanos: 0n });
  });

  test('streamed: chunks by choice, each ends once, metadata in the first and the last', async () => {
    const chunks = chunksOf((await api.chat({ n: 2, stream: true, stream_options: { include_usage: true } })).text);
    expect(textsOf(chunks, 2)).toEqual(['Hello there', 'Hello there']);
    const choices = chunks.flatMap((chunk) => chunk.choices);
    expect(choices.filter(({ delta }) => delta.role === 'assistant').map(({ index }) => index)).toEqual([0, 1]);
    expect(choices.filter((choice) => choice.finish_reason !== null).map((choice) => [choice.index, choice.finish_reason])).toEqual([
      [0, 'stop'],
      [1, 'stop'],
    ]);
    expect(chunks.flatMap((chunk, index) => ('farebox' in chunk ? [index] : []))).toEqual([0, chunks.length - 2]);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 2 * SCRIPTED_USAGE.completionTokens } });
  });

  test('an answer that ends early says so at once; the last to end waits for the books', async () => {
    api.worker.script = async (run) => {
      await run.output('long', { answer: 0 });
      await run.output('short', { answer: 1, finishReason: 'length' });
      await run.output('er', { answer: 0, finishReason: 'stop' });
      await run.finish('length');
    };
    const choices = chunksOf((await api.chat({ n: 2, stream: true })).text).flatMap((chunk) => chunk.choices);
    expect(choices.slice(2).map(({ index, delta, finish_reason }) => [index, delta.content ?? finish_reason])).toEqual([
      [0, 'long'],
      [1, 'short'],
      [1, 'length'],
      [0, 'er'],
      [0, 'stop'],
    ]);
    expect((await api.chat({ n: 2 })).body.choices.map((choice: { finish_reason: string }) => choice.finish_reason)).toEqual([
      'stop',
      'length',
    ]);
  });

  test('replayed, plain and streamed', async () => {
    const ask = (stream: boolean) => api.chat({ n: 2, stream }, { headers: [['Idempotency-Key', `n-${stream}`]] });
    const [first, again] = [await ask(false), await ask(false)];
    expect(again.text).toBe(`${first.text.slice(0, -1)},"idempotent_replay":true}`);
    const [once, replayed] = [chunksOf((await ask(true)).text), chunksOf((await ask(true)).text)];
    expect(textsOf(replayed, 2)).toEqual(textsOf(once, 2));
    expect(replayed.slice(0, 2)).toEqual(once.slice(0, 2));
    expect(replayed.at(-1)).toEqual({ ...once.at(-1), idempotent_replay: true });
  });

  test('OpenAI’s client gathers the choices of a stream', async () => {
    const final = await openai().chat.completions.stream({ model: api.model, messages: hello, n: 3 }).finalChatCompletion();
    expect(final.choices.map(({ index, message, finish_reason }) => [index, message.content, finish_reason])).toEqual(
      [0, 1, 2].map((index) => [index, 'Hello there', 'stop']),
    );
  });
});

describe('logprobs', () => {
  const chance = (token: string, logprob: number) => ({ token, logprob, bytes: [...Buffer.from(token)] });
  const script: ChatApi['worker']['script'] = async (run) => {
    for (const token of ['Hé', 'llo'])
      await run.output(token, { logprobs: [{ ...chance(token, -0.5), top: [chance(token, -0.5), chance('x', -2)] }] });
    await run.finish();
  };
  const shown = (token: string) => ({ ...chance(token, -0.5), top_logprobs: [chance(token, -0.5), chance('x', -2)] });

  test('plain and streamed, in OpenAI’s shape', async () => {
    api.worker.script = script;
    const plain = await api.chat({ logprobs: true, top_logprobs: 2 });
    expect(plain.body.choices[0].logprobs).toEqual({ content: [shown('Hé'), shown('llo')], refusal: null });
    expect(api.worker.lastRun.request.sampling.logprobs).toBe(2);
    const chunks = chunksOf((await api.chat({ logprobs: true, top_logprobs: 2, stream: true })).text);
    expect(chunks.flatMap(({ choices }) => choices).map(({ logprobs }) => logprobs)).toEqual([
      null,
      { content: [shown('Hé')], refusal: null },
      { content: [shown('llo')], refusal: null },
      null,
    ]);
  });

  test('asked for without alternatives, not asked for, and none generated', async () => {
    await api.chat({ logprobs: true });
    expect(api.worker.lastRun.request.sampling.logprobs).toBe(0);
    await api.chat({ logprobs: false, top_logprobs: 0 });
    expect(api.worker.lastRun.request.sampling.logprobs).toBeUndefined();
    api.worker.script = (run) => run.finish();
    expect((await api.chat({ logprobs: true })).body.choices[0].logprobs).toEqual({ content: [], refusal: null });
  });

  test('OpenAI’s client', async () => {
    api.worker.script = script;
    const stream = openai().chat.completions.stream({ model: api.model, messages: hello, logprobs: true, top_logprobs: 2 });
    expect((await stream.finalChatCompletion()).choices[0]?.logprobs?.content).toEqual([shown('Hé'), shown('llo')]);
  });
});

test('logit_bias, penalties, top_k and min_p reach the worker', async () => {
  await api.chat({ logit_bias: { 7: -100, 50256: 3.5 }, top_k: 40, min_p: 0.05, frequency_penalty: -1, presence_penalty: 2, seed: 5 });
  expect(api.worker.lastRun.request.sampling).toEqual({
    temperature: 1,
    topP: 1,
    topK: 40,
    minP: 0.05,
    frequencyPenalty: -1,
    presencePenalty: 2,
    seed: 5,
    logitBias: [
      [7, -100],
      [50_256, 3.5],
    ],
  });
});

describe('response_format', () => {
  const formatSent = async (response_format: unknown) => {
    expect((await api.chat({ response_format })).status).toBe(200);
    const { input } = api.worker.lastRun.request;
    return input.kind === 'chat' ? input.format : null;
  };
  const schema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'], additionalProperties: false };
  const jsonSchema = (changes: Record<string, unknown> = {}) => ({
    type: 'json_schema',
    json_schema: { name: 'person', schema, ...changes },
  });

  test('text asks for nothing; JSON mode and schemas reach the worker, strict or not', async () => {
    expect(await formatSent({ type: 'text' })).toBeUndefined();
    expect(await formatSent({ type: 'json_object' })).toEqual({ kind: 'json_object' });
    expect(await formatSent(jsonSchema({ strict: true }))).toEqual({ kind: 'json_schema', schema });
    expect(await formatSent(jsonSchema())).toEqual({ kind: 'json_schema', schema });
  });

  test('OpenAI’s client parses what comes back', async () => {
    api.worker.script = async (run) => {
      await run.output('{"name":"Ada"}');
      await run.finish();
    };
    const completion = await openai().chat.completions.parse({
      model: api.model,
      messages: hello,
      response_format: zodResponseFormat(z.object({ name: z.string() }), 'person'),
    });
    expect(completion.choices[0]?.message.parsed).toEqual({ name: 'Ada' });
  });

  /** `(((…)))` as a pattern: a bomb for whoever compiles it. */
  const nestedGroups = `${'('.repeat(60_000)}${')'.repeat(60_000)}`;
  const deep = (levels: number): unknown => (levels === 0 ? { type: 'string' } : { type: 'array', items: deep(levels - 1) });
  const refused: readonly [string, unknown, string][] = [
    ['a format of an unknown type', { type: 'xml' }, 'response_format'],
    ['a format without a type', {}, 'response_format.type'],
    ['a format that is text', 'json', 'response_format'],
    ['json_schema without one', { type: 'json_schema' }, 'response_format.json_schema'],
    ['json_schema without a schema', jsonSchema({ schema: undefined }), 'response_format.json_schema.schema'],
    ['no name', jsonSchema({ name: undefined }), 'response_format.json_schema.name'],
    ['a name with a control character', jsonSchema({ name: 'per\u0000son' }), 'response_format.json_schema.name'],
    ['a schema that is text', jsonSchema({ schema: '{}' }), 'response_format.json_schema.schema'],
    ['a schema that nothing can be held to', jsonSchema({ schema: { type: 'object', not: {} } }), 'response_format.json_schema.schema'],
    ['a strict schema that is no object', jsonSchema({ strict: true, schema: { type: 'string' } }), 'response_format.json_schema.schema'],
    ['60,000 nested groups', jsonSchema({ schema: { type: 'string', pattern: nestedGroups } }), 'response_format.json_schema.schema'],
    ['a schema that is nested too deeply', jsonSchema({ schema: deep(40) }), ''],
    ['a reference to nowhere', jsonSchema({ schema: { $ref: '#/$defs/missing' } }), 'response_format.json_schema.schema'],
  ];
  test.each(refused)('%s: 400 by name, nothing held, nothing run', async (_name, response_format, param) => {
    const before = await api.ledger.balance(api.project.accountId);
    const runs = api.worker.runs.length;
    const answer = await api.chat({ response_format });
    expect([answer.status, answer.body.error?.param ?? '']).toEqual([400, param]);
    expect(await api.ledger.balance(api.project.accountId)).toEqual(before);
    expect(api.worker.runs.length).toBe(runs);
  });
});
