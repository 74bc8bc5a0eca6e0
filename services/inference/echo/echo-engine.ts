/**
 * The engine without a model: it answers with the last user message. It serves sandbox keys and load tests, so without pacing a run costs
 * microseconds and answers in one piece.
 *
 * The rule, which clients may rely on:
 * - the answer is the content of the last message with role `user`, or of the last message when there is none;
 * - a token is four UTF-8 bytes, the last one may be shorter; characters are never split;
 * - a message costs its content's tokens, at least one, and `TOKENS_PER_MESSAGE` more;
 * - a stop sequence's own tokens count as generated, as with a real model; nothing is ever cached; seed and sampling have no effect.
 */
import { type ChatMessage, NO_USAGE, type TokenUsage } from '../../../events/contract/index.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import { CANCELLED_BEFORE_START, type Engine, EngineError, type EngineResult, type EngineRun, type EngineState } from '../engine.js';
import { firstStop } from '../stop-scanner.js';

export const BYTES_PER_TOKEN = 4;
/** Stands for the role and the separators that a chat template adds. */
export const TOKENS_PER_MESSAGE = 4;
/** As large as the largest context in the catalogues. */
const CONTEXT_TOKENS_DEFAULT = 131_072;

export type EchoEngineOptions = {
  /** Prompt and answer together; 131,072 by default. */
  readonly contextTokens?: number;
  /**
   * Makes runs take time, one token per delay (0: one per turn of the event loop), so that tests can meet a run half way. Without it a
   * run ends within the call, and nothing ever queues.
   */
  readonly pacing?: {
    readonly scheduler: Scheduler;
    readonly tokenDelayMs: number;
    /** Runs under way at once. */
    readonly slots: number;
    /** Runs waiting beyond that; one more is refused with `engine_at_capacity`. */
    readonly queuedMax: number;
  };
};

type PacedRun = {
  readonly run: EngineRun;
  readonly answer: Answer;
  readonly settle: (result: EngineResult | EngineError) => void;
  readonly onAbort: () => void;
  tokensDone: number;
  charactersDone: number;
  callOff: (() => void) | null;
};

/** What a run will say, worked out beforehand. */
type Answer = {
  readonly text: string;
  readonly finishReason: 'stop' | 'length';
  readonly promptTokens: number;
  /** Those of the text and of the stop sequence that ended it. */
  readonly completionTokens: number;
};

export class EchoEngine implements Engine {
  readonly systemFingerprint = 'fp_echo';
  readonly #options: EchoEngineOptions;
  /** Prompt and answer together. */
  readonly contextTokens: number;
  readonly #active = new Set<PacedRun>();
  readonly #queued: PacedRun[] = [];
  #closed = false;

  constructor(options: EchoEngineOptions = {}) {
    this.#options = options;
    this.contextTokens = options.contextTokens ?? CONTEXT_TOKENS_DEFAULT;
  }

  run(run: EngineRun): Promise<EngineResult> {
    if (this.#closed) return Promise.reject(new EngineError('engine_failed', 'the engine is closed', true));
    if (run.signal.aborted) return Promise.resolve(CANCELLED_BEFORE_START);
    const promptTokens = countPromptTokens(run.messages);
    if (promptTokens + 1 > this.contextTokens) {
      const message = `the prompt has ${promptTokens} tokens and the context holds ${this.contextTokens}`;
      return Promise.reject(new EngineError('context_length_exceeded', message, false));
    }
    const budget = Math.min(run.outputTokensBudget, this.contextTokens - promptTokens);
    const answer = answerOf(run, promptTokens, budget);
    if (this.#options.pacing !== undefined) return this.#runPaced(run, answer, this.#options.pacing);
    if (answer.text !== '') run.onText(answer.text);
    return Promise.resolve({ outcome: 'completed', finishReason: answer.finishReason, usage: usageOf(answer, answer.completionTokens) });
  }

  state(): EngineState {
    return this.#closed ? { status: 'failed', reason: 'the engine is closed' } : { status: 'ready' };
  }

  load(): { readonly active: number; readonly queued: number } {
    return { active: this.#active.size, queued: this.#queued.length };
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const paced of [...this.#active, ...this.#queued]) {
      this.#leave(paced);
      paced.settle(new EngineError('engine_failed', 'the engine was closed', true));
    }
    return Promise.resolve();
  }

  #runPaced(run: EngineRun, answer: Answer, pacing: NonNullable<EchoEngineOptions['pacing']>): Promise<EngineResult> {
    if (this.#active.size + this.#queued.length >= pacing.slots + pacing.queuedMax) {
      return Promise.reject(new EngineError('engine_at_capacity', `${pacing.queuedMax} runs are waiting already`, true));
    }
    return new Promise((resolve, reject) => {
      const paced: PacedRun = {
        run,
        answer,
        settle: (result) => {
          run.signal.removeEventListener('abort', paced.onAbort);
          if (result instanceof EngineError) reject(result);
          else resolve(result);
        },
        onAbort: () => this.#cancel(paced),
        tokensDone: 0,
        charactersDone: 0,
        callOff: null,
      };
      run.signal.addEventListener('abort', paced.onAbort, { once: true });
      this.#queued.push(paced);
      this.#startQueued();
    });
  }

  #startQueued(): void {
    const slots = this.#options.pacing?.slots ?? 0;
    while (!this.#closed && this.#active.size < slots) {
      const paced = this.#queued.shift();
      if (paced === undefined) return;
      this.#active.add(paced);
      this.#scheduleToken(paced);
    }
  }

  #scheduleToken(paced: PacedRun): void {
    const { pacing } = this.#options;
    if (pacing === undefined) return;
    const sayNext = () => this.#sayToken(paced);
    if (pacing.tokenDelayMs > 0) paced.callOff = pacing.scheduler.delay(sayNext, pacing.tokenDelayMs);
    else pacing.scheduler.defer(sayNext);
  }

  #sayToken(paced: PacedRun): void {
    // A deferred turn cannot be called off, so a cancelled run's last one ends here.
    if (!this.#active.has(paced)) return;
    const { answer } = paced;
    if (paced.tokensDone === answer.completionTokens) {
      this.#leave(paced);
      paced.settle({ outcome: 'completed', finishReason: answer.finishReason, usage: usageOf(answer, paced.tokensDone) });
      return;
    }
    paced.tokensDone += 1;
    const end = prefixOfTokens(answer.text, paced.tokensDone);
    const piece = answer.text.slice(paced.charactersDone, end);
    paced.charactersDone = end;
    if (piece !== '') paced.run.onText(piece);
    this.#scheduleToken(paced);
  }

  #cancel(paced: PacedRun): void {
    const started = this.#active.has(paced);
    this.#leave(paced);
    const usage = started ? usageOf(paced.answer, paced.tokensDone) : NO_USAGE;
    paced.settle({ outcome: 'cancelled', finishReason: null, usage });
  }

  #leave(paced: PacedRun): void {
    paced.callOff?.();
    if (!this.#active.delete(paced)) {
      const place = this.#queued.indexOf(paced);
      if (place >= 0) this.#queued.splice(place, 1);
    }
    this.#startQueued();
  }
}

/** Tokens of a text by the rule above; 0 for the empty one. */
export function countTokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);
}

/** Tokens of a prompt by the rule above. */
export function countPromptTokens(messages: readonly ChatMessage[]): number {
  let tokens = 0;
  for (const message of messages) tokens += TOKENS_PER_MESSAGE + Math.max(1, countTokens(message.content));
  return tokens;
}

function usageOf(answer: Answer, completionTokens: number): TokenUsage {
  return { promptTokens: answer.promptTokens, cachedTokens: 0, completionTokens };
}

function answerOf(run: EngineRun, promptTokens: number, budget: number): Answer {
  const whole = textToEcho(run.messages);
  const stop = run.stop.length === 0 ? null : firstStop(whole, run.stop);
  const generated = stop === null ? whole : whole.slice(0, stop.end);
  const generatedTokens = countTokens(generated);
  if (generatedTokens <= budget) {
    const text = stop === null ? whole : whole.slice(0, stop.at);
    return { text, finishReason: 'stop', promptTokens, completionTokens: generatedTokens };
  }
  // The budget ends inside the text. A stop sequence that it cuts short is no stop sequence.
  const text = generated.slice(0, prefixOfTokens(generated, budget));
  return { text, finishReason: 'length', promptTokens, completionTokens: budget };
}

function textToEcho(messages: readonly ChatMessage[]): string {
  for (let index = messages.length - 1; index >= 0; index -= 1) {
    const message = messages[index];
    if (message?.role === 'user') return message.content;
  }
  return messages.at(-1)?.content ?? '';
}

/**
 * Number of UTF-16 units that the first `tokens` tokens span. No character has more than four bytes, so the longest prefix of whole
 * characters within `4 * tokens` bytes always has exactly that many tokens.
 */
function prefixOfTokens(text: string, tokens: number): number {
  const bytesMax = tokens * BYTES_PER_TOKEN;
  let bytes = 0;
  let end = 0;
  while (end < text.length) {
    const point = text.codePointAt(end) ?? 0;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (bytes > bytesMax) return end;
    end += point < 0x10000 ? 1 : 2;
  }
  return end;
}
