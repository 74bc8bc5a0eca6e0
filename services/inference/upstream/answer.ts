/** One answer as it comes from an upstream: kept within its budget and before its stop sequences, whatever the upstream does. */
import type { FinishReason } from '../../../events/contract/index.js';
import type { EngineRun } from '../engine.js';
import { StopScanner } from '../stop-scanner.js';
import type { ChatChunk } from './chat-event.js';
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
export type AnswerState = 'go_on' | 'stop_sequence' | 'budget_used_up';

export class Answer {
  readonly #onText: (text: string) => void;
  readonly #budget: number;
  readonly #stops: StopScanner;
  readonly #texts: string[] = [];
  #hasBegun = false;
  #textBytes = 0;
  #pieces = 0;
  /** Half of a character, until its other half comes. */
  #half = '';
  #usage: unknown = null;
  #fingerprint: string | null = null;
  #finish: UpstreamFinish | null = null;

  constructor(run: Pick<EngineRun, 'onText' | 'stop' | 'outputTokensBudget'>) {
    this.#onText = run.onText;
    this.#budget = run.outputTokensBudget;
    this.#stops = new StopScanner(run.stop);
  }

  /** Whether the upstream has said anything, if only that it will answer. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** How the upstream ended the answer; `null` while it has not. */
  get finish(): UpstreamFinish | null {
    return this.#finish;
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
    const generated = chunk.thought + chunk.text;
    if (generated !== '' && this.#finish === null) {
      if (this.#passesBudget(generated, chunk.usage)) return 'budget_used_up';
      this.#pieces += 1;
      this.#textBytes += Buffer.byteLength(generated);
      this.#texts.push(generated);
      this.#hand(chunk.text);
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
    if (rest !== '') this.#onText(rest);
  }

  #passesBudget(generated: string, usage: unknown): boolean {
    return (
      this.#pieces >= this.#budget ||
      this.#textBytes + Buffer.byteLength(generated) > this.#budget * TOKEN_BYTES_MAX ||
      isBeyondBudget(usage, this.#budget)
    );
  }

  #hand(text: string): void {
    if (text === '') return;
    const joined = this.#half + text;
    const isCutInCharacter = /[\uD800-\uDBFF]$/.test(joined);
    this.#half = isCutInCharacter ? joined.slice(-1) : '';
    const certain = this.#stops.push(wellFormed(isCutInCharacter ? joined.slice(0, -1) : joined));
    if (certain !== '') this.#onText(certain);
  }
}

/** JSON can carry halves of characters that never find each other; no client can show them. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\uFFFD');
}
