/** Our grammars, read by llama.cpp itself: which texts they admit, and that every accepted schema makes one. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { getLlama, type Llama } from 'node-llama-cpp';
import { type AnswerFormat, exampleOf, type Tool, type ToolUse } from '../../../../events/contract/index.js';
import { BARE_CALL, LISTED_CALLS, TAGGED_CALLS, type ToolSyntax } from '../tools/tool-syntax.js';
import { AnswerGrammars, type HeldAnswer } from './answer-grammar.js';

type Schema = Tool['parameters'];

let llama: Llama;
beforeAll(async () => {
  llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, progressLogs: false });
});

const grammars = new AnswerGrammars();

async function admits(answer: HeldAnswer, text: string): Promise<boolean> {
  const grammar = await llama.createGrammar({ grammar: grammars.grammarOf(answer)?.text ?? '' });
  return (grammar as unknown as { _testText(text: string): boolean })._testText(text);
}

const held = (schema: Schema): HeldAnswer => ({ syntax: TAGGED_CALLS, format: { kind: 'json_schema', schema } });
const JSON_OBJECT: AnswerFormat = { kind: 'json_object' };

describe('grammars of formats', () => {
  test.each<[Schema, string, boolean]>([
    [{}, '{"a":[1,2,{"b":null}]}', true],
    [{}, '[1,]', false],
    [{ type: 'object' }, '{"a": 1,\n  "b": "\\u00e9"}', true],
    [{ type: 'object' }, '{"a":"\\ud800"}', false],
    [{ type: 'object' }, '{"a":   1}', false],
    [{ type: 'number' }, '1e999', false],
    [{ type: 'string', maxLength: 4_000 }, `"${'é'.repeat(4_000)}"`, true],
    [{ type: 'string', maxLength: 4_000 }, `"${'x'.repeat(4_001)}"`, false],
    [{ type: 'string', minLength: 2_500 }, `"${'x'.repeat(2_499)}"`, false],
    [{ type: 'array', items: { type: 'integer' }, minItems: 2, maxItems: 3 }, '[1, 2]', true],
    [{ type: 'array', items: { type: 'integer' }, minItems: 2, maxItems: 3 }, '[1]', false],
    [{ type: 'array', items: { type: 'integer' }, minItems: 2, maxItems: 3 }, '[1,2,3,4]', false],
    [{ properties: { a: {}, b: {}, c: {} }, required: ['b'] }, '{"b":1,"c":2}', true],
    [{ properties: { a: {}, b: {}, c: {} }, required: ['b'] }, '{"a":1,"c":2}', false],
    [{ properties: { a: {}, b: {}, c: {} }, required: ['b'] }, '{"b":1,"b":2}', false],
    [{ enum: ['x', 'xy', 'é😀', 12, 1] }, '"é😀"', true],
    [{ enum: ['x', 'xy', 'é😀', 12, 1] }, '12', true],
    [{ enum: ['x', 'xy', 'é😀', 12, 1] }, '"xyz"', false],
    [{ type: 'string', format: 'date' }, '"2024-02-29"', true],
    [{ type: 'string', format: 'date' }, '"1900-02-29"', false],
    [{ type: 'string', format: 'date' }, '"2023-04-31"', false],
    [{ type: 'string', format: 'date-time' }, '"2024-02-29T23:59:59.12+02:00"', true],
  ])('%j and %s: %s', async (schema, text, isAdmitted) => {
    expect(await admits(held(schema), text)).toBe(isAdmitted);
  });

  test('a JSON object is an object', async () => {
    expect(await admits({ syntax: TAGGED_CALLS, format: JSON_OBJECT }, '{"a":[{"b":"c"}]}')).toBe(true);
    expect(await admits({ syntax: TAGGED_CALLS, format: JSON_OBJECT }, '[]')).toBe(false);
  });

  test('the largest schemas are read quickly', async () => {
    const names = Array.from({ length: 100 }, (_, index) => `property_${index}`);
    const wide = { type: 'object', properties: Object.fromEntries(names.map((name) => [name, { type: 'string', maxLength: 40 }])) };
    const listed = { enum: Array.from({ length: 500 }, (_, index) => `value ${(index * 7_919) % 500}`) };
    const startedAt = performance.now();
    expect(await admits(held(wide), '{"property_99":"x"}')).toBe(true);
    expect(await admits(held(listed), '"value 499"')).toBe(true);
    expect(performance.now() - startedAt).toBeLessThan(500);
  });

  test('the example of a schema follows its grammar', async () => {
    const leaf = fc.constantFrom<Schema>(
      { type: 'integer', minimum: 3 },
      { type: 'string', minLength: 2 },
      { enum: ['a"b', 1] },
      { type: 'null' },
    );
    const schemas = fc.dictionary(
      fc.string({ maxLength: 4 }).filter((name) => name !== '__proto__'),
      leaf,
      { maxKeys: 5 },
    );
    await fc.assert(
      fc.asyncProperty(schemas, async (properties) => {
        const schema = { type: 'object', properties, required: Object.keys(properties) };
        expect(await admits(held(schema), JSON.stringify(exampleOf(schema)))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });
});

describe('grammars of tool calls', () => {
  const toolUse: ToolUse = {
    tools: [
      { name: 'f', parameters: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] } },
      { name: 'go', parameters: {} },
    ],
    choice: 'auto',
    parallel: true,
  };
  const callOf = ({ begin, open, middle, close, separator, end }: ToolSyntax, ...calls: [string, string][]) =>
    begin + calls.map(([name, json]) => open + name + middle + json + close).join(separator) + end;

  test.each([TAGGED_CALLS, LISTED_CALLS, BARE_CALL])('text or calls', async (syntax) => {
    const admitted = (text: string, use: Partial<ToolUse> = {}) => admits({ syntax, toolUse: { ...toolUse, ...use } }, text);
    const one = callOf(syntax, ['f', '{"n": 1}']);
    const two = callOf(syntax, ['f', '{"n": 1}'], ['go', '{"any": "thing"}']);
    expect(await admitted(one)).toBe(true);
    expect(await admitted('')).toBe(true);
    expect(await admitted('Hello <b>[1] world\n')).toBe(true);
    expect(await admitted(callOf(syntax, ['f', '{"n": "x"}']))).toBe(false);
    expect(await admitted(callOf(syntax, ['nobody', '{}']))).toBe(false);
    expect(await admitted('Hello', { choice: 'required' })).toBe(false);
    expect(await admitted(one, { choice: { name: 'go' } })).toBe(false);
    expect(await admitted(one, { choice: { name: 'f' } })).toBe(true);
    expect(await admitted(two)).toBe(syntax.callsMax > 1);
    expect(await admitted(two, { parallel: false })).toBe(false);
    if (syntax.marker === null) return;
    expect(await admitted(`Let me see. <[<${one}`)).toBe(true);
    expect(await admitted(`${syntax.marker[0]}${one}`)).toBe(true);
    expect(await admitted(`Let me see. ${syntax.marker} no`)).toBe(false);
    expect(await admitted(`Let me see. ${syntax.marker.slice(0, -1)} no`)).toBe(true);
  });

  test.each([TAGGED_CALLS, LISTED_CALLS, BARE_CALL])('calls that are cut off anywhere can be finished', async (syntax) => {
    const grammar = grammars.grammarOf({ syntax, toolUse: { ...toolUse, choice: 'required' } });
    const calls: [string, string][] = [
      ['f', '{"n": 12}'],
      ['go', '{"any": ["thing"]}'],
    ];
    const whole = callOf(syntax, ...calls.slice(0, syntax.callsMax));
    for (let length = 0; length <= whole.length; length += 1) {
      const begun = whole.slice(0, length);
      const rest = grammar?.completionOf(begun) ?? null;
      expect([begun, rest]).toEqual([begun, expect.any(String)]);
      expect(await admits({ syntax, toolUse: { ...toolUse, choice: 'required' } }, begun + rest)).toBe(true);
    }
  });

  test('a format or calls', async () => {
    const answer = { syntax: { ...TAGGED_CALLS, marker: null }, toolUse, format: JSON_OBJECT };
    expect(await admits(answer, '{"a":"<tool_call>"}')).toBe(true);
    expect(await admits(answer, callOf(TAGGED_CALLS, ['go', '{}']))).toBe(true);
    expect(await admits(answer, 'text')).toBe(false);
  });
});
