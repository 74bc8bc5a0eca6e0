/**
 * The only worker dies in the middle of a stream: the client gets an error event, not a whole answer, and its credit back. The model is a server
 * that speaks slowly, so that there is a middle.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { describeWithBroker, startTestBroker, type TestBroker } from '../../events/bus/kafka/testing/brokers-for-tests.js';
import { KAFKA_4_VERSION } from '../../platform/kafka/dev-broker.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { createDistributedDeployment, type DistributedDeployment } from '../support/distributed-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { writePreset } from '../support/preset-file.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

const MODEL = 'phi-3.5-mini';
const WORD_EVERY_MS = 100;
/** Silence of six seconds is a loss; a refund takes moments. */
const LOSS_MS_MAX = 30_000;

let files: TemporaryDirectory;
let slowModel: Server;
let broker: TestBroker;
let deployment: DistributedDeployment;
let client: FareboxClient;

/** Says a word now and then, for ever. */
function startSlowModel(): Promise<Server> {
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const chunk = { id: 'c', object: 'chat.completion.chunk', created: 1, model: MODEL };
    const say = () =>
      response.write(
        `data: ${JSON.stringify({ ...chunk, choices: [{ index: 0, delta: { content: 'word ' }, finish_reason: null }] })}\n\n`,
      );
    const timer = setInterval(say, WORD_EVERY_MS);
    response.once('close', () => clearInterval(timer));
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

await describeWithBroker('the loss of a worker in a stream', () => {
  beforeAll(async () => {
    files = await makeTemporaryDirectory();
    slowModel = await startSlowModel();
    const url = `http://127.0.0.1:${(slowModel.address() as AddressInfo).port}/v1`;
    const preset = writePreset(files.path, 'farebox', (offer) => {
      const model = offer.models.find(({ id }: { id: string }) => id === MODEL);
      model.served_by = [{ name: 'slow', base_url: url, model: MODEL }];
    });
    broker = await startTestBroker(KAFKA_4_VERSION);
    deployment = await createDistributedDeployment({ broker, preset, environment: { FAREBOX_ENGINE: 'upstream' } });
    await deployment.start();
    client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: MODEL });
  }, 300_000);
  afterAll(async () => {
    client?.close();
    await deployment?.dispose();
    await broker?.dispose();
    slowModel?.closeAllConnections();
    slowModel?.close();
    await files?.remove();
  }, 120_000);

  test('an error event, no end that looks whole, and the hold given back', async () => {
    const { key } = await client.signUp('mid-stream');
    const before = await client.balance(key);
    const ask = () =>
      fetch(`${deployment.baseUrl}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: MODEL, messages: [{ role: 'user', content: 'Speak' }], stream: true }),
      });
    let response = await ask();
    // A busy machine may miss a worker's sign for a moment; nothing is held then.
    await waitFor(
      async () => {
        if (response.status === 503) response = await ask();
        return response.status !== 503;
      },
      { timeoutMs: LOSS_MS_MAX, describe: 'a worker to be there' },
    );
    expect(response.status).toBe(200);
    let text = '';
    const reading = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) text += decoder.decode(chunk, { stream: true });
    })();
    await waitFor(() => text.includes('word'), { describe: () => `the first word; got ${text}` });
    await Promise.all(deployment.workers.map((worker) => worker.kill()));
    const isOver = Promise.race([
      reading.then(() => true),
      new Promise<boolean>((resolve) => setTimeout(() => resolve(false), LOSS_MS_MAX).unref()),
    ]);
    expect(await isOver).toBe(true);
    expect(text).toContain('"error"');
    expect(text).not.toContain('[DONE]');
    await waitFor(async () => (await client.balance(key)).held === '0', { timeoutMs: LOSS_MS_MAX, describe: 'the hold to end' });
    expect(await client.balance(key)).toEqual(before);
  });
});
