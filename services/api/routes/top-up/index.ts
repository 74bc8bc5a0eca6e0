/**
 * The page behind `checkout_url`: the packs on offer with a button each, which leads to the provider's checkout. Where no payments are taken it
 * says honestly that the operator does top-ups, and how.
 */
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Clock } from '../../../../platform/clock.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import { consumerOpening, projectOpening } from '../../directory/account-openings.js';
import type { Directory } from '../../directory/directory.js';
import type { Payments } from '../../payments/create-payments.js';
import { readForm, sendPage, sendRedirect } from '../../payments/html-page.js';
import { openCheckout } from '../../payments/open-checkout.js';
import { refuse } from '../../refusals.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { noPaymentsContent, packsContent, type TopUpPayer } from './top-up-page.js';
import { TOP_UP_PATH } from './top-up-url.js';

export type TopUpDeps = {
  readonly preset: Pick<Preset, 'unit' | 'starter_credit' | 'credit_packs'> & {
    readonly brand: Pick<Preset['brand'], 'display_name' | 'slug'>;
  };
  /** Without a path, such as `https://api.example.com`. */
  readonly publicBaseUrl: string;
  readonly payments?: Payments | null;
  readonly directory: Pick<Directory, 'project' | 'consumerById'>;
  readonly clock: Clock;
  readonly logger: Logger;
};

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

export function topUpRoutes(deps: TopUpDeps): RouteDefinition[] {
  return [showRoute(deps), beginRoute(deps)];
}

/** The ids are not looked up: the page says the same of every id, so it tells nobody which ones exist. */
function showRoute(deps: TopUpDeps): RouteDefinition {
  return defineRoute({
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
      const { brand, unit, credit_packs: packs } = deps.preset;
      const title = `Top up · ${brand.display_name}`;
      const { payments } = deps;
      if (payments === undefined || payments === null || packs.length === 0) {
        return sendPage(response, 200, {
          title,
          content: noPaymentsContent({ brand: brand.display_name, publicBaseUrl: deps.publicBaseUrl, payer }),
        });
      }
      const isTest = payments.provider.mode === 'test';
      // The form's answer leads to the provider's page, whose address is its own affair.
      const formAction = payments.local === null ? "'self' https:" : "'self'";
      return sendPage(response, 200, {
        title,
        formAction,
        content: packsContent({ brand: brand.display_name, unit, packs, payer, isTest }),
      });
    },
  });
}

/** Opening a checkout twice opens it once, and pays nothing: the form needs no token. */
function beginRoute(deps: TopUpDeps): RouteDefinition {
  return defineRoute({
    method: 'post',
    path: TOP_UP_PATH,
    operationId: 'beginTopUp',
    summary: 'What the buttons of the top-up page do: on to the checkout',
    tag: 'Billing',
    policy: 'public',
    query: TopUpQuery,
    responses: { 303: { description: 'On to the checkout' }, 404: { description: 'No such project or consumer' } },
    handle: async ({ request, response }, { query }) => {
      const { payments } = deps;
      if (payments === undefined || payments === null) throw refuse('resource_not_found', { message: 'No payments are taken here.' });
      const packId = (await readForm(request)).get('pack_id') ?? '';
      const payer = await payerAccount(deps, payerOf(query));
      const order = { ...payer, packId, key: null, successUrl: null, cancelUrl: null };
      const payment = await openCheckout({ ...deps, ...payments }, order);
      if (payment.authorizationUrl === null) throw refuse('provider_unavailable', { message: 'The checkout has no page.' });
      return sendRedirect(response, payment.authorizationUrl);
    },
  });
}

/** The consumer, where one is named, is who ran out. */
function payerOf(query: { readonly project?: string | undefined; readonly consumer?: string | undefined }): TopUpPayer {
  if (query.consumer !== undefined) return { field: 'consumer_id', id: query.consumer };
  if (query.project !== undefined) return { field: 'project_id', id: query.project };
  throw new Error('the schema requires one of the two');
}

/** A consumer's e-mail address goes to the provider, which fills it in; it is not shown here, where anybody with the link could read it. */
async function payerAccount({ directory, preset }: TopUpDeps, payer: TopUpPayer) {
  const consumer = payer.field === 'consumer_id' ? await directory.consumerById(payer.id) : null;
  const project = await directory.project(payer.field === 'consumer_id' ? (consumer?.projectId ?? '') : payer.id);
  if (project === null || (payer.field === 'consumer_id' && consumer === null)) {
    throw refuse('resource_not_found', { message: 'There is no such project or consumer.' });
  }
  if (consumer === null) return { holderId: project.projectId, opening: projectOpening(project, preset), email: null };
  return { holderId: consumer.consumerId, opening: consumerOpening(consumer, project.environment, preset), email: consumer.email };
}
