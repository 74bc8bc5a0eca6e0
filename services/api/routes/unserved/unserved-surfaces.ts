/**
 * Parts of OpenAI's API that are not served, and what to do instead. A 404 like that of any other unknown path, because SDKs repeat a 5xx by
 * themselves and these never come to anything; its code and text tell it from a typing error.
 */
import type { ModelCatalogue, ModelUse } from '../../model-catalogue.js';

type Surface = { readonly paths: readonly string[]; readonly name: string; readonly instead: string };

const STATELESS = 'The API is stateless: send the whole conversation in messages, and keep state and vectors in a store of your own.';
const FINE_TUNING = 'Fine-tune the open weights on a machine of your own; the operator can then offer them as a model.';

const SURFACES: readonly Surface[] = [
  {
    paths: ['/v1/realtime'],
    name: 'The Realtime API',
    instead: 'Stream chat completions ("stream": true): tokens come as server-sent events while they are made.',
  },
  {
    paths: ['/v1/assistants', '/v1/threads', '/v1/conversations', '/v1/vector_stores'],
    name: 'The Assistants API, with its threads,',
    instead: STATELESS,
  },
  { paths: ['/v1/responses'], name: 'The Responses API', instead: 'Use POST /v1/chat/completions, with the conversation in messages.' },
  {
    paths: ['/v1/batches'],
    name: 'The Batch API',
    instead: 'Send chat completions in parallel, within the rate limits; an idempotency key makes each safe to repeat.',
  },
  { paths: ['/v1/files', '/v1/uploads'], name: 'File upload', instead: `Put what the model needs into messages. ${FINE_TUNING}` },
  { paths: ['/v1/fine_tuning', '/v1/fine-tunes'], name: 'Fine-tuning', instead: FINE_TUNING },
  {
    paths: ['/v1/images', '/v1/videos'],
    name: 'Image and video generation',
    instead: 'Only text is generated here; use a dedicated provider.',
  },
  { paths: ['/v1/audio/speech'], name: 'Text to speech', instead: 'Use a dedicated provider.' },
  {
    paths: ['/v1/audio/translations'],
    name: 'Audio translation',
    instead: 'Transcribe the recording and ask a chat model to translate the text.',
  },
  { paths: ['/v1/moderations'], name: 'Moderation', instead: 'Ask a chat model to classify the text, with a JSON schema for its answer.' },
  { paths: ['/v1/edits'], name: 'Edits', instead: 'Ask for the edit by POST /v1/chat/completions.' },
  { paths: ['/v1/engines'], name: 'Engines', instead: 'Use GET /v1/models.' },
  {
    paths: ['/v1/evals', '/v1/containers', '/v1/organization'],
    name: "This part of OpenAI's API",
    instead: 'GET /openapi.json lists what is served.',
  },
];

const WITHOUT_EMBEDDINGS: Surface = {
  paths: ['/v1/embeddings'],
  name: 'Making embeddings',
  instead: 'No model of this offer makes them; use a dedicated provider, or embed with open weights of your own.',
};
const WITHOUT_TRANSCRIPTION: Surface = {
  paths: ['/v1/audio/transcriptions'],
  name: 'Audio transcription',
  instead: 'No model of this offer hears; use a dedicated provider.',
};

/** Paths of routes that only an offer with such models has. */
export const PATH_USES: Readonly<Record<string, ModelUse>> = {
  '/v1/embeddings': 'embedding',
  '/v1/audio/transcriptions': 'transcription',
};

/** A sentence that says what to do instead; `null` for a path that is nobody's. */
export type UnservedText = (path: string) => string | null;

export function unservedSurfaces(models: ModelCatalogue, hasUnprefixedRoutes: boolean): UnservedText {
  const surfaces = [
    ...SURFACES,
    ...(models.serves('embedding') ? [] : [WITHOUT_EMBEDDINGS]),
    ...(models.serves('transcription') ? [] : [WITHOUT_TRANSCRIPTION]),
  ];
  const byPath = surfaces.flatMap((surface) => surface.paths.map((path) => ({ path, surface })));
  return (asked) => {
    const path = hasUnprefixedRoutes && !asked.startsWith('/v1/') ? `/v1${asked}` : asked;
    const found = byPath.find((known) => path === known.path || path.startsWith(`${known.path}/`));
    return found === undefined ? null : `${found.surface.name} is not served. ${found.surface.instead}`;
  };
}
