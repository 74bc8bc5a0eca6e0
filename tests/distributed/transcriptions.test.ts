/** A recording between processes: the API that took it hands the samples to the worker that transcribes it, over HTTP and for the secret. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import OpenAI, { toFile } from 'openai';
import { describeWithBroker, startTestBroker, type TestBroker } from '../../events/bus/kafka/testing/brokers-for-tests.js';
import { KAFKA_4_VERSION } from '../../platform/kafka/dev-broker.js';
import { MEDIA_PATH } from '../../services/api/media/serve-media.js';
import { createDistributedDeployment, type DistributedDeployment } from '../support/distributed-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { waveFile } from '../support/wave-file.js';

let broker: TestBroker;
let deployment: DistributedDeployment;
let client: FareboxClient;

await describeWithBroker('transcriptions between processes', () => {
  beforeAll(async () => {
    broker = await startTestBroker(KAFKA_4_VERSION);
    deployment = await createDistributedDeployment({ broker, preset: 'huru' });
    await deployment.start();
    client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: 'huru/chat-1' });
  }, 300_000);
  afterAll(async () => {
    client?.close();
    await deployment?.dispose();
    await broker?.dispose();
  }, 120_000);

  test('a worker in another process hears what the API was sent', async () => {
    const { key } = await client.signUp('Voice messages', 'live');
    const openai = new OpenAI({ apiKey: key, baseURL: `${deployment.baseUrl}/v1`, maxRetries: 0 });
    const answer = await openai.audio.transcriptions.create({ file: await toFile(waveFile(3), 'voice.wav'), model: 'huru/stt-1' });
    expect(answer).toMatchObject({ text: expect.stringContaining('3.0 seconds of sound'), huru: { credits_used: 1 } });
  }, 60_000);

  test('nobody without the secret gets at recordings', async () => {
    const ask = (headers: Record<string, string>) => fetch(`${deployment.baseUrl}${MEDIA_PATH}med_1`, { headers });
    expect((await ask({})).status).toBe(401);
    expect((await ask({ authorization: 'Bearer guessed' })).status).toBe(401);
  });
});
