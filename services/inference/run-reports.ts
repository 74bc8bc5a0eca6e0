/** What a worker says of its runs, as messages in its outbox: outputs and failures to the API that asked, results to the ledger. */
import type { Message } from '../../events/bus/message-bus.js';
import {
  COUNTED_LOCALLY,
  type JsonObject,
  NO_USAGE,
  RUN_RESULTS_TOPIC,
  type RunErrorCode,
  type RunFinished,
  type RunRequested,
} from '../../events/contract/index.js';
import { type AnswerOutput, responseHashOf } from './answer-output.js';
import type { EngineResult } from './engine.js';
import type { Outbox } from './outbox.js';

export type Execution = { readonly request: RunRequested; readonly execution: string };

/** A run that may have put something out. */
export type Spoken = Execution & {
  readonly answers: readonly AnswerOutput[];
  /** Messages so far. */
  outputs: number;
};

/** What the answer has to say now. */
export function putOutput(outbox: Outbox, run: Spoken, answer: AnswerOutput): void {
  if (!answer.isPending) return;
  const { runId, attempt, replyTopic } = run.request;
  for (const content of answer.take()) {
    const { execution, outputs: index } = run;
    const { number } = answer;
    const value = { runId, attempt, execution, index, ...(number === null ? null : { answer: number }), ...content };
    run.outputs += 1;
    outbox.put(replyTopic, { key: runId, type: 'RunOutput', headers: {}, value: value as JsonObject });
  }
}

export function putResult(outbox: Outbox, run: Spoken, systemFingerprint: string | null, result: EngineResult): void {
  const { execution, outputs, answers } = run;
  const { runId, accountId, attempt, replyTopic } = run.request;
  const { outcome, finishReason, usage, usageSource } = result;
  const value: RunFinished = {
    runId,
    accountId,
    attempt,
    execution,
    outcome,
    finishReason,
    usage,
    ...(usageSource === COUNTED_LOCALLY ? { usageSource } : {}),
    errorCode: null,
    systemFingerprint,
    outputs,
    ...(outputs === 0 ? {} : { responseHash: responseHashOf(answers) }),
    replyTopic,
  };
  outbox.put(RUN_RESULTS_TOPIC, { key: accountId, type: 'RunFinished', headers: {}, value: value as JsonObject });
}

export type Failure = { readonly errorCode: RunErrorCode; readonly message: string; readonly retryable: boolean };

export function putFailure(outbox: Outbox, { request, execution }: Execution, failure: Failure): void {
  const { runId, attempt, replyTopic } = request;
  outbox.put(replyTopic, { key: runId, type: 'RunAttemptFailed', headers: {}, value: { runId, attempt, execution, ...failure } });
}

/** The result of a run whose texts could not be handed over: nobody has the answer, so it failed and costs nothing. */
export function withoutItsText(message: Message): Message {
  const { responseHash: _responseHash, ...finished } = message.value as unknown as RunFinished;
  const failed: RunFinished = {
    ...finished,
    outcome: 'failed',
    finishReason: null,
    usage: NO_USAGE,
    errorCode: 'engine_failed',
    outputs: 0,
  };
  return { ...message, value: failed as JsonObject };
}
