/** The fields of a transcription, as OpenAI's endpoint has them, checked one by one. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { SPEECH_LANGUAGES } from '../../../../platform/speech-languages.js';
import { refusalOfValidation } from '../../validation-refusal.js';
import { fieldRefusal, type MultipartForm } from './read-multipart.js';

export const RESPONSE_FORMATS = ['json', 'text', 'verbose_json', 'srt', 'vtt'] as const;

/** Whisper reads the last 224 tokens of a prompt; four thousand characters are more in any language. */
const PROMPT_CHARACTERS_MAX = 4_000;

const temperature = z
  .string()
  .regex(/^\d(\.\d{1,10})?$/, 'must be a number between 0 and 1')
  .transform(Number)
  .refine((value) => value <= 1, 'must be a number between 0 and 1');
const granularity = z.enum(['segment'], { error: 'must be segment; words are not timed' });

export const TranscriptionFields = z.object({
  model: z.string().min(1).max(200).describe('A model of the kind `transcription`'),
  language: z
    .string()
    .refine((code) => SPEECH_LANGUAGES.has(code), 'must be an ISO 639-1 code of a language that is spoken here, such as en')
    .optional()
    .describe('ISO 639-1; detected where absent'),
  prompt: z.string().max(PROMPT_CHARACTERS_MAX).optional().describe('Words and style that the recording continues'),
  response_format: z.enum(RESPONSE_FORMATS).default('json'),
  temperature: temperature.default(0),
  'timestamp_granularities[]': z.array(granularity).max(4).optional().describe('Of `verbose_json`: `segment`'),
  stream: z.literal('false', { error: 'is not supported; transcripts come whole' }).optional(),
});
export type TranscriptionFields = z.infer<typeof TranscriptionFields>;

/** What the form looks like, for the OpenAPI document. */
export const TranscriptionBody = TranscriptionFields.extend({
  file: z.string().meta({ format: 'binary' }).describe('The recording: mp3, wav, m4a or webm; at most 25 MB and 30 minutes'),
});

export const FIELD_NAMES = [...Object.keys(TranscriptionFields.shape), 'timestamp_granularities'];

/** Throws a `RefusalError` that names the field. */
export function fieldsOf({ fields }: MultipartForm): TranscriptionFields {
  const granularities = [...(fields.get('timestamp_granularities[]') ?? []), ...(fields.get('timestamp_granularities') ?? [])];
  const given: Record<string, unknown> = {};
  for (const [name, values] of fields) if (!name.startsWith('timestamp_granularities')) given[name] = values[0];
  if (granularities.length > 0) given['timestamp_granularities[]'] = granularities;
  const parsed = TranscriptionFields.safeParse(given);
  if (!parsed.success) throw refusalOfValidation(parsed.error, 'body');
  if (granularities.length > 0 && parsed.data.response_format !== 'verbose_json') {
    throw fieldRefusal('timestamp_granularities[]', 'needs response_format verbose_json.');
  }
  return parsed.data;
}

/** What a form says, whatever boundary a client happened to choose: the same form again is the same request. */
export function contentOf({ file, fields }: MultipartForm): Buffer {
  const said = [...fields].sort(([one], [other]) => (one < other ? -1 : 1));
  const digest = createHash('sha256').update(file).digest('hex');
  return Buffer.from(JSON.stringify({ file: digest, fields: said }));
}
