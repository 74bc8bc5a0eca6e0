/** Chat answers in OpenAI's shapes: the message of a plain answer and the deltas of a streamed one. */
import { type TokenLogprob, type ToolCall, type ToolCallDelta, withPrefix } from '../../../../events/contract/index.js';
import { type Answer, type AnswerPart, type AnswerShape, answersOfAsk, type CompletedRun } from '../../billed-runs/billed-run.js';
import { type ChoiceFormat, EventStream } from '../../billed-runs/event-stream.js';
import { type AnswerStyle, metadataField, usageObject } from '../../billed-runs/run-metadata.js';
import type { ChatAsk } from './request-schema.js';

export function completionIdOf(runId: string): string {
  return withPrefix(runId, 'chatcmpl-');
}

export function chatShape(ask: ChatAsk, style: AnswerStyle): AnswerShape {
  const tellsLogprobs = ask.sampling.logprobs !== undefined;
  return {
    contentType: 'application/json',
    body: (run) => completionBody(run, style, tellsLogprobs),
    stream: (run) =>
      new EventStream({
        run,
        id: completionIdOf(run.runId),
        object: 'chat.completion.chunk',
        answers: answersOfAsk(ask),
        includeUsage: ask.includeUsage,
        style,
        choices: tellsLogprobs ? DELTAS_WITH_LOGPROBS : DELTAS,
      }),
  };
}

/** JSON text of a plain answer. */
function completionBody(run: CompletedRun, style: AnswerStyle, tellsLogprobs: boolean): string {
  return JSON.stringify({
    id: completionIdOf(run.runId),
    object: 'chat.completion',
    created: run.createdAtSeconds,
    model: run.model,
    choices: run.answers.map((answer, index) => ({
      index,
      message: messageOf(answer),
      logprobs: tellsLogprobs ? logprobsObject(answer.logprobs ?? []) : null,
      finish_reason: answer.finishReason,
    })),
    usage: usageObject(run.usage),
    system_fingerprint: run.systemFingerprint,
    ...metadataField(run, style),
  });
}

function messageOf({ text, toolCalls }: Answer) {
  if (toolCalls.length === 0) return { role: 'assistant', content: text, refusal: null };
  return { role: 'assistant', content: text === '' ? null : text, refusal: null, tool_calls: toolCalls.map(toolCallObject) };
}

function toolCallObject({ id, name, arguments: text }: ToolCall) {
  return { id, type: 'function', function: { name, arguments: text } };
}

function toolCallDelta({ call, id, name, argumentsText }: ToolCallDelta) {
  if (id === undefined) return { index: call, function: { arguments: argumentsText } };
  return { index: call, id, type: 'function', function: { name, arguments: argumentsText } };
}

function logprobsObject(logprobs: readonly TokenLogprob[]) {
  const chance = ({ token, logprob, bytes }: TokenLogprob['top'][number]) => ({ token, logprob, bytes });
  return { content: logprobs.map((one) => ({ ...chance(one), top_logprobs: one.top.map(chance) })), refusal: null };
}

function choice(index: number, delta: string, logprobs: string, finishReason: string | null): string {
  return `{"index":${index},"delta":${delta},"logprobs":${logprobs},"finish_reason":${JSON.stringify(finishReason)}}`;
}

function deltaOf({ text, toolCalls }: AnswerPart): string {
  const content = text === '' ? '' : `"content":${JSON.stringify(text)}`;
  if (toolCalls === undefined || toolCalls.length === 0) return `{${content}}`;
  return `{${content}${content === '' ? '' : ','}"tool_calls":${JSON.stringify(toolCalls.map(toolCallDelta))}}`;
}

function saysNothing({ text, toolCalls = [], logprobs = [] }: AnswerPart): boolean {
  return text === '' && toolCalls.length === 0 && logprobs.length === 0;
}

const DELTAS: ChoiceFormat = {
  opening: (index) => choice(index, '{"role":"assistant","content":"","refusal":null}', 'null', null),
  part: (part) => {
    const delta = deltaOf(part);
    return delta === '{}' ? null : choice(part.answer ?? 0, delta, 'null', null);
  },
  finish: (index, reason) => choice(index, '{}', 'null', reason),
};

const DELTAS_WITH_LOGPROBS: ChoiceFormat = {
  ...DELTAS,
  part: (part) => {
    if (saysNothing(part)) return null;
    const logprobs = part.logprobs === undefined ? 'null' : JSON.stringify(logprobsObject(part.logprobs));
    return choice(part.answer ?? 0, deltaOf(part), logprobs, null);
  },
};
