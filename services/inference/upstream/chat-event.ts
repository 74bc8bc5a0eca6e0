/** What one server-sent event of a streamed completion says, of a chat or a prompt. Parsed here once; a stream that says something else is not guessed at. */
import { z } from 'zod';
import type { SseEvent } from './sse-parser.js';
import type { UpstreamCallDelta } from './tool-calls.js';
import { type Complaint, complaintOf } from './upstream-errors.js';

export type ChatChunk = {
  readonly kind: 'chunk';
  /** Of the answer; may be empty. */
  readonly text: string;
  /** Of a reasoning model's thoughts, which are generated and counted and not part of the answer; may be empty. */
  readonly thought: string;
  readonly calls: readonly UpstreamCallDelta[];
  /** Not looked at yet. */
  readonly logprobs: unknown;
  /** As the upstream calls it. */
  readonly finishReason: string | null;
  /** Not looked at yet; `null` when the chunk has none. */
  readonly usage: unknown;
  readonly fingerprint: string | null;
};

export type ChatEvent =
  | ChatChunk
  | { readonly kind: 'done' }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'complaint'; readonly complaint: Complaint }
  | { readonly kind: 'unreadable'; readonly reason: string };

const text = z.string().nullish();

const CallSchema = z.object({
  index: z.number().int().nullish(),
  id: text,
  function: z.object({ name: text, arguments: text }).nullish(),
});
type CallChunk = z.infer<typeof CallSchema>;

const ChunkSchema = z.object({
  choices: z
    .array(
      z.object({
        index: z.number().nullish(),
        delta: z.object({ content: text, reasoning_content: text, reasoning: text, tool_calls: z.array(CallSchema).nullish() }).nullish(),
        /** Of a prompt's completion. */
        text,
        logprobs: z.unknown().optional(),
        finish_reason: text,
      }),
    )
    .nullish(),
  usage: z.unknown().optional(),
  system_fingerprint: text,
});

/** Reads an event. Upstreams report trouble that comes after the status line as an event with an `error`. */
export function readChatEvent({ name, payload }: SseEvent): ChatEvent {
  const trimmed = payload.trim();
  if (trimmed === '') return { kind: 'nothing' };
  if (trimmed === '[DONE]') return { kind: 'done' };
  let value: unknown;
  try {
    value = JSON.parse(trimmed);
  } catch {
    return name === 'error' ? { kind: 'complaint', complaint: complaintOf(null) } : { kind: 'unreadable', reason: 'an event is not JSON' };
  }
  if (name === 'error' || isComplaint(value)) return { kind: 'complaint', complaint: complaintOf(value) };
  const parsed = ChunkSchema.safeParse(value);
  if (!parsed.success) return { kind: 'unreadable', reason: 'an event is no chunk of a completion' };
  const { choices, usage, system_fingerprint } = parsed.data;
  const choice = choices?.find(({ index }) => (index ?? 0) === 0);
  return {
    kind: 'chunk',
    text: choice?.delta?.content ?? choice?.text ?? '',
    thought: choice?.delta?.reasoning_content ?? choice?.delta?.reasoning ?? '',
    calls: choice?.delta?.tool_calls?.map(callDelta) ?? NO_CALLS,
    logprobs: choice?.logprobs ?? null,
    finishReason: choice?.finish_reason ?? null,
    usage: usage ?? null,
    fingerprint: system_fingerprint ?? null,
  };
}

const NO_CALLS: readonly UpstreamCallDelta[] = [];

function callDelta({ index, id, function: called }: CallChunk): UpstreamCallDelta {
  const isGiven = (word: string | null | undefined) => word !== undefined && word !== null && word !== '';
  return {
    index: index ?? null,
    id: isGiven(id) ? (id ?? null) : null,
    name: isGiven(called?.name) ? (called?.name ?? null) : null,
    argumentsText: called?.arguments ?? '',
  };
}

function isComplaint(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  // The second form is that of older vLLM releases.
  return ('error' in value && value.error !== null && value.error !== undefined) || ('object' in value && value.object === 'error');
}
