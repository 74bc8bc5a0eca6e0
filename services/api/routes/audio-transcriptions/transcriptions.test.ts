/** Transcriptions over real HTTP with the real ledger and the real decoder: what is answered, what is refused, and what either costs. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { formatAmount } from '../../../../events/contract/index.js';
import { packageFile } from '../../../../platform/package-root.js';
import { waveFile } from '../../../../tests/support/wave-file.js';
import { type Answer, type ChatApi, startChatApi } from '../../testing/chat-api.js';
import type { ScriptedRun } from '../../testing/scripted-worker.js';

const MODEL = 'huru/stt-1';
const TRANSCRIPT = {
  text: ' Good morning. How are you?',
  language: 'en',
  segments: [
    { startMs: 0, endMs: 1_250, text: ' Good morning.' },
    { startMs: 1_250, endMs: 3_600_001, text: ' How are you?' },
  ],
};

let api: ChatApi;

beforeEach(async () => {
  api = await startChatApi({ preset: 'huru' });
  api.worker.script = speak;
});

afterEach(() => api.close());

async function speak(run: ScriptedRun): Promise<void> {
  const { input } = run.request;
  if (input.kind !== 'transcription') throw new Error('no transcription was asked for');
  await run.output(JSON.stringify(TRANSCRIPT));
  await run.finish('stop', { promptTokens: 0, cachedTokens: 0, completionTokens: 0, audio: input.usage });
}

type Part = readonly [name: string, value: string | { readonly file: Buffer; readonly as?: string }];

async function post(parts: readonly Part[], headers: readonly (readonly [string, string])[] = []): Promise<Answer> {
  const form = new FormData();
  for (const [name, value] of parts) {
    if (typeof value === 'string') form.append(name, value);
    else form.append(name, new Blob([Uint8Array.from(value.file)]), value.as ?? 'recording');
  }
  const request = new Request('http://localhost/', { method: 'POST', body: form });
  const raw = Buffer.from(await request.arrayBuffer());
  const type = request.headers.get('content-type') ?? '';
  return api.call('/v1/audio/transcriptions', { raw, headers: [['Content-Type', type], ...headers] });
}

const WAVE: Part = ['file', { file: waveFile(2) }];
const WITH_MODEL: readonly Part[] = [WAVE, ['model', MODEL]];

async function balance(): Promise<string> {
  const account = await api.ledger.balance(api.project.accountId);
  return `${formatAmount(account?.availableNanos ?? 0n)} + ${formatAmount(account?.heldNanos ?? 0n)}`;
}

describe('a recording that is transcribed', () => {
  test('is measured from the file, charged by what was held, and answered with the metadata object', async () => {
    const { status, body } = await post(WITH_MODEL);
    expect(status).toBe(200);
    expect(body).toEqual({
      text: 'Good morning. How are you?',
      usage: { type: 'duration', seconds: 2 },
      huru: expect.objectContaining({ credits_used: 1, request_id: expect.stringMatching(/^req_/) }),
    });
    const [run] = api.worker.runs;
    expect(run?.request.input).toMatchObject({ kind: 'transcription', usage: { bytes: waveFile(2).length, milliseconds: 2_000 } });
    expect(run?.request.outputTokensBudget).toBe(0);
    expect(await balance()).toBe('99 + 0');
  });

  test('costs a credit for every 500,000 bytes that are started', async () => {
    await post([
      ['file', { file: waveFile(16) }],
      ['model', MODEL],
    ]);
    expect(await balance()).toBe('98 + 0');
  });

  test.each(['mp3', 'm4a', 'webm'])('may be %s, whatever it is called', async (kind) => {
    const file = readFileSync(packageFile(`services/api/media/fixtures/tone.${kind}`));
    const { status, body } = await post([
      ['file', { file, as: 'speech.txt' }],
      ['model', MODEL],
    ]);
    expect(status).toBe(200);
    expect(body.usage.seconds).toBeGreaterThan(1.95);
    expect(body.usage.seconds).toBeLessThan(2.1);
  });

  test('comes as verbose JSON with its segments', async () => {
    const { body } = await post([...WITH_MODEL, ['response_format', 'verbose_json'], ['timestamp_granularities[]', 'segment']]);
    expect(body).toMatchObject({
      task: 'transcribe',
      language: 'en',
      duration: 2,
      text: 'Good morning. How are you?',
      segments: [
        { id: 0, start: 0, end: 1.25, text: ' Good morning.' },
        { id: 1, start: 1.25, end: 3600.001, text: ' How are you?' },
      ],
      huru: { credits_used: 1 },
    });
  });

  test.each([
    ['text', 'text/plain; charset=utf-8', 'Good morning. How are you?\n'],
    [
      'srt',
      'application/x-subrip; charset=utf-8',
      '1\n00:00:00,000 --> 00:00:01,250\nGood morning.\n\n2\n00:00:01,250 --> 01:00:00,001\nHow are you?\n',
    ],
    [
      'vtt',
      'text/vtt; charset=utf-8',
      'WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nGood morning.\n\n00:00:01.250 --> 01:00:00.001\nHow are you?\n',
    ],
  ])('comes as %s', async (format, contentType, text) => {
    const answer = await post([...WITH_MODEL, ['response_format', format]]);
    expect(answer.headers['content-type']).toBe(contentType);
    expect(answer.text).toBe(text);
  });

  test('hands language, prompt and temperature to the engine', async () => {
    await post([...WITH_MODEL, ['language', 'de'], ['prompt', 'Farebox'], ['temperature', '0.4']]);
    const request = api.worker.runs[0]?.request;
    expect(request?.input).toMatchObject({ language: 'de', prompt: 'Farebox' });
    expect(request?.sampling.temperature).toBe(0.4);
  });

  test('asked for again with its key is answered again and charged once, though each try has a boundary of its own', async () => {
    const key = [['Idempotency-Key', 'once']] as const;
    const first = await post(WITH_MODEL, key);
    const second = await post(WITH_MODEL, key);
    expect(second.body).toEqual({ ...first.body, idempotent_replay: true });
    expect(api.worker.runs).toHaveLength(1);
    expect(await balance()).toBe('99 + 0');
    expect((await post([...WITH_MODEL, ['language', 'de']], key)).status).toBe(422);
  });

  test('is paid for by the consumer that the header names', async () => {
    const { status } = await post(WITH_MODEL, [['X-Consumer-Email', 'jane@example.com']]);
    expect(status).toBe(200);
    expect(await balance()).toBe('100 + 0');
  });
});

describe('a run that fails', () => {
  test('refunds everything and says that it can be tried again', async () => {
    api.worker.script = (run) => run.fail('engine_failed', false);
    const { status } = await post(WITH_MODEL);
    expect(status).toBe(503);
    expect(await balance()).toBe('100 + 0');
  });

  test('without credit nothing is decoded for nothing: 402 with a checkout', async () => {
    const poor = await api.signUp('0.5');
    const request = new Request('http://localhost/', { method: 'POST', body: formOf(WITH_MODEL) });
    const raw = Buffer.from(await request.arrayBuffer());
    const headers = [['Content-Type', request.headers.get('content-type') ?? '']] as const;
    const { status, body } = await api.call('/v1/audio/transcriptions', { raw, headers, key: poor.key });
    expect(status).toBe(402);
    expect(body.error.checkout_url).toContain('http');
    expect(api.worker.runs).toHaveLength(0);
  });
});

function formOf(parts: readonly Part[]): FormData {
  const form = new FormData();
  for (const [name, value] of parts) {
    if (typeof value === 'string') form.append(name, value);
    else form.append(name, new Blob([Uint8Array.from(value.file)]), 'recording');
  }
  return form;
}

describe('what is refused, with nothing held', () => {
  afterEach(async () => {
    expect(api.worker.runs).toHaveLength(0);
    expect(await balance()).toBe('100 + 0');
  });

  test.each<[string, readonly Part[], string]>([
    ['no file', [['model', MODEL]], 'file'],
    ['no model', [WAVE], 'model'],
    [
      'a file that is a field',
      [
        ['file', 'RIFF'],
        ['model', MODEL],
      ],
      'file',
    ],
    ['two files', [WAVE, WAVE, ['model', MODEL]], 'file'],
    [
      'a file by another name',
      [
        ['recording', { file: waveFile(1) }],
        ['model', MODEL],
      ],
      'recording',
    ],
    ['a model twice', [...WITH_MODEL, ['model', MODEL]], 'model'],
    ['a format that there is not', [...WITH_MODEL, ['response_format', 'docx']], 'response_format'],
    ['a temperature that is no number', [...WITH_MODEL, ['temperature', 'hot']], 'temperature'],
    ['a temperature beyond 1', [...WITH_MODEL, ['temperature', '1.5']], 'temperature'],
    ['a language that nobody here speaks', [...WITH_MODEL, ['language', 'qq']], 'language'],
    ['a language that is none', [...WITH_MODEL, ['language', 'English']], 'language'],
    [
      'words with times',
      [...WITH_MODEL, ['response_format', 'verbose_json'], ['timestamp_granularities[]', 'word']],
      'timestamp_granularities[]',
    ],
    ['times without verbose_json', [...WITH_MODEL, ['timestamp_granularities[]', 'segment']], 'timestamp_granularities[]'],
    ['a prompt beyond the bound', [...WITH_MODEL, ['prompt', 'x'.repeat(20_000)]], 'prompt'],
    ['a model that writes', [WAVE, ['model', 'huru/chat-1']], 'model'],
    [
      'a text file called .mp3',
      [
        ['file', { file: Buffer.from('Dear diary, '.repeat(99)), as: 'a.mp3' }],
        ['model', MODEL],
      ],
      'file',
    ],
    [
      'an empty file',
      [
        ['file', { file: Buffer.alloc(0) }],
        ['model', MODEL],
      ],
      'file',
    ],
    [
      'a header and then rubbish',
      [
        ['file', { file: Buffer.concat([waveFile(1).subarray(0, 16), Buffer.alloc(4_000, 7)]) }],
        ['model', MODEL],
      ],
      'file',
    ],
    [
      'half an hour and a second',
      [
        ['file', { file: lowRateWave(1_801) }],
        ['model', MODEL],
      ],
      'file',
    ],
  ])('%s', async (_name, parts, param) => {
    const { status, body } = await post(parts);
    expect(status).toBe(400);
    expect(body.error).toMatchObject({ type: 'invalid_request_error', code: 'invalid_request' });
    expect(body.error.message).toContain(param);
  });

  test('a model that is not offered', async () => {
    expect((await post([WAVE, ['model', 'whisper-1']])).status).toBe(404);
  });

  test('a body that is no form, has no boundary, or ends too early', async () => {
    const send = (raw: string, type: string) => api.call('/v1/audio/transcriptions', { raw, headers: [['Content-Type', type]] });
    expect((await send('{}', 'application/json')).status).toBeGreaterThanOrEqual(400);
    expect((await send('{}', 'multipart/form-data')).status).toBeGreaterThanOrEqual(400);
    expect(
      (await send('--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc', 'multipart/form-data; boundary=x')).status,
    ).toBe(400);
    expect((await send('nothing at all', 'multipart/form-data; boundary=x')).status).toBe(400);
  });

  test('more than 25 MB', async () => {
    const { status } = await post([
      ['file', { file: Buffer.alloc(27 * 1024 * 1024) }],
      ['model', MODEL],
    ]);
    expect(status).toBe(400 + 13);
  });
});

/** Long and small: 8 bits at 4 kHz. */
function lowRateWave(seconds: number): Buffer {
  const rate = 4_000;
  const header = Buffer.from(waveFile(0).subarray(0, 44));
  const dataBytes = seconds * rate;
  header.writeUInt32LE(36 + dataBytes, 4);
  header.writeUInt32LE(rate, 24);
  header.writeUInt32LE(rate, 28);
  header.writeUInt16LE(1, 32);
  header.writeUInt16LE(8, 34);
  header.writeUInt32LE(dataBytes, 40);
  return Buffer.concat([header, Buffer.alloc(dataBytes, 128)]);
}
