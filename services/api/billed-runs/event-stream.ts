/**
 * The events of one streamed run: the envelope of OpenAI's chunks with the brand's metadata object, around choices that a route writes. With
 * `stream_metadata: events` the metadata has events of its own before and after the deltas; with `in_chunks` it rides in the first and the
 * last delta, because a client that reads `choices[0]` of every event would break on the former.
 */
import { type FinishReason, requestIdOfRun } from '../../../events/contract/index.js';
import type { AnswerPart, CompletedRun, OpenedRun, StreamShape } from './billed-run.js';
import { type AnswerStyle, closingMetadata, poolField, usageObject } from './run-metadata.js';

/** One element of `choices`, as JSON text. */
export type ChoiceFormat = {
  /** Before anything else is said of answer `index`; `null` where nothing is, except of the first. */
  readonly opening: (index: number) => string | null;
  /** `null`: the part says nothing but that the answer has ended. */
  readonly part: (part: AnswerPart) => string | null;
  readonly finish: (index: number, reason: FinishReason | null) => string;
};

export type EventStreamOptions = {
  readonly run: OpenedRun;
  readonly id: string;
  readonly object: string;
  readonly answers: number;
  readonly includeUsage: boolean;
  readonly style: AnswerStyle;
  readonly choices: ChoiceFormat;
};

export class EventStream implements StreamShape {
  readonly #options: EventStreamOptions;
  /** JSON up to the choice, the same in every chunk. */
  readonly #start: string;
  readonly #chunkStart: string;
  readonly #chunkEnd: string;
  #unfinished: number;
  /** The end of the answer that ended last; it leaves with the settlement. */
  #lastFinish: { readonly index: number; readonly reason: FinishReason | null } = { index: 0, reason: null };

  constructor(options: EventStreamOptions) {
    this.#options = options;
    this.#unfinished = options.answers;
    const { id, object, run } = options;
    const fields = JSON.stringify({
      id,
      object,
      created: run.createdAtSeconds,
      model: run.model,
      system_fingerprint: run.systemFingerprint,
      ...poolField(run),
    });
    this.#start = `data: ${fields.slice(0, -1)},`;
    this.#chunkStart = `${this.#start}"choices":[`;
    this.#chunkEnd = options.includeUsage ? '],"usage":null' : ']';
  }

  readonly opening = (): string => {
    const { style, answers, choices, run } = this.#options;
    const { response_object, stream_metadata, slug } = style.brand;
    const metadata = response_object ? `"${slug}":${JSON.stringify({ request_id: requestIdOfRun(run.runId) })}` : null;
    let events = metadata !== null && stream_metadata === 'events' ? `data: {${metadata}}\n\n` : '';
    for (let index = 0; index < answers; index += 1) {
      const choice = choices.opening(index);
      if (choice !== null) events += this.#chunk(choice, index === 0 && stream_metadata === 'in_chunks' ? metadata : null);
    }
    return events;
  };

  readonly part = (part: AnswerPart): string => {
    const choice = this.#options.choices.part(part);
    const delta = choice === null ? '' : this.#chunk(choice, null);
    if (part.finishReason === undefined) return delta;
    this.#unfinished -= 1;
    const index = part.answer ?? 0;
    if (this.#unfinished > 0) return delta + this.#chunk(this.#options.choices.finish(index, part.finishReason), null);
    this.#lastFinish = { index, reason: part.finishReason };
    return delta;
  };

  readonly closing = (run: CompletedRun, replayed: boolean): string => {
    const { style, choices, includeUsage } = this.#options;
    const { response_object, stream_metadata, slug } = style.brand;
    const metadata = response_object ? `"${slug}":${JSON.stringify(closingMetadata(run, style))}` : null;
    const replay = replayed ? '"idempotent_replay":true' : null;
    const asEvent = metadata !== null && stream_metadata === 'events';
    const { index, reason } = this.#lastFinish;
    let text = this.#chunk(choices.finish(index, reason ?? run.finishReason), asEvent ? replay : join(metadata, replay));
    if (includeUsage) text += `${this.#start}"choices":[],"usage":${JSON.stringify(usageObject(run.usage))}}\n\n`;
    if (asEvent) text += `data: {${metadata}}\n\n`;
    return `${text}data: [DONE]\n\n`;
  };

  #chunk(choice: string, fields: string | null): string {
    return `${this.#chunkStart}${choice}${this.#chunkEnd}${fields === null ? '' : `,${fields}`}}\n\n`;
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
