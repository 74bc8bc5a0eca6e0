/** What signing up takes and gives. */
import { z } from 'zod';
import { amountText, displayName, environmentName, timeText, unitText } from '../../presentation/fields.js';
import { ApiKeyObject } from '../keys/schemas.js';

export const PROJECT_NAME_CHARACTERS_MAX = 100;
export const SLUG_CHARACTERS_MAX = 48;

export const CreateProjectRequest = z
  .strictObject({
    name: displayName(PROJECT_NAME_CHARACTERS_MAX).meta({ description: "The project's name, for people.", examples: ['Support bot'] }),
    slug: z
      .string()
      .max(SLUG_CHARACTERS_MAX)
      .regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'must be lower-case letters, digits and single hyphens')
      .optional()
      .meta({ description: 'Unique and safe in URLs. Made from the name when it is left out.', examples: ['support-bot'] }),
    environment: environmentName.default('test').meta({ description: '`test` credit never mixes with `live` money.' }),
  })
  .meta({ id: 'CreateProjectRequest' });

export const CreatedProject = z
  .object({
    object: z.literal('project'),
    id: z.string().meta({ examples: ['prj_01jz8v6c3e4q8r2t5w7y9a0b1c'] }),
    name: z.string(),
    slug: z.string(),
    environment: environmentName,
    created_at: timeText,
    api_key: z.string().meta({ description: "The project's first key. Shown this once.", examples: ['fb_test_…'] }),
    key: ApiKeyObject,
    unit: unitText,
    starter_credit: amountText,
    balance: amountText,
    credits_balance: z.number().optional().meta({ description: 'Only where the unit is credits.' }),
  })
  .meta({ id: 'CreatedProject' });
