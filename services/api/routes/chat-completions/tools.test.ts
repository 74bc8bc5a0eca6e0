/** V4, V11, D1: tools over real HTTP: what reaches the worker, what the client gets, plain and streamed, with OpenAI's own client. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { type ChatApi, eventsOf, startChatApi } from '../../testing/chat-api.js';
import { echoScript, type ScriptedRun } from '../../testing/scripted-worker.js';

let api: ChatApi;
beforeAll(async () => {
  api = await startChatApi();
});
afterEach(() => {
  api.worker.script = echoScript;
});
afterAll(() => api.close());

const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const weather = { type: 'function' as const, function: { name: 'get_weather', description: 'Of a city', parameters } };
const clock = { type: 'function' as const, function: { name: 'get_time' } };
const hello = [{ role: 'user' as const, content: 'Weather?' }];

/** Calls two tools, in pieces. */
async function callTools(run: ScriptedRun): Promise<void> {
  await run.output('', { toolCalls: [{ call: 0, id: 'call_a', name: 'get_weather', argumentsText: '' }] });
  await run.output('', { toolCalls: [{ call: 0, argumentsText: '{"city":' }] });
  await run.output('', {
    toolCalls: [
      { call: 0, argumentsText: '"Oslo"}' },
      { call: 1, id: 'call_b', name: 'get_time', argumentsText: '{}' },
    ],
  });
  await run.finish('tool_calls');
}

const CALLS = [
  { id: 'call_a', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Oslo"}' } },
  { id: 'call_b', type: 'function', function: { name: 'get_time', arguments: '{}' } },
];

async function toolUseSent(body: Record<string, unknown>) {
  expect((await api.chat(body)).status).toBe(200);
  const { input } = api.worker.lastRun.request;
  return input.kind === 'chat' ? input.toolUse : null;
}

describe('what reaches the worker', () => {
  const sent = [
    { name: 'get_weather', description: 'Of a city', parameters },
    { name: 'get_time', parameters: { type: 'object', properties: {}, additionalProperties: false } },
  ];

  test('tools with their schemas; without parameters they take none', async () => {
    expect(await toolUseSent({ tools: [weather, clock] })).toEqual({ tools: sent, choice: 'auto', parallel: true });
  });

  test.each([
    ['auto', 'auto'],
    ['required', 'required'],
    [{ type: 'function', function: { name: 'get_time' } }, { name: 'get_time' }],
    [null, 'auto'],
  ])('tool_choice %j', async (asked, choice) => {
    expect(await toolUseSent({ tools: [weather, clock], tool_choice: asked, parallel_tool_calls: false })).toEqual({
      tools: sent,
      choice,
      parallel: false,
    });
  });

  test('none sends no tools at all, and they are not held for', async () => {
    expect(await toolUseSent({ tools: [weather], tool_choice: 'none' })).toBeUndefined();
  });

  test('a whole round: the call that was made and what came of it', async () => {
    await toolUseSent({
      tools: [weather],
      messages: [
        ...hello,
        { role: 'assistant', content: null, tool_calls: [CALLS[0]] },
        { role: 'tool', tool_call_id: 'call_a', content: [{ type: 'text', text: '4 °C' }] },
      ],
    });
    const { input } = api.worker.lastRun.request;
    expect(input.kind === 'chat' && input.messages).toEqual([
      { role: 'user', content: 'Weather?' },
      { role: 'assistant', content: '', toolCalls: [{ id: 'call_a', name: 'get_weather', arguments: '{"city":"Oslo"}' }] },
      { role: 'tool', content: '4 °C', toolCallId: 'call_a' },
    ]);
  });

  test('tools are held for: the bound of the prompt grows with them', async () => {
    const heldFor = async (body: Record<string, unknown>) => {
      const poor = await api.signUp('0.0000001');
      return (await api.chat({ max_tokens: 1, ...body }, { key: poor.key })).body.error.message as string;
    };
    const needed = (message: string) => Number(/up to (0\.\d+)/.exec(message)?.[1]);
    expect(needed(await heldFor({ tools: [weather] }))).toBeGreaterThan(needed(await heldFor({})));
  });
});

describe('what the client gets', () => {
  test('plain: no content, the calls, and the reason', async () => {
    api.worker.script = callTools;
    const [choice] = (await api.chat({ tools: [weather, clock] })).body.choices;
    expect(choice).toEqual({
      index: 0,
      message: { role: 'assistant', content: null, refusal: null, tool_calls: CALLS },
      logprobs: null,
      finish_reason: 'tool_calls',
    });
  });

  test('text before a call stays', async () => {
    api.worker.script = async (run) => {
      await run.output('Let me see.');
      await callTools(run);
    };
    expect((await api.chat({ tools: [weather, clock] })).body.choices[0].message).toMatchObject({
      content: 'Let me see.',
      tool_calls: CALLS,
    });
  });

  test('streamed: OpenAI’s deltas, byte for byte', async () => {
    api.worker.script = callTools;
    const events = eventsOf((await api.chat({ tools: [weather, clock], stream: true })).text) as { choices: unknown[] }[];
    const choice = (delta: unknown, finish: string | null = null) => [{ index: 0, delta, logprobs: null, finish_reason: finish }];
    expect(events.slice(0, -1).map(({ choices }) => choices)).toEqual([
      choice({ role: 'assistant', content: '', refusal: null }),
      choice({ tool_calls: [{ index: 0, id: 'call_a', type: 'function', function: { name: 'get_weather', arguments: '' } }] }),
      choice({ tool_calls: [{ index: 0, function: { arguments: '{"city":' } }] }),
      choice({
        tool_calls: [
          { index: 0, function: { arguments: '"Oslo"}' } },
          { index: 1, id: 'call_b', type: 'function', function: { name: 'get_time', arguments: '{}' } },
        ],
      }),
      choice({}, 'tool_calls'),
    ]);
  });

  test('replayed: the same calls, plain byte by byte and streamed', async () => {
    api.worker.script = callTools;
    for (const stream of [false, true]) {
      const ask = () => api.chat({ tools: [weather, clock], stream }, { headers: [['Idempotency-Key', `tools-${stream}`]] });
      const [first, again] = [await ask(), await ask()];
      if (!stream) expect(again.text).toBe(`${first.text.slice(0, -1)},"idempotent_replay":true}`);
      else {
        const events = eventsOf(again.text) as { choices: { delta: { tool_calls?: unknown } }[]; idempotent_replay?: boolean }[];
        expect(events[1]?.choices[0]?.delta.tool_calls).toEqual(CALLS.map((call, index) => ({ index, ...call })));
        expect([events.length, events.at(-2)?.idempotent_replay]).toEqual([4, true]);
      }
    }
  });

  test('OpenAI’s client and its stream helper', async () => {
    api.worker.script = callTools;
    const client = new OpenAI({ baseURL: `${api.baseUrl}/v1`, apiKey: api.project.key, maxRetries: 0 });
    const plain = await client.chat.completions.create({ model: api.model, messages: hello, tools: [weather, clock] });
    expect(plain.choices[0]?.message.tool_calls).toEqual(CALLS);
    const stream = client.chat.completions.stream({ model: api.model, messages: hello, tools: [weather, clock] });
    const done: unknown[] = [];
    stream.on('tool_calls.function.arguments.done', ({ name, arguments: text }) => done.push([name, text]));
    const final = await stream.finalChatCompletion();
    expect(final.choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { content: null, tool_calls: CALLS } });
    expect(done).toEqual([
      ['get_weather', '{"city":"Oslo"}'],
      ['get_time', '{}'],
    ]);
  });

  test('OpenAI’s client runs the tools by itself until the model has its answer', async () => {
    api.worker.script = async (run) => {
      const { input } = run.request;
      const last = input.kind === 'chat' ? input.messages.at(-1) : undefined;
      if (last?.role === 'tool') return echoScript(run);
      await run.output('', { toolCalls: [{ call: 0, id: 'call_1', name: 'get_weather', argumentsText: '{"city":"Oslo"}' }] });
      await run.finish('tool_calls');
    };
    const client = new OpenAI({ baseURL: `${api.baseUrl}/v1`, apiKey: api.project.key, maxRetries: 0 });
    const tool = {
      type: 'function' as const,
      function: { ...weather.function, parse: JSON.parse, function: ({ city }: { city: string }) => `4 °C in ${city}` },
    };
    const runner = client.chat.completions.runTools({ model: api.model, messages: hello, tools: [tool] });
    expect(await runner.finalContent()).toBe('4 °C in Oslo');
  });
});

describe('bad tools: 400 by name, nothing held, nothing run', () => {
  const named = (name: string) => ({ type: 'function', function: { name } });
  const withParameters = (schema: unknown) => [{ type: 'function', function: { name: 'f', parameters: schema } }];
  const assistant = (calls: unknown) => ({ role: 'assistant', content: null, tool_calls: calls });
  const call = (changes: Record<string, unknown>) => ({ ...CALLS[0], ...changes });
  const cases: readonly [string, Record<string, unknown>, string][] = [
    ['a name with a control character', { tools: [named('get\u0007weather')] }, 'tools[0].function.name'],
    ['a name with a line break', { tools: [named('get\nweather')] }, 'tools[0].function.name'],
    ['a name that ends with one', { tools: [named('weather\n')] }, 'tools[0].function.name'],
    ['a name with a quote', { tools: [named('get"weather')] }, 'tools[0].function.name'],
    ['an empty name', { tools: [named('')] }, 'tools[0].function.name'],
    ['a name of 65 characters', { tools: [named('x'.repeat(65))] }, 'tools[0].function.name'],
    ['a name defined twice', { tools: [weather, clock, weather] }, 'tools[2].function.name'],
    ['129 tools', { tools: Array.from({ length: 129 }, (_, index) => named(`f${index}`)) }, 'tools'],
    ['a tool without a function', { tools: [{ type: 'function' }] }, 'tools[0].function'],
    ['a tool of another type', { tools: [{ type: 'web_search' }] }, 'tools[0].type'],
    [
      'an endless description',
      { tools: [{ type: 'function', function: { name: 'f', description: 'x'.repeat(4_097) } }] },
      'tools[0].function.description',
    ],
    ['parameters that are text', { tools: withParameters('{}') }, 'tools[0].function.parameters'],
    ['parameters that are no object', { tools: withParameters({ type: 'string' }) }, 'tools[0].function.parameters'],
    ['parameters that cannot be held to', { tools: withParameters({ type: 'object', not: {} }) }, 'tools[0].function.parameters'],
    ['tool_choice without tools', { tool_choice: 'auto' }, 'tool_choice'],
    ['tool_choice with an empty list', { tools: [], tool_choice: 'required' }, 'tool_choice'],
    ['parallel_tool_calls without tools', { parallel_tool_calls: true }, 'parallel_tool_calls'],
    ['a tool_choice that is nothing', { tools: [weather], tool_choice: 'maybe' }, 'tool_choice'],
    ['a tool_choice of an unknown tool', { tools: [weather], tool_choice: named('get_time') }, 'tool_choice.function.name'],
    ['a tool_choice of another type', { tools: [weather], tool_choice: { type: 'allowed_tools' } }, 'tool_choice.type'],
    ['a result of no call', { messages: [...hello, { role: 'tool', content: 'x', tool_call_id: 'call_9' }] }, 'messages[1].tool_call_id'],
    ['a result without an id', { messages: [...hello, assistant(CALLS), { role: 'tool', content: 'x' }] }, 'messages[2].tool_call_id'],
    [
      'a result before its call',
      { messages: [{ role: 'tool', content: 'x', tool_call_id: 'call_a' }, assistant(CALLS)] },
      'messages[0].tool_call_id',
    ],
    ['a result without content', { messages: [assistant(CALLS), { role: 'tool', tool_call_id: 'call_a' }] }, 'messages[1].content'],
    ['calls by the user', { messages: [{ role: 'user', content: 'x', tool_calls: CALLS }] }, 'messages[0].tool_calls'],
    ['calls that are text', { messages: [assistant('call')] }, 'messages[0].tool_calls'],
    ['a call without an id', { messages: [assistant([call({ id: undefined })])] }, 'messages[0].tool_calls[0].id'],
    [
      'a call of a name with a tab',
      { messages: [assistant([call({ function: { name: 'a\tb', arguments: '' } })])] },
      'messages[0].tool_calls[0].function.name',
    ],
    [
      'arguments that are no text',
      { messages: [assistant([call({ function: { name: 'f', arguments: {} } })])] },
      'messages[0].tool_calls[0].function.arguments',
    ],
    ['no content and no calls', { messages: [assistant([])] }, 'messages[0].content'],
  ];
  test.each(cases)('%s', async (_name, body, param) => {
    const before = await api.ledger.balance(api.project.accountId);
    const runs = api.worker.runs.length;
    const answer = await api.chat(body);
    expect([answer.status, answer.body.error?.param]).toEqual([400, param]);
    expect(answer.body.error.type).toBe('invalid_request_error');
    expect([await api.ledger.balance(api.project.accountId), api.worker.runs.length]).toEqual([before, runs]);
  });
});
