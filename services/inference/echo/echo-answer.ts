/**
 * What the echo engine says, which clients may rely on:
 * - the answer is the content of the last message with role `user`, or of the last message when there is none; of a prompt that is no conversation
 *   it is the prompt, of token ids their numbers;
 * - held to `json_object` it says `{"echo": …}` with that text; held to a schema, the example that `exampleOf` makes of it;
 * - a tool that must be called, by its name or as the first of those given, is called once with the example of its parameters. Where the choice is
 *   free, the first tool whose name is a word of the last user message is called, but not in answer to a tool's result;
 * - a call costs the tokens of its name and of its arguments; a stop sequence's own tokens count as generated, as with a real model; nothing is
 *   ever cached; the answer is certain, so its tokens have a log probability of 0, and seed, sampling and biases have no effect.
 */
import { hash } from 'node:crypto';
import { exampleOf } from '../../../events/contract/answer-schema.js';
import type { ChatMessage, FinishReason, Tool, ToolUse } from '../../../events/contract/index.js';
import type { EngineRun } from '../engine.js';
import { firstStop } from '../stop-scanner.js';
import { certainties, countTokens, prefixOfTokens, textOfPrompt } from './echo-tokens.js';

/** Of the arguments in one delta, where an answer comes at once: enough deltas that clients have to join them. */
const TOKENS_PER_DELTA = 8;

const CALL_ID_CHARACTERS = 24;

/** What a run will say, worked out beforehand. */
export type EchoAnswer = {
  /** `null`: the answer is text. */
  readonly call: { readonly id: string; readonly name: string; readonly nameTokens: number } | null;
  /** Of the answer, or of the call's arguments. */
  readonly text: string;
  readonly finishReason: FinishReason;
  /** Those of the name, of the text and of the stop sequence that ended it. */
  readonly completionTokens: number;
};

export function echoAnswer(run: EngineRun, budget: number): EchoAnswer {
  const tool = run.toolUse === undefined ? null : toolToCall(run.toolUse, run.messages);
  return tool === null ? textAnswer(textToSay(run), run.stop, budget) : callAnswer(tool, run.runId, budget);
}

/** Says the whole answer, text in one piece and a call in several. */
export function sayWhole(run: EngineRun, answer: EchoAnswer): void {
  const { call, text } = answer;
  if (call === null) {
    if (text !== '') sayText(run, text);
    return;
  }
  if (answer.completionTokens < call.nameTokens) return;
  startCall(run, call);
  for (let from = 0; from < text.length; ) {
    const length = prefixOfTokens(text.slice(from), TOKENS_PER_DELTA);
    run.onToolCalls?.([{ call: 0, argumentsText: text.slice(from, from + length) }]);
    from += length;
  }
}

/** Says the token after `tokensDone - 1` others, which took the text to `charactersDone`; returns how far it goes now. */
export function sayToken(run: EngineRun, { call, text }: EchoAnswer, tokensDone: number, charactersDone: number): number {
  const nameTokens = call?.nameTokens ?? 0;
  if (call !== null && tokensDone <= nameTokens) {
    if (tokensDone === nameTokens) startCall(run, call);
    return 0;
  }
  const end = prefixOfTokens(text, tokensDone - nameTokens);
  const piece = text.slice(charactersDone, end);
  if (piece === '') return end;
  if (call === null) sayText(run, piece);
  else run.onToolCalls?.([{ call: 0, argumentsText: piece }]);
  return end;
}

function sayText(run: EngineRun, text: string): void {
  if (run.sampling.logprobs === undefined) run.onText(text);
  else run.onText(text, certainties(text));
}

function startCall(run: EngineRun, { id, name }: NonNullable<EchoAnswer['call']>): void {
  run.onToolCalls?.([{ call: 0, id, name, argumentsText: '' }]);
}

function textAnswer(whole: string, stops: readonly string[], budget: number): EchoAnswer {
  const stop = stops.length === 0 ? null : firstStop(whole, stops);
  const generated = stop === null ? whole : whole.slice(0, stop.end);
  const generatedTokens = countTokens(generated);
  if (generatedTokens <= budget) {
    const text = stop === null ? whole : whole.slice(0, stop.at);
    return { call: null, text, finishReason: 'stop', completionTokens: generatedTokens };
  }
  // The budget ends inside the text. A stop sequence that it cuts short is no stop sequence.
  const text = generated.slice(0, prefixOfTokens(generated, budget));
  return { call: null, text, finishReason: 'length', completionTokens: budget };
}

function callAnswer({ name, parameters }: Tool, runId: string, budget: number): EchoAnswer {
  const id = `call_${hash('sha256', runId).slice(0, CALL_ID_CHARACTERS)}`;
  const nameTokens = countTokens(name);
  const call = { id, name, nameTokens };
  // Parameters of no stated type are an object all the same.
  const whole = JSON.stringify(exampleOf(parameters) ?? {});
  const completionTokens = nameTokens + countTokens(whole);
  if (completionTokens <= budget) return { call, text: whole, finishReason: 'tool_calls', completionTokens };
  const text = whole.slice(0, prefixOfTokens(whole, Math.max(0, budget - nameTokens)));
  return { call, text, finishReason: 'length', completionTokens: budget };
}

function toolToCall({ tools, choice }: ToolUse, messages: readonly ChatMessage[]): Tool | null {
  if (choice === 'required') return tools[0] ?? null;
  if (choice !== 'auto') return tools.find(({ name }) => name === choice.name) ?? null;
  if (messages.at(-1)?.role === 'tool') return null;
  const words = new Set(lastUserText(messages).split(/[^\w-]+/));
  return tools.find(({ name }) => words.has(name)) ?? null;
}

function textToSay({ messages, prompt, format }: EngineRun): string {
  const echoed = prompt === undefined ? lastUserText(messages) : textOfPrompt(prompt);
  if (format === undefined) return echoed;
  return JSON.stringify(format.kind === 'json_object' ? { echo: echoed } : exampleOf(format.schema));
}

function lastUserText(messages: readonly ChatMessage[]): string {
  for (let index = messages.length - 1; index >= 0; index -= 1) {
    const message = messages[index];
    if (message?.role === 'user') return message.content;
  }
  return messages.at(-1)?.content ?? '';
}
