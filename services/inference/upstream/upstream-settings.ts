/** What an engine is told about its upstream: a preset's entry, with its key out of the environment. */
import type { UpstreamEntry, UpstreamParameter } from '../../../presets/served-by.js';

/** What an engine needs to know of its upstream. Holds a secret: never log it. */
export type UpstreamTarget = {
  readonly name: string;
  /** Without a slash at its end. */
  readonly baseUrl: string;
  readonly model: string;
  readonly apiKey: string | null;
  readonly parameters: readonly UpstreamParameter[];
  readonly outputLimit: 'max_tokens' | 'max_completion_tokens';
  readonly usage: 'final' | 'every_chunk' | 'unasked';
  readonly firstByteMsMax: number;
  readonly idleMsMax: number;
  readonly concurrentMax: number;
  readonly queuedMax: number;
};

/** An entry with its key out of the environment. Refused when the variable is missing, empty, or cannot be sent in a header. */
export function upstreamTarget(
  entry: UpstreamEntry,
  environment: Readonly<Record<string, string | undefined>>,
): { readonly status: 'usable'; readonly target: UpstreamTarget } | { readonly status: 'refused'; readonly reason: string } {
  const variable = entry.api_key_env;
  const apiKey = variable === undefined ? null : (environment[variable]?.trim() ?? '');
  if (apiKey === '')
    return { status: 'refused', reason: `${variable} is not set, and the upstream ${entry.name} takes its key from there` };
  if (apiKey !== null && !/^[\x21-\x7e]+$/.test(apiKey)) {
    return { status: 'refused', reason: `${variable} holds characters that no key has` };
  }
  const target: UpstreamTarget = {
    name: entry.name,
    baseUrl: entry.base_url.replace(/\/+$/, ''),
    model: entry.model,
    apiKey,
    parameters: entry.parameters,
    outputLimit: entry.output_limit,
    usage: entry.usage,
    firstByteMsMax: entry.timeouts.first_byte_ms,
    idleMsMax: entry.timeouts.idle_ms,
    concurrentMax: entry.concurrent_requests_max,
    queuedMax: entry.queued_requests_max,
  };
  return { status: 'usable', target };
}
