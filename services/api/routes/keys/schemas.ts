/** API keys as the API shows them. The secret itself is shown once, by the call that makes it. */
import { z } from 'zod';
import { KEY_ROTATION_GRACE_SECONDS_MAX } from '../../../../presets/preset-schema.js';
import { KEY_ROLES } from '../../directory/directory.js';
import { displayName, environmentName, pathId, timeText } from '../../presentation/fields.js';

export const KEY_NAME_CHARACTERS_MAX = 100;

export const ApiKeyObject = z
  .object({
    object: z.literal('api_key'),
    id: z.string().meta({ examples: ['key_01jz8v6c3e4q8r2t5w7y9a0b1c'] }),
    name: z.string(),
    role: z.enum(KEY_ROLES).meta({
      description:
        'What the key may do: `owner` everything, `developer` run and read, `finance` see to the money without running anything.',
    }),
    environment: environmentName,
    status: z.enum(['active', 'revoked', 'expired']),
    hint: z.string().meta({ description: 'The first characters, to recognise the key by.', examples: ['fb_test_h3Xk…'] }),
    created_at: timeText,
    last_used_at: timeText.nullable(),
    expires_at: timeText
      .nullable()
      .meta({ description: 'When it expires if it is not used again, or ends because it was rotated; null for a revoked key.' }),
    revoked_at: timeText.nullable(),
  })
  .meta({ id: 'ApiKey' });

export const CreatedApiKey = ApiKeyObject.extend({
  key: z.string().meta({ description: 'The secret. Shown this once.' }),
}).meta({ id: 'CreatedApiKey' });

export const ApiKeyList = z.object({ object: z.literal('list'), data: z.array(ApiKeyObject) }).meta({ id: 'ApiKeyList' });

export const CreateKeyRequest = z
  .strictObject({
    name: displayName(KEY_NAME_CHARACTERS_MAX)
      .default('API key')
      .meta({ examples: ['CI'] }),
    role: z.enum(KEY_ROLES).default('owner'),
    environment: environmentName
      .optional()
      .meta({ description: "The project's own; another is refused, because test credit and live money never mix." }),
  })
  .meta({ id: 'CreateKeyRequest' });

export const RotateKeyRequest = z
  .strictObject({
    grace_seconds: z
      .number()
      .int()
      .min(0)
      .max(KEY_ROTATION_GRACE_SECONDS_MAX)
      .optional()
      .meta({ description: 'How long the old secret still works beside the new one; 0 ends it at once.', examples: [3600] }),
  })
  .meta({ id: 'RotateKeyRequest' });

export const RotatedApiKey = CreatedApiKey.extend({
  replaced: ApiKeyObject.meta({ description: 'The old key: revoked, or active until `expires_at`.' }),
}).meta({ id: 'RotatedApiKey' });

export const KeyParams = z.object({ id: pathId });
