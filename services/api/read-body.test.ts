/** Hostile bodies: refused before they cost anything. */
import { describe, expect, test } from '@jest/globals';
import { BODY_BYTES_MAX, JSON_DEPTH_MAX, JSON_VALUES_MAX, parseJson } from './read-body.js';
import { ChatCompletionBody } from './routes/chat-completions/request-schema.js';

const bytes = (text: string) => Buffer.from(text);
/** The promise is that no request stalls the event loop for 50 ms; the test leaves room for a machine that is busy elsewhere. */
const STALL_MS_MAX = 250;

describe('parseJson', () => {
  test('takes nesting up to the bound and not beyond, and ignores brackets inside strings', () => {
    const nested = (depth: number) => bytes('['.repeat(depth) + ']'.repeat(depth));
    expect(parseJson(nested(JSON_DEPTH_MAX))).toBeDefined();
    expect(() => parseJson(nested(JSON_DEPTH_MAX + 1))).toThrow('nested deeper');
    const text = `${'[{"'.repeat(50)} \\" ]`;
    expect(parseJson(bytes(JSON.stringify({ text })))).toEqual({ text });
  });

  test('takes a bounded number of values', () => {
    const list = (count: number) => bytes(`[${Array(count).fill('1').join(',')}]`);
    expect(parseJson(list(JSON_VALUES_MAX - 1))).toHaveLength(JSON_VALUES_MAX - 1);
    expect(() => parseJson(list(JSON_VALUES_MAX + 1))).toThrow('more than');
  });

  test('an own `__proto__` changes nothing that is inherited', () => {
    const parsed = parseJson(bytes('{"__proto__":{"polluted":true},"model":"m"}')) as { polluted?: boolean };
    expect([parsed.polluted, ({} as { polluted?: boolean }).polluted]).toEqual([undefined, undefined]);
  });

  test.each([
    ['a flat list', `{"model":"m","messages":[${'1,'.repeat(500_000)}1]}`],
    ['the most values that pass', `{"model":"m","messages":[${'1,'.repeat(JSON_VALUES_MAX - 10)}1]}`],
    ['one long text', JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'é'.repeat(500_000) }] })],
    ['many parts', JSON.stringify({ model: 'm', messages: [{ role: 'user', content: Array(6_000).fill({ type: 7 }) }] })],
  ])('%s of a mebibyte stalls nothing', (_name, text) => {
    const body = bytes(text).subarray(0, BODY_BYTES_MAX);
    const startedMs = performance.now();
    try {
      ChatCompletionBody.safeParse(parseJson(body));
    } catch {
      // Refused; only the time counts here.
    }
    expect(performance.now() - startedMs).toBeLessThan(STALL_MS_MAX);
  });
});
