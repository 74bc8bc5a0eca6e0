/** Packs conversations into windows of equal length for the trainer. */
import type { DialogueSource, Sample } from '../corpus/dialogue-source.js';
import type { Random } from '../random.js';
import type { Tokenizer } from '../tokenizer/byte-pair-encoding.js';
import { type ControlTokenIds, encodeTurn } from '../tokenizer/chat-format.js';
import { type BatchExtents, NO_TARGET, type TrainingBatch } from './training-batch.js';

/** Share of the conversations that see what came before them in their window; the others begin afresh, which is the easier lesson. */
const HISTORY_SHARE = 0.35;
/**
 * In this share of the cases the history lies at most so far away: the windows are short, and without such jumps the network would never
 * have met the distances of a long prompt.
 */
const JUMP_SHARE = 0.4;
const JUMP_MAX = 4096;

type Part = { readonly tokens: readonly number[]; readonly learnFrom: number; readonly learnTo: number };

export class TrainingWindows {
  readonly #source: DialogueSource;
  readonly #tokenizer: Tokenizer;
  readonly #control: ControlTokenIds;

  constructor(source: DialogueSource, tokenizer: Tokenizer, control: ControlTokenIds) {
    this.#source = source;
    this.#tokenizer = tokenizer;
    this.#control = control;
  }

  batch(extents: BatchExtents, random: Random): TrainingBatch {
    const { windows, windowLength } = extents;
    const tokens = new Int32Array(windows * windowLength);
    const targets = new Int32Array(windows * windowLength).fill(NO_TARGET);
    const positions = new Int32Array(windows * windowLength);
    const visibleFrom = new Int32Array(windows * windowLength);
    for (let window = 0; window < windows; window++) {
      const part = (entries: Int32Array): Int32Array => entries.subarray(window * windowLength, (window + 1) * windowLength);
      this.#fill({ tokens: part(tokens), targets: part(targets), positions: part(positions), visibleFrom: part(visibleFrom) }, random);
    }
    return { tokens, targets, positions, visibleFrom };
  }

  #fill({ tokens, targets, positions, visibleFrom }: TrainingBatch, random: Random): void {
    let at = 0;
    let position = 0;
    let conversationStart = 0;
    while (at < tokens.length) {
      if (!random.chance(HISTORY_SHARE)) {
        conversationStart = at;
        position = 0;
      } else if (random.chance(JUMP_SHARE)) position += random.below(JUMP_MAX);
      for (const { tokens: next, learnFrom, learnTo } of this.#parts(this.#source.next(random))) {
        for (let index = 0; index < next.length && at < tokens.length; index++, at++) {
          const token = next[index] as number;
          tokens[at] = token;
          positions[at] = position++;
          visibleFrom[at] = conversationStart;
          if (at > conversationStart && index >= learnFrom && index < learnTo) targets[at - 1] = token;
        }
      }
    }
  }

  /** The model learns to speak as the assistant and to continue plain text, not to speak as the user. */
  #parts(sample: Sample): Part[] {
    if (sample.kind === 'text') {
      const { endOfText } = this.#control;
      const tokens = [endOfText, ...this.#tokenizer.encode(sample.text), endOfText];
      return [{ tokens, learnFrom: 1, learnTo: tokens.length }];
    }
    return sample.turns.map((turn) => {
      const { tokens, contentFrom, contentTo } = encodeTurn(this.#tokenizer, this.#control, turn);
      return turn.role === 'assistant' ? { tokens, learnFrom: contentFrom, learnTo: contentTo } : { tokens, learnFrom: 0, learnTo: 0 };
    });
  }
}
