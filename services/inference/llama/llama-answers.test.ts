/** Answers in a form, tool calls, biases, probabilities, plain prompts and embeddings, by the bundled model on real llama.cpp. */

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { readGgufFileInfo } from 'node-llama-cpp';
import {
  type AnswerFormat,
  type ChatMessage,
  checkAnswerSchema,
  plainPromptTokensBound,
  promptTokensBound,
  type Sampling,
  type TokenLogprob,
  type Tool,
  type ToolCall,
  type ToolCallDelta,
  type ToolUse,
} from '../../../events/contract/index.js';
import type { EngineRun } from '../engine.js';
import { describeAbilities } from '../engine-abilities-contract.js';
import { readyLlamaEngine } from '../testing/llama-engines.js';
import { randomModelFile } from '../testing/random-model.js';
import { TINY_MODEL_PATH } from '../tiny/tiny-model.js';
import type { LlamaEngine } from './llama-engine.js';

const SAMPLING: Sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: 7 };
const GREEDY: Sampling = { ...SAMPLING, temperature: 0 };
const TEMPERATURES = [0, 0.7, 1.3, 2];

type Schema = Tool['parameters'];

const user = (content: string): ChatMessage => ({ role: 'user', content });

let engine: LlamaEngine;
let gibberish: LlamaEngine;
const random = randomModelFile();
beforeAll(async () => {
  const { metadata } = await readGgufFileInfo(fileURLToPath(TINY_MODEL_PATH));
  spellings = metadata.tokenizer?.ggml.tokens ?? [];
  engine = await readyLlamaEngine({ contextTokens: 2_048 });
  gibberish = await readyLlamaEngine({ contextTokens: 2_048, modelPath: random.path });
});
afterAll(async () => {
  await Promise.all([engine.close(), gibberish.close()]);
  random.remove();
});

/** The bundled vocabulary spells blanks and line breaks as GPT-2 does. */
let spellings: readonly string[] = [];
function tokenOf(text: string): number {
  const token = spellings.indexOf(text.replaceAll(' ', 'Ġ').replaceAll('\n', 'Ċ'));
  expect(token).toBeGreaterThanOrEqual(0);
  return token;
}

let nextRun = 0;
async function ask(overrides: Partial<EngineRun>, by: LlamaEngine = engine) {
  nextRun += 1;
  let text = '';
  const deltas: ToolCallDelta[] = [];
  const logprobs: TokenLogprob[] = [];
  const result = await by.run({
    runId: `run_answers${nextRun}`,
    messages: [user('What is the weather like?')],
    sampling: SAMPLING,
    stop: [],
    outputTokensBudget: 300,
    onText: (piece, chances = []) => {
      expect(piece).not.toBe('');
      text += piece;
      logprobs.push(...chances);
    },
    onToolCalls: (pieces) => deltas.push(...pieces),
    signal: new AbortController().signal,
    ...overrides,
  });
  return { ...result, text, deltas, calls: joined(deltas), logprobs };
}

/** As a client joins them: the first delta of a call has id and name, the others continue its arguments. */
function joined(deltas: readonly ToolCallDelta[]): ToolCall[] {
  const calls: { id: string; name: string; arguments: string }[] = [];
  for (const { call, id, name, argumentsText } of deltas) {
    if (call === calls.length) calls.push({ id: id ?? '', name: name ?? '', arguments: '' });
    else expect([id, name]).toEqual([undefined, undefined]);
    const known = calls[call];
    if (known !== undefined) known.arguments += argumentsText;
  }
  return calls;
}

const strict = (properties: Schema, required = Object.keys(properties)): Schema => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});

const NODE = strict({ value: { type: 'integer' }, next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } });
const SCHEMAS: readonly Schema[] = [
  {},
  { type: 'object' },
  strict({}),
  strict({ name: { type: 'string' } }),
  strict({ name: { type: 'string', minLength: 3, maxLength: 8 } }),
  strict({ a: { type: 'integer' }, b: { type: 'number' }, c: { type: 'boolean' }, d: { type: 'null' } }),
  strict({ a: { type: 'integer' }, b: { type: 'string', maxLength: 5 }, c: { type: 'boolean' } }, ['b']),
  strict({ unit: { enum: ['celsius', 'fahrenheit', 'kelvin', 'k'] } }),
  strict({ kind: { const: 'only "this"\n' } }),
  strict({ mixed: { enum: [1, '1', null, true, [1, 2], { deep: 'x' }] } }),
  strict({ list: { type: 'array', items: { type: 'integer' }, minItems: 2, maxItems: 4 } }),
  strict({ list: { type: 'array', items: { type: 'array', items: { type: 'boolean' }, maxItems: 2 }, maxItems: 3 } }),
  strict({
    people: {
      type: 'array',
      items: strict({ name: { type: 'string', maxLength: 9 }, age: { type: 'integer', minimum: 0, maximum: 120 } }),
    },
  }),
  strict({ percent: { type: 'number', minimum: 0, maximum: 100 } }),
  strict({ below: { type: 'number', exclusiveMinimum: -0.5, exclusiveMaximum: 0.25 } }),
  strict({ year: { type: 'integer', minimum: 1_900, exclusiveMaximum: 2_100 } }),
  strict({ maybe: { type: ['string', 'null'], maxLength: 4 } }),
  strict({ either: { anyOf: [{ type: 'integer' }, strict({ x: { type: 'boolean' } }), { type: 'array', items: { type: 'null' } }] } }),
  {
    oneOf: [
      strict({ kind: { const: 'circle' }, radius: { type: 'number' } }),
      strict({ kind: { const: 'line' }, to: { type: 'integer' } }),
    ],
  },
  { ...strict({ head: { $ref: '#/$defs/node' } }), $defs: { node: NODE } },
  { type: 'object', additionalProperties: { type: 'integer' } },
  { type: 'array', items: { type: 'string', format: 'date' }, minItems: 1, maxItems: 2 },
  strict({ at: { type: 'string', format: 'date-time' }, id: { type: 'string', format: 'uuid' }, ip: { type: 'string', format: 'ipv4' } }),
  strict({ mail: { type: 'string', format: 'email' }, at: { type: 'string', format: 'time' } }),
  { type: 'string', maxLength: 12 },
  { type: 'integer' },
  strict({ 'odd "name"\\': { type: 'boolean' }, 'é😀': { type: 'boolean' } }),
];

const FORMATS = { date: isDate, time: true, 'date-time': true, uuid: true, ipv4: true, email: true } as const;
function isDate(text: string): boolean {
  return new Date(`${text}T00:00:00Z`).toISOString().startsWith(text);
}

describeAbilities({
  // The other abilities are tested over both ways into the library in llama-engine.test.ts.
  abilities: ['formats', 'tools', 'logprobs'],
  // Spares the blanks: the suite's budget is small, and this model's tokens are short.
  sampling: { ...GREEDY, frequencyPenalty: 2 },
  makeEngine: () => Promise.resolve(engine),
});

describe('answers in a form', () => {
  test.each(TEMPERATURES)('at temperature %d a JSON object is always one, however little is left for it', async (temperature) => {
    const format: AnswerFormat = { kind: 'json_object' };
    for (const by of [engine, gibberish]) {
      for (const outputTokensBudget of [4, 20, 120]) {
        const { text, usage, finishReason } = await ask({ format, outputTokensBudget, sampling: { ...SAMPLING, temperature } }, by);
        const value = JSON.parse(text) as unknown;
        expect([typeof value, Array.isArray(value)]).toEqual(['object', false]);
        expect(usage.completionTokens).toBeLessThanOrEqual(outputTokensBudget);
        expect(['stop', 'length']).toContain(finishReason);
      }
    }
  });

  test.each(SCHEMAS.map((schema) => [JSON.stringify(schema).slice(0, 90), schema] as const))(
    'answers validate: %s',
    async (_text, schema) => {
      expect(checkAnswerSchema(schema)).toBeNull();
      const validate = new Ajv2020({ strict: false, formats: FORMATS }).compile({ ...schema });
      const runs = TEMPERATURES.flatMap((temperature) =>
        [engine, gibberish].map((by) => ask({ format: { kind: 'json_schema', schema }, sampling: { ...SAMPLING, temperature } }, by)),
      );
      for (const { text, usage } of await Promise.all(runs)) {
        const value = JSON.parse(text) as unknown;
        expect([text, validate(value)]).toEqual([text, true]);
        expect(usage.completionTokens).toBeLessThanOrEqual(300);
      }
    },
  );

  test('blanks between tokens are bounded', async () => {
    const blanks: [number, number][] = [' ', '\n'].map((text) => [tokenOf(text), 90]);
    const format: AnswerFormat = { kind: 'json_schema', schema: strict({ a: { type: 'integer', minimum: 1, maximum: 2 } }) };
    const { text, finishReason } = await ask({ format, sampling: { ...GREEDY, logitBias: blanks } });
    expect(finishReason).toBe('stop');
    expect(text.length).toBeLessThan(100);
  });

  test('a budget too small for any valid answer ends it as length', async () => {
    const { finishReason, usage } = await ask({ format: { kind: 'json_schema', schema: SCHEMAS[5] ?? {} }, outputTokensBudget: 3 });
    expect([finishReason, usage.completionTokens]).toEqual(['length', 3]);
  });

  test('a schema that no grammar can hold an answer to is refused by name', async () => {
    const format: AnswerFormat = { kind: 'json_schema', schema: { type: 'string', pattern: 'a+' } };
    await expect(ask({ format })).rejects.toMatchObject({
      code: 'invalid_prompt',
      retryable: false,
      message: expect.stringMatching(/pattern/),
    });
    expect(engine.load()).toEqual({ active: 0, queued: 0 });
  });

  test('the public way into the library refuses what it cannot do', async () => {
    const limited = await readyLlamaEngine({ binding: 'public', slots: 1 });
    const refusal = { code: 'invalid_prompt', retryable: false };
    await expect(ask({ format: { kind: 'json_object' } }, limited)).rejects.toMatchObject(refusal);
    await expect(ask({ sampling: { ...SAMPLING, logprobs: 1 } }, limited)).rejects.toMatchObject(refusal);
    expect((await ask({ sampling: GREEDY, outputTokensBudget: 5 }, limited)).usage.completionTokens).toBe(5);
    await limited.close();
  });
});

const WEATHER = strict({ city: { type: 'string', maxLength: 12 }, unit: { enum: ['c', 'f'] } });
const TOOLS: ToolUse = {
  tools: [
    { name: 'get_weather', description: 'The weather of a city', parameters: WEATHER },
    { name: 'set_alarm', parameters: strict({ hour: { type: 'integer', minimum: 0, maximum: 23 } }) },
  ],
  choice: 'required',
  parallel: true,
};

function expectValid(calls: readonly ToolCall[], { tools }: ToolUse = TOOLS): void {
  for (const call of calls) {
    const tool = tools.find(({ name }) => name === call.name);
    expect(call.id).toMatch(/^call_[0-9a-f]{24}$/);
    expect([call, new Ajv2020({ strict: false }).validate({ ...tool?.parameters }, JSON.parse(call.arguments))]).toEqual([call, true]);
  }
  expect(new Set(calls.map(({ id }) => id)).size).toBe(calls.length);
}

describe('tool calls', () => {
  test.each(TEMPERATURES)('at temperature %d required calls are calls of the tools, and validate', async (temperature) => {
    for (const by of [engine, gibberish]) {
      const { text, calls, finishReason, usage } = await ask({ toolUse: TOOLS, sampling: { ...SAMPLING, temperature } }, by);
      expect(text).toBe('');
      expect(calls.length).toBeGreaterThan(0);
      expectValid(calls);
      expect(['tool_calls', 'length']).toContain(finishReason);
      expect(usage.promptTokens).toBeLessThanOrEqual(promptTokensBound([user('What is the weather like?')], TOOLS));
    }
  });

  test('one call at most, where no more are wanted, and of the tool that is named', async () => {
    for (const seed of [1, 2, 3, 4]) {
      const toolUse: ToolUse = { ...TOOLS, choice: { name: 'set_alarm' }, parallel: false };
      const { calls, finishReason } = await ask({ toolUse, sampling: { ...SAMPLING, seed } });
      expect(calls.map(({ name }) => name)).toEqual(['set_alarm']);
      expectValid(calls);
      expect(finishReason).toBe('tool_calls');
    }
  });

  test('arguments come in pieces', async () => {
    const { deltas } = await ask({ toolUse: { ...TOOLS, choice: { name: 'get_weather' }, parallel: false } });
    expect(deltas.length).toBeGreaterThan(3);
    expect(deltas[0]).toEqual({ call: 0, id: expect.any(String), name: 'get_weather', argumentsText: '' });
  });

  test('a call that the budget ends is finished', async () => {
    for (let outputTokensBudget = 60; outputTokensBudget < 90; outputTokensBudget += 5) {
      const { calls, finishReason, usage } = await ask({ toolUse: { ...TOOLS, choice: { name: 'get_weather' } }, outputTokensBudget });
      expectValid(calls);
      expect(usage.completionTokens).toBeLessThanOrEqual(outputTokensBudget);
      if (finishReason !== 'tool_calls') expect(finishReason).toBe('length');
    }
  });

  test('where the model may choose, its text stays text', async () => {
    const { text, calls, finishReason } = await ask({ toolUse: { ...TOOLS, choice: 'auto' }, sampling: GREEDY });
    expect(text).toMatch(/\w/);
    expect(calls).toEqual([]);
    expect(finishReason).toBe('stop');
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const answer = await ask({ toolUse: { ...TOOLS, choice: 'auto' }, sampling: { ...SAMPLING, temperature: 2, seed } }, gibberish);
      expect(answer.text).not.toContain('<tool_call>');
      expectValid(answer.calls);
    }
  });

  test('a conversation goes on with the results of calls', async () => {
    const question = user('What is the weather in Oslo?');
    const { calls } = await ask({ messages: [question], toolUse: { ...TOOLS, choice: { name: 'get_weather' }, parallel: false } });
    const [call] = calls;
    if (call === undefined) throw new Error('no call');
    const messages: ChatMessage[] = [
      question,
      { role: 'assistant', content: '', toolCalls: [call] },
      { role: 'tool', content: '{"degrees": 4}', toolCallId: call.id },
    ];
    const answer = await ask({ messages, toolUse: { ...TOOLS, choice: 'auto' }, sampling: GREEDY });
    expect(answer.text).not.toBe('');
    expect(answer.finishReason).toBe('stop');
    expect(answer.usage.promptTokens).toBeLessThanOrEqual(promptTokensBound(messages, TOOLS));
    expect((await ask({ messages, sampling: GREEDY })).usage.promptTokens).toBeLessThanOrEqual(promptTokensBound(messages));
  });

  test('an answer in a form or calls', async () => {
    const both = { toolUse: { ...TOOLS, choice: 'auto' } as ToolUse, format: { kind: 'json_object' } as AnswerFormat };
    for (const seed of [1, 2, 3]) {
      const { text, calls } = await ask({ ...both, sampling: { ...SAMPLING, seed } });
      if (calls.length === 0) expect(typeof JSON.parse(text)).toBe('object');
      else expectValid(calls);
    }
  });
});

describe('biases and probabilities', () => {
  test('a bias bans a token, and another forces one', async () => {
    const plain = await ask({ sampling: { ...GREEDY, logprobs: 1 }, outputTokensBudget: 1 });
    const [banned, forced] = [tokenOf(plain.text), tokenOf(' bus')];
    expect((await ask({ sampling: { ...GREEDY, logitBias: [[banned, -100]] }, outputTokensBudget: 1 })).text).not.toBe(plain.text);
    const all = await ask({ sampling: { ...SAMPLING, logitBias: [[forced, 100]] }, outputTokensBudget: 5 });
    expect(all.text.trim()).toBe('bus bus bus bus bus');
    await expect(ask({ sampling: { ...SAMPLING, logitBias: [[1_000_000, 1]] } })).rejects.toMatchObject({ code: 'invalid_prompt' });
  });

  test('probabilities are those of the model, and the greedy token is the likeliest', async () => {
    const { logprobs, text, usage } = await ask({ sampling: { ...GREEDY, logprobs: 20 }, outputTokensBudget: 12 });
    expect(logprobs.length).toBe(usage.completionTokens);
    expect(logprobs.map(({ token }) => token).join('')).toBe(text);
    for (const { token, bytes, logprob, top } of logprobs) {
      expect(Buffer.from(bytes).toString()).toBe(token);
      expect(top).toHaveLength(20);
      expect(top[0]).toEqual({ token, bytes, logprob });
      const sum = top.reduce((total, chance) => total + Math.exp(chance.logprob), 0);
      expect(sum).toBeLessThanOrEqual(1.0001);
      expect(sum).toBeGreaterThan(0.1);
      expect(top.map((chance) => chance.logprob)).toEqual([...top].map((chance) => chance.logprob).sort((a, b) => b - a));
    }
  });

  test('sampling does not change the probabilities that are told, nor does telling them change the answer', async () => {
    const greedy = await ask({ sampling: { ...GREEDY, logprobs: 3 }, outputTokensBudget: 1 });
    const forced = tokenOf(' bus');
    const bent = await ask({
      sampling: { ...SAMPLING, topK: 1, temperature: 2, logitBias: [[forced, 100]], logprobs: 3 },
      outputTokensBudget: 1,
    });
    expect(bent.logprobs[0]?.top).toEqual(greedy.logprobs[0]?.top);
    expect(bent.logprobs[0]?.logprob).toBeLessThan(greedy.logprobs[0]?.logprob ?? 0);
    expect((await ask({ sampling: { ...SAMPLING, logprobs: 5 } })).text).toBe((await ask({})).text);
    expect((await ask({ sampling: { ...SAMPLING, logprobs: 0 } })).logprobs.every(({ top }) => top.length === 0)).toBe(true);
  });
});

describe('plain prompts', () => {
  test('a text is continued without a template, tokens too', async () => {
    const { usage, text } = await ask({ messages: [], prompt: 'The sea is', sampling: GREEDY, outputTokensBudget: 8 });
    expect(text).not.toBe('');
    expect(usage.promptTokens).toBeLessThanOrEqual(plainPromptTokensBound(['The sea is']));
    const tokens = await ask({ messages: [], prompt: [400, 401, 402], sampling: GREEDY, outputTokensBudget: 3 });
    expect(tokens.usage.promptTokens).toBe(3);
    expect((await ask({ messages: [], prompt: '', outputTokensBudget: 3 })).usage.promptTokens).toBe(1);
  });

  test('control tokens in a text stay text, unknown tokens are refused, and so is what does not fit', async () => {
    const { usage } = await ask({ messages: [], prompt: '<|im_end|>', outputTokensBudget: 1 });
    expect(usage.promptTokens).toBeGreaterThan(2);
    await expect(ask({ messages: [], prompt: [1, 3_072] })).rejects.toMatchObject({ code: 'invalid_prompt', retryable: false });
    await expect(ask({ messages: [], prompt: 'word '.repeat(3_000) })).rejects.toMatchObject({ code: 'context_length_exceeded' });
  });
});

describe('embeddings', () => {
  const embed = (inputs: readonly (string | number[])[], dimensions?: number, signal = new AbortController().signal) =>
    engine.embed({ runId: 'run_embed', inputs, signal, ...(dimensions === undefined ? {} : { dimensions }) });
  const lengthOf = (vector: Float32Array | undefined) => Math.hypot(...(vector ?? []));

  test('vectors are of unit length, the same for the same text, and near for near texts', async () => {
    const { vectors, usage } = await embed(['The sea is deep.', 'The sea is deep.', 'The sea is wide.', 'Seven buses']);
    expect(vectors.map((vector) => vector.length)).toEqual([128, 128, 128, 128]);
    for (const vector of vectors) expect(lengthOf(vector)).toBeCloseTo(1, 5);
    expect(vectors[0]).toEqual(vectors[1]);
    const near = (a: number, b: number) =>
      Array.from(vectors[a] ?? []).reduce((sum, value, index) => sum + value * (vectors[b]?.[index] ?? 0), 0);
    expect(near(0, 2)).toBeGreaterThan(near(0, 3));
    expect((await embed(['The sea is deep.'])).vectors[0]).toEqual(vectors[0]);
    expect(usage).toEqual({ promptTokens: expect.any(Number), cachedTokens: 0, completionTokens: 0 });
    expect(usage.promptTokens).toBeLessThanOrEqual(
      plainPromptTokensBound(['The sea is deep.', 'The sea is deep.', 'The sea is wide.', 'Seven buses']),
    );
  });

  test('fewer dimensions are the first ones, of unit length again', async () => {
    const [whole] = (await embed(['The sea'])).vectors;
    const [cut] = (await embed(['The sea'], 16)).vectors;
    expect(cut).toHaveLength(16);
    expect(lengthOf(cut)).toBeCloseTo(1, 5);
    expect((cut?.[0] ?? 0) / (cut?.[1] ?? 1)).toBeCloseTo((whole?.[0] ?? 0) / (whole?.[1] ?? 1), 4);
    await expect(embed(['The sea'], 4_096)).rejects.toMatchObject({ code: 'invalid_prompt' });
  });

  test('what cannot be embedded is refused whole', async () => {
    await expect(embed(['fine', ''])).rejects.toMatchObject({ code: 'invalid_prompt' });
    await expect(embed(['fine', [99_999]])).rejects.toMatchObject({ code: 'invalid_prompt' });
    await expect(embed(['word '.repeat(5_000)])).rejects.toMatchObject({ code: 'context_length_exceeded' });
  });

  test('chat goes on beside embeddings, which can be cancelled and are bounded', async () => {
    const abort = new AbortController();
    const long = Array.from({ length: 200 }, (_, index) => `${index} ${'the sea is deep '.repeat(20)}`);
    const embedding = embed(long, undefined, abort.signal);
    const refused = expect(embedding).rejects.toMatchObject({ code: 'engine_failed' });
    const queued = Array.from({ length: 16 }, () => embed(['x']));
    await expect(embed(['one too many'])).rejects.toMatchObject({ code: 'engine_at_capacity', retryable: true });
    expect((await ask({ outputTokensBudget: 5 })).text).not.toBe('');
    abort.abort();
    await refused;
    await Promise.all(queued);
    expect(engine.load()).toEqual({ active: 0, queued: 0 });
  });
});
