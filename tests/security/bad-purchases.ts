/** What a client, a stranger or a forger can get wrong with payments: packs, addresses, references, tokens of forms, signatures of webhooks. */
import { createHmac } from 'node:crypto';
import type { Call } from '../support/http-client.js';
import { type BadInput, badJson, badQuery, type Offer, unknown } from './bad-input.js';

export const PAYSTACK_SECRET = 'sk_test_paystack_of_the_bad_inputs';
export const STRIPE_SECRET = 'sk_test_stripe_of_the_bad_inputs';
export const STRIPE_WEBHOOK_SECRET = 'whsec_stripe_of_the_bad_inputs';

const CHECKOUT = '/v1/billing/checkout';
const NOBODY = '0'.repeat(26);
const FORM: readonly [string, string] = ['Content-Type', 'application/x-www-form-urlencoded'];

type Signed = 'paystack' | 'stripe';

/** A webhook as the provider signs it, or as somebody with another `secret` does. `ageSeconds` only counts where the time is signed too. */
export function webhook(provider: Signed, content: unknown, secret?: string, ageSeconds = 0): Call {
  const raw = JSON.stringify(content);
  const headers: [string, string][] = [['Content-Type', 'application/json']];
  if (provider === 'paystack') {
    headers.push(['X-Paystack-Signature', hmac('sha512', secret ?? PAYSTACK_SECRET, raw)]);
  } else {
    const signedAt = Math.floor(Date.now() / 1_000) - ageSeconds;
    headers.push(['Stripe-Signature', `t=${signedAt},v1=${hmac('sha256', secret ?? STRIPE_WEBHOOK_SECRET, `${signedAt}.${raw}`)}`]);
  }
  return { raw, headers };
}

function hmac(algorithm: string, secret: string, text: string): string {
  return createHmac(algorithm, secret).update(text).digest('hex');
}

/** News of a payment that says it was made. */
export function newsOf(provider: Signed, reference: unknown): unknown {
  if (provider === 'paystack') {
    return { event: 'charge.success', data: { domain: 'test', status: 'success', reference, amount: 1_000_000, currency: 'NGN' } };
  }
  const session = { object: 'checkout.session', id: 'cs_test_x', client_reference_id: reference, payment_status: 'paid', amount_total: 1 };
  return { id: 'evt_x', object: 'event', livemode: false, type: 'checkout.session.completed', data: { object: session } };
}

/** References that a genuine webhook may carry and that name no payment of ours: the account at the provider may take others. */
export const UNKNOWN_REFERENCES: readonly unknown[] = [
  `huru_topup_${NOBODY}`,
  `huru-topup-${NOBODY}`,
  'order-4711',
  '',
  '__proto__',
  "'; drop table api.payments; --",
  'x'.repeat(10_000),
  null,
  7,
  { reference: 'x' },
];

export function badPurchases(offer: Pick<Offer, 'payments'> & { readonly packId: string }): readonly BadInput[] {
  const { payments, packId } = offer;
  const json = { pack_id: packId };
  const notTaken: BadInput = {
    name: 'checkout: where no payments are taken',
    path: CHECKOUT,
    call: { json },
    status: 404,
    code: 'endpoint_not_served',
    names: 'no payments',
  };
  return [...(payments === 'none' ? [notTaken] : badCheckouts(packId)), ...badReferences(packId), ...webhooks(payments)];
}

function badCheckouts(packId: string): readonly BadInput[] {
  const pack = (name: string, body: unknown, names: string) => badJson(`checkout: ${name}`, CHECKOUT, body, names);
  return [
    pack('a pack that does not exist', { pack_id: 'usd_6' }, 'pack_id'),
    pack('a pack named like a property of objects', { pack_id: '__proto__' }, 'pack_id'),
    pack('no pack', {}, 'pack_id'),
    pack('a number as pack', { pack_id: 5 }, 'pack_id'),
    pack('a price of one’s own', { pack_id: packId, amount: '0.01' }, 'amount'),
    pack('credit of one’s own', { pack_id: packId, credits: 1e9 }, 'credits'),
    pack('an address that runs', { pack_id: packId, success_url: 'javascript:alert(1)' }, 'success_url'),
    pack('an address of plain HTTP', { pack_id: packId, success_url: 'http://shop.example/' }, 'success_url'),
    pack('an address with credentials', { pack_id: packId, cancel_url: 'https://a:b@shop.example/' }, 'cancel_url'),
    pack('an address that is none', { pack_id: packId, cancel_url: '//' }, 'cancel_url'),
    pack('an e-mail that is none', { pack_id: packId, email: 'jane' }, 'email'),
  ];
}

function badReferences(packId: string): readonly BadInput[] {
  const checkout = `/checkout/farebox_topup_${NOBODY}`;
  return [
    unknown('checkout: of a consumer that does not exist', `/v1/consumers/con_${NOBODY}/checkout`, { json: { pack_id: packId } }),
    unknown('checkout: of a consumer that is no id', '/v1/consumers/%00/checkout', { json: { pack_id: packId } }),
    unknown('payment: an unknown reference', `/v1/payments/huru_topup_${NOBODY}`),
    unknown('payment: a reference that is none', "/v1/payments/'%20or%201=1"),
    badQuery('payments: a page after what is no reference', '/v1/payments?after=zzz', 'after'),
    badQuery('payments: a page of 1,000', '/v1/payments?limit=1000', 'limit'),
    ...['', '/return', '/cancel'].map((end) => unknown(`checkout page${end}: an unknown reference`, `${checkout}${end}`)),
    unknown('checkout page: a token of nobody', checkout, { raw: `token=${'f'.repeat(64)}`, headers: [FORM] }),
    badQuery('top-up: nobody', '/top-up', 'query'),
    badQuery('top-up: no id', '/top-up?project=1', 'project'),
    unknown('top-up: an unknown project', `/top-up?project=prj_${NOBODY}`, { raw: `pack_id=${packId}`, headers: [FORM] }),
  ];
}

function webhooks(payments: Offer['payments']): BadInput[] {
  return (['paystack', 'stripe'] as const).flatMap((provider): BadInput[] => {
    const path = `/webhooks/${provider}`;
    const news = newsOf(provider, `huru_topup_${NOBODY}`);
    if (payments !== provider) return [unknown(`webhook: of ${provider}, who takes no payments here`, path, webhook(provider, news))];
    const forged = (name: string, call: Call): BadInput => ({
      name: `webhook of ${provider}: ${name}`,
      path,
      call,
      status: 400,
      code: 'invalid_request',
      names: 'signature',
    });
    const signature = provider === 'paystack' ? 'X-Paystack-Signature' : 'Stripe-Signature';
    const genuine = webhook(provider, news);
    const otherBody = { ...genuine, raw: JSON.stringify(newsOf(provider, `huru_topup_1${NOBODY.slice(1)}`)) };
    return [
      forged('not signed', { json: news }),
      forged('signed with nothing', webhook(provider, news, '\u0000')),
      forged('signed by another', webhook(provider, news, 'sk_test_of_somebody_else')),
      forged('signed with the public API’s idea of a key', webhook(provider, news, 'undefined')),
      forged('a signature of another body', otherBody),
      forged('a signature that is no hex', { json: news, headers: [[signature, 'zz'.repeat(64)]] }),
      forged('a signature that is base64', { json: news, headers: [[signature, Buffer.from('t=1,v1=x').toString('base64')]] }),
      forged('an empty signature', { json: news, headers: [[signature, '']] }),
      forged('two signatures', {
        json: news,
        headers: [...(genuine.headers ?? []).slice(1), ...(genuine.headers ?? []).slice(1)].map(broken),
      }),
      ...(provider === 'stripe' ? [forged('signed an hour ago', webhook(provider, news, undefined, 3_600))] : []),
    ];
  });
}

/** The last digit changed. */
function broken([name, value]: readonly [string, string]): [string, string] {
  return [name, value.slice(0, -1) + (value.endsWith('0') ? '1' : '0')];
}
