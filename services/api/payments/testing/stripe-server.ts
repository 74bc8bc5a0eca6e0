/** A local server that speaks the part of Stripe's documented API that Farebox uses; the official SDK is its client. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import Stripe from 'stripe';

export const STRIPE_KEY = 'sk_test_stripe_key_of_the_tests';
export const STRIPE_WEBHOOK_SECRET = 'whsec_of_the_tests_0123456789';

type Fields = Record<string, unknown>;
type Session = Fields & { id: string; payment_intent: string | null; client_reference_id: string; amount_total: number; currency: string };

export async function startStripeServer() {
  const sessions = new Map<string, Session>();
  const byIdempotencyKey = new Map<string, { readonly body: string; readonly session: Session }>();
  const refunds: Fields[] = [];
  const disputes: Fields[] = [];
  let made = 0;

  const answer = (response: ServerResponse, status: number, body: unknown): unknown => {
    response.writeHead(status, { 'content-type': 'application/json', 'request-id': 'req_test' });
    return response.end(JSON.stringify(body));
  };
  const list = (data: readonly unknown[]) => ({ object: 'list', data, has_more: false, url: '/' });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    const url = new URL(request.url ?? '/', 'http://x');
    if (request.headers.authorization !== `Bearer ${STRIPE_KEY}`) {
      return answer(response, 401, { error: { type: 'invalid_request_error', message: 'Invalid API Key' } });
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString('utf8');
    if (request.method === 'POST' && url.pathname === '/v1/checkout/sessions') return create(request, response, body);
    const ofIntent = url.searchParams.get('payment_intent');
    const isAsked = (item: Fields) => ofIntent === null || item['payment_intent'] === ofIntent;
    if (url.pathname === '/v1/checkout/sessions') return answer(response, 200, list([...sessions.values()]));
    if (url.pathname === '/v1/refunds') return answer(response, 200, list(refunds.filter(isAsked)));
    if (url.pathname === '/v1/disputes') return answer(response, 200, list(disputes.filter(isAsked)));
    const [, kind, id = ''] = /^\/v1\/(checkout\/sessions|payment_intents)\/(.+)$/.exec(url.pathname) ?? [];
    const session = kind === 'payment_intents' ? [...sessions.values()].find((one) => one.payment_intent === id) : sessions.get(id);
    if (session === undefined)
      return answer(response, 404, { error: { type: 'invalid_request_error', code: 'resource_missing', message: `No such ${kind}` } });
    return answer(response, 200, kind === 'payment_intents' ? { id, object: 'payment_intent', metadata: session['metadata'] } : session);
  }

  function create(request: IncomingMessage, response: ServerResponse, body: string): unknown {
    const key = String(request.headers['idempotency-key'] ?? '');
    const known = byIdempotencyKey.get(key);
    if (known !== undefined) {
      if (known.body !== body)
        return answer(response, 400, {
          error: { type: 'idempotency_error', message: 'Keys for idempotent requests can only be used with the same parameters' },
        });
      return answer(response, 200, known.session);
    }
    const form = new URLSearchParams(body);
    made += 1;
    const id = `cs_test_${made}`;
    const session: Session = {
      id,
      object: 'checkout.session',
      url: `https://checkout.stripe.com/c/pay/${id}`,
      livemode: false,
      status: 'open',
      payment_status: 'unpaid',
      payment_intent: null,
      client_reference_id: form.get('client_reference_id') ?? '',
      customer_email: form.get('customer_email'),
      amount_total: Number(form.get('line_items[0][price_data][unit_amount]')),
      currency: form.get('line_items[0][price_data][currency]') ?? '',
      metadata: { farebox_reference: form.get('metadata[farebox_reference]'), farebox_account: form.get('metadata[farebox_account]') },
      expires_at: Number(form.get('expires_at')),
      success_url: form.get('success_url'),
    };
    sessions.set(id, session);
    byIdempotencyKey.set(key, { body, session });
    return answer(response, 200, session);
  }

  const server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const sessionOf = (reference: string): Session => {
    const found = [...sessions.values()].find((one) => one.client_reference_id === reference);
    if (found === undefined) throw new Error(`no session of ${reference}`);
    return found;
  };
  return {
    host: { host: '127.0.0.1', port: (server.address() as AddressInfo).port, protocol: 'http' as const },
    sessions,
    sessionOf,
    pay(reference: string, changes: Fields = {}): Session {
      const session = sessionOf(reference);
      return Object.assign(session, { status: 'complete', payment_status: 'paid', payment_intent: `pi_${session.id}` }, changes);
    },
    refund(reference: string, amount: number): Fields {
      const { payment_intent: intent, currency } = sessionOf(reference);
      const refund = { id: `re_${refunds.length + 1}`, object: 'refund', status: 'succeeded', amount, currency, payment_intent: intent };
      refunds.push(refund);
      return refund;
    },
    dispute(reference: string): Fields {
      const { payment_intent: intent, currency, amount_total: amount } = sessionOf(reference);
      const dispute = {
        id: `dp_${disputes.length + 1}`,
        object: 'dispute',
        status: 'needs_response',
        amount,
        currency,
        payment_intent: intent,
      };
      disputes.push(dispute);
      return dispute;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export type StripeServer = Awaited<ReturnType<typeof startStripeServer>>;

const signer = new Stripe(STRIPE_KEY);

/** A delivery as Stripe signs it. `timestamp` in seconds; now by default. */
export function stripeWebhook(type: string, object: unknown, options: { secret?: string; timestamp?: number; livemode?: boolean } = {}) {
  const text = JSON.stringify({ id: 'evt_1', object: 'event', type, livemode: options.livemode ?? false, data: { object } });
  const signature = signer.webhooks.generateTestHeaderString({
    payload: text,
    secret: options.secret ?? STRIPE_WEBHOOK_SECRET,
    ...(options.timestamp === undefined ? {} : { timestamp: options.timestamp }),
  });
  return { text, headers: { 'stripe-signature': signature } };
}
