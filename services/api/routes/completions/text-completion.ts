/** Text completions in OpenAI's legacy shapes, plain and streamed. Choices are numbered prompt by prompt. */
import { type FinishReason, type TokenLogprob, withPrefix } from '../../../../events/contract/index.js';
import { type AnswerShape, answersOfAsk, type CompletedRun } from '../../billed-runs/billed-run.js';
import { type ChoiceFormat, EventStream } from '../../billed-runs/event-stream.js';
import { type AnswerStyle, metadataField, usageObject } from '../../billed-runs/run-metadata.js';
import type { CompletionAsk } from './request-schema.js';

const OBJECT = 'text_completion';

export function textCompletionIdOf(runId: string): string {
  return withPrefix(runId, 'cmpl-');
}

export function textCompletionShape(ask: CompletionAsk, style: AnswerStyle): AnswerShape {
  const tellsLogprobs = ask.sampling.logprobs !== undefined;
  return {
    contentType: 'application/json',
    body: (run) => textCompletionBody(run, style, tellsLogprobs),
    stream: (run) =>
      new EventStream({
        run,
        id: textCompletionIdOf(run.runId),
        object: OBJECT,
        answers: answersOfAsk(ask),
        includeUsage: ask.includeUsage,
        style,
        choices: tellsLogprobs ? choicesWithLogprobs() : CHOICES,
      }),
  };
}

function textCompletionBody(run: CompletedRun, style: AnswerStyle, tellsLogprobs: boolean): string {
  return JSON.stringify({
    id: textCompletionIdOf(run.runId),
    object: OBJECT,
    created: run.createdAtSeconds,
    model: run.model,
    choices: run.answers.map(({ text, logprobs, finishReason }, index) => ({
      text,
      index,
      logprobs: tellsLogprobs ? legacyLogprobs(logprobs ?? [], 0) : null,
      finish_reason: finishReason,
    })),
    usage: usageObject(run.usage),
    system_fingerprint: run.systemFingerprint,
    ...metadataField(run, style),
  });
}

/** `offset`: characters of the answer's text before the first of these tokens. */
function legacyLogprobs(logprobs: readonly TokenLogprob[], offset: number) {
  let textOffset = offset;
  return {
    tokens: logprobs.map(({ token }) => token),
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    top_logprobs: logprobs.map(({ top }) => Object.fromEntries(top.map(({ token, logprob }) => [token, logprob]))),
    text_offset: logprobs.map(({ token }) => {
      const start = textOffset;
      textOffset += token.length;
      return start;
    }),
  };
}

function choice(index: number, text: string, logprobs: string, finishReason: FinishReason | null): string {
  return `{"text":${JSON.stringify(text)},"index":${index},"logprobs":${logprobs},"finish_reason":${JSON.stringify(finishReason)}}`;
}

const CHOICES: ChoiceFormat = {
  // A chunk without text before the first, where the metadata object has its place.
  opening: (index) => (index === 0 ? choice(0, '', 'null', null) : null),
  part: ({ text, answer = 0 }) => (text === '' ? null : choice(answer, text, 'null', null)),
  finish: (index, reason) => choice(index, '', 'null', reason),
};

/** Of one stream: it counts how much text each answer has had. */
function choicesWithLogprobs(): ChoiceFormat {
  const offsets = new Map<number, number>();
  return {
    ...CHOICES,
    part: ({ text, answer = 0, logprobs = [] }) => {
      if (text === '' && logprobs.length === 0) return null;
      const offset = offsets.get(answer) ?? 0;
      offsets.set(answer, offset + logprobs.reduce((characters, { token }) => characters + token.length, 0));
      return choice(answer, text, JSON.stringify(legacyLogprobs(logprobs, offset)), null);
    },
  };
}
