/** What every billed answer says of its run beside the answer itself: counts and the brand's metadata object. */
import { z } from 'zod';
import { formatAmount, requestIdOfRun, type TokenUsage } from '../../../events/contract/index.js';
import type { Preset } from '../../../presets/preset-schema.js';
import type { VerificationMode } from '../verification/verification.js';
import type { CompletedRun } from './billed-run.js';

export type AnswerStyle = Pick<Preset, 'brand' | 'unit'> & {
  /** What a receipt of the run is vouched for by; `none` where there are no receipts. */
  readonly verificationMode?: VerificationMode;
};

export function usageObject(usage: TokenUsage) {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  };
}

/**
 * `credits_used` is a JSON number where the unit is the credit, as documented, and otherwise a decimal string beside its `unit`. The run is settled when
 * this is said, so its receipt is there to be asked for.
 */
export function closingMetadata(run: Pick<CompletedRun, 'runId' | 'chargedNanos'>, style: AnswerStyle) {
  const amount = formatAmount(run.chargedNanos);
  const charge = style.unit === 'credit' ? { credits_used: Number(amount) } : { credits_used: amount, unit: style.unit };
  return {
    request_id: requestIdOfRun(run.runId),
    ...charge,
    verified: style.verificationMode !== undefined && style.verificationMode !== 'none',
    verification_mode: style.verificationMode ?? 'none',
    provider: style.brand.provider,
  };
}

/** What a plain answer ends with: the pool where the preset has some, and the metadata object where it has one. */
export function metadataField(
  run: Pick<CompletedRun, 'runId' | 'chargedNanos' | 'pool'>,
  style: AnswerStyle,
): Readonly<Record<string, unknown>> {
  return { ...poolField(run), ...(style.brand.response_object ? { [style.brand.slug]: closingMetadata(run, style) } : {}) };
}

/** Where it was run, which is not always where it was wanted. */
export function poolField({ pool }: Pick<CompletedRun, 'pool'>): { readonly pool?: string } {
  return pool === undefined ? {} : { pool };
}

const tokens = z.number().int().nonnegative();

export const UsageSchema = z.object({
  prompt_tokens: tokens,
  completion_tokens: tokens,
  total_tokens: tokens,
  prompt_tokens_details: z.object({ cached_tokens: tokens }),
});

/** Fields that every billed JSON answer ends with, for the OpenAPI document. */
export function metadataSchemas({ brand, unit }: AnswerStyle): Readonly<Record<string, z.ZodType>> {
  const metadata = z.object({
    request_id: z.string(),
    credits_used: unit === 'credit' ? z.number() : z.string().describe('Decimal'),
    ...(unit === 'credit' ? {} : { unit: z.literal(unit) }),
    verified: z.boolean(),
    verification_mode: z.string(),
    provider: z.string(),
  });
  return {
    pool: z.string().optional().describe('The pool that served the request'),
    ...(brand.response_object ? { [brand.slug]: metadata } : {}),
    idempotent_replay: z.literal(true).optional().describe('Only on an answer replayed for an Idempotency-Key'),
  };
}

/** The same answer again: everything as it was, and the one field that says so. */
export function replayedBody(body: string): string {
  return `${body.slice(0, -1)},"idempotent_replay":true}`;
}
