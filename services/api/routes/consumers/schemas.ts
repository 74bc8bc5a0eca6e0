/** Consumers as the API shows them. */
import { z } from 'zod';
import { amountText, count, pathId, timeText, unitText } from '../../presentation/fields.js';

export const CONSUMERS_PAGE_MAX = 100;
export const CONSUMERS_PAGE_DEFAULT = 50;

export const ConsumerObject = z
  .object({
    id: z.string().meta({ examples: ['con_01jz8v6c3e4q8r2t5w7y9a0b1c'] }),
    object: z.literal('consumer'),
    email: z.string().meta({ examples: ['jane@example.com'] }),
    name: z.string().nullable(),
    credits_balance: z
      .number()
      .optional()
      .meta({ description: 'Only where the unit is credits.', examples: [42] }),
    balance: amountText.meta({ description: 'What the consumer can spend.' }),
    held: amountText.meta({ description: 'Reserved for requests that are running.' }),
    unit: unitText,
    created_at: timeText,
  })
  .meta({ id: 'Consumer' });

export const ConsumerDetail = ConsumerObject.extend({
  billing: z.object({
    granted: amountText,
    charged: amountText,
    requests: count,
    last_request_at: timeText.nullable(),
  }),
}).meta({ id: 'ConsumerDetail' });

export const ConsumerList = z
  .object({
    object: z.literal('list'),
    data: z.array(ConsumerObject),
    has_more: z.boolean(),
    next_after: z.string().nullable().meta({ description: 'The value of `after` that gives the next page; null on the last.' }),
  })
  .meta({ id: 'ConsumerList' });

export const ConsumersQuery = z.object({
  limit: z
    .string()
    .regex(/^\d{1,3}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(1).max(CONSUMERS_PAGE_MAX))
    .default(CONSUMERS_PAGE_DEFAULT)
    .meta({ type: 'integer', description: `1 to ${CONSUMERS_PAGE_MAX}; ${CONSUMERS_PAGE_DEFAULT} by default.` }),
  after: z.string().optional().meta({ description: 'Id of the last consumer of the previous page.' }),
});

export const ConsumerParams = z.object({ id: pathId });
