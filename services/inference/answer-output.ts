/**
 * What one answer of a run has to say: gathered as its engine generates it, put out in messages of bounded size, and remembered for the hash by
 * which a receipt names it. An answer of plain text, which nearly all are, costs two string joins a piece.
 */
import { hash } from 'node:crypto';
import {
  type FinishReason,
  type HashedAnswer,
  type RunOutput,
  type TokenLogprob,
  type ToolCall,
  type ToolCallDelta,
  textOfAnswers,
} from '../../events/contract/index.js';

/** UTF-16 units, of which JSON writes some as \u0001. */
const BYTES_PER_CHARACTER_MAX = 6;

/** Of text and of arguments in one message: 240 KiB at most, so that with what names the run it never exceeds 256 KiB. Kafka takes 1 MiB. */
export const OUTPUT_CHARACTERS_MAX = 40_960;

/** Of the probabilities in one message, by `logprobBytes`: some hundred tokens with twenty alternatives each. */
const OUTPUT_LOGPROB_BYTES_MAX = BYTES_PER_CHARACTER_MAX * OUTPUT_CHARACTERS_MAX;

/** The names of a delta's fields, and its number. */
const DELTA_FRAME_CHARACTERS = 64;

/** What a message says beside which run and which place in it. */
export type OutputContent = Pick<RunOutput, 'text' | 'toolCalls' | 'logprobs' | 'finishReason' | 'embedding'>;

export class AnswerOutput {
  /** Which of a run's answers; `null` for the only one. */
  readonly number: number | null;
  #text = '';
  /** `null` until there is one: most answers never have any, and a worker makes thousands of these a second. */
  #toolCalls: ToolCallDelta[] | null = null;
  #logprobs: TokenLogprob[] | null = null;
  #embedding: string | null = null;
  /** What has been put out. */
  #said = '';
  #calls: { id: string; name: string; arguments: string }[] | null = null;
  #hashedInstead: string | null = null;
  /** To be told with the last message. */
  #finishReason: FinishReason | null = null;

  constructor(number: number | null) {
    this.number = number;
  }

  get isPending(): boolean {
    return this.#text !== '' || this.#hasMoreThanText;
  }

  addText(text: string, logprobs?: readonly TokenLogprob[]): void {
    this.#text += text;
    if (logprobs === undefined) return;
    this.#logprobs ??= [];
    for (const logprob of logprobs) this.#logprobs.push(logprob);
  }

  /** Of one of several answers: nothing is added any more, and the last message says how it ended. */
  end(finishReason: FinishReason): void {
    this.#finishReason = finishReason;
  }

  addToolCalls(deltas: readonly ToolCallDelta[]): void {
    this.#toolCalls ??= [];
    this.#toolCalls.push(...deltas);
  }

  setEmbedding(base64: string): void {
    this.#embedding = base64;
    this.#hashedInstead = base64;
  }

  /** `text` is what is put out, `hashed` what its hash is of. */
  setTranscript(text: string, hashed: string): void {
    this.#text = text;
    this.#hashedInstead = hashed;
  }

  /** What has come since the last time, in as many messages as it takes; parts of one call are joined. */
  take(): OutputContent[] {
    const texts = this.#takeText();
    if (!this.#hasMoreThanText) return texts;
    const deltas = this.#toolCalls ?? [];
    const calls = callsInBounds(joined(deltas));
    const logprobs = inBounds(this.#logprobs ?? [], logprobBytes, OUTPUT_LOGPROB_BYTES_MAX);
    for (const delta of deltas) this.#noteCall(delta);
    const [embedding, finishReason] = [this.#embedding, this.#finishReason];
    this.#toolCalls = null;
    this.#logprobs = null;
    this.#embedding = null;
    this.#finishReason = null;
    const contents = together(texts, calls, logprobs);
    const last = contents.at(-1) ?? { text: '' };
    const ending = { ...(embedding === null ? {} : { embedding }), ...(finishReason === null ? {} : { finishReason }) };
    return [...contents.slice(0, -1), { ...last, ...ending }];
  }

  /** As `answer-hash.ts` wants it: what has been put out. */
  hashed(): HashedAnswer {
    const text = this.#hashedInstead ?? this.#said;
    if (this.#calls === null) return { text };
    const toolCalls: readonly ToolCall[] = this.#calls.filter((call) => call !== undefined);
    return { text, toolCalls };
  }

  get #hasMoreThanText(): boolean {
    return this.#toolCalls !== null || this.#logprobs !== null || this.#embedding !== null || this.#finishReason !== null;
  }

  #takeText(): { text: string }[] {
    const text = this.#text;
    this.#text = '';
    this.#said += text;
    if (text === '') return [];
    return text.length <= OUTPUT_CHARACTERS_MAX ? [{ text }] : piecesOf(text).map((piece) => ({ text: piece }));
  }

  #noteCall({ call, id, name, argumentsText }: ToolCallDelta): void {
    this.#calls ??= [];
    const known = this.#calls[call];
    if (known === undefined) this.#calls[call] = { id: id ?? '', name: name ?? '', arguments: argumentsText };
    else known.arguments += argumentsText;
  }
}

/** SHA-256 by which a receipt names the answers. */
export function responseHashOf(answers: readonly AnswerOutput[]): string {
  return hash('sha256', textOfAnswers(answers.map((answer) => answer.hashed())));
}

/** Cut at the bound, and never inside a character. */
function piecesOf(text: string): string[] {
  const pieces: string[] = [];
  let from = 0;
  while (from < text.length) {
    let end = Math.min(from + OUTPUT_CHARACTERS_MAX, text.length);
    if (end < text.length && /[\uD800-\uDBFF]/.test(text.charAt(end - 1))) end -= 1;
    pieces.push(text.slice(from, end));
    from = end;
  }
  return pieces;
}

/** One delta a call. */
function joined(deltas: readonly ToolCallDelta[]): ToolCallDelta[] {
  const calls = new Map<number, ToolCallDelta>();
  for (const delta of deltas) {
    const known = calls.get(delta.call);
    calls.set(delta.call, known === undefined ? delta : { ...known, argumentsText: known.argumentsText + delta.argumentsText });
  }
  return [...calls.values()];
}

function callsInBounds(deltas: readonly ToolCallDelta[]): ToolCallDelta[][] {
  const cut = deltas.flatMap((delta) => {
    const [first = '', ...others] = piecesOf(delta.argumentsText);
    return [{ ...delta, argumentsText: first }, ...others.map((argumentsText) => ({ call: delta.call, argumentsText }))];
  });
  return inBounds(cut, deltaCharacters, OUTPUT_CHARACTERS_MAX);
}

/** With what JSON writes around them. Id and name are bounded by the contract. */
function deltaCharacters({ argumentsText, id = '', name = '' }: ToolCallDelta): number {
  return argumentsText.length + id.length + name.length + DELTA_FRAME_CHARACTERS;
}

/** In one message what fits into one, as nearly everything does; otherwise one kind after the other. */
function together(
  texts: readonly OutputContent[],
  calls: readonly ToolCallDelta[][],
  logprobs: readonly TokenLogprob[][],
): readonly OutputContent[] {
  const ofCalls = calls.map((toolCalls): OutputContent => ({ text: '', toolCalls }));
  const ofLogprobs = logprobs.map((chances): OutputContent => ({ text: '', logprobs: chances }));
  const all = [...texts, ...ofCalls, ...ofLogprobs];
  if (all.length < 2 || texts.length > 1 || calls.length > 1 || logprobs.length > 1) return all;
  let bytes = BYTES_PER_CHARACTER_MAX * (texts[0]?.text.length ?? 0);
  for (const delta of calls[0] ?? []) bytes += BYTES_PER_CHARACTER_MAX * deltaCharacters(delta);
  for (const logprob of logprobs[0] ?? []) bytes += logprobBytes(logprob);
  if (bytes > BYTES_PER_CHARACTER_MAX * OUTPUT_CHARACTERS_MAX) return all;
  return [{ ...ofCalls[0], ...ofLogprobs[0], text: texts[0]?.text ?? '' }];
}

type TokenChance = TokenLogprob['top'][number];

/** About what JSON takes: the names of the fields, the number, the token, and up to four characters for each of its bytes. */
function chanceBytes({ token, bytes }: TokenChance): number {
  return 64 + BYTES_PER_CHARACTER_MAX * token.length + 4 * bytes.length;
}

function logprobBytes(logprob: TokenLogprob): number {
  let bytes = chanceBytes(logprob);
  for (const chance of logprob.top) bytes += chanceBytes(chance);
  return bytes;
}

/** Groups in order, each within the bound or of one item. */
function inBounds<Item>(items: readonly Item[], sizeOf: (item: Item) => number, sizeMax: number): Item[][] {
  const groups: Item[][] = [];
  let size = 0;
  for (const item of items) {
    const itemSize = sizeOf(item);
    const last = groups.at(-1);
    if (last === undefined || size + itemSize > sizeMax) {
      groups.push([item]);
      size = itemSize;
    } else {
      last.push(item);
      size += itemSize;
    }
  }
  return groups;
}
