/** Conversations with tools as chat templates expect them, and as plain text for models whose template knows none. */
import type { ChatMessage, Tool, ToolCall, ToolUse } from '../../../../events/contract/index.js';
import { TAGGED_CALLS } from './tool-syntax.js';

/** A message in the shape that Hugging Face's chat templates read. */
export function templateMessage({ role, content, name, toolCalls, toolCallId }: ChatMessage): Record<string, unknown> {
  const message: Record<string, unknown> = { role, content };
  if (name !== undefined) message['name'] = name;
  if (toolCallId !== undefined) message['tool_call_id'] = toolCallId;
  if (toolCalls !== undefined) {
    message['tool_calls'] = toolCalls.map((call) => ({
      id: call.id,
      type: 'function',
      function: { name: call.name, arguments: parsedArguments(call) },
    }));
  }
  return message;
}

export function templateTool(tool: Tool): Record<string, unknown> {
  return { type: 'function', function: { ...tool } };
}

/** Tools, calls and results written into the messages, for a template that knows none of them. */
export function spellOutTools(messages: readonly ChatMessage[], toolUse: ToolUse | undefined): readonly ChatMessage[] {
  const turns = messages.map(spellOut);
  if (toolUse === undefined) return turns;
  const instructions = instructionsOf(toolUse);
  const [first, ...rest] = turns;
  if (first?.role !== 'system') return [{ role: 'system', content: instructions }, ...turns];
  return [{ ...first, content: `${first.content}\n\n${instructions}` }, ...rest];
}

function spellOut({ role, content, toolCalls }: ChatMessage): ChatMessage {
  // What is added to a result stays within what `TEMPLATE_TOKENS_PER_MESSAGE` allows for, even where every character is a token.
  if (role === 'tool') return { role: 'user', content: `Result: ${content}` };
  if (toolCalls === undefined) return { role, content };
  const { open, middle, close, separator } = TAGGED_CALLS;
  const calls = toolCalls.map((call) => `${open}${inJson(call.name)}${middle}${JSON.stringify(parsedArguments(call))}${close}`);
  return { role, content: [...(content === '' ? [] : [content]), ...calls].join(separator) };
}

/** Within `TEMPLATE_TOKENS_FOR_TOOLS` characters, and one line of compact JSON a tool. */
function instructionsOf({ tools, choice, parallel }: ToolUse): string {
  const { open, middle, close } = TAGGED_CALLS;
  const must = choice === 'auto' ? 'You may call' : typeof choice === 'string' ? 'Call' : `Call ${inJson(choice.name)}, one of`;
  return [
    `${must} these functions, described by JSON Schema:`,
    ...tools.map((tool) => JSON.stringify(tool)),
    `To call ${parallel ? 'one' : 'a single one'}, answer with its name and arguments in this form, and nothing after it:`,
    `${open}NAME${middle}ARGUMENTS${close}`,
  ].join('\n');
}

/** The JSON value where there is one: what a model wrote before may have been cut off. */
function parsedArguments(call: ToolCall): unknown {
  try {
    return JSON.parse(call.arguments) as unknown;
  } catch {
    return call.arguments;
  }
}

function inJson(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}
