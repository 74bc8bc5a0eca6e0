/** `tools` and `tool_choice`: what the model may call. Only functions; their parameters must be of a schema that the output can be held to. */
import { z } from 'zod';
import { checkObjectSchema } from '../../../../events/contract/answer-schema.js';
import type { Tool, ToolUse } from '../../../../events/contract/index.js';
import { unsupported } from '../../billed-runs/sampling-parameters.js';
import { refuse } from '../../refusals.js';
import { JsonObjectSchema, refuseSchema } from './response-format.js';

export const TOOLS_MAX = 128;
export const TOOL_CALLS_MAX = 128;
/** A page of prose for each tool; it counts as prompt. */
export const TOOL_DESCRIPTION_CHARACTERS_MAX = 4_096;
const SHOWN_CHARACTERS_MAX = 40;

/** As OpenAI has it. Names go into prompts and grammars, so nothing else gets through: no control characters, no quotes. */
export const toolName = z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, underscores or hyphens');

const FunctionSchema = z.object({
  name: toolName,
  description: z.string().max(TOOL_DESCRIPTION_CHARACTERS_MAX).nullish(),
  parameters: JsonObjectSchema.nullish().describe('JSON Schema of the arguments, an object; absent: none.'),
  strict: z.boolean().nullish().describe('Arguments are always held to the schema.'),
});

export const TOOL_PARAMETERS = {
  tools: z
    .array(z.object({ type: z.string(), function: FunctionSchema.optional() }))
    .max(TOOLS_MAX)
    .nullish(),
  tool_choice: z
    .union([z.string(), z.object({ type: z.string(), function: z.object({ name: z.string() }).optional() })], {
      error: 'must be none, auto, required or {"type":"function","function":{"name":…}}',
    })
    .nullish(),
  parallel_tool_calls: z.boolean().nullish().describe('false: one call at most. Default true.'),
};

const ToolParameters = z.object(TOOL_PARAMETERS);
type ToolParameters = z.infer<typeof ToolParameters>;
type ToolOfBody = NonNullable<ToolParameters['tools']>[number];

const NO_ARGUMENTS = { type: 'object', properties: {}, additionalProperties: false };

/** `null`: nothing may be called. Throws a `RefusalError` that names the parameter. */
export function toolUseOf(body: ToolParameters): ToolUse | null {
  const tools = (body.tools ?? []).map(toolOf);
  const choice = body.tool_choice ?? null;
  if (tools.length === 0) {
    for (const param of ['tool_choice', 'parallel_tool_calls'] as const) {
      if (body[param] !== undefined && body[param] !== null) throw invalid(param, `${param} is only allowed when tools are specified.`);
    }
    return null;
  }
  refuseDuplicates(tools);
  const parallel = body.parallel_tool_calls ?? true;
  if (choice === null || choice === 'auto') return { tools, choice: 'auto', parallel };
  if (choice === 'none') return null;
  if (choice === 'required') return { tools, choice, parallel };
  return { tools, choice: { name: chosenName(choice, tools) }, parallel };
}

function toolOf(tool: ToolOfBody, index: number): Tool {
  const place = `tools[${index}]`;
  if (tool.type !== 'function') {
    throw unsupported(
      `${place}.type`,
      `Tools of type "${tool.type.slice(0, SHOWN_CHARACTERS_MAX)}" are not supported; only "function" is.`,
    );
  }
  if (tool.function === undefined) {
    throw refuse('invalid_parameter', { message: `The parameter ${place}.function is required.`, param: `${place}.function` });
  }
  const { name, description, parameters } = tool.function;
  const schema = parameters ?? NO_ARGUMENTS;
  refuseSchema(checkObjectSchema(schema), `${place}.function.parameters`);
  return { name, ...(description === undefined || description === null ? {} : { description }), parameters: schema };
}

function refuseDuplicates(tools: readonly Tool[]): void {
  const names = new Set<string>();
  for (const [index, { name }] of tools.entries()) {
    if (names.has(name)) throw invalid(`tools[${index}].function.name`, `The tool ${name} is defined twice.`);
    names.add(name);
  }
}

function chosenName(choice: Exclude<ToolParameters['tool_choice'], null | undefined>, tools: readonly Tool[]): string {
  if (typeof choice === 'string') throw invalid('tool_choice', 'tool_choice must be none, auto, required or name a function.');
  if (choice.type !== 'function' || choice.function === undefined) {
    const type = choice.type.slice(0, SHOWN_CHARACTERS_MAX);
    throw unsupported('tool_choice.type', `A tool_choice of type "${type}" is not supported; only "function" with its name is.`);
  }
  const { name } = choice.function;
  if (!tools.some((tool) => tool.name === name)) {
    throw invalid('tool_choice.function.name', `tool_choice names "${name.slice(0, SHOWN_CHARACTERS_MAX)}", which is not among the tools.`);
  }
  return name;
}

function invalid(param: string, message: string) {
  return refuse('invalid_value', { message, param });
}
