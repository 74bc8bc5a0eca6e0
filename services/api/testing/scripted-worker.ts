/** A worker whose every step a test decides, speaking the real messages over the real bus. */

import type { MessageBus } from '../../../events/bus/message-bus.js';
import {
  DEFAULT_POOL,
  type FinishReason,
  type JsonObject,
  NO_USAGE,
  type Prompt,
  RUN_RESULTS_TOPIC,
  type RunErrorCode,
  type RunOutput,
  type RunRequested,
  runControlTopic,
  runRequestsTopic,
  type TokenUsage,
} from '../../../events/contract/index.js';

export const SCRIPTED_USAGE: TokenUsage = { promptTokens: 10, cachedTokens: 0, completionTokens: 5 };
export const SCRIPTED_FINGERPRINT = 'fp_scripted';

export type OutputExtras = Partial<Pick<RunOutput, 'answer' | 'toolCalls' | 'logprobs' | 'embedding' | 'finishReason'>>;

let executions = 0;

function nextExecution(): number {
  executions += 1;
  return executions;
}

/** One attempt, as its script sees it. */
export class ScriptedRun {
  readonly request: RunRequested;
  readonly execution = `scripted/${nextExecution()}`;
  readonly #bus: MessageBus;
  #outputs = 0;

  constructor(request: RunRequested, bus: MessageBus) {
    this.request = request;
    this.#bus = bus;
  }

  /** `more`: which answer it belongs to and whatever else it carries. */
  async output(text: string, more: OutputExtras = {}): Promise<void> {
    const { runId, attempt } = this.request;
    const index = this.#outputs;
    this.#outputs += 1;
    const value = { runId, attempt, execution: this.execution, index, text, ...more };
    await this.#send(this.request.replyTopic, runId, 'RunOutput', value as JsonObject);
  }

  finish(finishReason: FinishReason = 'stop', usage: TokenUsage = SCRIPTED_USAGE): Promise<void> {
    return this.#finished({ outcome: 'completed', finishReason, usage });
  }

  cancelled(usage: TokenUsage = NO_USAGE): Promise<void> {
    return this.#finished({ outcome: 'cancelled', finishReason: null, usage });
  }

  async fail(errorCode: RunErrorCode, retryable: boolean, message = 'scripted failure'): Promise<void> {
    const { runId, attempt, replyTopic } = this.request;
    await this.#send(replyTopic, runId, 'RunAttemptFailed', { runId, attempt, execution: this.execution, errorCode, message, retryable });
  }

  #finished(result: { outcome: 'completed' | 'cancelled'; finishReason: FinishReason | null; usage: TokenUsage }): Promise<void> {
    const { runId, accountId, attempt, replyTopic } = this.request;
    const value = {
      runId,
      accountId,
      attempt,
      execution: this.execution,
      ...result,
      errorCode: null,
      systemFingerprint: SCRIPTED_FINGERPRINT,
      outputs: this.#outputs,
      replyTopic,
    };
    return this.#send(RUN_RESULTS_TOPIC, accountId, 'RunFinished', value as JsonObject);
  }

  #send(topic: string, key: string, type: string, value: JsonObject): Promise<void> {
    return this.#bus.publish(topic, [{ key, type, headers: {}, value }]);
  }
}

export type Script = (run: ScriptedRun) => Promise<void>;

/**
 * Says in two pieces what was said last, or the prompt; to several answers, each with its number. An input's vector is its length and its number,
 * which shows whether they were mixed up.
 */
export const echoScript: Script = async (run) => {
  const { input, answers = 1 } = run.request;
  switch (input.kind) {
    case 'chat':
      return echoTexts(
        run,
        Array.from({ length: answers }, () => input.messages.at(-1)?.content ?? ''),
      );
    case 'completion':
      return echoTexts(
        run,
        input.prompts.flatMap((prompt) => Array.from({ length: answers }, () => textOfPrompt(prompt))),
      );
    case 'embedding':
      for (const [answer, prompt] of input.inputs.entries())
        await run.output('', { answer, embedding: vectorText([prompt.length, answer]) });
      return run.finish('stop', { promptTokens: input.inputs.length, cachedTokens: 0, completionTokens: 0 });
    case 'transcription':
      return run.finish('stop', { ...NO_USAGE, audio: input.usage });
  }
};

/** As the workers send vectors. */
export function vectorText(numbers: readonly number[]): string {
  return Buffer.from(Float32Array.from(numbers).buffer).toString('base64');
}

/** Answers take turns, and of several each ends with its reason. */
async function echoTexts(run: ScriptedRun, texts: readonly string[]): Promise<void> {
  const isOne = texts.length === 1;
  const number = (answer: number): OutputExtras => (isOne ? {} : { answer });
  const half = (text: string) => Math.ceil(text.length / 2);
  for (const [answer, text] of texts.entries()) await run.output(text.slice(0, half(text)), number(answer));
  for (const [answer, text] of texts.entries()) {
    const rest = text.slice(half(text));
    if (isOne && rest === '') continue;
    await run.output(rest, { ...number(answer), ...(isOne ? {} : { finishReason: 'stop' }) });
  }
  await run.finish('stop', { ...SCRIPTED_USAGE, completionTokens: SCRIPTED_USAGE.completionTokens * texts.length });
}

function textOfPrompt(prompt: Prompt): string {
  return typeof prompt === 'string' ? prompt : prompt.join(' ');
}

export class ScriptedWorker {
  /** Every attempt that was asked for, in order. */
  readonly runs: ScriptedRun[] = [];
  /** Where each of them was asked for. */
  readonly pools: string[] = [];
  readonly cancelledRunIds = new Set<string>();
  script: Script = echoScript;
  readonly #bus: MessageBus;
  readonly #served: readonly string[];

  constructor(bus: MessageBus, pools: readonly string[] = [DEFAULT_POOL]) {
    this.#bus = bus;
    this.#served = pools;
  }

  async start(): Promise<void> {
    for (const pool of this.#served) await this.#serve(pool);
  }

  async #serve(pool: string): Promise<void> {
    await this.#bus.subscribe({
      topic: runRequestsTopic(pool),
      group: 'scripted-worker',
      onMessages: (messages) => {
        for (const { value } of messages) {
          const run = new ScriptedRun(value as unknown as RunRequested, this.#bus);
          this.runs.push(run);
          this.pools.push(pool);
          void this.script(run);
        }
      },
    });
    await this.#bus.subscribe({
      topic: runControlTopic(pool),
      group: 'scripted-worker',
      onMessages: (messages) => {
        for (const { value } of messages) this.cancelledRunIds.add((value as { readonly runId: string }).runId);
      },
    });
  }

  /** The last attempt. Throws when there was none. */
  get lastRun(): ScriptedRun {
    const run = this.runs.at(-1);
    if (run === undefined) throw new Error('no run was asked for');
    return run;
  }
}
