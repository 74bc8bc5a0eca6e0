/** What a client can get wrong with embeddings: inputs, tokens, dimensions, encodings. */
import { type BadInput, badJson } from './bad-input.js';

const PATH = '/v1/embeddings';
const INPUTS_BEYOND = 2_049;

export function badEmbeddings(model: string): readonly BadInput[] {
  const bad = (name: string, body: Readonly<Record<string, unknown>>, names: string) =>
    badJson(`embeddings: ${name}`, PATH, { model, ...body }, names);
  return [
    bad('no input', {}, 'input'),
    bad('null', { input: null }, 'input'),
    bad('an empty text', { input: '' }, 'input'),
    bad('an empty list', { input: [] }, 'input'),
    bad('an empty text in a list', { input: ['x', ''] }, 'input[1]'),
    bad('an empty list of tokens in a list', { input: [[1], []] }, 'input[1]'),
    bad('texts and tokens', { input: [[1], 'x'] }, 'input[1]'),
    bad('an object', { input: { text: 'x' } }, 'input'),
    bad('bytes', { input: [{ type: 'Buffer', data: [1] }] }, 'input[0]'),
    bad('half a token', { input: [0.5] }, 'input[0]'),
    bad('a token below 0', { input: [-1] }, 'input[0]'),
    bad('a token beyond any vocabulary', { input: [2 ** 53] }, 'input[0]'),
    bad('more inputs than there may be', { input: Array.from({ length: INPUTS_BEYOND }, () => 'x') }, 'input'),
    bad('an encoding that is none', { input: 'x', encoding_format: 'base32' }, 'encoding_format'),
    bad('0 dimensions', { input: 'x', dimensions: 0 }, 'dimensions'),
    bad('half a dimension', { input: 'x', dimensions: 1.5 }, 'dimensions'),
    bad('more dimensions than the model has', { input: 'x', dimensions: 65_535 }, 'dimensions'),
    bad('a variant that there is not', { input: 'x', quantization: 'int3' }, 'quantization'),
    bad('no model', { input: 'x', model: undefined }, 'model'),
    {
      name: 'embeddings: an unknown model',
      path: PATH,
      call: { json: { model: 'text-embedding-ada-002', input: 'x' } },
      status: 404,
      code: 'model_not_found',
      names: 'text-embedding-ada-002',
    },
  ];
}
