/** A worker whose every step a test decides, speaking the real messages over the real bus. */

import type { MessageBus } from '../../../events/bus/message-bus.js';
import {
  DEFAULT_POOL,
  type FinishReason,
  type JsonObject,
  NO_USAGE,
  RUN_RESULTS_TOPIC,
  type RunErrorCode,
  type RunRequested,
  runControlTopic,
  runRequestsTopic,
  type TokenUsage,
} from '../../../events/contract/index.js';

export const SCRIPTED_USAGE: TokenUsage = { promptTokens: 10, cachedTokens: 0, completionTokens: 5 };
export const SCRIPTED_FINGERPRINT = 'fp_scripted';

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

  async output(text: string): Promise<void> {
    const { runId, attempt } = this.request;
    const index = this.#outputs;
    this.#outputs += 1;
    await this.#send(this.request.replyTopic, runId, 'RunOutput', { runId, attempt, execution: this.execution, index, text });
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

/** Answers in two pieces with what the last message said. */
export const echoScript: Script = async (run) => {
  const { input } = run.request;
  const text = input.kind === 'chat' ? (input.messages.at(-1)?.content ?? '') : '';
  const half = Math.ceil(text.length / 2);
  await run.output(text.slice(0, half));
  if (half < text.length) await run.output(text.slice(half));
  await run.finish();
};

export class ScriptedWorker {
  /** Every attempt that was asked for, in order. */
  readonly runs: ScriptedRun[] = [];
  readonly cancelledRunIds = new Set<string>();
  script: Script = echoScript;
  readonly #bus: MessageBus;

  constructor(bus: MessageBus) {
    this.#bus = bus;
  }

  async start(): Promise<void> {
    await this.#bus.subscribe({
      topic: runRequestsTopic(DEFAULT_POOL),
      group: 'scripted-worker',
      onMessages: (messages) => {
        for (const { value } of messages) {
          const run = new ScriptedRun(value as unknown as RunRequested, this.#bus);
          this.runs.push(run);
          void this.script(run);
        }
      },
    });
    await this.#bus.subscribe({
      topic: runControlTopic(DEFAULT_POOL),
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
