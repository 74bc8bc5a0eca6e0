/** A streamed answer as it is kept for replays: JSON, with the charge as a decimal string of nanos. */
import { z } from 'zod';
import { FINISH_REASONS, TokenUsageSchema } from '../../../../events/contract/index.js';
import type { Completion } from './completion.js';

const StoredCompletion = z.object({
  runId: z.string(),
  model: z.string(),
  createdAtSeconds: z.number(),
  text: z.string(),
  finishReason: z.enum(FINISH_REASONS),
  usage: TokenUsageSchema,
  chargedNanos: z.string().transform(BigInt),
  systemFingerprint: z.string().nullable(),
});

export function completionToText(completion: Completion): string {
  return JSON.stringify({ ...completion, chargedNanos: completion.chargedNanos.toString() });
}

export function completionFromText(text: string): Completion {
  return StoredCompletion.parse(JSON.parse(text));
}
