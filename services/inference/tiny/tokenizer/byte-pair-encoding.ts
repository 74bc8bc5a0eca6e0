/**
 * Byte-level byte-pair encoding, as GPT-2 introduced it and llama.cpp implements it (`tokenizer.ggml.model = gpt2`): every text is
 * first its UTF-8 bytes, so no text is outside the vocabulary, and frequent neighbours are merged into longer pieces.
 * Source: Sennrich, Haddow, Birch 2016, "Neural Machine Translation of Rare Words with Subword Units".
 */

/** How text is cut before merging (the `gpt-2` pre-tokenizer of llama.cpp): a word takes the space before it along. */
const PIECES = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/**
 * The printable stand-in of each byte: itself where it is a visible Latin-1 character, else a character from U+0100 on, in order.
 * GGUF vocabularies of this kind are written in stand-ins.
 */
const STAND_INS: readonly string[] = standIns();

function standIns(): string[] {
  const visible = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(visible(byte) ? byte : next++));
}

export type Vocabulary = {
  /** Pieces in stand-in characters, by token id: 256 bytes, then one piece a merge. */
  readonly pieces: readonly string[];
  /** `left right` pairs, most important first, as GGUF stores them. */
  readonly merges: readonly string[];
};

const encoder = new TextEncoder();

function byteSymbols(piece: string): string[] {
  return Array.from(encoder.encode(piece), (byte) => STAND_INS[byte] ?? '');
}

/**
 * Learns at most `mergesMax` merges from the texts; stops early when no pair occurs twice. Ties go to the pair that sorts first.
 * A piece counts by the root of its frequency, so that rare words, too, become single tokens: a small network copies and
 * recalls a word far more easily when it is one token.
 */
export function learnVocabulary(texts: Iterable<string>, mergesMax: number): Vocabulary {
  const counts = new Map<string, number>();
  for (const text of texts) for (const [piece] of text.matchAll(PIECES)) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  // A piece met once teaches no merge; leaving such pieces out makes this several times faster.
  const words = Array.from(counts)
    .filter(([, count]) => count > 1)
    .map(([piece, count]) => ({ symbols: byteSymbols(piece), count: Math.ceil(Math.sqrt(count)) }));
  const merges: string[] = [];
  const pieces = [...STAND_INS];
  while (merges.length < mergesMax) {
    const best = mostFrequentPair(words);
    if (best === null) break;
    const [left, right] = best.split(' ') as [string, string];
    merges.push(best);
    pieces.push(left + right);
    for (const word of words) if (word.symbols.includes(left)) word.symbols = joined(word.symbols, left, right);
  }
  return { pieces, merges };
}

function mostFrequentPair(words: readonly { readonly symbols: readonly string[]; readonly count: number }[]): string | null {
  const pairs = new Map<string, number>();
  for (const { symbols, count } of words) {
    for (let i = 1; i < symbols.length; i++) {
      const pair = `${symbols[i - 1]} ${symbols[i]}`;
      pairs.set(pair, (pairs.get(pair) ?? 0) + count);
    }
  }
  let best: string | null = null;
  let bestCount = 1;
  for (const [pair, count] of pairs) {
    if (count > bestCount || (count === bestCount && best !== null && pair < best)) {
      best = pair;
      bestCount = count;
    }
  }
  return best;
}

function joined(symbols: readonly string[], left: string, right: string): string[] {
  const result: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    const symbol = symbols[i] ?? '';
    if (symbol === left && symbols[i + 1] === right) {
      result.push(left + right);
      i++;
    } else result.push(symbol);
  }
  return result;
}

/** Turns text into token ids exactly as llama.cpp does for the same vocabulary (a test compares them). */
export class Tokenizer {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #ranks: ReadonlyMap<string, number>;
  readonly #known = new Map<string, readonly number[]>();

  constructor(vocabulary: Vocabulary) {
    this.#ids = new Map(vocabulary.pieces.map((piece, id) => [piece, id]));
    this.#ranks = new Map(vocabulary.merges.map((pair, rank) => [pair, rank]));
  }

  encode(text: string): number[] {
    const ids: number[] = [];
    for (const [piece] of text.matchAll(PIECES)) {
      let encoded = this.#known.get(piece);
      if (encoded === undefined) {
        encoded = this.#encodePiece(piece);
        this.#known.set(piece, encoded);
      }
      ids.push(...encoded);
    }
    return ids;
  }

  #encodePiece(piece: string): number[] {
    let symbols = byteSymbols(piece);
    for (;;) {
      let bestRank = Number.POSITIVE_INFINITY;
      let bestAt = -1;
      for (let i = 1; i < symbols.length; i++) {
        const rank = this.#ranks.get(`${symbols[i - 1]} ${symbols[i]}`);
        if (rank !== undefined && rank < bestRank) {
          bestRank = rank;
          bestAt = i;
        }
      }
      if (bestAt === -1) break;
      symbols = joined(symbols, symbols[bestAt - 1] ?? '', symbols[bestAt] ?? '');
    }
    return symbols.map((symbol) => {
      const id = this.#ids.get(symbol);
      if (id === undefined) throw new Error(`piece ${JSON.stringify(symbol)} is not in the vocabulary`);
      return id;
    });
  }
}
