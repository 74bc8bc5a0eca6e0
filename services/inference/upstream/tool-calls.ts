/**
 * The tool calls of one answer as they come from an upstream: numbered from 0 without gaps, named as the client's tools are, within bounds. What an
 * upstream may not say fails the answer.
 */
import { hash } from 'node:crypto';
import type { ToolCallDelta, ToolUse } from '../../../events/contract/index.js';
import { isValidArguments } from './answer-check.js';

/** Calls of one answer, as many as OpenAI takes tools. */
export const TOOL_CALLS_MAX = 128;

/** Ids that are passed on as they are; for others one is made up. */
const CALL_ID = /^[\x21-\x7e]{1,80}$/;
const MADE_UP_ID_CHARACTERS = 24;

/** Part of a call, as upstreams send it. Some number calls, some only name them. */
export type UpstreamCallDelta = {
  readonly index: number | null;
  readonly id: string | null;
  readonly name: string | null;
  readonly argumentsText: string;
};

type Call = { readonly index: number | null; readonly givenId: string | null; readonly name: string; argumentsText: string };

export class ToolCalls {
  readonly #toolUse: ToolUse | undefined;
  readonly #runId: string;
  readonly #calls: Call[] = [];

  constructor(toolUse: ToolUse | undefined, runId: string) {
    this.#toolUse = toolUse;
    this.#runId = runId;
  }

  get count(): number {
    return this.#calls.length;
  }

  /** What to hand on, or why the answer cannot be one. */
  take(parts: readonly UpstreamCallDelta[]): { readonly deltas: readonly ToolCallDelta[] } | { readonly fault: string } {
    const deltas: ToolCallDelta[] = [];
    for (const part of parts) {
      const known = this.#callOf(part);
      if (known >= 0) {
        (this.#calls[known] as Call).argumentsText += part.argumentsText;
        if (part.argumentsText !== '') deltas.push({ call: known, argumentsText: part.argumentsText });
        continue;
      }
      const fault = this.#faultOfNew(part);
      if (fault !== null) return { fault };
      const { index, id: givenId, name, argumentsText } = part;
      const call = this.#calls.push({ index, givenId, name: name ?? '', argumentsText }) - 1;
      deltas.push({ call, id: this.#idOf(givenId, call), name: name ?? '', argumentsText });
    }
    return { deltas };
  }

  /** What is wrong with the calls of an answer that was not cut short; `null` when nothing is. */
  faultAtEnd(): string | null {
    if (this.#toolUse === undefined) return null;
    const { tools, choice } = this.#toolUse;
    if (choice !== 'auto' && this.#calls.length === 0) return 'it called no tool, and had to';
    for (const { name, argumentsText } of this.#calls) {
      const parameters = tools.find((tool) => tool.name === name)?.parameters ?? {};
      if (!isValidArguments(argumentsText, parameters)) return 'the arguments of a call are not what its tool takes';
    }
    return null;
  }

  /** -1 for the first part of a call. */
  #callOf({ index, id, name }: UpstreamCallDelta): number {
    if (index !== null) {
      const known = this.#calls.findLastIndex((call) => call.index === index);
      // Ollama gives every call the number 0, each with an id and a name of its own.
      const isAnother = name !== null && id !== null && (this.#calls[known]?.givenId ?? id) !== id;
      return isAnother ? -1 : known;
    }
    if (id !== null) return this.#calls.findIndex((call) => call.givenId === id);
    return name === null ? this.#calls.length - 1 : -1;
  }

  #faultOfNew({ name }: UpstreamCallDelta): string | null {
    if (this.#toolUse === undefined) return 'it called a tool where none was offered';
    const { tools, choice, parallel } = this.#toolUse;
    if (name === null) return 'a tool call has no name';
    if (!tools.some((tool) => tool.name === name)) return 'it called a tool that was not offered';
    if (typeof choice === 'object' && choice.name !== name) return 'it called another tool than it had to';
    if (this.#calls.length >= TOOL_CALLS_MAX) return `more than ${TOOL_CALLS_MAX} tool calls`;
    if (!parallel && this.#calls.length > 0) return 'several tool calls where one was allowed';
    return null;
  }

  #idOf(givenId: string | null, call: number): string {
    const isTaken = this.#calls.slice(0, call).some((other) => other.givenId === givenId);
    if (givenId !== null && CALL_ID.test(givenId) && !isTaken) return givenId;
    return `call_${hash('sha256', `${this.#runId}/${call}`).slice(0, MADE_UP_ID_CHARACTERS)}`;
  }
}
