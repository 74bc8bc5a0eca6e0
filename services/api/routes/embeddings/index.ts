/** `POST /v1/embeddings`: one vector an input, charged by what the engine counted of the inputs. */
import { z } from 'zod';
import type { BilledRunDeps } from '../../billed-runs/answer-run.js';
import { type AnswerStyle, metadataSchemas } from '../../billed-runs/run-metadata.js';
import { boundToBody, serveBilledRun } from '../../billed-runs/serve-billed-run.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { embeddingsShape } from './embedding-list.js';
import { EMBEDDINGS_PATH, EmbeddingsBody, embeddingsAskOf, refuseSize } from './request-schema.js';

export function embeddingsRoutes(deps: BilledRunDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'post',
      path: EMBEDDINGS_PATH,
      operationId: 'createEmbeddings',
      summary: 'Turn texts into vectors',
      tag: 'Embeddings',
      policy: 'project_key',
      billed: true,
      body: EmbeddingsBody,
      responses: { 200: { description: 'The vectors, in the order of the inputs.', schema: embeddingsSchema(deps.preset) } },
      handle: (context, { body }) => {
        const ask = embeddingsAskOf(body);
        refuseSize(deps.models.offered(ask.model, ask.quantization, 'embedding').model, ask);
        return serveBilledRun(deps, context, { ...ask, ...boundToBody(context.rawBody) }, embeddingsShape(ask, deps.preset));
      },
    }),
  ];
}

function embeddingsSchema(style: AnswerStyle): z.ZodType {
  const tokens = z.number().int().nonnegative();
  return z.object({
    object: z.literal('list'),
    data: z.array(
      z.object({
        object: z.literal('embedding'),
        index: z.number().int(),
        embedding: z.union([z.array(z.number()), z.string().describe('Base64 of little-endian 32-bit floats')]),
      }),
    ),
    model: z.string(),
    usage: z.object({ prompt_tokens: tokens, total_tokens: tokens }),
    ...metadataSchemas(style),
  });
}
