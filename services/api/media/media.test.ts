/** Recordings on their way to the workers: recognised, decoded within bounds, kept within bounds, handed out only to who may have them. */
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { packageFile } from '../../../platform/package-root.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { waveFile } from '../../../tests/support/wave-file.js';
import { httpMediaSource } from '../../inference/whisper/http-media-source.js';
import { AudioDecoder, DECODERS_MAX, DECODES_WAITING_MAX } from './audio-decoder.js';
import { audioKindOf } from './audio-kind.js';
import { MEDIA_KEPT_MS_MAX, MediaStore } from './media-store.js';
import { serveMedia } from './serve-media.js';

const SECRET = 'a-secret-between-two-services';

const fixture = (kind: string) => readFileSync(packageFile(`services/api/media/fixtures/tone.${kind}`));
const owned = (file: Buffer): Buffer<ArrayBuffer> => {
  const copy = Buffer.from(new ArrayBuffer(file.length));
  file.copy(copy);
  return copy;
};

describe('the kind of a file', () => {
  test.each(['mp3', 'm4a', 'webm'] as const)('%s is known by its first bytes', (kind) => expect(audioKindOf(fixture(kind))).toBe(kind));
  test('WAV too', () => expect(audioKindOf(waveFile(1))).toBe('wav'));
  test.each([
    ['text', Buffer.from('ID, name, tone and so on')],
    ['little', Buffer.from('RIFF')],
    ['a picture', Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')],
    ['a frame of a reserved rate', Buffer.from('fffbfc000000000000000000', 'hex')],
    ['a film of RIFF', Buffer.from('RIFF\0\0\0\0AVI LIST', 'latin1')],
  ])('%s is none', (_name, bytes) => expect(audioKindOf(bytes)).toBeNull());
});

describe('the decoder', () => {
  let decoder: AudioDecoder;
  afterEach(() => decoder.close());

  test.each(['mp3', 'm4a', 'webm'])('hears the tone in %s', async (kind) => {
    decoder = new AudioDecoder({ scheduler: eventLoopScheduler });
    const decoded = await decoder.decode(owned(fixture(kind)));
    if (decoded.status !== 'decoded') throw new Error(decoded.message);
    expect(decoded.samples.length / 16_000).toBeCloseTo(2, 0);
    expect(hertzOf(decoded.samples)).toBeGreaterThan(425);
    expect(hertzOf(decoded.samples)).toBeLessThan(455);
  });

  test('decodes one file after the other in the same thread, and says what is beyond its bounds', async () => {
    decoder = new AudioDecoder({ scheduler: eventLoopScheduler, secondsMax: 3 });
    expect(await decoder.decode(owned(waveFile(2)))).toMatchObject({ status: 'decoded' });
    expect(await decoder.decode(owned(waveFile(4)))).toMatchObject({ status: 'refused', reason: 'too_long' });
    expect(await decoder.decode(owned(waveFile(3)))).toMatchObject({ status: 'decoded' });
    const cut = owned(fixture('m4a').subarray(0, 600));
    expect(await decoder.decode(cut)).toMatchObject({ status: 'refused' });
  });

  test('gives a file up that takes too long, and goes on with the next', async () => {
    let isPatient = false;
    const scheduler = {
      ...eventLoopScheduler,
      delay: (work: () => void, ms: number) => eventLoopScheduler.delay(work, isPatient ? ms : 1),
    };
    decoder = new AudioDecoder({ scheduler });
    expect(await decoder.decode(owned(waveFile(600)))).toMatchObject({ status: 'refused', reason: 'too_slow' });
    isPatient = true;
    expect(await decoder.decode(owned(waveFile(2)))).toMatchObject({ status: 'decoded' });
  });

  test('refuses what its queue does not hold', async () => {
    decoder = new AudioDecoder({ scheduler: eventLoopScheduler });
    const all = Array.from({ length: DECODERS_MAX + DECODES_WAITING_MAX + 1 }, () => decoder.decode(owned(waveFile(1))));
    expect(await all.at(-1)).toMatchObject({ status: 'refused', reason: 'at_capacity' });
    expect(await all[0]).toMatchObject({ status: 'decoded' });
    await Promise.all(all);
  });
});

describe('the store', () => {
  test('holds no more than its bound, and gives back what was removed or has had its time', () => {
    let nowMs = 0;
    const store = new MediaStore({ clock: { nowMs: () => nowMs }, bytesMax: 10 });
    const first = store.put('a', Buffer.alloc(6));
    expect(store.put('b', Buffer.alloc(6))).toBeNull();
    first?.remove();
    first?.remove();
    expect(store.bytesHeld).toBe(0);
    expect(store.put('c', Buffer.alloc(10))).not.toBeNull();
    nowMs = MEDIA_KEPT_MS_MAX;
    expect(store.put('d', Buffer.alloc(10))).not.toBeNull();
    expect(store.get('c')).toBeNull();
    expect(store.bytesHeld).toBe(10);
  });
});

describe('between processes', () => {
  let server: Server;
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  async function serve(store: MediaStore): Promise<string> {
    server = createServer(serveMedia(store, SECRET));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://localhost:${(server.address() as AddressInfo).port}`;
  }

  test('a worker gets the samples with the secret, from an origin that it is allowed, and from no other', async () => {
    const store = new MediaStore({ clock: { nowMs: () => 0 } });
    const origin = await serve(store);
    store.put('med_1', Buffer.from('samples'));
    const source = httpMediaSource({ secret: SECRET, allowedOrigins: [origin] });
    expect((await source({ mediaId: 'med_1', mediaUrl: origin })).toString()).toBe('samples');
    await expect(source({ mediaId: 'med_2', mediaUrl: origin })).rejects.toThrow('404');
    await expect(source({ mediaId: 'med_1' })).rejects.toThrow('does not say where');
    const anyPort = origin.replace('localhost', '*');
    const byName = httpMediaSource({ secret: SECRET, allowedOrigins: [anyPort] });
    expect((await byName({ mediaId: 'med_1', mediaUrl: origin })).toString()).toBe('samples');
    await expect(byName({ mediaId: 'med_1', mediaUrl: origin.replace('localhost', 'evil.example') })).rejects.toThrow('does not allow');
    const wrong = httpMediaSource({ secret: 'not-the-secret-at-all-000', allowedOrigins: [origin] });
    await expect(wrong({ mediaId: 'med_1', mediaUrl: origin })).rejects.toThrow('401');
  });
});

/** By upward crossings of zero. */
function hertzOf(samples: Int16Array): number {
  let crossings = 0;
  for (let index = 1; index < samples.length; index += 1) {
    if ((samples[index - 1] as number) < 0 && (samples[index] as number) >= 0) crossings += 1;
  }
  return crossings / (samples.length / 16_000);
}
