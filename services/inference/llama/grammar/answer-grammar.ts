/** The grammar that one answer is held to: its format, its tool calls, or text and calls. */
import {
  type AnswerFormat,
  type AnswerShapes,
  type JsonObject,
  objectShape,
  readAnswerShapes,
  type ToolUse,
} from '../../../../events/contract/index.js';
import { EngineError } from '../../engine.js';
import { type CallableTool, callsCompletionOf } from '../tools/call-completion.js';
import type { ToolSyntax } from '../tools/tool-syntax.js';
import { GrammarRules, literal } from './grammar-rules.js';
import { completionOf } from './json-completion.js';
import { addObject, addShapes } from './shape-grammar.js';

/** Of all tools of an answer together. A grammar of this size is read in a few milliseconds, in which no other run of the engine goes on. */
export const GRAMMAR_CHARACTERS_MAX = 1_000_000;

/** Formats and tools are mostly the same from one request to the next; a grammar is 1 to 100 KB. */
const CACHED_GRAMMARS_MAX = 64;

export type HeldAnswer = { readonly format?: AnswerFormat; readonly toolUse?: ToolUse; readonly syntax: ToolSyntax };

export type AnswerGrammar = {
  /** GBNF. */
  readonly text: string;
  /** What finishes an answer that has been begun like this, so that it keeps the form; `null` where nothing is known to. */
  readonly completionOf: (begun: string) => string | null;
};

export class AnswerGrammars {
  /** In order of use. */
  readonly #cache = new Map<string, AnswerGrammar>();

  /** `null` where the answer is free. Throws `EngineError` `invalid_prompt` for a schema that no grammar can hold an answer to. */
  grammarOf(answer: HeldAnswer): AnswerGrammar | null {
    const { format, toolUse, syntax } = answer;
    if (format === undefined && toolUse === undefined) return null;
    const tools = toolUse?.tools.map(({ name, parameters }) => [name, parameters]);
    const key = JSON.stringify([format, toolUse?.choice, toolUse?.parallel, tools, syntax]);
    const grammar = this.#cache.get(key) ?? writeGrammar(answer);
    this.#cache.delete(key);
    this.#cache.set(key, grammar);
    if (this.#cache.size > CACHED_GRAMMARS_MAX) this.#cache.delete(this.#cache.keys().next().value ?? '');
    return grammar;
  }
}

function writeGrammar({ format, toolUse, syntax }: HeldAnswer): AnswerGrammar {
  const rules = new GrammarRules(toolUse === undefined);
  const shapes =
    format === undefined ? null : shapesOf(format.kind === 'json_object' ? ANY_OBJECT : format.schema, 'The schema of the answer');
  const answer = shapes === null ? null : addShapes(rules, shapes, 's');
  const tools = toolUse === undefined ? [] : callableTools(toolUse);
  const text = rules.text(toolUse === undefined ? (answer ?? '""') : toolsExpression(rules, tools, toolUse, syntax, answer));
  if (text.length > GRAMMAR_CHARACTERS_MAX) throw unsupported('The schemas of the request are too large together.');
  return {
    text,
    completionOf: (begun) => {
      const answered = shapes === null ? null : completionOf(shapes, begun);
      if (toolUse === undefined) return answered;
      const at = toolUse.choice === 'auto' && format === undefined ? callsBegin(begun, syntax) : 0;
      const called = at === null ? '' : callsCompletionOf(begun.slice(at), syntax, tools);
      if (answered === null || called === null || toolUse.choice !== 'auto') return called ?? answered;
      return answered.length < called.length ? answered : called;
    },
  };
}

/** Where calls may have begun in an answer that may be text; `null` while it is text, which is whole wherever it ends. */
function callsBegin(begun: string, { marker, begin, open }: ToolSyntax): number | null {
  if (marker === null) return begun.startsWith((begin + open).slice(0, 1)) ? 0 : null;
  const at = begun.indexOf(marker);
  return at < 0 ? null : at;
}

const ANY_OBJECT: JsonObject = { type: 'object' };

function callableTools({ tools, choice }: ToolUse): readonly CallableTool[] {
  const callable = typeof choice === 'string' ? tools : tools.filter((tool) => tool.name === choice.name);
  if (callable.length === 0) throw unsupported('The tool to be called is not one of the tools.');
  return callable.map(({ name, parameters }) => {
    const shapes = shapesOf(parameters, `The parameters of the tool ${JSON.stringify(name)}`);
    const shape = objectShape(shapes);
    if (shape === null) throw unsupported(`The parameters of the tool ${JSON.stringify(name)} must be an object.`);
    return { name, shapes, shape };
  });
}

function toolsExpression(
  rules: GrammarRules,
  tools: readonly CallableTool[],
  { choice, parallel }: ToolUse,
  { begin, open, middle, close, separator, end, callsMax, marker }: ToolSyntax,
  answer: string | null,
): string {
  const alternatives = tools.map(({ name, shapes, shape }, index) => {
    return `${literal(JSON.stringify(name).slice(1, -1) + middle)} ${addObject(rules, shapes, shape, `a${index}-`)}`;
  });
  const call = rules.set('call', `${literal(open)} ( ${alternatives.join(' | ')} ) ${literal(close)}`);
  const more = parallel && callsMax > 1 ? ` ( ${literal(separator)} ${call} ){0,${callsMax - 1}}` : '';
  rules.set('calls', `${literal(begin)} ${call}${more} ${literal(end)}`);
  if (choice !== 'auto') return 'calls';
  if (answer !== null) return `calls | ${answer}`;
  return marker === null ? 'calls | ( [^{] [\\x01-\\U0010FFFF]* )?' : textUntil(rules, marker);
}

/**
 * Text in which the marker does not occur, and calls from there on: the automaton that seeks the marker (Knuth, Morris and Pratt), a rule a state.
 * The calls' own expression begins with the marker.
 */
function textUntil(rules: GrammarRules, marker: string): string {
  const state = (seen: number) => `t${seen}`;
  const others = `[^${escapeClass(marker[0] ?? '')}]`;
  // Calls may begin at every character that the marker begins with, so in each state. The first character of every marker occurs nowhere else in it, so a mismatch leads back to the beginning.
  rules.set(state(0), `"" | ${others} ${state(0)} | ${literal(marker[0] ?? '')} ${state(1)} | calls`);
  for (let seen = 1; seen < marker.length; seen += 1) {
    const [first, next] = [escapeClass(marker[0] ?? ''), escapeClass(marker[seen] ?? '')];
    const goesOn = seen === marker.length - 1 ? '' : ` | ${literal(marker[seen] ?? '')} ${state(seen + 1)}`;
    rules.set(state(seen), `"" | [^${first}${next}] ${state(0)} | ${literal(marker[0] ?? '')} ${state(1)}${goesOn} | calls`);
  }
  return state(0);
}

function escapeClass(character: string): string {
  return /[\]\\^-]/.test(character) || character === '['
    ? `\\x${(character.codePointAt(0) ?? 0).toString(16).padStart(2, '0')}`
    : character;
}

function shapesOf(schema: JsonObject, what: string): AnswerShapes {
  const shapes = readAnswerShapes(schema);
  if ('reason' in shapes)
    throw unsupported(`${what} cannot be held to: ${shapes.reason} (at ${shapes.path === '' ? 'its root' : shapes.path}).`);
  return shapes;
}

function unsupported(message: string): EngineError {
  return new EngineError('invalid_prompt', message, false);
}
