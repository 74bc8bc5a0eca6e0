/** A streamed answer as it is kept for replays: JSON, with the charge as a decimal string of nanos. */
import { z } from 'zod';
import { FINISH_REASONS, TokenLogprobSchema, TokenUsageSchema, ToolCallSchema } from '../../../events/contract/index.js';
import type { CompletedRun } from './billed-run.js';

const finishReason = z.enum(FINISH_REASONS).nullable();

const StoredRun = z.object({
  runId: z.string(),
  model: z.string(),
  createdAtSeconds: z.number(),
  answers: z.array(
    z.object({
      text: z.string(),
      toolCalls: z.array(ToolCallSchema),
      logprobs: z.array(TokenLogprobSchema).nullable(),
      embedding: z.string().nullable(),
      finishReason,
    }),
  ),
  finishReason,
  usage: TokenUsageSchema,
  chargedNanos: z.string().transform(BigInt),
  systemFingerprint: z.string().nullable(),
  pool: z.string().optional(),
});

/** As it was kept before runs had several answers; keys of that time are still replayed. */
const StoredText = z.object({ text: z.string(), finishReason });

export function runToText(run: CompletedRun): string {
  return JSON.stringify({ ...run, chargedNanos: run.chargedNanos.toString() });
}

export function runFromText(text: string): CompletedRun {
  const stored: unknown = JSON.parse(text);
  const old = StoredText.safeParse(stored);
  if (!old.success) return StoredRun.parse(stored);
  const answer = { ...old.data, toolCalls: [], logprobs: null, embedding: null };
  return StoredRun.parse({ ...(stored as object), answers: [answer] });
}
