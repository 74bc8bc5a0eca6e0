/** Records of requests and their explanations. */
import { z } from 'zod';
import { amountText, count, exactAmountText, pathId, timeText, unitText } from '../../presentation/fields.js';
import { ReceiptSchema } from '../../verification/receipt.js';
import { WAIVERS } from './explain-charge.js';

export const RequestParams = z.object({
  id: pathId.meta({ description: 'A request id (`req_…`), its run id (`run_…`) or the id of its completion (`chatcmpl-…`).' }),
});

const status = z.enum(['reserved', 'completed', 'cancelled', 'failed', 'expired']);

const billedTo = z.object({ kind: z.enum(['project', 'consumer']), id: z.string() });

const audio = z.object({ bytes: count, milliseconds: count });

const usage = z.object({
  counted_by: z.enum(['engine', 'worker']).meta({ description: 'The worker counts by a stated rule where an upstream gives no counts.' }),
  prompt_tokens: count,
  cached_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  audio: audio.optional().meta({ description: 'Only of transcriptions: the file as it was measured.' }),
});

export const RequestObject = z
  .object({
    id: z.string().meta({ examples: ['req_01jz8v6c3e4q8r2t5w7y9a0b1c'] }),
    object: z.literal('request'),
    run_id: z.string(),
    status: status.meta({ description: '`reserved` while it runs.' }),
    model: z.string(),
    billed_to: billedTo,
    key_id: z.string(),
    usage: usage.nullable().meta({ description: 'Null until the run has ended: unknown, not zero.' }),
    finish_reason: z.string().nullable(),
    attempt: count.nullable().meta({ description: 'Which attempt answered; 0 when none did.' }),
    errors: z.array(z.object({ code: z.string() })),
    unit: unitText,
    held: amountText,
    charged: amountText.nullable(),
    refunded: amountText.nullable(),
    credits_used: z.number().optional().meta({ description: 'Only where the unit is credits, once the run is settled.' }),
    price_version: z.string(),
    created_at: timeText,
    settled_at: timeText.nullable(),
    deadline_at: timeText.meta({ description: 'After this and a grace the hold of a run that is still open is released.' }),
  })
  .meta({ id: 'Request' });

const line = z.object({
  item: z.string(),
  quantity: count,
  rate: amountText,
  per: z.number().int(),
  amount: exactAmountText,
});

const calculation = z.object({
  lines: z.array(line),
  exact: exactAmountText,
  rounding: z.enum(['up', 'down', 'half_even', 'none']),
  price: amountText.meta({ description: 'The sum after rounding.' }),
});

const step = z.object({
  step: z.enum(['hold', 'charge', 'refund', 'settle']),
  event_type: z.string(),
  event_id: z.string(),
  at: timeText,
  amount: amountText.nullable().meta({ description: 'Null for a step that moves no money.' }),
  from: z.string().nullable().meta({ description: 'Ledger account that the money left; null when nothing moved.' }),
  to: z.string().nullable(),
});

export const VerificationObject = z
  .object({
    verified: z.boolean().meta({ description: 'Whether the receipt below was made and every check of it passed.' }),
    verification_mode: z.enum(['tee', 'signed', 'none']).meta({
      description: '`tee` where the hardware gave a quote for this receipt, `signed` where a key of the service vouches for it.',
    }),
    provider: z.string(),
    report_id: z
      .string()
      .nullable()
      .meta({ examples: ['att_01jz8v6c3e4q8r2t5w7y9a0b1c'] }),
    quote_hash: z.string().nullable().meta({ description: 'SHA-256 of the quote, or of the canonical receipt where there is no quote.' }),
    verified_at: timeText.nullable(),
    quote: z
      .object({ platform: z.string(), base64: z.string() })
      .nullable()
      .meta({ description: "The hardware's quote; it carries the SHA-512 of the canonical receipt." }),
    receipt: ReceiptSchema.nullable(),
  })
  .meta({ id: 'RequestVerification' });

export const ExplanationObject = z
  .object({
    object: z.literal('request.explanation'),
    request_id: z.string(),
    run_id: z.string(),
    model: z.string(),
    status,
    billed_to: billedTo,
    unit: unitText,
    price: z
      .object({ version: z.string(), kind: z.string() })
      .loose()
      .meta({ description: 'The terms as they were frozen into the hold.' }),
    hold: calculation.extend({
      prompt_tokens_max: count,
      output_tokens_budget: count,
      audio: audio.optional(),
      amount: amountText.meta({ description: 'What was held: the most the run could cost.' }),
    }),
    usage: usage.nullable(),
    charge: calculation
      .extend({
        waiver: z.enum(WAIVERS).nullable(),
        charged: amountText,
        refunded: amountText,
      })
      .nullable()
      .meta({ description: 'Null until the run has ended.' }),
    steps: z.array(step),
    adds_up: z
      .boolean()
      .nullable()
      .meta({ description: 'Whether this second calculation arrives at what was booked, and charge and refund make up the hold.' }),
  })
  .meta({ id: 'RequestExplanation' });

export const VerificationKeys = z
  .object({
    object: z.literal('list'),
    data: z.array(z.object({ id: z.string(), algorithm: z.literal('Ed25519'), public_key: z.string(), active: z.boolean() })),
  })
  .meta({ id: 'VerificationKeys' });
