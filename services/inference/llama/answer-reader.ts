/** One answer as it is generated: tokens become text up to a stop sequence, tool calls, and what is known of each token's probability. */
import { randomBytes } from 'node:crypto';
import type { TokenLogprob, ToolCallDelta } from '../../../events/contract/index.js';
import { StopScanner } from '../stop-scanner.js';
import type { TokenChances } from './batch-decoder.js';
import type { PreparedRun } from './batch-loop.js';
import { type PieceTable, TextAssembler } from './token-text.js';
import { ToolCallScanner } from './tools/tool-call-scanner.js';

/**
 * When no more tokens than this are left, an answer in a form is looked at after each of them: whether what is left still suffices to finish it.
 * Each look reads the answer from its beginning. One token adds little to what is missing, unless the schema asks for a lot: then twice the
 * smallest answer is kept in view.
 */
const CLOSING_WINDOW_TOKENS_MIN = 160;

/** So many tokens in a row may leave no known ending. */
const UNKNOWN_TOKENS_MAX = 8;

/** Of a call's id; clients and templates compare them within one conversation only. */
const CALL_ID_BYTES = 12;

export class AnswerReader {
  readonly #pieces: PieceTable;
  readonly #assembler: TextAssembler;
  readonly #stops: StopScanner;
  readonly #scanner: ToolCallScanner | null;
  readonly #closing: PreparedRun['closing'];
  /** Everything generated so far, kept where the answer has a form. */
  #whole = '';
  #windowTokens: number | null = null;
  /** What would finish it. */
  #finish: Uint32Array | null = null;
  #logprobs: TokenLogprob[] = [];
  #deltas: ToolCallDelta[] = [];

  constructor(pieces: PieceTable, { stop, grammar, tools, closing }: Pick<PreparedRun, 'stop' | 'grammar' | 'tools' | 'closing'>) {
    this.#closing = closing;
    this.#pieces = pieces;
    this.#assembler = new TextAssembler(pieces, typeof grammar === 'string');
    this.#stops = new StopScanner(stop);
    this.#scanner = tools === undefined ? null : new ToolCallScanner({ ...tools, makeCallId });
  }

  /** Whether a stop sequence has ended the text. */
  get stopped(): boolean {
    return this.#stops.stopped;
  }

  get hasCalls(): boolean {
    return this.#scanner?.hasCalls ?? false;
  }

  /**
   * The tokens to end the answer with when the one that was chosen would leave too few of the `left` tokens to finish it in its form; `null` to go on.
   */
  closingInsteadOf(token: number, left: number): Uint32Array | null {
    if (this.#closing === undefined) return null;
    this.#windowTokens ??= Math.max(CLOSING_WINDOW_TOKENS_MIN, 2 * (this.#closing('')?.length ?? 0));
    if (left > this.#windowTokens) return null;
    const next = this.#closing(this.#whole + this.#assembler.peek(token));
    if (next !== null && next.length < left) {
      this.#finish = next;
      return null;
    }
    const finish = this.#finish;
    if (finish === null || finish.length === 0 || finish.length > left) return null;
    // Where no ending is known behind this token, there may be one behind the next; the last chance is not let pass.
    return next === null && finish.length + UNKNOWN_TOKENS_MAX < left ? null : finish;
  }

  /** Text that is certain now; may be empty. */
  push(token: number, chances: TokenChances | null): string {
    const piece = this.#assembler.push(token);
    if (this.#closing !== undefined) this.#whole += piece;
    // Probabilities are told of text only, as OpenAI does.
    if (chances !== null && this.#scanner?.isInCalls !== true) this.#logprobs.push(this.#logprobOf(token, chances));
    if (this.#scanner === null) return this.#stops.push(piece);
    const { text, deltas } = this.#scanner.push(piece);
    const certain = this.#stops.push(text);
    if (this.#stops.stopped) return certain;
    this.#deltas.push(...deltas);
    // What stood before a call can be no beginning of a stop sequence any more.
    return this.#scanner.isInCalls ? certain + this.#stops.flush() : certain;
  }

  /** Generation has ended: what was held back is text after all. */
  flush(): string {
    const held = this.#scanner?.flush() ?? '';
    const text = held === '' ? '' : this.#stops.push(held);
    return this.#stops.stopped ? text : text + this.#stops.flush();
  }

  /** Of the tokens since the last time; `null` when there are none. */
  takeLogprobs(): readonly TokenLogprob[] | null {
    if (this.#logprobs.length === 0) return null;
    const taken = this.#logprobs;
    this.#logprobs = [];
    return taken;
  }

  /** `null` when there are none. */
  takeCalls(): readonly ToolCallDelta[] | null {
    if (this.#deltas.length === 0) return null;
    const taken = this.#deltas;
    this.#deltas = [];
    return taken;
  }

  #logprobOf(token: number, { logprob, top }: TokenChances): TokenLogprob {
    return { ...this.#spelt(token), logprob, top: top.map(([other, chance]) => ({ ...this.#spelt(other), logprob: chance })) };
  }

  #spelt(token: number): { readonly token: string; readonly bytes: number[] } {
    const { bytes } = this.#pieces.speltPiece(token);
    return { token: bytes.toString('utf8'), bytes: [...bytes] };
  }
}

function makeCallId(): string {
  return `call_${randomBytes(CALL_ID_BYTES).toString('hex')}`;
}
