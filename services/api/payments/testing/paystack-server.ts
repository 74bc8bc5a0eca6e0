/** A local server that speaks Paystack's documented API, as far as Farebox uses it, and signs webhooks as Paystack does. */
import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const PAYSTACK_KEY = 'sk_test_paystack_key_of_the_tests';

export type FakeTransaction = {
  readonly id: number;
  domain: string;
  status: string;
  readonly reference: string;
  amount: number;
  currency: string;
  readonly email: string;
  readonly callback_url: string;
  metadata: unknown;
};
type FakeRefund = { readonly id: number; readonly transaction: number; amount: number; currency: string; status: string };
type FakeDispute = {
  readonly id: number;
  status: string;
  resolution: string | null;
  refund_amount: number;
  currency: string;
  transaction: { id: number; reference: string; amount: number; currency: string };
};

export async function startPaystackServer() {
  const transactions = new Map<string, FakeTransaction>();
  const refunds: FakeRefund[] = [];
  const disputes: FakeDispute[] = [];
  let nextId = 1_000;
  const calls: string[] = [];
  let isDown = false;

  const answer = (response: ServerResponse, status: number, data: unknown, message = 'ok'): unknown => {
    response.writeHead(status, { 'content-type': 'application/json' });
    return response.end(JSON.stringify({ status: status === 200, message, data }));
  };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    const url = new URL(request.url ?? '/', 'http://x');
    calls.push(`${request.method} ${url.pathname}`);
    if (isDown) return response.writeHead(502).end('<html>bad gateway</html>');
    if (request.headers.authorization !== `Bearer ${PAYSTACK_KEY}`) return answer(response, 401, null, 'Invalid key');
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = chunks.length === 0 ? {} : (JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, string>);
    if (url.pathname === '/transaction/initialize') return initialize(response, body);
    const [, verified] = /^\/transaction\/verify\/(.+)$/.exec(url.pathname) ?? [];
    if (verified !== undefined) {
      const found = transactions.get(decodeURIComponent(verified));
      if (found === undefined) return answer(response, 400, null, 'Transaction reference not found.');
      return answer(response, 200, found);
    }
    const [, id] = /^\/transaction\/(\d+)$/.exec(url.pathname) ?? [];
    if (id !== undefined) return answer(response, 200, [...transactions.values()].find((one) => one.id === Number(id)) ?? null);
    const ofTransaction = Number(url.searchParams.get('transaction') ?? '0');
    const pageOf = <Item>(items: readonly Item[]) => (url.searchParams.get('page') === '1' ? items : []);
    if (url.pathname === '/transaction') return answer(response, 200, pageOf([...transactions.values()]));
    if (url.pathname === '/refund')
      return answer(response, 200, pageOf(refunds.filter((one) => ofTransaction === 0 || one.transaction === ofTransaction)));
    if (url.pathname === '/dispute')
      return answer(response, 200, pageOf(disputes.filter((one) => ofTransaction === 0 || one.transaction.id === ofTransaction)));
    return answer(response, 404, null, 'no such route');
  }

  function initialize(response: ServerResponse, body: Record<string, string>): unknown {
    const { reference = '', email = '', currency = '', amount = '', callback_url: callback = '', metadata = '{}' } = body;
    if (!/^[A-Za-z0-9.=-]+$/.test(reference)) return answer(response, 400, null, 'Invalid reference');
    if (transactions.has(reference)) return answer(response, 400, null, 'Duplicate Transaction Reference');
    nextId += 1;
    transactions.set(reference, {
      id: nextId,
      domain: 'test',
      status: 'abandoned',
      reference,
      amount: Number(amount),
      currency,
      email,
      callback_url: callback,
      metadata: JSON.parse(metadata),
    });
    return answer(response, 200, { authorization_url: `https://checkout.paystack.com/${nextId}`, access_code: 'x', reference });
  }

  const server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  /** The transaction behind one of our references. */
  const transaction = (reference: string): FakeTransaction => {
    const found = transactions.get(reference.replaceAll('_', '-'));
    if (found === undefined) throw new Error(`no transaction ${reference}`);
    return found;
  };
  return {
    apiUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    transactions,
    transaction,
    pay(reference: string, changes: Partial<FakeTransaction> = {}) {
      return Object.assign(transaction(reference), { status: 'success' }, changes);
    },
    refund(reference: string, amount: number) {
      nextId += 1;
      const { id, currency } = transaction(reference);
      refunds.push({ id: nextId, transaction: id, amount, currency, status: 'processed' });
    },
    dispute(reference: string): FakeDispute {
      nextId += 1;
      const { id, amount, currency } = transaction(reference);
      const made = { id: nextId, status: 'awaiting-merchant-feedback', resolution: null, refund_amount: amount, currency };
      const dispute: FakeDispute = { ...made, transaction: { id, reference: transaction(reference).reference, amount, currency } };
      disputes.push(dispute);
      return dispute;
    },
    setDown(down: boolean) {
      isDown = down;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export type PaystackServer = Awaited<ReturnType<typeof startPaystackServer>>;

/** A delivery as Paystack sends it. */
export function paystackWebhook(event: string, data: unknown, secret = PAYSTACK_KEY) {
  const text = JSON.stringify({ event, data });
  return { text, headers: { 'x-paystack-signature': createHmac('sha512', secret).update(text).digest('hex') } };
}
