/** The bodies of requests to an upstream, with no parameter that it is not said to know. */
import type { AnswerFormat, ChatMessage, ToolUse } from '../../../events/contract/index.js';
import type { UpstreamParameter } from '../../../presets/served-by.js';
import type { EmbeddingRun, EngineRun } from '../engine.js';
import type { UpstreamTarget } from './upstream-settings.js';

/** OpenAI takes no more; whatever is not sent is still looked for here. */
const STOPS_SENT_MAX = 4;

/** "Every candidate" for servers that know `top_k`; vLLM's older releases refuse 0, which means the same to the others. */
const TOP_K_UNLIMITED = -1;

export type RunParts = Pick<EngineRun, 'messages' | 'prompt' | 'toolUse' | 'format' | 'sampling' | 'stop'>;

/**
 * What the run needs and the upstream does not know, `null` when there is nothing. Without a seed an answer is still an answer; without its tools
 * it is one to another question.
 */
export function missingAbility({ parameters }: UpstreamTarget, { toolUse, format, sampling }: RunParts): UpstreamParameter | null {
  const needed: [UpstreamParameter, boolean][] = [
    ['tools', toolUse !== undefined],
    ['response_format', format !== undefined],
    ['logprobs', sampling.logprobs !== undefined],
    ['logit_bias', (sampling.logitBias ?? []).length > 0],
  ];
  return needed.find(([parameter, isNeeded]) => isNeeded && !parameters.includes(parameter))?.[0] ?? null;
}

/** Where the run goes, and with what as JSON text. `outputTokensMax` is what the upstream is allowed to generate. */
export function generationRequest(target: UpstreamTarget, run: RunParts, outputTokensMax: number) {
  const body: Record<string, unknown> = { model: target.model, stream: true };
  if (target.usage === 'final') body['stream_options'] = { include_usage: true };
  if (target.usage === 'every_chunk') body['stream_options'] = { include_usage: true, continuous_usage_stats: true };
  setSampling(body, target, run);
  if (run.prompt !== undefined) {
    // The older protocol knows no other name for the limit, and no probabilities but by their number.
    Object.assign(body, { prompt: run.prompt, max_tokens: outputTokensMax });
    if (run.sampling.logprobs !== undefined) body['logprobs'] = run.sampling.logprobs;
    return { path: '/completions', body: JSON.stringify(body) } as const;
  }
  body['messages'] = run.messages.map(wireMessage);
  body[target.outputLimit] = outputTokensMax;
  if (run.sampling.logprobs !== undefined) Object.assign(body, { logprobs: true, top_logprobs: run.sampling.logprobs });
  if (run.toolUse !== undefined) setTools(body, run.toolUse);
  if (run.format !== undefined) body['response_format'] = wireFormat(run.format);
  return { path: '/chat/completions', body: JSON.stringify(body) } as const;
}

/** JSON text. Numbers are asked for as numbers: every server knows that form, and those that know base64 alone are not known. */
export function embeddingBody(target: UpstreamTarget, { inputs, dimensions }: Pick<EmbeddingRun, 'inputs' | 'dimensions'>): string {
  const body: Record<string, unknown> = { model: target.model, input: inputs, encoding_format: 'float' };
  if (dimensions !== undefined) body['dimensions'] = dimensions;
  return JSON.stringify(body);
}

function setSampling(body: Record<string, unknown>, target: UpstreamTarget, { sampling, stop }: RunParts): void {
  const known = (parameter: UpstreamParameter) => target.parameters.includes(parameter);
  if (known('temperature')) body['temperature'] = sampling.temperature;
  if (known('top_p')) body['top_p'] = sampling.topP;
  // Sent even when they change nothing: llama-server and a model's own settings have other defaults.
  if (known('top_k')) body['top_k'] = sampling.topK === 0 ? TOP_K_UNLIMITED : sampling.topK;
  if (known('min_p')) body['min_p'] = sampling.minP;
  // Left out at 0, the default everywhere: some hosted models refuse the parameter, whatever its value.
  if (known('frequency_penalty') && sampling.frequencyPenalty !== 0) body['frequency_penalty'] = sampling.frequencyPenalty;
  if (known('presence_penalty') && sampling.presencePenalty !== 0) body['presence_penalty'] = sampling.presencePenalty;
  if (known('seed') && sampling.seed !== null) body['seed'] = sampling.seed;
  if (known('stop') && stop.length > 0) body['stop'] = stop.slice(0, STOPS_SENT_MAX);
  if (known('logit_bias') && sampling.logitBias !== undefined) body['logit_bias'] = Object.fromEntries(sampling.logitBias);
}

function setTools(body: Record<string, unknown>, { tools, choice, parallel }: ToolUse): void {
  body['tools'] = tools.map((tool) => ({ type: 'function', function: tool }));
  body['tool_choice'] = typeof choice === 'string' ? choice : { type: 'function', function: choice };
  // Several calls are what every server allows by itself, and some refuse the parameter.
  if (!parallel) body['parallel_tool_calls'] = false;
}

function wireFormat(format: AnswerFormat): Record<string, unknown> {
  if (format.kind === 'json_object') return { type: 'json_object' };
  return { type: 'json_schema', json_schema: { name: 'answer', schema: format.schema, strict: isStrict(format.schema) } };
}

function wireMessage({ role, content, name, toolCalls, toolCallId }: ChatMessage): Record<string, unknown> {
  const message: Record<string, unknown> = { role, content };
  if (name !== undefined) message['name'] = name;
  if (toolCallId !== undefined) message['tool_call_id'] = toolCallId;
  if (toolCalls === undefined) return message;
  // Nothing said beside the calls is null in OpenAI's protocol, and an empty text is refused by some.
  if (content === '') message['content'] = null;
  message['tool_calls'] = toolCalls.map((call) => ({
    id: call.id,
    type: 'function',
    function: { name: call.name, arguments: call.arguments },
  }));
  return message;
}

/** OpenAI refuses `strict` for objects that may have other properties, or need not have all; elsewhere it changes nothing. */
function isStrict(schema: unknown): boolean {
  if (typeof schema !== 'object' || schema === null) return true;
  const { type, properties = {}, required = [], additionalProperties } = schema as Record<string, unknown>;
  if (type === 'object') {
    const isClosed = additionalProperties === false && Array.isArray(required);
    if (!isClosed || !Object.keys(properties as object).every((name) => required.includes(name))) return false;
  }
  return Object.values(schema).every(isStrict);
}
