/**
 * How a preset names the servers behind a model. The address comes from here and nowhere else; the key comes from the environment, never from
 * the file.
 */
import { z } from 'zod';

/** Servers behind one model, tried in order; a run that has met all of them has waited long enough. */
export const SERVED_BY_MAX = 8;

/** Node's fetch ends any silence of 300 s by itself, so a longer limit would not be kept. */
const SILENCE_MS_MAX = 300_000;

/** Requests under way at one upstream, and waiting for that, as far as a preset may set them. */
const CONCURRENT_REQUESTS_MAX = 4_096;

/** Parameters beside the prompt that servers know or refuse; each server is sent only those it is said to know. */
export const UPSTREAM_PARAMETERS = [
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'frequency_penalty',
  'presence_penalty',
  'seed',
  'stop',
  'logit_bias',
  'logprobs',
  'tools',
  'response_format',
] as const;
export type UpstreamParameter = (typeof UPSTREAM_PARAMETERS)[number];

/**
 * Those of OpenAI's own API; vLLM, SGLang and llama-server also know `top_k` and `min_p`. A run that needs one of the last four is not sent to a
 * server without it; the others are left out.
 */
const STANDARD_PARAMETERS: UpstreamParameter[] = [
  'temperature',
  'top_p',
  'frequency_penalty',
  'presence_penalty',
  'seed',
  'stop',
  'logit_bias',
  'logprobs',
  'tools',
  'response_format',
];

const LOCAL_HOSTNAME = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

const BaseUrlSchema = z.string().superRefine((text, context) => {
  const fault = faultOfBaseUrl(text);
  if (fault !== null) context.addIssue({ code: 'custom', message: fault });
});

const silenceMs = (standard: number) => z.number().int().min(100).max(SILENCE_MS_MAX).default(standard);

/** One OpenAI-compatible server, as a preset writes it. */
export const UpstreamSchema = z.strictObject({
  /** The operator's name for it: part of the system fingerprint and of log lines, so that no address appears in either. */
  name: z.string().regex(/^[a-z][a-z0-9-]{0,30}$/),
  /** Up to and including `/v1`; https, or http on this machine. */
  base_url: BaseUrlSchema,
  /** What the model is called there. */
  model: z.string().min(1).max(200),
  /** The only variant of the model that it is for; absent: it serves whichever is asked for. */
  quantization: z.string().min(1).max(20).optional(),
  /** The environment variable that holds the key. Absent: the server wants none. */
  api_key_env: z
    .string()
    .regex(/^[A-Z_][A-Z0-9_]{0,99}$/)
    .optional(),
  parameters: z.array(z.enum(UPSTREAM_PARAMETERS)).default(STANDARD_PARAMETERS),
  /** OpenAI's reasoning models refuse the older name. */
  output_limit: z.enum(['max_tokens', 'max_completion_tokens']).default('max_tokens'),
  /**
   * `final`: asked for with `include_usage`. `every_chunk`: with vLLM's `continuous_usage_stats` too, so that runs cut short are counted by
   * the server as well. `unasked`: for servers that refuse `stream_options`.
   */
  usage: z.enum(['final', 'every_chunk', 'unasked']).default('final'),
  timeouts: z
    .strictObject({
      /** From the request to the first byte of the answer's body: connecting (at most 10 s, undici's limit), queueing and reading the prompt. */
      first_byte_ms: silenceMs(60_000),
      /** Between two bytes of the answer. */
      idle_ms: silenceMs(30_000),
    })
    .prefault({}),
  concurrent_requests_max: z.number().int().min(1).max(CONCURRENT_REQUESTS_MAX).default(64),
  queued_requests_max: z.number().int().min(0).max(CONCURRENT_REQUESTS_MAX).default(256),
});
export type UpstreamEntry = z.infer<typeof UpstreamSchema>;

/** A model's `served_by`: servers in the order in which they are tried, and the place of the local weights among them. */
export const ServedBySchema = z
  .array(z.union([z.literal('local_weights'), UpstreamSchema]))
  .min(1)
  .max(SERVED_BY_MAX)
  .refine((entries) => new Set(entries.map(nameOfEntry)).size === entries.length, 'names must be unique');

function nameOfEntry(entry: 'local_weights' | UpstreamEntry): string {
  return typeof entry === 'string' ? entry : entry.name;
}

function faultOfBaseUrl(text: string): string | null {
  if (!URL.canParse(text)) return 'must be a URL';
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return 'must not hold credentials; name their variable in api_key_env';
  if (url.search !== '' || url.hash !== '' || /[?#]$/.test(text)) return 'must end with its path';
  if (url.protocol === 'https:') return null;
  if (url.protocol === 'http:' && LOCAL_HOSTNAME.test(url.hostname)) return null;
  return 'must be https, or http on localhost';
}
