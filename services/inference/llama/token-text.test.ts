/** Text from tokens that cut characters apart. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { completeLength, PieceTable, TextAssembler } from './token-text.js';
import type { Vocabulary } from './vocabulary.js';

/** A vocabulary of the kind of SentencePiece: words with a marked space, and every byte. Detokenizing strips the first space of a text. */
const WORDS = ['a', '▁sea', '▁far', '😀'];
const vocabulary: Vocabulary = {
  tokenize: () => Uint32Array.of(256),
  detokenize(tokens) {
    const parts = Array.from(tokens, (token) =>
      token < 256 ? Buffer.of(token) : Buffer.from((WORDS[token - 256] ?? '').replace('▁', ' ')),
    );
    return Buffer.concat(parts).toString('utf8').replace(/^ /, '');
  },
  spelling: (token) => (token < 256 ? `<0x${token.toString(16).toUpperCase().padStart(2, '0')}>` : (WORDS[token - 256] ?? '')),
  isToken: () => true,
  isEnd: () => false,
  beginToken: null,
  startToken: null,
  controlSpellings: [],
  beginText: '',
  endText: '',
};
const table = new PieceTable(vocabulary);

function piecesOf(tokens: readonly number[]): string[] {
  const assembler = new TextAssembler(table);
  return tokens.map((token) => assembler.push(token));
}

const bytesOf = (text: string) => [...Buffer.from(text)];

describe('text from tokens', () => {
  test('a space before a word is kept, except at the beginning', () => {
    expect(piecesOf([257, 258, 257])).toEqual(['sea', ' far', ' sea']);
  });

  test.each([
    ['é', ['', 'é']],
    ['€', ['', '', '€']],
    ['😀', ['', '', '', '😀']],
    ['a😀b', ['a', '', '', '', '😀', 'b']],
  ])('%s comes out with its last byte', (text, pieces) => {
    expect(piecesOf(bytesOf(text))).toEqual(pieces);
  });

  test('a word after half a character lets go of both', () => {
    expect(piecesOf([0xf0, 0x9f, 257])).toEqual(['', '', '\uFFFD sea']);
  });

  test('half a character at the end is not said', () => {
    expect(piecesOf([97, 0xf0, 0x9f]).join('')).toBe('a');
  });

  test('spellings in the alphabet of byte-level BPE give their bytes', () => {
    const bpe: Vocabulary = {
      ...vocabulary,
      detokenize: (tokens) => (tokens[0] === 256 && tokens.length === 1 ? 'a' : 'a\uFFFD'),
      spelling: () => 'ðŁĺ',
    };
    expect(new PieceTable(bpe).piece(5)).toEqual({ text: null, bytes: Buffer.from([0xf0, 0x9f, 0x98]) });
  });

  test('any text cut into bytes comes out whole, in whole characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 20 }), (text) => {
        const pieces = piecesOf([97, ...bytesOf(text)]);
        expect(pieces.join('')).toBe(`a${text}`);
        for (const piece of pieces) expect(piece).not.toMatch(/\p{Surrogate}/u);
      }),
    );
  });

  test('any bytes at all are taken, and at most three are held back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
        const buffer = Buffer.from(bytes);
        expect(buffer.length - completeLength(buffer)).toBeLessThanOrEqual(3);
        // Deciding early never changes the text: it is what a decoder that sees everything gives, but for an unfinished end.
        const pieces = piecesOf([97, ...bytes]).join('');
        expect(pieces.length).toBeLessThanOrEqual(1 + bytes.length);
      }),
    );
  });
});
