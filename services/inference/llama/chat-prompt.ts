/**
 * Writes a conversation the way the model was trained to read it: with the chat template of its GGUF file (Jinja), or as ChatML when it has
 * none. Control tokens that a message spells out are kept as plain text, so nobody can end their turn and speak as the system.
 */
import { randomBytes } from 'node:crypto';
import { Template } from '@huggingface/jinja';
import type { ChatMessage } from '../../../events/contract/index.js';
import { EngineError } from '../engine.js';
import type { Vocabulary } from './vocabulary.js';

const CHATML_END = '<|im_end|>';

/**
 * A prompt of more characters than this times the context is refused without being tokenized: no vocabulary in use spells a token with
 * more characters (Qwen and Llama 3 have runs of 128 spaces), so it cannot fit, and tokenizing megabytes would hold up every other run.
 */
export const CHARACTERS_PER_TOKEN_MAX = 128;

/** Marks where a control token was taken out of a message; the nonce keeps a message from naming it. */
type Marks = { readonly pattern: RegExp; readonly literals: readonly string[] };

export class ChatPrompt {
  readonly #vocabulary: Vocabulary;
  readonly #contextTokens: number;
  readonly #template: Template | null;
  readonly #controlText: RegExp | null;

  /** Throws when the template cannot be parsed; the caller then passes `null`. */
  constructor(options: { readonly vocabulary: Vocabulary; readonly contextTokens: number; readonly template: string | null }) {
    this.#vocabulary = options.vocabulary;
    this.#contextTokens = options.contextTokens;
    this.#template = options.template === null ? null : new Template(options.template);
    const spellings = options.vocabulary.controlSpellings.filter((spelling) => spelling !== '').map(escapePattern);
    this.#controlText = spellings.length === 0 ? null : new RegExp(spellings.join('|'), 'g');
  }

  /** Ends an answer that the vocabulary has no token to end: a model without template and without ChatML's tokens spells the end out. */
  get extraStops(): readonly string[] {
    const spellsEnd = this.#template === null && !this.#vocabulary.controlSpellings.includes(CHATML_END);
    return spellsEnd ? [CHATML_END] : [];
  }

  /** The prompt's tokens. Rejects by throwing `EngineError`: `context_length_exceeded` when no answer would fit behind it. */
  tokensOf(messages: readonly ChatMessage[]): Uint32Array {
    const charactersMax = this.#contextTokens * CHARACTERS_PER_TOKEN_MAX;
    let characters = 0;
    for (const message of messages) characters += message.content.length;
    if (characters > charactersMax) throw tooLong(`more than ${this.#contextTokens}`, this.#contextTokens);

    const { marked, marks } = this.#takeOutControlText(messages);
    const tokens = this.#tokenize(this.#render(marked), marks);
    if (tokens.length + 1 > this.#contextTokens) throw tooLong(String(tokens.length), this.#contextTokens);
    return tokens;
  }

  #takeOutControlText(messages: readonly ChatMessage[]): { readonly marked: readonly ChatMessage[]; readonly marks: Marks | null } {
    const controlText = this.#controlText;
    if (controlText === null || messages.every((message) => message.content.search(controlText) < 0)) {
      return { marked: messages, marks: null };
    }
    const nonce = randomBytes(8).toString('hex');
    const literals: string[] = [];
    const marked = messages.map((message) => ({
      ...message,
      content: message.content.replace(controlText, (literal) => `\uE000${nonce}:${literals.push(literal) - 1}\uE001`),
    }));
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
      return this.#renderTemplate(this.#template, messages);
    } catch {
      // Some templates refuse a system message, a tool's result or two messages of one role in a row; with those folded in, all are content.
      try {
        return this.#renderTemplate(this.#template, onlyTurns(messages));
      } catch (error) {
        throw new EngineError('engine_failed', `the model's chat template failed: ${(error as Error).message}`, false);
      }
    }
  }

  #renderTemplate(template: Template, messages: readonly ChatMessage[]): string {
    return template.render({
      messages: messages.map((message) => ({ ...message })),
      add_generation_prompt: true,
      bos_token: this.#vocabulary.beginText,
      eos_token: this.#vocabulary.endText,
    });
  }
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
