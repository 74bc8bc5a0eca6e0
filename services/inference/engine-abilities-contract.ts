/** What engines promise of the abilities that not all of them have, as part of `engine-contract.ts`. */
import { describe, expect, test } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { ChatMessage, Prompt, Sampling, TokenLogprob, Tool, ToolCallDelta, ToolUse } from '../../events/contract/index.js';
import { plainPromptTokensBound, promptTokensBound, SPEECH_SAMPLES_PER_SECOND } from '../../events/contract/index.js';
import type { Engine, EngineResult, EngineRun } from './engine.js';

/** `prompts`: completes text and tokens without a chat template. */
export type Ability = 'prompts' | 'formats' | 'tools' | 'logprobs' | 'embeddings' | 'transcription';

export type AbleEngine = {
  readonly abilities: readonly Ability[];
  readonly sampling: Sampling;
  /** Of a context of 512 tokens. The same one each time. */
  readonly makeEngine: () => Promise<Engine>;
};

/** Enough for every answer that is asked for here. */
const BUDGET_TOKENS = 160;

const SCHEMA: Tool['parameters'] = {
  type: 'object',
  properties: { line: { enum: ['bus', 'tram'] }, stops: { type: 'integer', minimum: 0, maximum: 9 }, isLate: { type: 'boolean' } },
  required: ['line', 'stops', 'isLate'],
  additionalProperties: false,
};

const TOOLS: readonly [Tool, Tool] = [
  { name: 'fare_of', description: 'What a ride costs', parameters: SCHEMA },
  { name: 'next_ride', parameters: { type: 'object', properties: { at: { enum: ['now', 'later'] } }, required: ['at'] } },
];

type Heard = {
  readonly result: EngineResult;
  readonly text: string;
  readonly deltas: readonly ToolCallDelta[];
  readonly logprobs: readonly TokenLogprob[];
};

export function describeAbilities(subject: AbleEngine): void {
  const suites: Record<Ability, (subject: AbleEngine) => void> = {
    prompts: describePrompts,
    formats: describeFormats,
    tools: describeTools,
    logprobs: describeLogprobs,
    embeddings: describeEmbeddings,
    transcription: describeTranscription,
  };
  for (const ability of subject.abilities) describe(ability, () => suites[ability](subject));
}

async function hear({ makeEngine, sampling }: AbleEngine, overrides: Partial<EngineRun>): Promise<Heard> {
  let text = '';
  const deltas: ToolCallDelta[] = [];
  const logprobs: TokenLogprob[] = [];
  const engine = await makeEngine();
  const result = await engine.run({
    runId: 'run_ability',
    messages: overrides.prompt === undefined ? [{ role: 'user', content: 'Hello!' }] : [],
    sampling,
    stop: [],
    outputTokensBudget: BUDGET_TOKENS,
    onText: (piece, chances) => {
      text += piece;
      logprobs.push(...(chances ?? []));
    },
    onToolCalls: (parts) => deltas.push(...parts),
    signal: new AbortController().signal,
    ...overrides,
  });
  return { result, text, deltas, logprobs };
}

function describePrompts(subject: AbleEngine): void {
  test.each<[string, Prompt]>([
    ['text', 'The bus to the sea'],
    ['tokens', [5, 6, 7, 8]],
  ])('%s is completed, within the bound that its hold was made for', async (_name, prompt) => {
    const { result } = await hear(subject, { prompt, outputTokensBudget: 12 });
    expect(result.outcome).toBe('completed');
    expect(result.usage.promptTokens).toBeGreaterThan(0);
    expect(result.usage.promptTokens).toBeLessThanOrEqual(plainPromptTokensBound([prompt]));
    expect(result.usage.completionTokens).toBeLessThanOrEqual(12);
  });

  test('the same prompt and seed give the same text', async () => {
    const asked = { prompt: 'The bus to the sea', sampling: { ...subject.sampling, seed: 11 }, outputTokensBudget: 12 };
    expect((await hear(subject, asked)).text).toBe((await hear(subject, asked)).text);
  });

  test('a prompt beyond the context is refused, finally', async () => {
    const prompt = 'word '.repeat(600);
    await expect(hear(subject, { prompt })).rejects.toMatchObject({ code: 'context_length_exceeded', retryable: false });
  });
}

function describeFormats(subject: AbleEngine): void {
  test('text that ends by itself validates against its schema', async () => {
    const { result, text } = await hear(subject, { format: { kind: 'json_schema', schema: SCHEMA } });
    expect(result).toMatchObject({ outcome: 'completed', finishReason: 'stop' });
    expectValid(text, SCHEMA);
  });

  test('JSON is JSON, an object, unless the budget cuts it', async () => {
    const { result, text } = await hear(subject, { format: { kind: 'json_object' } });
    if (result.finishReason === 'stop') expectValid(text, { type: 'object' });
    else expect(result.usage.completionTokens).toBe(BUDGET_TOKENS);
  });

  test('a budget too small for the schema ends the answer as cut short', async () => {
    const { result } = await hear(subject, { format: { kind: 'json_schema', schema: SCHEMA }, outputTokensBudget: 2 });
    expect(result).toMatchObject({ finishReason: 'length', usage: { completionTokens: 2 } });
  });
}

function describeTools(subject: AbleEngine): void {
  const use = (choice: ToolUse['choice'], parallel = false): ToolUse => ({ tools: [...TOOLS], choice, parallel });

  test.each<[string, ToolUse['choice'], readonly string[]]>([
    ['one of them', 'required', ['fare_of', 'next_ride']],
    ['the one named', { name: 'next_ride' }, ['next_ride']],
  ])('a tool that must be called is: %s, with arguments that validate', async (_name, choice, allowed) => {
    const { result, deltas } = await hear(subject, { toolUse: use(choice) });
    expect(result).toMatchObject({ outcome: 'completed', finishReason: 'tool_calls' });
    const calls = callsOf(deltas);
    expect(calls).toHaveLength(1);
    for (const { id, name, argumentsText } of calls) {
      expect(id).toMatch(/^[\x21-\x7e]{1,80}$/);
      expect(allowed).toContain(name);
      expectValid(argumentsText, TOOLS.find((tool) => tool.name === name)?.parameters ?? {});
    }
    expect(result.usage.completionTokens).toBeGreaterThan(0);
    expect(result.usage.completionTokens).toBeLessThanOrEqual(BUDGET_TOKENS);
  });

  test('the prompt with its tools stays within the bound that its hold was made for', async () => {
    const messages: ChatMessage[] = [{ role: 'user', content: 'Hello!' }];
    const [bare, tooled] = [await hear(subject, { messages }), await hear(subject, { messages, toolUse: use('required') })];
    expect(tooled.result.usage.promptTokens).toBeGreaterThan(bare.result.usage.promptTokens);
    expect(tooled.result.usage.promptTokens).toBeLessThanOrEqual(promptTokensBound(messages, use('required')));
  });

  test('a budget that ends inside a call ends the answer as cut short', async () => {
    const { result } = await hear(subject, { toolUse: use('required'), outputTokensBudget: 3 });
    expect(result).toMatchObject({ finishReason: 'length', usage: { completionTokens: 3 } });
  });

  test('a free choice gives text or calls, never half a call', async () => {
    const { result, text, deltas } = await hear(subject, { toolUse: use('auto', true) });
    if (result.finishReason === 'tool_calls') {
      for (const { name, argumentsText } of callsOf(deltas))
        expectValid(argumentsText, TOOLS.find((tool) => tool.name === name)?.parameters ?? {});
    } else expect(text.length + deltas.length).toBeGreaterThan(0);
  });

  test('the result of a call is read as part of the conversation', async () => {
    const messages: ChatMessage[] = [
      { role: 'user', content: 'What is the fare?' },
      { role: 'assistant', content: '', toolCalls: [{ id: 'call_1', name: 'next_ride', arguments: '{"at":"now"}' }] },
      { role: 'tool', content: '{"fare":2}', toolCallId: 'call_1' },
    ];
    const { result } = await hear(subject, { messages, toolUse: use('auto'), outputTokensBudget: 20 });
    expect(result.outcome).toBe('completed');
    expect(result.usage.promptTokens).toBeLessThanOrEqual(promptTokensBound(messages, use('auto')));
  });
}

function describeLogprobs(subject: AbleEngine): void {
  test('every token of the text has a probability, of at most 1, and no more alternatives than were asked for', async () => {
    const { text, logprobs, result } = await hear(subject, { sampling: { ...subject.sampling, logprobs: 3 }, outputTokensBudget: 12 });
    expect(Buffer.from(logprobs.flatMap(({ bytes }) => bytes)).toString('utf8')).toBe(text);
    expect(logprobs.length).toBeLessThanOrEqual(result.usage.completionTokens);
    for (const { logprob, top } of logprobs) {
      expect(logprob).toBeLessThanOrEqual(0);
      expect(top.length).toBeLessThanOrEqual(3);
      for (const other of top) expect(other.logprob).toBeLessThanOrEqual(0);
    }
  });

  test('where they are not asked for there are none', async () => {
    expect((await hear(subject, { outputTokensBudget: 4 })).logprobs).toEqual([]);
  });
}

function describeEmbeddings({ makeEngine }: AbleEngine): void {
  const embed = async (inputs: readonly Prompt[], signal = new AbortController().signal) => {
    const { embed: make } = await makeEngine().then((engine) => ({ embed: engine.embed?.bind(engine) }));
    if (make === undefined) throw new Error('the engine has no embed');
    return make({ runId: 'run_ability', inputs, signal });
  };

  test('each input has a vector of unit length, the same one wherever it stands, and tokens that are counted once', async () => {
    const { vectors, usage } = await embed(['bus', 'a tram to the sea', 'bus', [5, 6, 7]]);
    expect(vectors).toHaveLength(4);
    for (const vector of vectors) {
      expect(vector).toHaveLength(vectors[0]?.length ?? 0);
      expect(Math.hypot(...vector)).toBeCloseTo(1, 4);
    }
    const [bus = [], tram = [], again = []] = vectors.map((vector) => [...vector]);
    expect(cosine(bus, again)).toBeGreaterThan(0.999);
    expect(cosine(bus, tram)).toBeLessThan(0.999);
    expect(usage).toMatchObject({ completionTokens: 0 });
    expect(usage.promptTokens).toBeGreaterThanOrEqual(4);
    expect(usage.promptTokens).toBeLessThanOrEqual(plainPromptTokensBound(['bus', 'a tram to the sea', 'bus', [5, 6, 7]]));
  });

  test('an input beyond the context is refused, finally, with all beside it', async () => {
    await expect(embed(['bus', 'word '.repeat(600)])).rejects.toMatchObject({ code: 'context_length_exceeded', retryable: false });
  });

  test('embeddings that are aborted are not made', async () => {
    await expect(embed(['bus'], AbortSignal.abort())).rejects.toMatchObject({ name: 'EngineError' });
    expect((await makeEngine()).load()).toEqual({ active: 0, queued: 0 });
  });
}

function describeTranscription({ makeEngine }: AbleEngine): void {
  test('a transcript has its language and segments in order, within the sound', async () => {
    const engine = await makeEngine();
    const samples = Buffer.alloc(2 * 2 * SPEECH_SAMPLES_PER_SECOND);
    const transcript = await engine.transcribe?.({ runId: 'run_ability', samples, temperature: 0, signal: new AbortController().signal });
    expect(transcript?.language).toMatch(/^[a-z]{2}$/);
    let beforeMs = 0;
    for (const { startMs, endMs } of transcript?.segments ?? []) {
      expect(startMs).toBeGreaterThanOrEqual(beforeMs);
      expect(endMs).toBeGreaterThanOrEqual(startMs);
      beforeMs = startMs;
    }
    expect(beforeMs).toBeLessThanOrEqual(2_000);
  });

  test('one that is aborted is not made', async () => {
    const engine = await makeEngine();
    const run = { runId: 'run_ability', samples: Buffer.alloc(2 * SPEECH_SAMPLES_PER_SECOND), temperature: 0, signal: AbortSignal.abort() };
    await expect(engine.transcribe?.(run)).rejects.toMatchObject({ name: 'EngineError' });
  });
}

function callsOf(deltas: readonly ToolCallDelta[]): { id: string; name: string; argumentsText: string }[] {
  const calls: { id: string; name: string; argumentsText: string }[] = [];
  for (const { call, id, name, argumentsText } of deltas) {
    const known = calls[call];
    if (known !== undefined) {
      expect({ id, name }).toEqual({ id: undefined, name: undefined });
      known.argumentsText += argumentsText;
      continue;
    }
    expect(call).toBe(calls.length);
    calls.push({ id: id ?? '', name: name ?? '', argumentsText });
  }
  return calls;
}

function expectValid(text: string, schema: Tool['parameters']): void {
  const ajv = new Ajv2020({ strict: false });
  ajv.validate(schema, JSON.parse(text));
  expect(ajv.errors ?? []).toEqual([]);
}

function cosine(one: readonly number[], other: readonly number[]): number {
  return one.reduce((sum, number, index) => sum + number * (other[index] ?? 0), 0);
}
