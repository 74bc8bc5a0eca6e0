/** What an operator sends to give credit or take it back. */
import { z } from 'zod';
import { parseAmount } from '../../../../events/contract/index.js';
import { amountText, displayName, unitText } from '../../presentation/fields.js';

export const GRANT_REASON_CHARACTERS_MAX = 500;

export const GrantRequest = z
  .strictObject({
    project_id: z.string().optional(),
    consumer_id: z.string().optional(),
    amount: z
      .string()
      .refine((text) => parseAmount(text) !== null, 'must be a decimal string with at most nine decimals')
      .meta({ description: 'A decimal string in the unit of the offer; negative only for an adjustment.', examples: ['12.50'] }),
    reason: displayName(GRANT_REASON_CHARACTERS_MAX).meta({ description: 'Kept in the books.', examples: ['Invoice 2026-17 paid'] }),
    kind: z
      .enum(['adjustment', 'top_up'])
      .default('adjustment')
      .meta({ description: '`top_up` for money received, `adjustment` for corrections.' }),
    grant_id: z
      .string()
      .regex(/^grt_[0-9a-hjkmnp-tv-z]{26}$/, 'must be grt_ and a ULID')
      .optional()
      .meta({ description: 'Repeating a grant with the same id grants once. `Idempotency-Key` does the same for any text.' }),
  })
  .refine((request) => (request.project_id === undefined) !== (request.consumer_id === undefined), {
    message: 'give exactly one of project_id and consumer_id',
    path: ['project_id'],
  })
  .meta({ id: 'GrantRequest' });

export const GrantObject = z
  .object({
    object: z.literal('grant'),
    id: z.string(),
    event_id: z.string().meta({ description: 'The fact in the event store.' }),
    kind: z.enum(['adjustment', 'top_up']),
    project_id: z.string(),
    consumer_id: z.string().nullable(),
    amount: amountText,
    unit: unitText,
    reason: z.string(),
    balance: amountText.meta({ description: 'What can be spent after the grant.' }),
    credits_balance: z.number().optional().meta({ description: 'Only where the unit is credits.' }),
  })
  .meta({ id: 'Grant' });
