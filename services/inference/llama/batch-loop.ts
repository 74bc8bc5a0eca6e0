/**
 * The batching loop: every run that has a slot takes part in every decode.
 *
 *     queue ──free slot──▶ reading the prompt ──last chunk──▶ generating ──end, stop, budget, context, cancel──▶ slot free
 *                          (a chunk a decode)                 (a token a decode)
 *
 * One decode: a token of every generating run, then chunks of prompts, oldest first, as far as the decode's time allows. What a decode
 * brought is reported while the next one computes.
 */
import { randomInt } from 'node:crypto';
import { type FinishReason, NO_USAGE, type Sampling } from '../../../events/contract/index.js';
import { EngineError } from '../engine.js';
import { AnswerReader } from './answer-reader.js';
import { type BatchDecoder, type BatchItem, NO_TOKEN, type TokenSampler } from './batch-decoder.js';
import { PromptPace } from './prompt-pace.js';
import type { RunCalls, RunEnding, RunFailure, RunText, Step } from './protocol.js';
import { Slot } from './slot.js';
import type { PieceTable } from './token-text.js';
import type { ToolSyntax } from './tools/tool-syntax.js';

export type PreparedRun = {
  readonly run: number;
  /** At least one token, and at least one fewer than a slot holds. */
  readonly prompt: Uint32Array;
  readonly sampling: Sampling;
  readonly stop: readonly string[];
  readonly outputTokensBudget: number;
  /** What the answer is held to, as GBNF. */
  readonly grammar?: string | null;
  /** Tokens that finish an answer begun like this in the form it is held to; empty when it is whole, `null` when there are none. */
  readonly closing?: (begun: string) => Uint32Array | null;
  /** Where the answer may call tools: how calls are told from text. */
  readonly tools?: { readonly syntax: ToolSyntax; readonly mayBeText: boolean };
};

export type BatchLoopOptions = {
  readonly decoder: BatchDecoder;
  readonly pieces: PieceTable;
  readonly isEnd: (token: number) => boolean;
  readonly report: (step: Step) => void;
  /** Milliseconds of a clock that only goes forward. */
  readonly nowMs: () => number;
};

/** A run in its slot. */
type ActiveRun = {
  readonly order: PreparedRun;
  readonly slot: Slot;
  readonly sampler: TokenSampler;
  readonly answer: AnswerReader;
  /** How much of the prompt the slot held already. */
  cachedTokens: number;
  /** Chosen and not yet evaluated; `NO_TOKEN` while the prompt is being read. */
  nextToken: number;
  completionTokens: number;
};

/** llama.cpp takes this seed for "choose one at random". */
const RANDOM_SEED = 0xffff_ffff;

export class BatchLoop {
  readonly #options: BatchLoopOptions;
  readonly #slots: readonly Slot[];
  readonly #queue: PreparedRun[] = [];
  /** In order of admission. */
  readonly #active = new Map<number, ActiveRun>();
  readonly #cancelled = new Set<number>();
  readonly #pace: PromptPace;
  #texts: RunText[] = [];
  #calls: RunCalls[] = [];
  #endings: RunEnding[] = [];
  #failures: RunFailure[] = [];
  #isTurning = false;

  constructor(options: BatchLoopOptions) {
    this.#options = options;
    const { slots, slotTokens, batchTokens } = options.decoder;
    this.#slots = Array.from({ length: slots }, (_, index) => new Slot(index, slotTokens));
    this.#pace = new PromptPace(batchTokens);
  }

  submit(order: PreparedRun): void {
    this.#queue.push(order);
    this.#turn();
  }

  /** Ends a run at the next decode's end; one that waits ends at once. A run that is not known has ended already. */
  cancel(run: number): void {
    const place = this.#queue.findIndex((order) => order.run === run);
    if (place >= 0) {
      this.#queue.splice(place, 1);
      this.#endings.push({ run, outcome: 'cancelled', finishReason: null, ...NO_USAGE });
      this.#report();
    } else if (this.#active.has(run)) {
      this.#cancelled.add(run);
    }
  }

  #turn(): void {
    if (this.#isTurning) return;
    this.#isTurning = true;
    void this.#decodeWhileActive().finally(() => {
      this.#isTurning = false;
      if (this.#queue.length > 0) this.#turn();
    });
  }

  async #decodeWhileActive(): Promise<void> {
    for (;;) {
      this.#endCancelled();
      await this.#admit();
      if (this.#active.size === 0) break;
      try {
        await this.#decodeOnce();
      } catch (error) {
        await this.#failAll(error);
      }
    }
    this.#report();
  }

  async #decodeOnce(): Promise<void> {
    const { decoder, nowMs } = this.#options;
    const { runs, items, promptTokens } = this.#fillBatch();
    const startedAtMs = nowMs();
    const decoding = decoder.decode(items);
    // The previous decode's texts travel while this one computes.
    this.#report();
    const tokens = await decoding;
    this.#pace.observe(promptTokens, nowMs() - startedAtMs);
    for (const [index, run] of runs.entries()) this.#advance(run, items[index], tokens[index] ?? NO_TOKEN);
  }

  #fillBatch(): { readonly runs: readonly ActiveRun[]; readonly items: readonly BatchItem[]; readonly promptTokens: number } {
    const runs: ActiveRun[] = [];
    const items: BatchItem[] = [];
    for (const run of this.#active.values()) {
      if (run.nextToken === NO_TOKEN) continue;
      runs.push(run);
      items.push({ slot: run.slot.index, position: run.slot.held, tokens: Uint32Array.of(run.nextToken), sampler: run.sampler });
    }
    let room = this.#pace.promptTokensMax(items.length);
    let promptTokens = 0;
    for (const run of this.#active.values()) {
      if (run.nextToken !== NO_TOKEN) continue;
      if (room === 0) break;
      const { prompt } = run.order;
      const position = run.slot.held;
      const tokens = prompt.subarray(position, position + room);
      const isLast = position + tokens.length === prompt.length;
      runs.push(run);
      items.push({ slot: run.slot.index, position, tokens, sampler: isLast ? run.sampler : null });
      room -= tokens.length;
      promptTokens += tokens.length;
    }
    return { runs, items, promptTokens };
  }

  #advance(run: ActiveRun, item: BatchItem | undefined, token: number): void {
    if (item === undefined) return;
    run.slot.hold(item.tokens);
    if (item.sampler === null) return;
    if (token === NO_TOKEN) {
      this.#fail(run, new EngineError('engine_failed', 'the model gave no token', true));
      return;
    }
    // What was chosen after the cancellation has not been asked for.
    if (this.#cancelled.has(run.order.run)) return;
    // The token that ends the answer is no part of it and is not counted.
    if (this.#options.isEnd(token)) {
      this.#end(run, 'completed', run.answer.hasCalls ? 'tool_calls' : 'stop');
      return;
    }
    const left = Math.min(run.order.outputTokensBudget, run.slot.size - run.order.prompt.length) - run.completionTokens;
    const closing = run.answer.closingInsteadOf(token, left);
    if (closing !== null) {
      this.#close(run, closing);
      return;
    }
    run.nextToken = token;
    run.completionTokens += 1;
    this.#say(run, run.answer.push(token, run.sampler.chances ?? null));
    if (run.answer.stopped) this.#end(run, 'completed', 'stop');
    else if (left === 1) this.#end(run, 'completed', 'length');
  }

  /** Nothing is chosen after these tokens, so they need not be evaluated. */
  #close(run: ActiveRun, closing: Uint32Array): void {
    for (const token of closing) {
      run.completionTokens += 1;
      this.#say(run, run.answer.push(token, null));
    }
    this.#end(run, 'completed', 'length');
  }

  #say({ order, answer }: ActiveRun, text: string): void {
    if (text !== '') {
      const logprobs = answer.takeLogprobs();
      this.#texts.push(logprobs === null ? [order.run, text] : [order.run, text, logprobs]);
    }
    const deltas = answer.takeCalls();
    if (deltas !== null) this.#calls.push([order.run, deltas]);
  }

  #endCancelled(): void {
    for (const number of this.#cancelled) {
      const run = this.#active.get(number);
      if (run !== undefined) this.#end(run, 'cancelled', null);
    }
    this.#cancelled.clear();
  }

  #end(run: ActiveRun, outcome: RunEnding['outcome'], finishReason: FinishReason | null): void {
    if (!run.answer.stopped) this.#say(run, run.answer.flush());
    const { completionTokens, cachedTokens } = run;
    // A run cancelled while its prompt was being read has had so much of it read.
    const promptTokens = Math.min(run.order.prompt.length, run.slot.held);
    this.#endings.push({ run: run.order.run, outcome, finishReason, promptTokens, cachedTokens, completionTokens });
    this.#release(run);
  }

  #fail(run: ActiveRun, { code, message, retryable }: EngineError): void {
    this.#failures.push({ run: run.order.run, code, message, retryable });
    this.#release(run);
  }

  #release(run: ActiveRun): void {
    run.sampler.dispose();
    run.slot.isFree = true;
    this.#active.delete(run.order.run);
  }

  /** Gives waiting runs the free slots, each the one that holds most of its prompt already. */
  async #admit(): Promise<void> {
    for (;;) {
      const order = this.#queue[0];
      if (order === undefined) return;
      const slot = bestSlot(this.#slots, order.prompt);
      if (slot === null) return;
      this.#queue.shift();
      const { decoder, pieces } = this.#options;
      const sampler = this.#samplerOf(order);
      if (sampler === null) continue;
      slot.isFree = false;
      const run: ActiveRun = {
        order,
        slot,
        sampler,
        answer: new AnswerReader(pieces, order),
        cachedTokens: 0,
        nextToken: NO_TOKEN,
        completionTokens: 0,
      };
      this.#active.set(order.run, run);
      // At least the last token is evaluated: the answer's first token is chosen from its logits.
      const common = Math.min(slot.commonPrefix(order.prompt), order.prompt.length - 1);
      run.cachedTokens = common === slot.held ? common : await decoder.truncate(slot.index, common);
      slot.truncate(run.cachedTokens);
    }
  }

  #samplerOf({ run, sampling, grammar = null }: PreparedRun): TokenSampler | null {
    try {
      return this.#options.decoder.createSampler(sampling, seedOf(sampling), grammar);
    } catch (error) {
      const failure = error instanceof EngineError ? error : new EngineError('engine_failed', `no sampler: ${String(error)}`, false);
      this.#failures.push({ run, code: failure.code, message: failure.message, retryable: failure.retryable });
      return null;
    }
  }

  /** A decode failed: what the caches hold is not known any more. */
  async #failAll(error: unknown): Promise<void> {
    const reason = error instanceof Error ? error.message : String(error);
    for (const run of [...this.#active.values()]) this.#fail(run, new EngineError('engine_failed', `llama.cpp failed: ${reason}`, true));
    for (const slot of this.#slots) {
      await this.#options.decoder.truncate(slot.index, 0);
      slot.truncate(0);
    }
  }

  #report(): void {
    const [texts, calls, endings, failures] = [this.#texts, this.#calls, this.#endings, this.#failures];
    if (texts.length + calls.length + endings.length + failures.length === 0) return;
    this.#options.report({ kind: 'step', texts, ...(calls.length === 0 ? {} : { calls }), endings, failures });
    this.#texts = [];
    this.#calls = [];
    this.#endings = [];
    this.#failures = [];
  }
}

function bestSlot(slots: readonly Slot[], prompt: Uint32Array): Slot | null {
  let best: Slot | null = null;
  let bestCommon = -1;
  for (const slot of slots) {
    if (!slot.isFree) continue;
    const common = slot.commonPrefix(prompt);
    // Between equals, the slot whose loss is least.
    if (best === null || common > bestCommon || (common === bestCommon && slot.held < best.held)) {
      best = slot;
      bestCommon = common;
    }
  }
  return best;
}

/** The request's seed as llama.cpp takes it (modulo 2³², never its code for "random"), or a random one. */
function seedOf({ seed }: Sampling): number {
  return seed === null ? randomInt(RANDOM_SEED) : ((seed % RANDOM_SEED) + RANDOM_SEED) % RANDOM_SEED;
}
