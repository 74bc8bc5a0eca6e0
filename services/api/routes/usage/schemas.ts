/** What a usage report takes and gives. */
import { z } from 'zod';
import { amountText, count, timeText, unitText } from '../../presentation/fields.js';
import { USAGE_DAYS_DEFAULT, USAGE_DAYS_MAX } from '../../read-model/read-model.js';

const boundaryText = z.string().min(1).max(40).optional();

export const UsageQueryParameters = z.object({
  from: boundaryText.meta({
    description: `ISO 8601 date or time. A date or a time without an offset is meant in \`timezone\`. ${USAGE_DAYS_DEFAULT} days before \`to\` by default.`,
    examples: ['2026-04-01'],
  }),
  to: boundaryText.meta({ description: 'ISO 8601; a date is included whole, a time is not. Now by default.', examples: ['2026-04-27'] }),
  timezone: z
    .string()
    .min(1)
    .max(64)
    .default('UTC')
    .meta({ description: 'IANA name of the time zone whose days are counted.', examples: ['Europe/Paris'] }),
  group_by: z.enum(['model', 'consumer']).optional().meta({ description: 'Adds the totals broken down.' }),
});

const sums = {
  requests: count,
  completed: count,
  cancelled: count,
  failed: count,
  expired: count,
  prompt_tokens: count,
  cached_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  charged: amountText,
  credits_used: z.number().optional().meta({ description: 'Only where the unit is credits.' }),
};

export const UsageReportObject = z
  .object({
    object: z.literal('usage'),
    from: timeText.meta({ description: 'Where the report begins, on a quarter of an hour.' }),
    to: timeText.meta({ description: 'Where it ends; this moment is not included.' }),
    timezone: z.string(),
    unit: unitText,
    totals: z.object(sums),
    days: z
      .array(z.object({ date: z.string().meta({ format: 'date' }), ...sums }))
      .max(USAGE_DAYS_MAX)
      .meta({ description: 'Every day of the range, days without use as zeros. They add up to the totals.' }),
    groups: z
      .array(z.object({ model: z.string().optional(), consumer_id: z.string().nullable().optional(), ...sums }))
      .optional()
      .meta({ description: 'With `group_by`. A null `consumer_id` is what the project paid itself.' }),
    groups_truncated: z.boolean().optional(),
  })
  .meta({ id: 'UsageReport' });
