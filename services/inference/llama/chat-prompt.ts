/**
 * Writes a conversation the way the model was trained to read it: with the chat template of its GGUF file (Jinja), or as ChatML when it has
 * none. Control tokens that a message spells out are kept as plain text, so nobody can end their turn and speak as the system.
 */
import { randomBytes } from 'node:crypto';
import { Template } from '@huggingface/jinja';
import { type ChatMessage, type Prompt, promptTokensBound, type ToolUse } from '../../../events/contract/index.js';
import { EngineError } from '../engine.js';
import { spellOutTools, templateMessage, templateTool } from './tools/tool-messages.js';
import { syntaxOfTemplate, TAGGED_CALLS, type ToolSyntax } from './tools/tool-syntax.js';
import type { Vocabulary } from './vocabulary.js';

const CHATML_END = '<|im_end|>';

/**
 * A prompt of more characters than this times the context is refused without being tokenized: no vocabulary in use spells a token with
 * more characters (Qwen and Llama 3 have runs of 128 spaces), so it cannot fit, and tokenizing megabytes would hold up every other run.
 */
export const CHARACTERS_PER_TOKEN_MAX = 128;

/** Marks where a control token was taken out of a message; the nonce keeps a message from naming it. */
type Marks = { readonly pattern: RegExp; readonly literals: readonly string[] };

export type Conversation = { readonly messages: readonly ChatMessage[]; readonly toolUse?: ToolUse };

/** `syntax`: how this prompt asks the model to write its calls. */
export type WrittenPrompt = { readonly tokens: Uint32Array; readonly syntax: ToolSyntax };

export class ChatPrompt {
  readonly #vocabulary: Vocabulary;
  readonly #contextTokens: number;
  readonly #template: Template | null;
  readonly #templateSyntax: ToolSyntax | null;
  readonly #controlText: RegExp | null;

  /** Throws when the template cannot be parsed; the caller then passes `null`. */
  constructor(options: { readonly vocabulary: Vocabulary; readonly contextTokens: number; readonly template: string | null }) {
    this.#vocabulary = options.vocabulary;
    this.#contextTokens = options.contextTokens;
    this.#template = options.template === null ? null : new Template(options.template);
    this.#templateSyntax = options.template === null ? null : syntaxOfTemplate(options.template);
    const spellings = options.vocabulary.controlSpellings.filter((spelling) => spelling !== '').map(escapePattern);
    this.#controlText = spellings.length === 0 ? null : new RegExp(spellings.join('|'), 'g');
  }

  /** Ends an answer that the vocabulary has no token to end: a model without template and without ChatML's tokens spells the end out. */
  get extraStops(): readonly string[] {
    const spellsEnd = this.#template === null && !this.#vocabulary.controlSpellings.includes(CHATML_END);
    return spellsEnd ? [CHATML_END] : [];
  }

  /**
   * The prompt's tokens. Rejects by throwing `EngineError`: `context_length_exceeded` when no answer would fit behind it. `isHeld`: the answer
   * has a format of its own, which must not look like the model's notation for a call.
   */
  write(conversation: Conversation, isHeld = false): WrittenPrompt {
    this.#requireFitting(charactersOf(conversation));
    const { marked, marks } = this.#takeOutControlText(conversation);
    const { messages, toolUse } = marked;
    const syntax = isHeld && this.#templateSyntax?.marker === null ? null : this.#templateSyntax;
    const hasTools = toolUse !== undefined || messages.some(({ role, toolCalls }) => role === 'tool' || toolCalls !== undefined);
    if (hasTools && syntax !== null) {
      const tokens = this.#tokensByTemplate(conversation, marked, marks);
      if (tokens !== null) return { tokens: this.#requireRoom(tokens), syntax };
    }
    const turns = hasTools ? spellOutTools(messages, toolUse) : messages;
    return { tokens: this.#requireRoom(this.#tokenize(this.#render(turns), marks)), syntax: TAGGED_CALLS };
  }

  /** A prompt without template: text that holds no control tokens, or tokens as they are. */
  writePlain(prompt: Prompt): Uint32Array {
    const { beginToken, startToken } = this.#vocabulary;
    if (typeof prompt !== 'string') {
      const unknown = prompt.find((token) => !this.#vocabulary.isToken(token));
      if (unknown !== undefined) throw new EngineError('invalid_prompt', `The model has no token ${unknown}.`, false);
      return this.#requireRoom(Uint32Array.from(prompt));
    }
    this.#requireFitting(prompt.length);
    const tokens = Array.from(prompt === '' ? [] : this.#vocabulary.tokenize(prompt, false));
    const first = beginToken ?? (tokens.length === 0 ? startToken : null);
    return this.#requireRoom(Uint32Array.from(first === null || tokens[0] === first ? tokens : [first, ...tokens]));
  }

  #requireFitting(characters: number): void {
    const charactersMax = this.#contextTokens * CHARACTERS_PER_TOKEN_MAX;
    if (characters > charactersMax) throw tooLong(`more than ${this.#contextTokens}`, this.#contextTokens);
  }

  #requireRoom(tokens: Uint32Array): Uint32Array {
    if (tokens.length + 1 > this.#contextTokens) throw tooLong(String(tokens.length), this.#contextTokens);
    return tokens;
  }

  /** `null` when the template fails, or lays the tools out so widely that the prompt has more tokens than the hold was computed for. */
  #tokensByTemplate(conversation: Conversation, marked: Conversation, marks: Marks | null): Uint32Array | null {
    if (this.#template === null) return null;
    let rendered: string;
    try {
      rendered = this.#renderTemplate(this.#template, marked);
    } catch {
      return null;
    }
    if (rendered.length > this.#contextTokens * CHARACTERS_PER_TOKEN_MAX) return null;
    const tokens = this.#tokenize(rendered, marks);
    return tokens.length <= promptTokensBound(conversation.messages, conversation.toolUse) ? tokens : null;
  }

  /** In whatever the client wrote: messages, names, arguments, and the tools with their descriptions. */
  #takeOutControlText(conversation: Conversation): { readonly marked: Conversation; readonly marks: Marks | null } {
    const controlText = this.#controlText;
    if (controlText === null || !mayHoldText(conversation, controlText)) return { marked: conversation, marks: null };
    const nonce = randomBytes(8).toString('hex');
    const literals: string[] = [];
    const mark = (text: string) => text.replace(controlText, (literal) => `\uE000${nonce}:${literals.push(literal) - 1}\uE001`);
    const marked = mapTexts(conversation, mark) as Conversation;
    if (literals.length === 0) return { marked: conversation, marks: null };
    return { marked, marks: { pattern: new RegExp(`\uE000${nonce}:(\\d+)\uE001`), literals } };
  }

  #tokenize(rendered: string, marks: Marks | null): Uint32Array {
    const parts: number[][] = [];
    // Splitting by a pattern with a group puts the group's text, a literal's number, at every odd place.
    for (const [index, part] of (marks === null ? [rendered] : rendered.split(marks.pattern)).entries()) {
      const isLiteral = index % 2 === 1;
      const text = isLiteral ? (marks?.literals[Number(part)] ?? '') : part;
      if (text !== '') parts.push(Array.from(this.#vocabulary.tokenize(text, !isLiteral)));
    }
    const { beginToken } = this.#vocabulary;
    const tokens = parts.flat();
    return Uint32Array.from(beginToken === null || tokens[0] === beginToken ? tokens : [beginToken, ...tokens]);
  }

  #render(messages: readonly ChatMessage[]): string {
    if (this.#template === null) return chatMl(messages);
    try {
      return this.#renderTemplate(this.#template, { messages });
    } catch {
      // Some templates refuse a system message, a tool's result or two messages of one role in a row; with those folded in, all are content.
      try {
        return this.#renderTemplate(this.#template, { messages: onlyTurns(messages) });
      } catch (error) {
        throw new EngineError('engine_failed', `the model's chat template failed: ${(error as Error).message}`, false);
      }
    }
  }

  #renderTemplate(template: Template, { messages, toolUse }: Conversation): string {
    return template.render({
      messages: messages.map(templateMessage),
      ...(toolUse === undefined ? {} : { tools: toolUse.tools.map(templateTool) }),
      add_generation_prompt: true,
      bos_token: this.#vocabulary.beginText,
      eos_token: this.#vocabulary.endText,
    });
  }
}

/** Spares the usual conversation, which has neither tools nor control tokens, being copied. */
function mayHoldText({ messages, toolUse }: Conversation, sought: RegExp): boolean {
  if (toolUse !== undefined) return true;
  return messages.some(
    ({ content, name = '', toolCalls, toolCallId = '' }) =>
      toolCalls !== undefined || [content, name, toolCallId].some((text) => text.search(sought) >= 0),
  );
}

function charactersOf({ messages, toolUse }: Conversation): number {
  let characters = toolUse === undefined ? 0 : JSON.stringify(toolUse).length;
  for (const { content, toolCalls } of messages) {
    characters += content.length;
    for (const call of toolCalls ?? []) characters += call.arguments.length;
  }
  return characters;
}

/** Roles and choices are among the texts; none of them is spelt like a control token. */
function mapTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [change(name), mapTexts(inner, change)]));
}

/** `<|im_start|>role⏎content<|im_end|>⏎`, open for the assistant (the format is OpenAI's ChatML). */
function chatMl(messages: readonly ChatMessage[]): string {
  const turns = messages.map((message) => `<|im_start|>${message.role}\n${message.content}${CHATML_END}\n`);
  return `${turns.join('')}<|im_start|>assistant\n`;
}

/** User and assistant in turn, beginning with the user; what others said is put before the next thing the user says. */
function onlyTurns(messages: readonly ChatMessage[]): ChatMessage[] {
  const turns: ChatMessage[] = [];
  for (const message of messages) {
    const role = message.role === 'assistant' ? 'assistant' : 'user';
    const last = turns.at(-1);
    if (last?.role === role) turns[turns.length - 1] = { role, content: `${last.content}\n\n${message.content}` };
    else if (last !== undefined || role === 'user') turns.push({ role, content: message.content });
  }
  return turns;
}

function tooLong(promptTokens: string, contextTokens: number): EngineError {
  const message = `The prompt has ${promptTokens} tokens; with at least one for the answer, the context holds ${contextTokens}.`;
  return new EngineError('context_length_exceeded', message, false);
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
