/**
 * Where payment providers tell of news. A genuine one only says which payment to ask the provider about. What is none of ours gets 200: both
 * providers repeat anything else for three days, and Stripe in the end switches the endpoint off, while their accounts may well take payments
 * that Farebox knows nothing of. What we could not do gets 503, and comes again.
 */
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Payments } from '../../payments/create-payments.js';
import { noteBooking } from '../../payments/note-booking.js';
import { CheckoutRefusedError, type ProviderName, ProviderUnavailableError } from '../../payments/payment-provider.js';
import { paymentIdOfReference } from '../../payments/payment-references.js';
import { syncPayment } from '../../payments/sync-payment.js';
import type { LastRevisions } from '../../read-model/last-revisions.js';
import { refuse } from '../../refusals.js';
import { defineRoute, type RouteDefinition } from '../../route.js';

export type PaymentWebhooksDeps = {
  readonly payments?: Payments | null;
  readonly lastRevisions: LastRevisions;
  readonly logger: Logger;
};

/** Providers add fields as they please; the signature is over the bytes, and the provider's adapter reads them. */
const WebhookBody = z.looseObject({}).meta({ id: 'PaymentWebhook' });
const Received = z.object({ received: z.literal(true), ignored: z.boolean() }).meta({ id: 'PaymentWebhookReceived' });

const PROVIDERS_WITH_WEBHOOKS = ['paystack', 'stripe'] as const satisfies readonly ProviderName[];

export function paymentWebhooksRoutes(deps: PaymentWebhooksDeps): RouteDefinition[] {
  return PROVIDERS_WITH_WEBHOOKS.map((provider) => webhookRoute(deps, provider));
}

function webhookRoute(deps: PaymentWebhooksDeps, provider: (typeof PROVIDERS_WITH_WEBHOOKS)[number]): RouteDefinition {
  return defineRoute({
    method: 'post',
    path: `/webhooks/${provider}`,
    operationId: provider === 'paystack' ? 'receivePaystackWebhook' : 'receiveStripeWebhook',
    summary: `For ${provider} to tell of payments; signed`,
    tag: 'Webhooks',
    policy: 'public',
    body: WebhookBody,
    responses: {
      200: { description: 'Taken, or none of ours', schema: Received },
      400: { description: 'Not signed by the provider' },
      404: { description: 'This deployment does not take payments through this provider' },
      503: { description: 'Send it again' },
    },
    handle: async ({ request, rawBody }) => {
      const { payments } = deps;
      if (payments?.provider.name !== provider)
        throw refuse('resource_not_found', { message: 'No payments are taken through this provider.' });
      const isIgnored = await take(deps, payments, rawBody ?? Buffer.alloc(0), request.headers);
      return { status: 200, body: { received: true, ignored: isIgnored } };
    },
  });
}

/** Returns whether it was none of ours. */
async function take(
  deps: PaymentWebhooksDeps,
  payments: Payments,
  rawBody: Buffer,
  headers: NodeJS.Dict<string | string[]>,
): Promise<boolean> {
  try {
    const reading = await payments.provider.readWebhook(rawBody, headers);
    if (reading.status === 'forged') {
      deps.logger.warn({ provider: payments.provider.name, reason: reading.reason }, 'a webhook was refused');
      throw refuse('invalid_parameter', { message: 'The signature is not valid.' });
    }
    const paymentId = reading.status === 'concerns' ? paymentIdOfReference(reading.reference) : null;
    if (paymentId === null) return true;
    const payment = await syncPayment({ ...payments, onBooked: noteBooking(deps.lastRevisions) }, paymentId, 'webhook');
    return payment === null || payment.provider !== payments.provider.name;
  } catch (error) {
    if (error instanceof ProviderUnavailableError) {
      throw refuse('provider_unavailable', { message: 'The payment cannot be looked up right now.', cause: error });
    }
    if (!(error instanceof CheckoutRefusedError)) throw error;
    // The provider does not know what its own webhook names: sending it again would not help.
    deps.logger.warn({ err: error }, 'a webhook names what its provider does not know');
    return true;
  }
}
