/**
 * How the echo engine counts, which clients may rely on:
 * - a token is four UTF-8 bytes, the last one of a text may be shorter; characters are never split;
 * - a message costs its content's tokens, at least one, and `TOKENS_PER_MESSAGE` more; each tool call in it costs as much again for its name and
 *   arguments, and each tool for its JSON text;
 * - a prompt that is no conversation costs its own tokens, at least one; of token ids each is one.
 */
import type { ChatMessage, Prompt, TokenLogprob, ToolUse } from '../../../events/contract/index.js';

const BYTES_PER_TOKEN = 4;
/** Stands for the role and the separators that a chat template adds. */
export const TOKENS_PER_MESSAGE = 4;

/** Tokens of a text by the rule above; 0 for the empty one. */
export function countTokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);
}

/** Tokens of a conversation by the rule above, or as `count` has it. */
export function countPromptTokens(messages: readonly ChatMessage[], toolUse?: ToolUse, count = countTokens): number {
  let tokens = 0;
  for (const { content, toolCalls } of messages) {
    tokens += TOKENS_PER_MESSAGE + Math.max(1, count(content));
    if (toolCalls === undefined) continue;
    for (const { name, arguments: argumentsText } of toolCalls) tokens += TOKENS_PER_MESSAGE + count(name) + count(argumentsText);
  }
  for (const tool of toolUse?.tools ?? []) tokens += TOKENS_PER_MESSAGE + count(JSON.stringify(tool));
  return tokens;
}

/** Tokens of a prompt that goes to the model as it is. */
export function countPlainPromptTokens(prompt: Prompt, count = countTokens): number {
  return typeof prompt === 'string' ? Math.max(1, count(prompt)) : prompt.length;
}

/** The echo engine has no vocabulary: token ids are taken for their numbers. */
export function textOfPrompt(prompt: Prompt): string {
  return typeof prompt === 'string' ? prompt : prompt.join(' ');
}

/**
 * Number of UTF-16 units that the first `tokens` tokens span. No character has more than four bytes, so the longest prefix of whole
 * characters within `4 * tokens` bytes always has exactly that many tokens.
 */
export function prefixOfTokens(text: string, tokens: number): number {
  const bytesMax = tokens * BYTES_PER_TOKEN;
  let bytes = 0;
  let end = 0;
  while (end < text.length) {
    const point = text.codePointAt(end) ?? 0;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (bytes > bytesMax) return end;
    end += point < 0x10000 ? 1 : 2;
  }
  return end;
}

/** What is certain to be said has a probability of 1, and nothing else has any. */
export function certainties(text: string): TokenLogprob[] {
  const tokens: string[] = [];
  let token = '';
  let bytes = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > (tokens.length + 1) * BYTES_PER_TOKEN) {
      tokens.push(token);
      token = '';
    }
    token += character;
  }
  if (token !== '') tokens.push(token);
  return tokens.map((said) => ({ token: said, bytes: [...Buffer.from(said)], logprob: 0, top: [] }));
}
