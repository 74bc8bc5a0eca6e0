/**
 * Turns tokens into text as they come. A token may be part of a character (byte fallback, byte-level BPE), so bytes are gathered until a
 * character is complete. Most tokens are whole text and cost one look-up.
 */
import type { Vocabulary } from './vocabulary.js';

/** A token's bytes; `text` is set when they are whole characters. */
export type Piece = { readonly text: string | null; readonly bytes: Buffer };

const REPLACEMENT = '\uFFFD';
const BYTE_TOKEN = /^<0x([0-9A-F]{2})>$/;

/** The pieces of a vocabulary, worked out on first use: a vocabulary has up to 250,000 tokens and answers use a few thousand of them. */
export class PieceTable {
  readonly #vocabulary: Vocabulary;
  readonly #pieces: (Piece | undefined)[] = [];
  /** Stands before a token so that the tokenizer does not take it for the beginning of a text and strip its space. */
  readonly #anchor: Uint32Array;
  readonly #anchorText: string;
  readonly #controlSpellings: ReadonlySet<string>;
  readonly #spelt: (Piece | undefined)[] = [];

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
    this.#anchor = vocabulary.tokenize('a', false).slice(-1);
    this.#anchorText = vocabulary.detokenize(this.#anchor);
    this.#controlSpellings = new Set(vocabulary.controlSpellings);
  }

  piece(token: number): Piece {
    let piece = this.#pieces[token];
    if (piece === undefined) {
      piece = this.#pieceOf(token);
      this.#pieces[token] = piece;
    }
    return piece;
  }

  /** The piece at the beginning of a text, where some tokenizers write no space. */
  firstPiece(token: number): Piece {
    const text = this.#vocabulary.detokenize(Uint32Array.of(token));
    return text.includes(REPLACEMENT) ? this.piece(token) : wholePiece(text);
  }

  /** As `piece`, with control tokens spelt out: what a grammar takes them for. */
  speltPiece(token: number): Piece {
    let piece = this.#spelt[token];
    if (piece === undefined) {
      piece = this.piece(token);
      const spelling = piece.text === '' ? this.#vocabulary.spelling(token) : '';
      if (this.#controlSpellings.has(spelling)) piece = wholePiece(spelling);
      this.#spelt[token] = piece;
    }
    return piece;
  }

  /** The text of tokens that follow others. */
  say(tokens: Uint32Array): string {
    return Buffer.concat(Array.from(tokens, (token) => this.speltPiece(token).bytes)).toString('utf8');
  }

  #pieceOf(token: number): Piece {
    const anchored = this.#vocabulary.detokenize(Uint32Array.of(...this.#anchor, token));
    const text = anchored.startsWith(this.#anchorText)
      ? anchored.slice(this.#anchorText.length)
      : this.#vocabulary.detokenize(Uint32Array.of(token));
    if (!text.includes(REPLACEMENT)) return wholePiece(text);
    const bytes = bytesOfSpelling(this.#vocabulary.spelling(token));
    if (bytes === null) return wholePiece(text);
    return completeLength(bytes) === bytes.length && !bytes.toString('utf8').includes(REPLACEMENT)
      ? wholePiece(bytes.toString('utf8'))
      : { text: null, bytes };
  }
}

/** The text of one answer. */
export class TextAssembler {
  readonly #table: PieceTable;
  #pending: Buffer | null = null;
  #isFirst = true;
  readonly #spellsControl: boolean;

  /** `spellsControl`: control tokens are part of the text, as in answers that follow a grammar. */
  constructor(table: PieceTable, spellsControl = false) {
    this.#table = table;
    this.#spellsControl = spellsControl;
  }

  /** Whole characters that the token completes; empty while one is under way. Bytes that can be no character become U+FFFD. */
  push(token: number): string {
    const piece = this.#pieceOf(token);
    this.#isFirst = false;
    if (this.#pending === null && piece.text !== null) return piece.text;
    const bytes = this.#pending === null ? piece.bytes : Buffer.concat([this.#pending, piece.bytes]);
    const complete = completeLength(bytes);
    this.#pending = complete === bytes.length ? null : bytes.subarray(complete);
    return bytes.toString('utf8', 0, complete);
  }

  /** What `push` would return. */
  peek(token: number): string {
    const [pending, isFirst] = [this.#pending, this.#isFirst];
    const text = this.push(token);
    this.#pending = pending;
    this.#isFirst = isFirst;
    return text;
  }

  #pieceOf(token: number): Piece {
    if (!this.#isFirst) return this.#spellsControl ? this.#table.speltPiece(token) : this.#table.piece(token);
    const first = this.#table.firstPiece(token);
    return this.#spellsControl && first.text === '' ? this.#table.speltPiece(token) : first;
  }
}

function wholePiece(text: string): Piece {
  return { text, bytes: Buffer.from(text, 'utf8') };
}

/** Bytes before a character that has begun at the end and is not complete (RFC 3629: the first byte says how many follow). */
export function completeLength(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const needed = byte >= 0xf0 && byte < 0xf5 ? 4 : byte >= 0xe0 ? (byte < 0xf0 ? 3 : 1) : byte >= 0xc2 ? 2 : 1;
    return needed > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

function bytesOfSpelling(spelling: string): Buffer | null {
  const byte = BYTE_TOKEN.exec(spelling)?.[1];
  if (byte !== undefined) return Buffer.of(Number.parseInt(byte, 16));
  const bytes: number[] = [];
  for (const character of spelling) {
    const value = BYTE_OF_VISIBLE.get(character);
    if (value === undefined) return null;
    bytes.push(value);
  }
  return Buffer.from(bytes);
}

/**
 * GPT-2's alphabet, in which byte-level BPE vocabularies are spelt: printable Latin-1 stands for itself, every other byte for the next
 * character from U+0100 on (`bytes_to_unicode` in openai/gpt-2).
 */
const BYTE_OF_VISIBLE: ReadonlyMap<string, number> = visibleAlphabet();

function visibleAlphabet(): Map<string, number> {
  const alphabet = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 0x100; byte += 1) {
    const isVisible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    alphabet.set(String.fromCodePoint(isVisible ? byte : next), byte);
    if (!isVisible) next += 1;
  }
  return alphabet;
}
