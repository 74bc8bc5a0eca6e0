/** Makes what the batching loop needs of what was ordered: the prompt's tokens, the grammar of the answer, and how to read its tool calls. */
import { EngineError } from '../engine.js';
import type { PreparedRun } from './batch-loop.js';
import type { ChatPrompt } from './chat-prompt.js';
import { AnswerGrammars } from './grammar/answer-grammar.js';
import type { RunOrder } from './protocol.js';
import type { PieceTable } from './token-text.js';
import type { Vocabulary } from './vocabulary.js';

export class OrderReader {
  readonly #vocabulary: Vocabulary;
  readonly #prompt: ChatPrompt;
  readonly #pieces: PieceTable;
  readonly #grammars = new AnswerGrammars();

  constructor(options: { readonly vocabulary: Vocabulary; readonly prompt: ChatPrompt; readonly pieces: PieceTable }) {
    this.#vocabulary = options.vocabulary;
    this.#prompt = options.prompt;
    this.#pieces = options.pieces;
  }

  /** Throws `EngineError` for what cannot be run. */
  read(order: RunOrder): PreparedRun {
    const { run, messages, prompt, toolUse, format, sampling, outputTokensBudget } = order;
    const stranger = sampling.logitBias?.find(([token]) => !this.#vocabulary.isToken(token));
    if (stranger !== undefined) throw new EngineError('invalid_prompt', `logit_bias: the model has no token ${stranger[0]}.`, false);
    if (prompt !== undefined) return { run, sampling, outputTokensBudget, stop: order.stop, prompt: this.#prompt.writePlain(prompt) };
    const stop = [...order.stop, ...this.#prompt.extraStops];
    if (toolUse === undefined && format === undefined) {
      return { run, sampling, outputTokensBudget, stop, prompt: this.#prompt.write({ messages }).tokens };
    }
    const written = this.#prompt.write({ messages, ...(toolUse === undefined ? {} : { toolUse }) }, format !== undefined);
    // In an answer with a format the marker may be part of a string; then the whole answer is either calls or not.
    const syntax = format === undefined ? written.syntax : { ...written.syntax, marker: null };
    const grammar = this.#grammars.grammarOf({
      syntax,
      ...(format === undefined ? {} : { format }),
      ...(toolUse === undefined ? {} : { toolUse }),
    });
    const tools = toolUse === undefined ? {} : { tools: { syntax, mayBeText: toolUse.choice === 'auto' } };
    const closing = grammar === null ? {} : { closing: (begun: string) => this.#tokensOf(grammar.completionOf(begun)) };
    return { run, sampling, outputTokensBudget, stop, prompt: written.tokens, grammar: grammar?.text ?? null, ...closing, ...tools };
  }

  /** Some tokenizers begin every text with a space; behind a line break they do not. `null` where the tokens do not say the text. */
  #tokensOf(text: string | null): Uint32Array | null {
    if (text === null || text === '') return text === null ? null : new Uint32Array(0);
    const anchor = this.#vocabulary.tokenize('\n', false);
    const anchored = this.#vocabulary.tokenize(`\n${text}`, false).subarray(anchor.length);
    return [this.#vocabulary.tokenize(text, false), anchored].find((tokens) => this.#pieces.say(tokens) === text) ?? null;
  }
}
