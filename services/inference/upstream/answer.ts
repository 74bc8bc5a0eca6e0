/** One answer as it comes from an upstream: kept within its budget and before its stop sequences, whatever the upstream does. */
import type { FinishReason, TokenLogprob } from '../../../events/contract/index.js';
import type { EngineRun } from '../engine.js';
import { StopScanner } from '../stop-scanner.js';
import { isValidAnswer } from './answer-check.js';
import type { ChatChunk } from './chat-event.js';
import { readLogprobs } from './logprobs.js';
import { ToolCalls, type UpstreamCallDelta } from './tool-calls.js';
import { isBeyondBudget } from './usage-count.js';

/** The longest tokens of the published vocabularies are runs of 128 spaces; text of more bytes than its budget allows has more tokens. */
const TOKEN_BYTES_MAX = 256;

/** `failed`: the upstream says that the answer broke off. */
type UpstreamFinish = FinishReason | 'failed';

/** What servers beside OpenAI call their endings. Whatever else there is (`content_filter`, `eos_token`, …) ended by itself. */
const FINISHES: Readonly<Record<string, UpstreamFinish>> = {
  length: 'length',
  max_tokens: 'length',
  model_length: 'length',
  error: 'failed',
  abort: 'failed',
  cancelled: 'failed',
};

/** `go_on` until the upstream has ended or must be stopped. */
export type AnswerState = 'go_on' | 'stop_sequence' | 'budget_used_up' | 'refused';

type AnsweredRun = Pick<EngineRun, 'runId' | 'onText' | 'onToolCalls' | 'toolUse' | 'format' | 'sampling' | 'stop' | 'outputTokensBudget'>;

export class Answer {
  readonly #run: AnsweredRun;
  readonly #stops: StopScanner;
  readonly #calls: ToolCalls;
  readonly #texts: string[] = [];
  /** Of the answer alone, kept where it is held to a format. */
  #answerText = '';
  #hasBegun = false;
  #textBytes = 0;
  #pieces = 0;
  /** Half of a character, until its other half comes. */
  #half = '';
  /** Probabilities of text that has not been handed on. */
  #logprobs: TokenLogprob[] = [];
  #hasLogprobs = false;
  #usage: unknown = null;
  #fingerprint: string | null = null;
  #finish: UpstreamFinish | null = null;
  #fault: string | null = null;

  constructor(run: AnsweredRun) {
    this.#run = run;
    this.#stops = new StopScanner(run.stop);
    this.#calls = new ToolCalls(run.toolUse, run.runId);
  }

  /** Whether the upstream has said anything, if only that it will answer. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** How the upstream ended the answer; `null` while it has not. An answer that calls tools and is whole ends by that, whatever it is called. */
  get finish(): UpstreamFinish | null {
    return this.#finish === 'stop' && this.#calls.count > 0 ? 'tool_calls' : this.#finish;
  }

  /** Why the answer was refused. */
  get fault(): string | null {
    return this.#fault;
  }

  /** What is wrong with an answer that has come to its own end; `null` when nothing is. One that was cut short is not what was asked for, and says so. */
  faultAtEnd(): string | null {
    const { format, sampling } = this.#run;
    if (this.#finish === 'length') return null;
    if (sampling.logprobs !== undefined && this.#pieces > 0 && this.#calls.count === 0 && !this.#hasLogprobs)
      return 'it gave no probabilities, and was asked for them';
    const fault = this.#calls.faultAtEnd();
    if (fault !== null || format === undefined || this.#calls.count > 0) return fault;
    return isValidAnswer(this.#answerText, format) ? null : 'the answer is not in the form that was asked for';
  }

  /** The last that the upstream said of it, unchecked; `null` when it said nothing. */
  get reportedUsage(): unknown {
    return this.#usage;
  }

  /** The upstream's own. */
  get fingerprint(): string | null {
    return this.#fingerprint;
  }

  get pieces(): number {
    return this.#pieces;
  }

  get text(): string {
    return this.#texts.join('');
  }

  /** Hands on what is certain to belong to the answer. A chunk that passes the budget is dropped whole, with its counts. */
  take(chunk: ChatChunk): AnswerState {
    this.#hasBegun = true;
    this.#fingerprint ??= chunk.fingerprint;
    const generated = chunk.calls.length === 0 ? chunk.thought + chunk.text : generatedBy(chunk);
    if (generated !== '' && this.#finish === null) {
      if (this.#passesBudget(generated, chunk.usage)) return 'budget_used_up';
      this.#pieces += 1;
      this.#textBytes += Buffer.byteLength(generated);
      this.#texts.push(generated);
      if (this.#run.format !== undefined) this.#answerText += chunk.text;
      this.#noteLogprobs(chunk.logprobs);
      this.#hand(chunk.text);
      if (!this.#takeCalls(chunk.calls)) return 'refused';
    }
    if (chunk.usage !== null) this.#usage = chunk.usage;
    if (this.#stops.stopped) return 'stop_sequence';
    if (chunk.finishReason !== null) this.#finish = FINISHES[chunk.finishReason] ?? 'stop';
    return 'go_on';
  }

  /** Nothing more comes: what was held back as the possible start of a stop sequence was none. */
  flush(): void {
    const rest = this.#stops.push(wellFormed(this.#half)) + this.#stops.flush();
    this.#half = '';
    if (rest !== '') this.#say(rest);
  }

  #takeCalls(parts: readonly UpstreamCallDelta[]): boolean {
    if (parts.length === 0) return true;
    const taken = this.#calls.take(parts);
    if ('fault' in taken) {
      this.#fault = taken.fault;
      return false;
    }
    if (taken.deltas.length > 0) this.#run.onToolCalls?.(taken.deltas);
    return true;
  }

  #noteLogprobs(reported: unknown): void {
    const { logprobs } = this.#run.sampling;
    if (logprobs === undefined || reported === null) return;
    const read = readLogprobs(reported, logprobs);
    if (read === null) return;
    this.#hasLogprobs = true;
    this.#logprobs.push(...read);
  }

  #say(text: string): void {
    if (this.#logprobs.length === 0) {
      this.#run.onText(text);
      return;
    }
    const logprobs = this.#logprobs;
    this.#logprobs = [];
    this.#run.onText(text, logprobs);
  }

  #passesBudget(generated: string, usage: unknown): boolean {
    const budget = this.#run.outputTokensBudget;
    return (
      this.#pieces >= budget || this.#textBytes + Buffer.byteLength(generated) > budget * TOKEN_BYTES_MAX || isBeyondBudget(usage, budget)
    );
  }

  #hand(text: string): void {
    if (text === '') return;
    const joined = this.#half + text;
    const isCutInCharacter = /[\uD800-\uDBFF]$/.test(joined);
    this.#half = isCutInCharacter ? joined.slice(-1) : '';
    const certain = this.#stops.push(wellFormed(isCutInCharacter ? joined.slice(0, -1) : joined));
    if (certain !== '') this.#say(certain);
  }
}

/** Names and arguments of calls are generated as any text is. */
function generatedBy({ thought, text, calls }: ChatChunk): string {
  return thought + text + calls.map(({ name, argumentsText }) => `${name ?? ''}${argumentsText}`).join('');
}

/** JSON can carry halves of characters that never find each other; no client can show them. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\uFFFD');
}
