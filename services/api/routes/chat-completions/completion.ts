/** The answer in OpenAI's shapes, plain and as stream events, with the brand's metadata object where the preset wants one. */
import {
  type FinishReason,
  formatAmount,
  type Nanos,
  requestIdOfRun,
  type TokenUsage,
  withPrefix,
} from '../../../../events/contract/index.js';
import type { Preset } from '../../../../presets/preset-schema.js';

/** Everything an answer says, as it is kept for replays: both shapes are made of it. */
export type Completion = {
  readonly runId: string;
  readonly model: string;
  /** Unix seconds. */
  readonly createdAtSeconds: number;
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly usage: TokenUsage;
  readonly chargedNanos: Nanos;
  readonly systemFingerprint: string | null;
};

export type AnswerStyle = { readonly brand: Preset['brand']; readonly unit: string };

export function completionIdOf(runId: string): string {
  return withPrefix(runId, 'chatcmpl-');
}

/** JSON text of a plain answer. */
export function completionBody(completion: Completion, style: AnswerStyle): string {
  return JSON.stringify({
    id: completionIdOf(completion.runId),
    object: 'chat.completion',
    created: completion.createdAtSeconds,
    model: completion.model,
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: completion.text, refusal: null },
        logprobs: null,
        finish_reason: completion.finishReason,
      },
    ],
    usage: usageObject(completion.usage),
    system_fingerprint: completion.systemFingerprint,
    ...(style.brand.response_object ? { [style.brand.slug]: closingMetadata(completion, style) } : {}),
  });
}

/** The same answer again: everything as it was, and the one field that says so. */
export function replayedBody(body: string): string {
  return `${body.slice(0, -1)},"idempotent_replay":true}`;
}

export function usageObject(usage: TokenUsage) {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  };
}

/**
 * `credits_used` is a JSON number where the unit is the credit, as documented, and otherwise a decimal string beside its `unit`. Nothing is
 * verified yet, and the object says so.
 */
export function closingMetadata(completion: Pick<Completion, 'runId' | 'chargedNanos'>, style: AnswerStyle) {
  const amount = formatAmount(completion.chargedNanos);
  const charge = style.unit === 'credit' ? { credits_used: Number(amount) } : { credits_used: amount, unit: style.unit };
  return {
    request_id: requestIdOfRun(completion.runId),
    ...charge,
    verified: false,
    verification_mode: 'none',
    provider: style.brand.provider,
  };
}

/**
 * Writes the events of one stream. With `stream_metadata: events` the metadata object has events of its own before and after the deltas;
 * with `in_chunks` it rides in the first and the last delta, because a client that reads `choices[0]` of every event would break on the former.
 */
export class StreamEvents {
  readonly #style: AnswerStyle;
  readonly #runId: string;
  readonly #includeUsage: boolean;
  /** JSON up to the delta, the same in every chunk. */
  readonly #chunkStart: string;
  readonly #chunkEnd: string;
  readonly #wholeStart: string;

  constructor(options: {
    readonly runId: string;
    readonly model: string;
    readonly createdAtSeconds: number;
    readonly systemFingerprint: string | null;
    readonly includeUsage: boolean;
    readonly style: AnswerStyle;
  }) {
    this.#style = options.style;
    this.#runId = options.runId;
    this.#includeUsage = options.includeUsage;
    const fields = JSON.stringify({
      id: completionIdOf(options.runId),
      object: 'chat.completion.chunk',
      created: options.createdAtSeconds,
      model: options.model,
      system_fingerprint: options.systemFingerprint,
    });
    this.#wholeStart = `data: ${fields.slice(0, -1)},`;
    this.#chunkStart = `${this.#wholeStart}"choices":[{"index":0,"delta":{"content":`;
    this.#chunkEnd = `},"logprobs":null,"finish_reason":null}]${options.includeUsage ? ',"usage":null' : ''}}\n\n`;
  }

  opening(): string {
    const { response_object, stream_metadata, slug } = this.#style.brand;
    const metadata = response_object ? `"${slug}":${JSON.stringify({ request_id: requestIdOfRun(this.#runId) })}` : null;
    const ownEvent = metadata !== null && stream_metadata === 'events' ? `data: {${metadata}}\n\n` : '';
    const inChunk = metadata !== null && stream_metadata === 'in_chunks' ? metadata : null;
    return ownEvent + this.#chunk('{"role":"assistant","content":"","refusal":null}', null, inChunk);
  }

  delta(text: string): string {
    return this.#chunkStart + JSON.stringify(text) + this.#chunkEnd;
  }

  /** From the last delta to `[DONE]`. Written only when the books have closed on the run: the charge it shows is a charge that was made. */
  closing(completion: Completion, replayed: boolean): string {
    const { response_object, stream_metadata, slug } = this.#style.brand;
    const metadata = response_object ? `"${slug}":${JSON.stringify(closingMetadata(completion, this.#style))}` : null;
    const replay = replayed ? '"idempotent_replay":true' : null;
    const asEvent = metadata !== null && stream_metadata === 'events';
    const inChunk = asEvent ? replay : join(metadata, replay);
    let text = this.#chunk('{}', completion.finishReason, inChunk);
    if (this.#includeUsage) text += `${this.#wholeStart}"choices":[],"usage":${JSON.stringify(usageObject(completion.usage))}}\n\n`;
    if (asEvent) text += `data: {${metadata}}\n\n`;
    return `${text}data: [DONE]\n\n`;
  }

  #chunk(delta: string, finishReason: string | null, fields: string | null): string {
    const usage = this.#includeUsage ? ',"usage":null' : '';
    const extra = fields === null ? '' : `,${fields}`;
    return `${this.#wholeStart}"choices":[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${JSON.stringify(finishReason)}}]${usage}${extra}}\n\n`;
  }
}

/** An error after the stream has begun: the last event, without `[DONE]`. */
export function errorEvent(payload: string): string {
  return `event: error\ndata: ${payload}\n\n`;
}

function join(first: string | null, second: string | null): string | null {
  if (first === null || second === null) return first ?? second;
  return `${first},${second}`;
}
