/** The body of a streamed chat completion, with no parameter that the upstream is not said to know. */
import type { ChatMessage } from '../../../events/contract/index.js';
import type { UpstreamParameter } from '../../../presets/served-by.js';
import type { EngineRun } from '../engine.js';
import type { UpstreamTarget } from './upstream-settings.js';

/** OpenAI takes no more; whatever is not sent is still looked for here. */
const STOPS_SENT_MAX = 4;

/** "Every candidate" for servers that know `top_k`; vLLM's older releases refuse 0, which means the same to the others. */
const TOP_K_UNLIMITED = -1;

type RunParts = Pick<EngineRun, 'messages' | 'sampling' | 'stop'>;

/** JSON text. `outputTokensMax` is what the upstream is allowed to generate. */
export function requestBody(target: UpstreamTarget, { messages, sampling, stop }: RunParts, outputTokensMax: number): string {
  const body: Record<string, unknown> = { model: target.model, messages: messages.map(wireMessage), stream: true };
  body[target.outputLimit] = outputTokensMax;
  if (target.usage === 'final') body['stream_options'] = { include_usage: true };
  if (target.usage === 'every_chunk') body['stream_options'] = { include_usage: true, continuous_usage_stats: true };
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
  return JSON.stringify(body);
}

function wireMessage({ role, content, name }: ChatMessage): Record<string, string> {
  return name === undefined ? { role, content } : { role, content, name };
}
