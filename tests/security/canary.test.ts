/**
 * Canaries: keys, the operator's secrets, e-mail addresses, names and prompts that are used in a busy run, refusals and a database crash included,
 * and must not turn up where they do not belong: logs, events, views, snapshots, metrics, refusals. The log is at its most talkative.
 */
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { waitFor } from '../../platform/testing/wait-for.js';
import { paystackProvider } from '../../services/api/payments/paystack-provider.js';
import { stripeProvider } from '../../services/api/payments/stripe-provider.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import type { Answer, Call } from '../support/http-client.js';
import { signalTree } from '../support/process-tree.js';
import { newsOf, webhook } from './bad-purchases.js';

const PROMPT = 'canary-prompt-7f3a91';
const EMAIL = 'canary-consumer-4be2@example.com';
const NAME = 'Canary Name Kx81';
const WRONG_KEY = 'fb_live_canary_wrong_key_55d0';
const STOP = 'canary-stop-91aa';
const BAD_EMAIL = 'canary-no-address-at-all';
const WORDS_IN_REQUESTS = [PROMPT, EMAIL, NAME, WRONG_KEY, STOP, BAD_EMAIL];

const random = () => randomBytes(18).toString('hex');
/** What an operator sets; both providers', as in a file of settings that was copied. */
const SETTINGS = {
  FAREBOX_PAYMENTS: 'stripe',
  STRIPE_SECRET_KEY: `sk_test_${random()}`,
  STRIPE_WEBHOOK_SECRET: `whsec_${random()}`,
  PAYSTACK_SECRET_KEY: `sk_test_${random()}`,
  FAREBOX_RECEIPT_KEY: randomBytes(32).toString('base64'),
};
const SETTINGS_KEPT_SECRET = Object.values(SETTINGS).filter((value) => value !== SETTINGS.FAREBOX_PAYMENTS);
/** Nobody listens there. */
const CLOSED_PORT = 1;

/** What was answered to whoever was refused. */
const refusals: string[] = [];

let deployment: EmbeddedDeployment;
let client: FareboxClient;
let secrets: readonly string[];
beforeAll(async () => {
  deployment = await createEmbeddedDeployment({ environment: { LOG_LEVEL: 'trace', ...SETTINGS } });
  await deployment.start();
  client = listened(createFareboxClient(deployment));
  secrets = await sing();
}, 120_000);
afterAll(async () => {
  client?.close();
  await deployment?.dispose();
}, 120_000);

/** The client, with its refusals kept. */
function listened(plain: FareboxClient): FareboxClient {
  const kept = (answer: Answer) => {
    if (answer.status >= 400) refusals.push(answer.text);
    return answer;
  };
  return {
    ...plain,
    call: async (path: string, call?: Call) => kept(await plain.call(path, call)),
    chat: async (...words: Parameters<FareboxClient['chat']>) => kept(await plain.chat(...words)),
  };
}

/** Uses every canary in every way. Returns the keys that were handed out. */
async function sing(): Promise<readonly string[]> {
  const { key } = await client.signUp(NAME);
  const { body: second } = await client.call('/v1/keys', { key, json: { name: NAME } });
  const messages = [
    { role: 'system', content: PROMPT },
    { role: 'user', content: `${PROMPT} ${EMAIL}` },
  ];
  const consumer: [string, string][] = [
    ['X-Consumer-Email', EMAIL],
    ['X-Consumer-Name', NAME],
  ];
  for (const stream of [false, true]) {
    await client.chat(key, { messages, stream, user: EMAIL, stop: [STOP] });
    await client.chat(key, { messages, stream, user: EMAIL }, [...consumer, ['Idempotency-Key', `canary-${stream}`]]);
    await client.chat(key, { messages, stream, temperature: 1 }, [...consumer, ['Idempotency-Key', `canary-${stream}`]]);
  }
  await client.chat(WRONG_KEY, { messages });
  await client.chat(key, { messages: PROMPT });
  await client.chat(key, { messages, temperature: PROMPT });
  await client.chat(key, { messages, model: 'no-such-model' });
  await client.chat(key, { messages }, [['X-Consumer-Email', BAD_EMAIL]]);
  await client.chat(key, { messages }, [...consumer, ...consumer]);
  await client.call('/v1/chat/completions', { key, raw: `{"${PROMPT}`, headers: [['Content-Type', 'application/json']] });
  await client.call(`/v1/requests/${PROMPT}`, { key });
  await client.call(`/v1/${PROMPT}?key=${key}&email=${EMAIL}`, { key });
  await client.call('/v1/usage?timezone=canary', { key: second.key });
  await client.call(`/v1/keys/${second.id}`, { key, method: 'DELETE' });
  await client.chat(second.key, { messages });
  const { body: third } = await client.call('/v1/keys', { key, json: { name: NAME, role: 'finance' } });
  const { body: rotated } = await client.call(`/v1/keys/${third.id}/rotate`, { key, json: { grace_seconds: 60 } });
  expect((await client.chat(rotated.key, { messages })).status).toBe(403);
  expect((await client.call('/v1/balance', { key: rotated.key })).status).toBe(200);
  await client.call(`/v1/keys/${second.key}/rotate`, { key, json: { role: deployment.adminKey } });
  await client.call('/v1/admin/grants', { key, json: { reason: deployment.adminKey } });
  await askForProof(key, messages);
  await knockAsProvider();
  await duringCrash(key, messages);
  const keys = [key, second.key, third.key, rotated.key, deployment.welcome.demoKey, deployment.adminKey];
  return [...keys, ...SETTINGS_KEPT_SECRET];
}

/** Receipts are signed with the operator's key and hold digests of what was said. */
async function askForProof(key: string, messages: unknown): Promise<void> {
  const { body } = await client.chat(key, { messages });
  const proof = await client.call(`/v1/requests/${body.id}/verification`, { key });
  expect(proof.status).toBe(200);
  expect(intruders(proof.text, [...SETTINGS_KEPT_SECRET, key, ...WORDS_IN_REQUESTS])).toEqual([]);
}

/** Webhooks that are forged in several ways, one of them with the other provider's secret. */
async function knockAsProvider(): Promise<void> {
  for (const secret of [undefined, 'whsec_forged', SETTINGS.PAYSTACK_SECRET_KEY]) {
    const { status } = await client.call('/webhooks/stripe', webhook('stripe', newsOf('stripe', PROMPT), secret));
    expect(status).toBe(400);
  }
  const genuine = webhook('stripe', newsOf('stripe', PROMPT), SETTINGS.STRIPE_WEBHOOK_SECRET);
  expect((await client.call('/webhooks/stripe', genuine)).status).toBe(200);
}

/** The log says most when the database dies under the requests. */
async function duringCrash(key: string, messages: unknown): Promise<void> {
  const pid = deployment.postmasterPid;
  expect(pid).not.toBeNull();
  const calls = Array.from({ length: 20 }, (_, index) => client.chat(key, { messages }, [['X-Consumer-Email', `${index}-${EMAIL}`]]));
  signalTree(pid ?? 0, 'SIGKILL');
  await Promise.all(calls);
  await waitFor(async () => (await client.chat(key, { messages })).status === 200, { describe: 'the database to come back' });
}

describe('canaries', () => {
  test('were really sung: the log and the books know of the requests', async () => {
    expect(deployment.log).toContain('postgres');
    expect(await client.metric('farebox_http_requests_total')).toBeGreaterThan(20);
  });

  test('do not turn up in the log, nor in what is printed beyond the welcome', () => {
    const printed = deployment.printed.replace(deployment.welcome.demoKey, '').replace(deployment.welcome.demoKey, '');
    expect(intruders(deployment.log + printed, [...secrets, ...WORDS_IN_REQUESTS])).toEqual([]);
  });

  test('do not turn up in refusals: not the keys of whoever is refused either', () => {
    expect(refusals.length).toBeGreaterThan(15);
    expect(intruders(refusals.join('\n'), secrets)).toEqual([]);
  });

  test('do not turn up when a payment provider cannot be reached, though its whole error is logged', async () => {
    const { STRIPE_SECRET_KEY: stripeKey, STRIPE_WEBHOOK_SECRET: webhookSecret, PAYSTACK_SECRET_KEY: paystackKey } = SETTINGS;
    const host = { host: '127.0.0.1', port: CLOSED_PORT, protocol: 'http' } as const;
    const providers = [
      stripeProvider({ secretKey: stripeKey, webhookSecret, host }),
      paystackProvider({ secretKey: paystackKey, fallbackEmail: EMAIL, apiUrl: `http://127.0.0.1:${CLOSED_PORT}` }),
    ];
    const lines: string[] = [];
    // Without the strictness of the services' own logger: the errors themselves hold nothing.
    const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
    for (const provider of providers) {
      const error = await provider
        .payment({ reference: 'farebox_topup_x', providerReference: 'cs_test_x' })
        .catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(Error);
      logger.warn({ err: error }, 'a provider is out of reach');
    }
    expect(lines).toHaveLength(providers.length);
    expect(intruders(lines.join('\n'), SETTINGS_KEPT_SECRET)).toEqual([]);
  });

  test('do not turn up in events, views or snapshots', async () => {
    const books = await deployment.openBooks();
    try {
      const dump = await books.dump(['event_store', 'read_model', 'ledger']);
      expect(dump).toContain('CreditReserved');
      expect(intruders(dump, [...secrets, ...WORDS_IN_REQUESTS])).toEqual([]);
      // The directory knows who people are, and the digests of keys; no secret.
      expect(intruders(await books.dump(['api']), secrets)).toEqual([]);
    } finally {
      await books.close();
    }
  });

  test('do not turn up in metrics, health or the OpenAPI document', async () => {
    for (const path of ['/metrics', '/healthz', '/readyz', '/openapi.json', '/docs']) {
      const { text } = await client.call(path);
      expect([path, intruders(text, [...secrets, ...WORDS_IN_REQUESTS])]).toEqual([path, []]);
    }
  });

  test('the files that keep secrets can be read by their owner alone', () => {
    expect(statSync(join(deployment.dataDirectory, 'demo-key')).mode & 0o077).toBe(0);
    expect(statSync(join(deployment.dataDirectory, 'postgres')).mode & 0o077).toBe(0);
  });
});

/** The lines of `text` that contain one of `words`. Keys count from their random part on: the prefix is public, and so is a short hint. */
function intruders(text: string, words: readonly string[]): readonly string[] {
  const lines = text.split('\n');
  return words.flatMap((word) => lines.filter((line) => line.includes(word) || line.includes(word.slice(-24))));
}
