/**
 * Upper bound of a prompt's tokens, known without its tokenizer. Holds are computed from it and upstreams' counts are held against it, so both
 * must use the same one.
 */
import type { ChatMessage, Prompt, ToolUse } from './run-messages.js';

/** A chat template wraps each message into markers; the longest in the catalogues take about ten tokens. */
export const TEMPLATE_TOKENS_PER_MESSAGE = 16;
/** Once per prompt: the start marker, the opening of the answer, and a system prompt that some templates add by themselves. */
export const TEMPLATE_TOKENS_PER_PROMPT = 64;

/** The words around one tool or one call. */
const TEMPLATE_TOKENS_PER_TOOL = 64;
/** The instructions that come with tools, once: a template's own, or ours where it has none. */
export const TEMPLATE_TOKENS_FOR_TOOLS = 1_024;
const LAYOUT_FACTOR = 4;
const START_TOKENS = 2;

/**
 * No token stands for less than one byte of UTF-8, so the bytes of all texts bound the texts' tokens, and the template adds the two constants
 * above.
 */
export function promptTokensBound(messages: readonly ChatMessage[], toolUse?: ToolUse): number {
  let bound = TEMPLATE_TOKENS_PER_PROMPT;
  for (const { content, name, toolCalls, toolCallId } of messages) {
    bound += TEMPLATE_TOKENS_PER_MESSAGE + Buffer.byteLength(content);
    if (name !== undefined) bound += Buffer.byteLength(name);
    if (toolCallId !== undefined) bound += Buffer.byteLength(toolCallId);
    for (const call of toolCalls ?? []) bound += TEMPLATE_TOKENS_PER_TOOL + textBytesMax(call);
  }
  return toolUse === undefined ? bound : bound + toolsBound(toolUse);
}

/** Of prompts that no template wraps: the bytes of a text, or the tokens themselves, and a start marker each. */
export function plainPromptTokensBound(prompts: readonly Prompt[]): number {
  let bound = 0;
  for (const prompt of prompts) bound += START_TOKENS + (typeof prompt === 'string' ? Buffer.byteLength(prompt) : prompt.length);
  return bound;
}

function toolsBound({ tools }: ToolUse): number {
  let bound = TEMPLATE_TOKENS_FOR_TOOLS;
  for (const tool of tools) bound += TEMPLATE_TOKENS_PER_TOOL + textBytesMax(tool);
  return bound;
}

/** Templates write tools and calls as JSON, some of them indented; no layout in use takes more than this many times the compact text. */
function textBytesMax(value: unknown): number {
  return LAYOUT_FACTOR * Buffer.byteLength(JSON.stringify(value));
}
