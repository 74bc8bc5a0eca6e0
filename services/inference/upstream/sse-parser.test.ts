/** The parser against the event stream format, however the network cuts it. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { EVENT_CHARACTERS_MAX, SseError, type SseEvent, SseParser } from './sse-parser.js';

function parse(...pieces: string[]): SseEvent[] {
  const parser = new SseParser();
  return pieces.flatMap((piece) => [...parser.push(piece)]);
}

const message = (payload: string): SseEvent => ({ name: 'message', payload });

describe('the event stream format', () => {
  test.each<[string, string, SseEvent[]]>([
    ['one event', 'data: a\n\n', [message('a')]],
    ['no space after the colon', 'data:a\n\n', [message('a')]],
    ['only the first space is passed over', 'data:  a\n\n', [message(' a')]],
    ['carriage returns and line feeds', 'data: a\r\n\r\ndata: b\r\rdata: c\n\n', [message('a'), message('b'), message('c')]],
    ['payload of several lines', 'data: a\ndata\ndata: b\n\n', [message('a\n\nb')]],
    ['comments', ': keep-alive\n\ndata: a\n: more\n\n', [message('a')]],
    ['names', 'event: error\ndata: a\n\ndata: b\n\n', [{ name: 'error', payload: 'a' }, message('b')]],
    ['a name without payload is no event', 'event: error\n\ndata: b\n\n', [message('b')]],
    ['fields of no interest', 'id: 7\nretry: 10\nfoo: bar\ndata: a\n\n', [message('a')]],
    ['a byte order mark', '\uFEFFdata: a\n\n', [message('a')]],
    ['an event that is not completed', 'data: a\n\ndata: b\n', [message('a')]],
  ])('%s', (_name, text, events) => {
    expect(parse(text)).toEqual(events);
    // One character at a time.
    expect(parse(...text)).toEqual(events);
  });

  test('wherever the stream is cut, the events are the same', () => {
    const line = fc.constantFrom('data: a', 'data:b', ': c', 'event: n', '', '', 'data');
    const lines = fc.array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')), { maxLength: 30 });
    fc.assert(
      fc.property(lines, fc.array(fc.nat(200), { maxLength: 6 }), (written, cuts) => {
        const text = written.map((parts) => parts.join('')).join('');
        const places = [0, ...cuts.map((cut) => Math.min(cut, text.length)).sort((a, b) => a - b), text.length];
        const pieces = places.slice(1).map((place, index) => text.slice(places[index], place));
        expect(parse(...pieces)).toEqual(parse(text));
      }),
    );
  });
});

describe('bounds', () => {
  const half = 'x'.repeat(EVENT_CHARACTERS_MAX / 2);

  test('an event as large as allowed is read', () => {
    const payload = 'x'.repeat(EVENT_CHARACTERS_MAX - 'data: '.length);
    expect(parse(`data: ${payload}\n\n`)).toEqual([message(payload)]);
  });

  test.each([
    ['a line that never ends', ['data: ', half, half]],
    ['a line that ends too late', [`data: ${half}${half}\n`]],
    ['a payload of many lines', [`data: ${half}\n`, `data: ${half}\n`]],
    ['a comment that never ends', [': ', half, half]],
  ])('%s is refused', (_name, pieces) => {
    expect(() => parse(...pieces)).toThrow(SseError);
  });
});
