/**
 * How much of the waiting prompts one decode takes. A long prompt read at once would hold up every run that is generating, and its own
 * cancellation; tiny chunks would waste the batch. So the chunk follows the measured speed, towards a decode of a fixed length.
 */

/** A decode with prompt tokens is to take about this long. A cancellation waits for one and must be over within a second; with 200 ms eight
 * clients with long prompts had half again the CPU time per token, because generation fell out of step, and from 400 ms on none. */
export const DECODE_MS_TARGET = 400;

/** Below this a batch is no more efficient than single tokens; the slowest machines get it at first, too. */
export const CHUNK_TOKENS_MIN = 16;

/** First guess, before anything has been measured. */
const CHUNK_TOKENS_FIRST = 64;

/** The chunk at most doubles from one decode to the next, so that one lucky measurement does not stall the next. */
const GROWTH_MAX = 2;

export class PromptPace {
  readonly #batchTokens: number;
  #chunkTokens: number;

  constructor(batchTokens: number) {
    this.#batchTokens = batchTokens;
    this.#chunkTokens = Math.min(CHUNK_TOKENS_FIRST, batchTokens);
  }

  /** Prompt tokens that the next decode may take beside `generating` single ones. */
  promptTokensMax(generating: number): number {
    return Math.max(0, Math.min(this.#chunkTokens, this.#batchTokens - generating));
  }

  /** A decode with so many prompt tokens took so long. */
  observe(promptTokens: number, elapsedMs: number): void {
    if (promptTokens < CHUNK_TOKENS_MIN) return;
    const fitting = Math.floor((promptTokens * DECODE_MS_TARGET) / Math.max(elapsedMs, 0.1));
    const chunk = Math.min(fitting, this.#chunkTokens * GROWTH_MAX, this.#batchTokens);
    this.#chunkTokens = Math.max(CHUNK_TOKENS_MIN, chunk);
  }
}
