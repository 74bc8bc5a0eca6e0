/** The port between the batching loop and llama.cpp: slots with a cache each, evaluated together, one decode at a time. */
import type { Sampling } from '../../../events/contract/index.js';

/** How likely the model found a token, and the likeliest ones, before sampling changed anything. Natural logarithms of probabilities. */
export type TokenChances = { readonly logprob: number; readonly top: readonly (readonly [token: number, logprob: number])[] };

/** Chooses a run's tokens; keeps the state that makes a seed repeatable, penalties work and the answer follow its grammar. */
export interface TokenSampler {
  /** Of the last token chosen, where the sampling asks for `logprobs`. */
  readonly chances?: TokenChances | null;
  dispose(): void;
}

export type BatchItem = {
  readonly slot: number;
  /** Place of the first token in the slot's sequence; everything before it has been evaluated. */
  readonly position: number;
  readonly tokens: Uint32Array;
  /** Set to choose the token that follows the last of `tokens`. */
  readonly sampler: TokenSampler | null;
};

/** In place of a token for an item without sampler. */
export const NO_TOKEN = -1;

export interface BatchDecoder {
  readonly slots: number;
  /** Positions of one slot. */
  readonly slotTokens: number;
  /** Most tokens of one decode. */
  readonly batchTokens: number;
  /**
   * `seed` is an unsigned 32-bit number; `grammar` is GBNF whose rule `root` the whole answer follows. Throws `EngineError` for what this way into
   * the library cannot do.
   */
  createSampler(sampling: Sampling, seed: number, grammar: string | null): TokenSampler;
  /**
   * `NO_TOKEN` where a sampler found none. Evaluates all items in one decode and resolves with the chosen token of each. Starts before it returns, so that the caller can work
   * meanwhile. Not to be called again before it has settled. A rejection leaves the slots' caches undefined: forget them.
   */
  decode(items: readonly BatchItem[]): Promise<readonly number[]>;
  /** Forgets what a slot holds beyond `tokens`; returns how many it still holds, which is fewer where the model cannot forget in part. */
  truncate(slot: number, tokens: number): Promise<number>;
}
