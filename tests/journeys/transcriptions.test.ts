/**
 * A recording's way through the embedded deployment, as OpenAI's client for Node sends it: decoded, held, transcribed by the real whisper.cpp on
 * weights that recite, settled, answered.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI, { toFile } from 'openai';
import { packageFile } from '../../platform/package-root.js';
import { loadPreset } from '../../presets/load-preset.js';
import { weightsPath } from '../../services/inference/models/weights.js';
import { RECITED_TEXT, recitingWeights } from '../../services/inference/whisper/testing/reciting-weights.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { makeTemporaryDirectory } from '../support/temporary-directory.js';
import { waveFile } from '../support/wave-file.js';

const MODEL = 'huru/stt-1';

let deployment: EmbeddedDeployment;
let client: FareboxClient;
let key: string;
let openai: OpenAI;
let removeModels: () => Promise<void>;

beforeAll(async () => {
  const model = loadPreset('huru').models.find(({ id }) => id === MODEL);
  if (model === undefined) throw new Error('the preset has changed');
  const models = await makeTemporaryDirectory();
  removeModels = models.remove;
  const directory = join(models.path, 'models');
  mkdirSync(directory);
  writeFileSync(weightsPath(model, directory), recitingWeights());
  deployment = await createEmbeddedDeployment({
    preset: 'huru',
    environment: { FAREBOX_ENGINE: 'tiny', FAREBOX_MODEL_DIR: directory },
  });
  await deployment.start();
  client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: 'huru/chat-1' });
  ({ key } = await client.signUp('Voice messages', 'live'));
  openai = new OpenAI({ apiKey: key, baseURL: `${deployment.baseUrl}/v1`, maxRetries: 0 });
}, 120_000);

afterAll(async () => {
  client?.close();
  await deployment?.dispose();
  await removeModels?.();
}, 120_000);

async function available(): Promise<string> {
  const response = await fetch(`${deployment.baseUrl}/v1/balance`, { headers: { authorization: `Bearer ${key}` } });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  const { available: amount, held } = JSON.parse(text) as { available: string; held: string };
  return `${amount} + ${held}`;
}

describe('transcriptions in the embedded deployment', () => {
  test.each(['mp3', 'm4a', 'webm'])('%s is heard by whisper.cpp for a credit', async (kind) => {
    const before = await available();
    const file = await toFile(readFileSync(packageFile(`services/api/media/fixtures/tone.${kind}`)), `voice.${kind}`);
    const answer = await openai.audio.transcriptions.create({ file, model: MODEL, response_format: 'verbose_json' });
    expect(answer).toMatchObject({ text: RECITED_TEXT.trim(), language: 'en', huru: { credits_used: 1 } });
    expect(answer.segments?.[0]).toMatchObject({ id: 0, start: 0, end: 2 });
    expect(Number.parseFloat(await available())).toBe(Number.parseFloat(before) - 1);
  });

  test('subtitles come as text', async () => {
    const file = await toFile(waveFile(2), 'voice.wav');
    const text: unknown = await openai.audio.transcriptions.create({ file, model: MODEL, response_format: 'srt' });
    expect(text).toBe(`1\n00:00:00,000 --> 00:00:02,000\n${RECITED_TEXT.trim()}\n`);
  });

  test('the consumer of the header pays, and the project does not', async () => {
    const before = await available();
    const file = await toFile(waveFile(2), 'voice.wav');
    const headers = { 'X-Consumer-Email': 'jane@example.com' };
    await openai.audio.transcriptions.create({ file, model: MODEL }, { headers });
    expect(await available()).toBe(before);
    const consumers = await fetch(`${deployment.baseUrl}/v1/consumers`, { headers: { authorization: `Bearer ${key}` } });
    expect(await consumers.json()).toMatchObject({ data: [{ email: 'jane@example.com', credits_balance: 9 }] });
  });

  test('a text file called .mp3 is refused by type, and costs nothing', async () => {
    const before = await available();
    const file = await toFile(Buffer.from('Dear diary, '.repeat(1_000)), 'voice.mp3');
    await expect(openai.audio.transcriptions.create({ file, model: MODEL })).rejects.toMatchObject({
      status: 400,
      code: 'invalid_request',
    });
    expect(await available()).toBe(before);
  });
});
