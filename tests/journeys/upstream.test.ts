/** A Farebox whose models are served by another Farebox, which stands for any OpenAI-compatible server, behind one that is gone. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { writePreset } from '../support/preset-file.js';
import { textOf } from '../support/stream-events.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

const MODEL = 'phi-3.5-mini';

let files: TemporaryDirectory;
let provider: EmbeddedDeployment;
let reseller: EmbeddedDeployment;
let client: FareboxClient;
let key: string;

beforeAll(async () => {
  files = await makeTemporaryDirectory();
  provider = await createEmbeddedDeployment();
  await provider.start();
  const preset = writePreset(files.path, 'farebox', (offer) => {
    const model = offer.models.find(({ id }: { id: string }) => id === MODEL);
    if (model === undefined) throw new Error(`the preset has no ${MODEL}`);
    model.served_by = [
      // The discard port: nobody listens.
      { name: 'gone', base_url: 'http://127.0.0.1:9/v1', model: MODEL },
      { name: 'farebox-a', base_url: `${provider.baseUrl}/v1`, model: MODEL, api_key_env: 'PROVIDER_KEY' },
    ];
  });
  reseller = await createEmbeddedDeployment({
    preset,
    environment: { FAREBOX_ENGINE: 'upstream', PROVIDER_KEY: provider.welcome.demoKey },
  });
  await reseller.start();
  client = createFareboxClient({ baseUrl: reseller.baseUrl, adminKey: reseller.adminKey, model: MODEL });
  key = reseller.welcome.demoKey;
}, 120_000);

afterAll(async () => {
  client?.close();
  await reseller?.dispose();
  await provider?.dispose();
  await files?.remove();
}, 120_000);

test('the answer comes from the server behind the one that is gone, with its counts, and says who it was', async () => {
  const { status, body } = await client.chat(key, { max_tokens: 20 });
  expect(status).toBe(200);
  expect(body.choices[0].message.content.length).toBeGreaterThan(0);
  expect(body.system_fingerprint).toContain('farebox-a');
  const { body: record } = await client.call(`/v1/requests/${body.farebox.request_id}`, { key });
  expect(record.usage).toMatchObject({ counted_by: 'engine', total_tokens: body.usage.total_tokens });
  expect((await client.call(`/v1/requests/${body.farebox.request_id}/explain`, { key })).body.adds_up).toBe(true);
});

test('a stream too', async () => {
  const { text } = await client.chat(key, { stream: true, stream_options: { include_usage: true } });
  expect(textOf(text).length).toBeGreaterThan(0);
  expect(text).toMatch(/"completion_tokens":[1-9]/);
  expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
});

test('a model that no upstream serves is refused before anything is held', async () => {
  const before = await client.balance(key);
  const answer = await client.chat(key, { model: 'farebox-tiny' });
  expect([answer.status, answer.body.error.code]).toEqual([503, 'provider_unavailable']);
  expect(await client.balance(key)).toEqual(before);
});

test('when the provider is gone too, the request fails and costs nothing', async () => {
  const before = await client.balance(key);
  await provider.kill();
  const answer = await client.chat(key);
  expect(answer.status).toBe(503);
  expect(await client.balance(key)).toEqual(before);
});
