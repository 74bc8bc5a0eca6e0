/** Gathers parts of answers, whichever order the answers come in: to answer at once, to replay, or while a reader is slow. */
import type { FinishReason, TokenLogprob, ToolCallDelta } from '../../../events/contract/index.js';
import type { Answer, AnswerPart } from './billed-run.js';

/** What one reported token takes beside its text, roughly. */
const CHARACTERS_PER_LOGPROB = 64;

type GatheredCall = { readonly call: number; id?: string; name?: string; argumentsText: string };

type Gathered = {
  text: string;
  readonly calls: Map<number, GatheredCall>;
  readonly logprobs: TokenLogprob[];
  embedding: string | undefined;
  finishReason: FinishReason | undefined;
};

export class GatheredOutput {
  readonly #byAnswer = new Map<number, Gathered>();
  #characters = 0;

  get isEmpty(): boolean {
    return this.#byAnswer.size === 0;
  }

  /** About as many as what is gathered here takes. */
  get characters(): number {
    return this.#characters;
  }

  add(part: AnswerPart): void {
    const gathered = this.#gatheredOf(part.answer ?? 0);
    gathered.text += part.text;
    this.#characters += part.text.length;
    for (const delta of part.toolCalls ?? []) this.#addCall(gathered.calls, delta);
    for (const logprob of part.logprobs ?? []) {
      gathered.logprobs.push(logprob);
      this.#characters += CHARACTERS_PER_LOGPROB * (1 + logprob.top.length);
    }
    if (part.embedding !== undefined) {
      gathered.embedding = part.embedding;
      this.#characters += part.embedding.length;
    }
    if (part.finishReason !== undefined) gathered.finishReason = part.finishReason;
  }

  /** What has come since the last call, one part an answer, in their order. */
  take(): AnswerPart[] {
    const parts = [...this.#byAnswer].sort(([one], [other]) => one - other).map(([answer, gathered]) => partOf(answer, gathered));
    this.#byAnswer.clear();
    this.#characters = 0;
    return parts;
  }

  #gatheredOf(answer: number): Gathered {
    const known = this.#byAnswer.get(answer);
    if (known !== undefined) return known;
    const gathered = { text: '', calls: new Map(), logprobs: [], embedding: undefined, finishReason: undefined };
    this.#byAnswer.set(answer, gathered);
    return gathered;
  }

  #addCall(calls: Gathered['calls'], { call, id, name, argumentsText }: ToolCallDelta): void {
    let known = calls.get(call);
    if (known === undefined) {
      known = { call, argumentsText: '' };
      calls.set(call, known);
    }
    if (id !== undefined) known.id = id;
    if (name !== undefined) known.name = name;
    known.argumentsText += argumentsText;
    this.#characters += argumentsText.length + (id?.length ?? 0) + (name?.length ?? 0);
  }
}

function partOf(answer: number, { text, calls, logprobs, embedding, finishReason }: Gathered): AnswerPart {
  return {
    answer,
    text,
    ...(calls.size === 0 ? {} : { toolCalls: [...calls.values()] }),
    ...(logprobs.length === 0 ? {} : { logprobs }),
    ...(embedding === undefined ? {} : { embedding }),
    ...(finishReason === undefined ? {} : { finishReason }),
  };
}

/** Whole answers, as many as were asked for: one that said nothing is empty, one that nobody asked for is passed over. */
export function answersOf(gathered: readonly AnswerPart[], count: number, finishReason: FinishReason | null): Answer[] {
  const byAnswer = new Map(gathered.map((part) => [part.answer ?? 0, part]));
  return Array.from({ length: count }, (_, index) => {
    const part = byAnswer.get(index);
    return {
      text: part?.text ?? '',
      toolCalls: (part?.toolCalls ?? []).map(({ id = '', name = '', argumentsText }) => ({ id, name, arguments: argumentsText })),
      logprobs: part?.logprobs ?? null,
      embedding: part?.embedding ?? null,
      finishReason: part?.finishReason ?? finishReason,
    };
  });
}

/** A whole answer as one part, for replays as a stream. */
export function partOfAnswer(answer: Answer, index: number): AnswerPart {
  const { text, toolCalls, logprobs, finishReason } = answer;
  return {
    answer: index,
    text,
    ...(toolCalls.length === 0
      ? {}
      : { toolCalls: toolCalls.map((call, place) => ({ call: place, id: call.id, name: call.name, argumentsText: call.arguments })) }),
    ...(logprobs === null ? {} : { logprobs: [...logprobs] }),
    ...(finishReason === null ? {} : { finishReason }),
  };
}
