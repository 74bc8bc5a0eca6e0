/** Buying credit: a checkout for the project or for one of its consumers, and what became of each payment. */
import type { IncomingMessage } from 'node:http';
import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Clock } from '../../../../platform/clock.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import type { AccountOpening, Payment } from '../../../ledger/ledger-client.js';
import { consumerOpening, projectOpening } from '../../directory/account-openings.js';
import type { Directory } from '../../directory/directory.js';
import type { Payments } from '../../payments/create-payments.js';
import { openCheckout } from '../../payments/open-checkout.js';
import { paymentIdOfReference } from '../../payments/payment-references.js';
import { checkedRedirect } from '../../payments/redirect-url.js';
import { isId } from '../../presentation/fields.js';
import { refuse } from '../../refusals.js';
import { idempotencyKey } from '../../request-headers.js';
import { type Caller, defineRoute, type RouteDefinition } from '../../route.js';
import { checkoutSessionOf, paymentObjectOf } from './payment-object.js';
import { CheckoutRequest, CheckoutSession, ConsumerParams, PaymentList, PaymentObject, PaymentsQuery, ReferenceParams } from './schemas.js';

export type CheckoutDeps = {
  /** Absent or `null` where no payments are taken. */
  readonly payments?: Payments | null;
  readonly directory: Pick<Directory, 'consumer'>;
  readonly preset: Pick<Preset, 'brand' | 'unit' | 'starter_credit' | 'credit_packs'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly publicBaseUrl: string;
};

const REQUEST_HEADERS = {
  'Idempotency-Key': 'Names the purchase: repeated, it returns the same checkout. Without one, so does the same pack within ten minutes.',
};

export function checkoutRoutes(deps: CheckoutDeps): RouteDefinition[] {
  return [projectCheckout(deps), consumerCheckout(deps), listPayments(deps), getPayment(deps)];
}

function projectCheckout(deps: CheckoutDeps): RouteDefinition {
  return defineRoute({
    method: 'post',
    path: '/v1/billing/checkout',
    operationId: 'createBillingCheckout',
    summary: 'Start a checkout for credit of the project',
    tag: 'Billing',
    policy: 'project_key',
    requestHeaders: REQUEST_HEADERS,
    body: CheckoutRequest,
    responses: { 201: { description: 'Send the payer to authorization_url', schema: CheckoutSession } },
    handle: async ({ request, caller }, { body }) => {
      const opening = projectOpening({ projectId: caller.projectId, environment: caller.environment }, deps.preset);
      return sessionReply(await open(deps, request, body, { holderId: caller.projectId, opening, email: body.email ?? null }));
    },
  });
}

function consumerCheckout(deps: CheckoutDeps): RouteDefinition {
  return defineRoute({
    method: 'post',
    path: '/v1/consumers/:id/checkout',
    operationId: 'createConsumerCheckout',
    summary: 'Start a checkout for credit of a consumer, with its e-mail address filled in',
    tag: 'Billing',
    policy: 'project_key',
    requestHeaders: REQUEST_HEADERS,
    params: ConsumerParams,
    body: CheckoutRequest,
    responses: {
      201: { description: 'Send the consumer to authorization_url', schema: CheckoutSession },
      404: { description: 'No such consumer in this project' },
    },
    handle: async ({ request, caller }, { params, body }) => {
      const consumer = isId(params.id, 'con_') ? await deps.directory.consumer(caller.projectId, params.id) : null;
      if (consumer === null) throw refuse('resource_not_found', { message: 'There is no such consumer.' });
      const opening = consumerOpening(consumer, caller.environment, deps.preset);
      return sessionReply(await open(deps, request, body, { holderId: consumer.consumerId, opening, email: consumer.email }));
    },
  });
}

type Payer = { readonly holderId: string; readonly opening: AccountOpening; readonly email: string | null };

function open(deps: CheckoutDeps, request: IncomingMessage, body: z.infer<typeof CheckoutRequest>, payer: Payer): Promise<Payment> {
  return openCheckout(
    { ...deps, ...paymentsOf(deps) },
    {
      ...payer,
      packId: body.pack_id,
      key: idempotencyKey(request) ?? body.idempotency_key ?? null,
      successUrl: checkedRedirect(body.success_url, 'success_url'),
      cancelUrl: checkedRedirect(body.cancel_url, 'cancel_url'),
    },
  );
}

function sessionReply(payment: Payment) {
  return { status: 201, body: checkoutSessionOf(payment) };
}

function paymentsOf({ payments }: CheckoutDeps): Payments {
  if (payments === null || payments === undefined) {
    throw refuse('endpoint_not_served', { message: 'This service takes no payments. Ask its operator for credit.' });
  }
  return payments;
}

function listPayments(deps: CheckoutDeps): RouteDefinition {
  return defineRoute({
    method: 'get',
    path: '/v1/payments',
    operationId: 'listPayments',
    summary: 'List the payments of the project and its consumers, newest first',
    tag: 'Billing',
    policy: 'project_key',
    query: PaymentsQuery,
    responses: { 200: { description: 'A page of payments', schema: PaymentList } },
    handle: async ({ caller }, { query }) => {
      const after = query.after === undefined ? null : paymentIdOfReference(query.after);
      if (query.after !== undefined && after === null) {
        throw refuse('invalid_parameter', { message: 'after must be the reference of a payment.', param: 'after' });
      }
      // One more than the page tells whether there is another.
      const found = (await deps.payments?.view.listPayments(caller.projectId, { limit: query.limit + 1, after })) ?? [];
      const page = found.slice(0, query.limit);
      const hasMore = found.length > page.length;
      return {
        status: 200,
        body: {
          object: 'list',
          data: page.map(paymentObjectOf),
          has_more: hasMore,
          next_after: hasMore ? (page.at(-1)?.reference ?? null) : null,
        },
      };
    },
  });
}

function getPayment(deps: CheckoutDeps): RouteDefinition {
  return defineRoute({
    method: 'get',
    path: '/v1/payments/:reference',
    operationId: 'getPayment',
    summary: 'Get a payment as its own events tell it',
    tag: 'Billing',
    policy: 'project_key',
    params: ReferenceParams,
    responses: { 200: { description: 'The payment', schema: PaymentObject }, 404: { description: 'No such payment in this project' } },
    handle: async ({ caller }, { params }) => {
      const payment = await ownPayment(deps, caller, params.reference);
      if (payment === null) throw refuse('resource_not_found', { message: 'There is no such payment.' });
      const consumerId = payment.holder.kind === 'consumer' ? payment.holder.consumerId : null;
      return { status: 200, body: paymentObjectOf({ ...payment, consumerId }) };
    },
  });
}

async function ownPayment({ payments }: CheckoutDeps, caller: Caller, reference: string): Promise<Payment | null> {
  const paymentId = paymentIdOfReference(reference);
  if (paymentId === null || payments === null || payments === undefined) return null;
  const payment = await payments.payments.payment(paymentId);
  const isOwn = payment !== null && payment.reference === reference && payment.holder.projectId === caller.projectId;
  return isOwn ? payment : null;
}
