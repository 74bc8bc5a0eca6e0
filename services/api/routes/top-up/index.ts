/** The page behind `checkout_url` until payments exist: it says honestly that the operator does top-ups, and how. */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { Preset } from '../../../../presets/preset-schema.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { type TopUpPayer, topUpPage, topUpPolicy } from './top-up-page.js';
import { TOP_UP_PATH } from './top-up-url.js';

export type TopUpDeps = {
  readonly preset: { readonly brand: Pick<Preset['brand'], 'display_name'> };
  /** Without a path, such as `https://api.example.com`. */
  readonly publicBaseUrl: string;
};

const NONCE_BYTES = 16;

const TopUpQuery = z
  .object({
    project: z
      .string()
      .regex(/^prj_[0-9a-hjkmnp-tv-z]{26}$/, 'must be a project id')
      .optional(),
    consumer: z
      .string()
      .regex(/^con_[0-9a-hjkmnp-tv-z]{26}$/, 'must be a consumer id')
      .optional(),
  })
  .refine((query) => query.project !== undefined || query.consumer !== undefined, 'name a project or a consumer');

/** The ids are not looked up: the page says the same of every id, so it tells nobody which ones exist. */
export function topUpRoutes(deps: TopUpDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'get',
      path: TOP_UP_PATH,
      operationId: 'showTopUpPage',
      summary: 'A page for people who ran out of credit',
      tag: 'Billing',
      policy: 'public',
      query: TopUpQuery,
      responses: { 200: { description: 'The page', contentType: 'text/html' } },
      handle: async ({ response }, { query }) => {
        const payer = payerOf(query);
        const nonce = randomBytes(NONCE_BYTES).toString('base64');
        const html = topUpPage({ brand: deps.preset.brand.display_name, publicBaseUrl: deps.publicBaseUrl, payer }, nonce);
        response.statusCode = 200;
        response.setHeader('Content-Type', 'text/html; charset=utf-8');
        response.setHeader('Content-Security-Policy', topUpPolicy(nonce));
        response.setHeader('Cache-Control', 'no-store');
        response.setHeader('Referrer-Policy', 'no-referrer');
        response.setHeader('X-Content-Type-Options', 'nosniff');
        response.end(html);
        return { sent: true };
      },
    }),
  ];
}

/** The consumer, where one is named, is who ran out. */
function payerOf(query: { readonly project?: string | undefined; readonly consumer?: string | undefined }): TopUpPayer {
  if (query.consumer !== undefined) return { field: 'consumer_id', id: query.consumer };
  if (query.project !== undefined) return { field: 'project_id', id: query.project };
  throw new Error('the schema requires one of the two');
}
