/** Bodies that the playground is filled with: they work as they stand, with a model of the preset. */
import { makesEmbeddings, type Preset } from '../../../presets/preset-schema.js';

export function exampleBody(operationId: string, { models }: Pick<Preset, 'models'>): { readonly example?: unknown } {
  const chat = models.find(({ kind }) => kind === 'chat')?.id;
  const embedding = (models.find(({ kind }) => kind === 'embedding') ?? models.find(makesEmbeddings))?.id;
  switch (operationId) {
    case 'createChatCompletion':
      return { example: { model: chat, messages: [{ role: 'user', content: 'Hello!' }] } };
    case 'createCompletion':
      return { example: { model: chat, prompt: 'Once upon a time', max_tokens: 50 } };
    case 'createEmbeddings':
      return { example: { model: embedding, input: 'The quick brown fox' } };
    default:
      return {};
  }
}
