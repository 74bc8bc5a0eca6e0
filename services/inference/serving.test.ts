/** Which engine serves what, by the kind of a model, its variants, and the key's environment. */
import { afterEach, describe, expect, test } from '@jest/globals';
import { Registry } from 'prom-client';
import { InProcessBus } from '../../events/bus/in-process/in-process-bus.js';
import { DEFAULT_POOL } from '../../events/contract/index.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { loadPreset } from '../../presets/load-preset.js';
import { ModelSchema, type Preset } from '../../presets/preset-schema.js';
import { EchoEngine } from './echo/echo-engine.js';
import type { Engine } from './engine.js';
import type { EngineSettings } from './engine-settings.js';
import { type ServingEngines, startEngines } from './serving.js';
import { silentLogger } from './testing/llama-engines.js';

const model = (id: string, fields: Record<string, unknown>) =>
  ModelSchema.parse({
    id,
    created: 1,
    owned_by: 'acme',
    provider: 'Acme',
    context_window: 2_048,
    price: { kind: 'per_started_thousand', price_per_started_thousand: '1' },
    ...fields,
  });

const server = (name: string, fields: Record<string, unknown> = {}) => ({ name, base_url: 'http://localhost:9/v1', model: 'm', ...fields });

const PRESET: Preset = {
  ...loadPreset('farebox'),
  models: [
    model('chat', {
      max_output_tokens: 100,
      variants: [{ quantization: 'fp8' }, { quantization: 'int4' }],
      served_by: [server('big', { quantization: 'fp8' }), server('small', { quantization: 'int4' })],
    }),
    model('plain', { max_output_tokens: 100, served_by: [server('any')] }),
    model('vectors', { kind: 'embedding', served_by: [server('any')] }),
    model('ears', { kind: 'transcription', price: { kind: 'per_audio_minute', price_per_minute: '1', rounding: 'up' } }),
  ],
};

class Ears extends EchoEngine {
  override readonly systemFingerprint = 'fp_ears';
}

const open: { engines: ServingEngines; bus: InProcessBus }[] = [];
afterEach(async () => {
  for (const { engines, bus } of open.splice(0)) {
    await engines.stop(0);
    await bus.close();
  }
});

async function serving(engine: EngineSettings['engine'], transcriber?: Engine): Promise<ServingEngines> {
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  const engines = await startEngines({
    settings: { engine, modelDirectory: '.', model: undefined, engineThreads: 1, engineSequences: 1, engineQueueMax: 1 },
    preset: PRESET,
    environment: {},
    bus,
    pools: [DEFAULT_POOL],
    workerId: 'worker-1',
    logger: silentLogger,
    metrics: new Registry(),
    ...(transcriber === undefined ? {} : { transcriber }),
  });
  open.push({ engines, bus });
  return engines;
}

const fingerprintOf = (engines: ServingEngines, id: string, quantization: string | null = null) =>
  engines.contextOf(id, 'live', { quantization, pools: null })?.systemFingerprint ?? null;

describe('engines', () => {
  test('the echo engine serves every model, kind and variant', async () => {
    const engines = await serving('echo');
    for (const { id } of PRESET.models) expect(fingerprintOf(engines, id)).toBe('fp_echo');
    for (const quantization of ['fp8', 'int4']) expect(fingerprintOf(engines, 'chat', quantization)).toBe('fp_echo');
    expect(engines.served().map(({ model: id, quantization }) => [id, quantization])).toEqual(
      PRESET.models.map(({ id }) => [id, undefined]),
    );
  });

  test('an engine that hears is asked what is to be heard, and nothing else', async () => {
    const engines = await serving('echo', new Ears());
    expect(PRESET.models.map(({ id }) => fingerprintOf(engines, id))).toEqual(['fp_echo', 'fp_echo', 'fp_echo', 'fp_ears']);
    expect(engines.contextOf('ears', 'test')?.systemFingerprint).toBe('fp_echo');
  });

  test('upstreams serve the variants they are for, and what nobody serves is not served', async () => {
    const engines = await serving('upstream');
    expect(fingerprintOf(engines, 'chat', 'fp8')).toBe('fp_big_m');
    expect(fingerprintOf(engines, 'chat', 'int4')).toBe('fp_small_m');
    expect(fingerprintOf(engines, 'chat', 'fp16')).toBeNull();
    expect(fingerprintOf(engines, 'plain', 'fp8')).toBe('fp_any_m');
    expect(fingerprintOf(engines, 'vectors')).toBe('fp_any_m');
    expect(fingerprintOf(engines, 'ears')).toBeNull();
    expect(engines.served()).toEqual([
      { model: 'chat', quantization: 'fp8', contextTokens: 2_048, systemFingerprint: 'fp_big_m' },
      { model: 'chat', quantization: 'int4', contextTokens: 2_048, systemFingerprint: 'fp_small_m' },
      { model: 'plain', contextTokens: 2_048, systemFingerprint: 'fp_any_m' },
      { model: 'vectors', contextTokens: 2_048, systemFingerprint: 'fp_any_m' },
    ]);
  });
});
