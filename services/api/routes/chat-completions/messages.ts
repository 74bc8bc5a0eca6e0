/** The conversation of a chat request: roles, text parts, and calls of tools with their results. Anything but text is refused by its type. */
import { z } from 'zod';
import type { ChatMessage, ToolCall } from '../../../../events/contract/index.js';
import { isEmptyArray, known, unsupported } from '../../billed-runs/sampling-parameters.js';
import { type RefusalError, refuse } from '../../refusals.js';
import { TOOL_CALLS_MAX, toolName } from './tools.js';

export const MESSAGES_MAX = 2_048;
export const CONTENT_PARTS_MAX = 1_024;
const NAME_CHARACTERS_MAX = 64;
const TOOL_CALL_ID_CHARACTERS_MAX = 80;
const SHOWN_CHARACTERS_MAX = 40;

const toolCallId = z.string().min(1).max(TOOL_CALL_ID_CHARACTERS_MAX);

const ToolCallOfMessage = z.object({
  id: toolCallId,
  type: z.literal('function'),
  function: z.object({ name: toolName, arguments: z.string() }),
});

export const MessageSchema = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool', 'function']),
  content: z
    .union([z.string(), z.array(z.object({ type: z.string(), text: z.string().optional() })).max(CONTENT_PARTS_MAX), z.null()], {
      error: 'must be a string or an array of text parts',
    })
    .optional(),
  name: z.string().max(NAME_CHARACTERS_MAX).nullish(),
  tool_calls: z.array(ToolCallOfMessage).max(TOOL_CALLS_MAX).nullish().describe('On role assistant: the tools it called.'),
  tool_call_id: toolCallId.nullish().describe('On role tool: which call this is the result of.'),
  function_call: known('Not supported.'),
  audio: known('Not supported.'),
});
type MessageOfBody = z.infer<typeof MessageSchema>;

/** Throws a `RefusalError` that names the place in `messages`. */
export function conversationOf(messages: readonly MessageOfBody[]): ChatMessage[] {
  const callsSoFar = new Set<string>();
  return messages.map((message, index) => chatMessageOf(message, `messages[${index}]`, callsSoFar));
}

function chatMessageOf(message: MessageOfBody, place: string, callsSoFar: Set<string>): ChatMessage {
  const { role } = message;
  if (role === 'function') {
    throw unsupported(`${place}.role`, 'Messages with role "function" are not supported; answer tool_calls with role "tool".');
  }
  for (const name of ['function_call', 'audio'] as const) {
    const value = message[name];
    if (value !== undefined && value !== null && !isEmptyArray(value)) throw unsupported(`${place}.${name}`);
  }
  const toolCalls = toolCallsOf(message, place);
  const content = message.content == null && toolCalls.length > 0 ? '' : textOf(message.content, place);
  const toolCallId = role === 'tool' ? answeredCallOf(message, place, callsSoFar) : undefined;
  for (const { id } of toolCalls) callsSoFar.add(id);
  const name = message.name ?? undefined;
  return {
    role: role === 'developer' ? 'system' : role,
    content,
    ...(name === undefined ? {} : { name }),
    ...(toolCalls.length === 0 ? {} : { toolCalls }),
    ...(toolCallId === undefined ? {} : { toolCallId }),
  };
}

function toolCallsOf({ role, tool_calls }: MessageOfBody, place: string): ToolCall[] {
  const calls = tool_calls ?? [];
  if (calls.length > 0 && role !== 'assistant') throw misplaced(`${place}.tool_calls`, 'are for messages with role "assistant"');
  return calls.map(({ id, function: { name, arguments: text } }) => ({ id, name, arguments: text }));
}

function answeredCallOf({ tool_call_id }: MessageOfBody, place: string, callsSoFar: ReadonlySet<string>): string {
  const param = `${place}.tool_call_id`;
  if (tool_call_id === undefined || tool_call_id === null) {
    throw refuse('invalid_parameter', { message: `The parameter ${param} is required: messages with role "tool" answer a call.`, param });
  }
  if (!callsSoFar.has(tool_call_id)) throw misplaced(param, 'must be the id of one of the tool_calls of an earlier message');
  return tool_call_id;
}

function misplaced(param: string, what: string): RefusalError {
  return refuse('invalid_value', { message: `${param} ${what}.`, param });
}

/** Text parts are joined as they are. */
function textOf(content: MessageOfBody['content'], place: string): string {
  if (typeof content === 'string') return content;
  if (content === undefined || content === null) {
    throw refuse('invalid_parameter', {
      message: `${place}.content must be a string or an array of text parts.`,
      param: `${place}.content`,
    });
  }
  let text = '';
  for (const [index, part] of content.entries()) {
    const param = `${place}.content[${index}]`;
    if (part.type !== 'text') {
      const type = part.type.slice(0, SHOWN_CHARACTERS_MAX);
      throw unsupported(`${param}.type`, `Content parts of type "${type}" are not supported; only "text" is.`);
    }
    if (part.text === undefined) throw refuse('invalid_parameter', { message: `${param}.text must be a string.`, param: `${param}.text` });
    text += part.text;
  }
  return text;
}
