/** The vectors that an upstream answers with, checked: one an input, in the inputs' order, all of one length, brought to unit length. */
import { z } from 'zod';
import { COUNTED_LOCALLY, NO_USAGE, plainPromptTokensBound } from '../../../events/contract/index.js';
import { countPlainPromptTokens } from '../echo/echo-tokens.js';
import { type EmbeddingResult, type EmbeddingRun, EngineError } from '../engine.js';
import type { CountTokens } from './usage-count.js';

/** Twice that of the largest published models. */
const DIMENSIONS_MAX = 16_384;

const BYTES_PER_NUMBER = 4;

const AnswerSchema = z.object({
  data: z.array(
    z.object({
      index: z.number().int().nonnegative(),
      embedding: z.union([z.array(z.number()).min(1).max(DIMENSIONS_MAX), z.string().max(DIMENSIONS_MAX * BYTES_PER_NUMBER * 2)]),
    }),
  ),
  usage: z.object({ prompt_tokens: z.unknown() }).nullish(),
});

type Asked = Pick<EmbeddingRun, 'inputs' | 'dimensions'>;

/** Throws `EngineError`. */
export function readEmbeddings(answer: unknown, asked: Asked, upstream: string, countTokens: CountTokens): EmbeddingResult {
  const refuse = (reason: string) => new EngineError('engine_failed', `the upstream ${upstream}: ${reason}`, true);
  const parsed = AnswerSchema.safeParse(answer);
  if (!parsed.success) throw refuse('its answer holds no embeddings');
  const { data, usage } = parsed.data;
  const vectors: (Float64Array | null)[] = asked.inputs.map(() => null);
  for (const { index, embedding } of data) {
    if (vectors[index] !== null) throw refuse('its embeddings are not those of the inputs');
    vectors[index] = typeof embedding === 'string' ? fromBase64(embedding) : Float64Array.from(embedding);
  }
  const dimensions = asked.dimensions ?? vectors[0]?.length ?? 0;
  const unit = vectors.map((vector) => {
    // A server that does not know `dimensions` gives the whole vector, whose beginning is what was asked for.
    const fits = vector !== null && (asked.dimensions === undefined ? vector.length === dimensions : vector.length >= dimensions);
    const made = fits ? toUnitLength(vector.subarray(0, dimensions)) : null;
    if (made === null) throw refuse('its embeddings are not what was asked for');
    return made;
  });
  return { vectors: unit, ...countedUsage(usage?.prompt_tokens, asked, countTokens) };
}

/** `null`: it has no direction, or numbers that are none. */
function toUnitLength(vector: Float64Array): Float32Array | null {
  let squares = 0;
  for (const number of vector) squares += number * number;
  const length = Math.sqrt(squares);
  return length > 0 && Number.isFinite(length) ? Float32Array.from(vector, (number) => number / length) : null;
}

/** 32-bit floats, little-endian; an odd rest of bytes is no number, and leaves the vector too short. */
function fromBase64(text: string): Float64Array {
  const bytes = Buffer.from(text, 'base64');
  const count = Math.floor(bytes.length / BYTES_PER_NUMBER);
  return Float64Array.from({ length: count }, (_, index) => bytes.readFloatLE(index * BYTES_PER_NUMBER));
}

/** As for answers: what cannot be true is not believed, and what is counted here is marked so. */
function countedUsage(reported: unknown, { inputs }: Asked, countTokens: CountTokens): Pick<EmbeddingResult, 'usage' | 'usageSource'> {
  const bound = plainPromptTokensBound(inputs);
  if (typeof reported === 'number' && Number.isSafeInteger(reported) && reported > 0 && reported <= bound) {
    return { usage: { ...NO_USAGE, promptTokens: reported }, usageSource: 'engine' };
  }
  let counted = 0;
  for (const input of inputs) counted += countPlainPromptTokens(input, countTokens);
  return { usage: { ...NO_USAGE, promptTokens: Math.min(counted, bound) }, usageSource: COUNTED_LOCALLY };
}
