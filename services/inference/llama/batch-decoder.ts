/** The port between the batching loop and llama.cpp: slots with a cache each, evaluated together, one decode at a time. */
import type { Sampling } from '../../../events/contract/index.js';

/** Chooses a run's tokens; keeps the state that makes a seed repeatable and penalties work. */
export interface TokenSampler {
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
  /** `seed` is an unsigned 32-bit number. */
  createSampler(sampling: Sampling, seed: number): TokenSampler;
  /**
   * Evaluates all items in one decode and resolves with the chosen token of each. Starts before it returns, so that the caller can work
   * meanwhile. Not to be called again before it has settled. A rejection leaves the slots' caches undefined: forget them.
   */
  decode(items: readonly BatchItem[]): Promise<readonly number[]>;
  /** Forgets what a slot holds beyond `tokens`; returns how many it still holds, which is fewer where the model cannot forget in part. */
  truncate(slot: number, tokens: number): Promise<number>;
}
