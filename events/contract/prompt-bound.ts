/**
 * Upper bound of a prompt's tokens, known without its tokenizer. Holds are computed from it and upstreams' counts are held against it, so both
 * must use the same one.
 */
import type { ChatMessage } from './run-messages.js';

/** A chat template wraps each message into markers; the longest in the catalogues take about ten tokens. */
export const TEMPLATE_TOKENS_PER_MESSAGE = 16;
/** Once per prompt: the start marker, the opening of the answer, and a system prompt that some templates add by themselves. */
export const TEMPLATE_TOKENS_PER_PROMPT = 64;

/**
 * No token stands for less than one byte of UTF-8, so the bytes of all texts bound the texts' tokens, and the template adds the two constants
 * above.
 */
export function promptTokensBound(messages: readonly ChatMessage[]): number {
  let bound = TEMPLATE_TOKENS_PER_PROMPT;
  for (const { content, name } of messages) {
    bound += TEMPLATE_TOKENS_PER_MESSAGE + Buffer.byteLength(content);
    if (name !== undefined) bound += Buffer.byteLength(name);
  }
  return bound;
}
