/** Pulling and listing weights: a real download from a server on this machine, and every way it can go wrong. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { loadPreset } from '../../../presets/load-preset.js';
import type { PresetModel } from '../../../presets/preset-schema.js';
import { randomModel } from '../testing/random-model.js';
import { listModels } from './list.js';
import { type PullProgress, pullModel } from './pull.js';
import { findWeights, presentWeights, weightsPath } from './weights.js';

const weights = randomModel();
const [bundled, pullable] = loadPreset('farebox').models;
if (bundled === undefined || pullable === undefined) throw new Error('the preset has changed');

const modelAt = (uri: string): PresetModel => ({ ...pullable, weights: { uri, quantization: 'F32' } });

let modelDirectory: string;
const servers: Server[] = [];

beforeEach(() => {
  modelDirectory = mkdtempSync(join(tmpdir(), 'farebox-models-'));
});

afterEach(async () => {
  rmSync(modelDirectory, { recursive: true, force: true });
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A file server with ranges, as hubs are. */
const serveFile =
  (file: Uint8Array): RequestListener =>
  (request, response) => {
    const range = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '');
    const from = Number(range?.[1] ?? 0);
    const to = range?.[2] ? Number(range[2]) : file.length - 1;
    response.writeHead(range === null ? 200 : 206, {
      'content-type': 'application/octet-stream',
      'accept-ranges': 'bytes',
      'content-length': to - from + 1,
      ...(range === null ? {} : { 'content-range': `bytes ${from}-${to}/${file.length}` }),
    });
    response.end(request.method === 'HEAD' ? undefined : file.subarray(from, to + 1));
  };

describe('pulling weights', () => {
  test('brings the file, tells its progress, and does nothing the second time', async () => {
    const model = modelAt(`${await serve(serveFile(weights))}/some-model.gguf`);
    const progress: PullProgress[] = [];
    const pulled = await pullModel({ model, modelDirectory, onProgress: (step) => progress.push(step) });
    expect(pulled).toEqual({ path: weightsPath(model, modelDirectory), sizeBytes: weights.length, wasPresent: false });
    expect(readFileSync(pulled.path).equals(weights)).toBe(true);
    expect(progress.at(-1)).toEqual({ downloadedBytes: weights.length, totalBytes: weights.length });
    expect(readdirSync(modelDirectory)).toHaveLength(1);
    expect(await presentWeights(model, modelDirectory)).toBe(pulled.path);
    expect((await pullModel({ model, modelDirectory })).wasPresent).toBe(true);
  });

  test('the bundled model has nothing to pull', async () => {
    await expect(pullModel({ model: bundled, modelDirectory })).rejects.toMatchObject({ failure: 'nothing_to_pull' });
  });

  test('a hub that cannot be reached is named as such, in bounded time', async () => {
    // Nothing listens on the discard port.
    const pulling = pullModel({ model: pullable, modelDirectory, hubUrl: 'http://127.0.0.1:9/', connectMsMax: 5_000 });
    await expect(pulling).rejects.toMatchObject({
      failure: 'hub_unreachable',
      message: expect.stringContaining(pullable.weights?.uri ?? ''),
    });
    expect(readdirSync(modelDirectory)).toEqual([]);
  });

  test('a hub that never answers counts as out of reach', async () => {
    const hubUrl = await serve(() => {});
    await expect(pullModel({ model: pullable, modelDirectory, hubUrl, connectMsMax: 300 })).rejects.toMatchObject({
      failure: 'hub_unreachable',
    });
  });

  test('a file that the hub does not have is not found', async () => {
    const base = await serve((_request, response) => response.writeHead(404).end('no such file'));
    await expect(pullModel({ model: modelAt(`${base}/gone.gguf`), modelDirectory })).rejects.toMatchObject({ failure: 'not_found' });
  });

  test('a page in place of the file is not kept', async () => {
    const page = Buffer.from('<html>Please sign in</html>'.repeat(10));
    const model = modelAt(`${await serve(serveFile(page))}/page.gguf`);
    await expect(pullModel({ model, modelDirectory })).rejects.toMatchObject({ failure: 'not_a_model' });
    expect(await findWeights(model, modelDirectory)).toBeNull();
  });

  test('a download that stands still is given up', async () => {
    const base = await serve((request, response) => {
      response.writeHead(200, { 'content-length': 1_000_000, 'accept-ranges': 'bytes' });
      if (request.method === 'HEAD') response.end();
      else response.write('GGUF');
    });
    const pulling = pullModel({ model: modelAt(`${base}/slow.gguf`), modelDirectory, stallMsMax: 300 });
    await expect(pulling).rejects.toMatchObject({ failure: 'download_stalled' });
  });

  test('a directory that cannot be made is the disk’s fault', async () => {
    const file = join(modelDirectory, 'a-file');
    writeFileSync(file, '');
    await expect(pullModel({ model: pullable, modelDirectory: join(file, 'models') })).rejects.toMatchObject({ failure: 'disk_failed' });
  });
});

describe('listing models', () => {
  test('says of each model whether its weights are here, and how large they are', async () => {
    writeFileSync(weightsPath(pullable, modelDirectory), weights);
    const listing = await listModels(loadPreset('farebox').models, modelDirectory);
    expect(listing[0]).toEqual({ id: bundled.id, uri: null, quantization: null, isPresent: true, path: null, sizeBytes: null });
    expect(listing[1]).toEqual({
      id: pullable.id,
      uri: pullable.weights?.uri,
      quantization: pullable.weights?.quantization,
      isPresent: true,
      path: weightsPath(pullable, modelDirectory),
      sizeBytes: weights.length,
    });
    expect(listing.slice(2).every((model) => !model.isPresent && model.sizeBytes === null)).toBe(true);
  });

  test('weights in parts count when every part is there', async () => {
    const stem = weightsPath(pullable, modelDirectory).replace(/\.gguf$/, '');
    writeFileSync(`${stem}-00001-of-00002.gguf`, 'GGUF');
    expect(await findWeights(pullable, modelDirectory)).toBeNull();
    writeFileSync(`${stem}-00002-of-00002.gguf`, '12345');
    expect(await findWeights(pullable, modelDirectory)).toEqual({ path: `${stem}-00001-of-00002.gguf`, sizeBytes: 9 });
  });

  test('missing weights come with the command that gets them', async () => {
    await expect(presentWeights(pullable, modelDirectory)).rejects.toMatchObject({
      code: 'model_unavailable',
      message: expect.stringContaining(`farebox models pull ${pullable.id}`),
    });
  });
});
