/**
 * Embeddings of the same model: what its last layer says about a text, as its pooling puts it (the last token's, where the model has none). They
 * have a context of their own, made when the first is asked for. Inputs go one after another, in decodes that take turns with the chat's on the
 * one pool thread; node-llama-cpp reads a single sequence's vector after a decode, so there are no batches of several inputs.
 */
import type { LlamaEmbeddingContext, LlamaModel, Token } from 'node-llama-cpp';
import type { Prompt } from '../../../events/contract/index.js';
import { EngineError } from '../engine.js';
import { CHARACTERS_PER_TOKEN_MAX } from './chat-prompt.js';
import type { Vocabulary } from './vocabulary.js';

/** Longer inputs are refused: a model with pooling evaluates each in one decode, and the chat waits for it. */
export const EMBEDDING_TOKENS_MAX = 2_048;

export type EmbedderOptions = {
  readonly model: LlamaModel;
  readonly vocabulary: Vocabulary;
  readonly contextTokens: number;
  readonly batchTokens: number;
  readonly threads: number;
};

export type Embedded = { readonly vectors: readonly Float32Array[]; readonly promptTokens: number };

export class Embedder {
  readonly #options: EmbedderOptions;
  readonly #tokensMax: number;
  #context: Promise<LlamaEmbeddingContext> | null = null;

  constructor(options: EmbedderOptions) {
    this.#options = options;
    this.#tokensMax = Math.min(options.contextTokens, EMBEDDING_TOKENS_MAX);
  }

  /** `isCancelled` is asked before each input. Throws `EngineError`; nothing is evaluated when one of the inputs cannot be. */
  async embed(inputs: readonly Prompt[], dimensions: number | undefined, isCancelled: () => boolean): Promise<Embedded> {
    const size = this.#options.model.embeddingVectorSize;
    if (dimensions !== undefined && dimensions > size) {
      throw new EngineError('invalid_prompt', `The model's vectors have ${size} dimensions.`, false);
    }
    const tokenized = inputs.map((input) => this.#tokensOf(input));
    const context = await this.#ready();
    const counts = tokenized.map((tokens) => this.#countOf(context, tokens));
    const vectors: Float32Array[] = [];
    for (const tokens of tokenized) {
      if (isCancelled()) throw new EngineError('engine_failed', 'The run was aborted.', true);
      const { vector } = await context.getEmbeddingFor(tokens);
      vectors.push(ofUnitLength(vector.slice(0, dimensions ?? size)));
    }
    return { vectors, promptTokens: counts.reduce((sum, count) => sum + count, 0) };
  }

  #tokensOf(input: Prompt): Token[] {
    const { vocabulary } = this.#options;
    if (input.length === 0) throw new EngineError('invalid_prompt', 'An input is empty.', false);
    if (typeof input !== 'string') {
      const unknown = input.find((token) => !vocabulary.isToken(token));
      if (unknown !== undefined) throw new EngineError('invalid_prompt', `The model has no token ${unknown}.`, false);
      return [...input] as Token[];
    }
    // No vocabulary in use has a token of more characters; see `CHARACTERS_PER_TOKEN_MAX`.
    if (input.length > this.#tokensMax * CHARACTERS_PER_TOKEN_MAX) throw this.#tooLong(`more than ${this.#tokensMax}`);
    return Array.from(vocabulary.tokenize(input, false)) as Token[];
  }

  /** With the tokens that the model wants at either end. */
  #countOf(context: LlamaEmbeddingContext, tokens: readonly Token[]): number {
    const count = context.calculateInputLength([...tokens]);
    // The library wants one place to be left over.
    if (count >= this.#tokensMax) throw this.#tooLong(String(count));
    return count;
  }

  #tooLong(tokens: string): EngineError {
    const message = `An input has ${tokens} tokens; embeddings are made of at most ${this.#tokensMax - 1}.`;
    return new EngineError('context_length_exceeded', message, false);
  }

  #ready(): Promise<LlamaEmbeddingContext> {
    if (this.#context === null) {
      const { model, batchTokens, threads } = this.#options;
      // With pooling all tokens of an input must be in one decode; without, an input is read in pieces.
      const batchSize = hasPooling(model) ? this.#tokensMax : Math.min(batchTokens, this.#tokensMax);
      this.#context = model.createEmbeddingContext({ contextSize: this.#tokensMax, batchSize, threads });
      this.#context.catch(() => {
        this.#context = null;
      });
    }
    return this.#context;
  }
}

function hasPooling(model: LlamaModel): boolean {
  return Number((model.fileInfo.architectureMetadata as { pooling_type?: unknown }).pooling_type ?? 0) !== 0;
}

function ofUnitLength(vector: readonly number[]): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (!(length > 0 && Number.isFinite(length))) throw new EngineError('engine_failed', 'the model gave no direction for an input', false);
  return Float32Array.from(vector, (value) => value / length);
}
