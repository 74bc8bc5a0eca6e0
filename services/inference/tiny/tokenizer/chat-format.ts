/**
 * How conversations become tokens: the ChatML form, `<|im_start|>role⏎text<|im_end|>⏎`, because every llama.cpp tool knows it without
 * being told. Control tokens have no spelling in bytes: a user cannot write one, as long as an engine reads the user's text without them.
 */
import type { Turn } from '../corpus/dialogue-source.js';
import type { Tokenizer, Vocabulary } from './byte-pair-encoding.js';

/** In the order of their ids, which follow those of the pieces. */
export const CONTROL_TOKENS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'] as const;

export type ControlTokenIds = { readonly endOfText: number; readonly turnStart: number; readonly turnEnd: number };

export function controlTokenIds(vocabulary: Vocabulary): ControlTokenIds {
  const first = vocabulary.pieces.length;
  return { endOfText: first, turnStart: first + 1, turnEnd: first + 2 };
}

/** Jinja, as GGUF carries it. Roles that the model was not trained on speak as the user. */
export const CHAT_TEMPLATE = [
  "{% for message in messages %}{% set role = message['role'] if message['role'] in ['system', 'assistant'] else 'user' %}",
  "{{ '<|im_start|>' + role + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}",
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
].join('');

export type EncodedTurn = {
  readonly tokens: readonly number[];
  /** Index from which the tokens are the speaker's own, so that a model may be asked to predict them. */
  readonly contentFrom: number;
  /** Index after the turn's end mark; the line break after it is not the speaker's. */
  readonly contentTo: number;
};

export function encodeTurn(tokenizer: Tokenizer, control: ControlTokenIds, turn: Turn): EncodedTurn {
  const head = [control.turnStart, ...tokenizer.encode(`${turn.role}\n`)];
  const content = tokenizer.encode(turn.content);
  const tokens = [...head, ...content, control.turnEnd, ...tokenizer.encode('\n')];
  return { tokens, contentFrom: head.length, contentTo: head.length + content.length + 1 };
}
