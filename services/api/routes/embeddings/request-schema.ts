/** The body of `POST /v1/embeddings`. */
import { z } from 'zod';
import { plainPromptTokensBound } from '../../../../events/contract/index.js';
import type { PresetModel } from '../../../../presets/preset-schema.js';
import { NO_SAMPLING, type RunAsk } from '../../billed-runs/billed-run.js';
import { promptsOf, promptsSchema } from '../../billed-runs/prompts.js';
import { MODEL_CHARACTERS_MAX, QUANTIZATION_CHARACTERS_MAX } from '../../billed-runs/sampling-parameters.js';
import { refuse } from '../../refusals.js';

export const EMBEDDINGS_PATH = '/v1/embeddings';
/** As OpenAI's documented bound. */
export const INPUTS_MAX = 2_048;
/** Numbers in one answer, over all vectors: as JSON text they take forty megabytes. */
export const VECTOR_NUMBERS_MAX = 2_097_152;
/** No model in use gives as many. */
const DIMENSIONS_MAX = 65_536;

export const EmbeddingsBody = z.object({
  model: z.string().min(1).max(MODEL_CHARACTERS_MAX),
  quantization: z.string().min(1).max(QUANTIZATION_CHARACTERS_MAX).nullish(),
  input: promptsSchema(`Text, tokens, or at most ${INPUTS_MAX} of either; one vector each.`),
  encoding_format: z.enum(['float', 'base64']).nullish().describe('float, the default, or base64 of little-endian 32-bit floats.'),
  dimensions: z.number().int().min(1).max(DIMENSIONS_MAX).nullish().describe('Fewer than the model gives, where it allows that.'),
});
export type EmbeddingsBody = z.infer<typeof EmbeddingsBody>;

export type EmbeddingsAsk = Omit<RunAsk, 'requestHash' | 'keyBoundTo'> & { readonly encoding: 'float' | 'base64' };

/** Throws a `RefusalError` that names the parameter. */
export function embeddingsAskOf(body: EmbeddingsBody): EmbeddingsAsk {
  const inputs = promptsOf(body.input, 'input', INPUTS_MAX);
  const dimensions = body.dimensions ?? null;
  return {
    endpoint: EMBEDDINGS_PATH,
    model: body.model,
    quantization: body.quantization ?? null,
    input: { kind: 'embedding', inputs, ...(dimensions === null ? {} : { dimensions }) },
    sampling: NO_SAMPLING,
    stop: [],
    prompts: inputs.length,
    answersPerPrompt: 1,
    promptTokensBound: plainPromptTokensBound(inputs),
    promptParameter: 'input',
    output: null,
    stream: false,
    encoding: body.encoding_format ?? 'float',
  };
}

/** Throws `invalid_value` for dimensions that the model does not give, and for more vectors than one answer may hold. */
export function refuseSize(model: Pick<PresetModel, 'id' | 'embedding_dimensions'>, ask: EmbeddingsAsk): void {
  const given = model.embedding_dimensions;
  const asked = ask.input.kind === 'embedding' ? ask.input.dimensions : undefined;
  if (asked !== undefined && asked !== given?.native) refuseDimensions(model, asked);
  const dimensions = asked ?? given?.native;
  if (dimensions === undefined || ask.prompts * dimensions <= VECTOR_NUMBERS_MAX) return;
  const inputsMax = Math.floor(VECTOR_NUMBERS_MAX / dimensions);
  throw refuse('invalid_value', {
    message: `input may hold at most ${inputsMax} entries for vectors of ${dimensions} numbers.`,
    param: 'input',
  });
}

function refuseDimensions({ id, embedding_dimensions: given }: Pick<PresetModel, 'id' | 'embedding_dimensions'>, asked: number): void {
  const param = 'dimensions';
  if (given === undefined || !given.adjustable) {
    throw refuse('invalid_value', { message: `The model ${id} has a fixed number of dimensions; leave dimensions out.`, param });
  }
  if (asked > given.native) {
    throw refuse('invalid_value', { message: `dimensions must be at most ${given.native} for the model ${id}.`, param });
  }
}
