/**
 * `POST /v1/audio/transcriptions`: what was said in a recording. The file is read, recognised, decoded and measured before anything is held, so
 * what is held is what will be charged.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type AudioUsage, SPEECH_SAMPLES_PER_SECOND, withPrefix } from '../../../../events/contract/index.js';
import type { BilledRunDeps } from '../../billed-runs/answer-run.js';
import { type AnswerShape, type CompletedRun, NO_SAMPLING, type RunAsk } from '../../billed-runs/billed-run.js';
import { type AnswerStyle, metadataField, metadataSchemas } from '../../billed-runs/run-metadata.js';
import { serveBilledRun } from '../../billed-runs/serve-billed-run.js';
import type { AudioDecoder, DecodedAudio } from '../../media/audio-decoder.js';
import type { ByteBudget } from '../../media/byte-budget.js';
import type { MediaStore } from '../../media/media-store.js';
import { type RefusalError, refuse } from '../../refusals.js';
import { defineRoute, type RouteContext, type RouteDefinition, type RouteReply } from '../../route.js';
import { fieldRefusal, type MultipartForm, readMultipart } from './read-multipart.js';
import { plainTextOf, srtOf, type Transcript, transcriptOf, verboseOf, vttOf } from './transcript-text.js';
import { contentOf, FIELD_NAMES, fieldsOf, TranscriptionBody, type TranscriptionFields } from './transcription-form.js';

export const TRANSCRIPTIONS_PATH = '/v1/audio/transcriptions';

export type TranscriptionDeps = BilledRunDeps & {
  readonly audioDecoder: AudioDecoder;
  readonly mediaStore: MediaStore;
  /** Of the uploads in memory. */
  readonly uploads: ByteBudget;
  /** Where workers in other processes get what `mediaStore` has; `null` where they are in this one. */
  readonly mediaUrl: string | null;
};

const FILE_FIELD = 'file';

export function audioTranscriptionsRoutes(deps: TranscriptionDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'post',
      path: TRANSCRIPTIONS_PATH,
      operationId: 'createTranscription',
      summary: 'Transcribe a recording',
      tag: 'Audio',
      policy: 'project_key',
      billed: true,
      bodyType: 'multipart/form-data',
      body: TranscriptionBody,
      responses: {
        200: {
          description: 'The transcript; with `response_format` text, srt or vtt as plain text.',
          schema: transcriptionSchema(deps.preset),
        },
      },
      handle: (context) => transcribe(deps, context),
    }),
  ];
}

async function transcribe(deps: TranscriptionDeps, context: RouteContext<'project_key'>): Promise<RouteReply> {
  const { mediaStore, mediaUrl } = deps;
  const form = await readMultipart(context.request, { fileField: FILE_FIELD, fieldNames: FIELD_NAMES, budget: deps.uploads });
  const { fields, content, bytes, decoded } = await decodedForm(deps, form).finally(form.letGo);
  if (decoded.status === 'refused') throw refusalOfAudio(decoded);
  const { samples } = decoded;
  const audio = { bytes, milliseconds: Math.round((samples.length / SPEECH_SAMPLES_PER_SECOND) * 1_000) };
  const stored = mediaStore.put(withPrefix(context.requestId, 'med_'), Buffer.from(samples.buffer));
  if (stored === null) throw refuse('engine_at_capacity', { message: 'Too many recordings are being transcribed.' });
  try {
    const ask = askOf(fields, { mediaId: stored.mediaId, mediaUrl, audio, content });
    return await serveBilledRun(deps, context, ask, shapeOf(fields, audio, deps.preset));
  } finally {
    stored.remove();
  }
}

/** Fields are checked before anything is done with the file. */
async function decodedForm({ models, audioDecoder }: TranscriptionDeps, form: MultipartForm) {
  const fields = fieldsOf(form);
  models.offered(fields.model, null, 'transcription');
  const content = contentOf(form);
  const bytes = form.file.length;
  return { fields, content, bytes, decoded: await audioDecoder.decode(form.file) };
}

type Recording = { readonly mediaId: string; readonly mediaUrl: string | null; readonly audio: AudioUsage; readonly content: Buffer };

function askOf(fields: TranscriptionFields, { mediaId, mediaUrl, audio, content }: Recording): RunAsk {
  const { model, language, prompt, temperature } = fields;
  return {
    endpoint: TRANSCRIPTIONS_PATH,
    model,
    quantization: null,
    input: {
      kind: 'transcription',
      mediaId,
      ...(mediaUrl === null ? {} : { mediaUrl }),
      usage: audio,
      ...(language === undefined ? {} : { language }),
      ...(prompt === undefined ? {} : { prompt }),
    },
    sampling: { ...NO_SAMPLING, temperature },
    stop: [],
    prompts: 1,
    answersPerPrompt: 1,
    promptTokensBound: 0,
    promptParameter: FILE_FIELD,
    output: null,
    audio,
    stream: false,
    requestHash: createHash('sha256').update(content).digest('hex'),
    keyBoundTo: content,
  };
}

function shapeOf({ response_format: format }: TranscriptionFields, audio: AudioUsage, style: AnswerStyle): AnswerShape {
  const heard = (run: CompletedRun) => transcriptOf(run.answers[0]?.text ?? '');
  const isWhole = (run: CompletedRun) => heard(run) !== null;
  const shape = (contentType: string, text: (transcript: Transcript, run: CompletedRun) => string): AnswerShape => ({
    contentType,
    isWhole,
    body: (run) => text(heard(run) as Transcript, run),
  });
  const seconds = audio.milliseconds / 1_000;
  const closing = (run: CompletedRun) => ({ usage: { type: 'duration', seconds }, ...metadataField(run, style) });
  switch (format) {
    case 'json':
      return shape('application/json', ({ text }, run) => JSON.stringify({ text: text.trim(), ...closing(run) }));
    case 'verbose_json':
      return shape('application/json', (transcript, run) =>
        JSON.stringify({ ...verboseOf(transcript, audio.milliseconds), ...closing(run) }),
      );
    case 'text':
      return shape('text/plain; charset=utf-8', plainTextOf);
    case 'srt':
      return shape('application/x-subrip; charset=utf-8', srtOf);
    case 'vtt':
      return shape('text/vtt; charset=utf-8', vttOf);
  }
}

function refusalOfAudio({ reason, message }: Extract<DecodedAudio, { status: 'refused' }>): RefusalError {
  return reason === 'at_capacity'
    ? refuse('engine_at_capacity', { message })
    : fieldRefusal(FILE_FIELD, `cannot be transcribed. ${message}`);
}

function transcriptionSchema(style: AnswerStyle): z.ZodType {
  const seconds = z.number().nonnegative();
  return z.object({
    text: z.string(),
    task: z.literal('transcribe').optional().describe('`verbose_json`'),
    language: z.string().optional().describe('`verbose_json`; ISO 639-1'),
    duration: seconds.optional().describe('`verbose_json`'),
    segments: z
      .array(z.object({ id: z.number().int(), start: seconds, end: seconds, text: z.string() }))
      .optional()
      .describe('`verbose_json`'),
    usage: z.object({ type: z.literal('duration'), seconds: seconds.describe('As measured from the recording') }),
    ...metadataSchemas(style),
  });
}
