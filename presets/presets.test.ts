/** Holds the bundled presets to the figures of the documents they stand for, literally, and shows that a faulty preset does not load. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { parse, stringify } from 'yaml';
import { formatAmount } from '../events/contract/index.js';
import { packageFile } from '../platform/package-root.js';
import { loadPreset, PresetError, parsePreset } from './load-preset.js';
import { headerBrand, type PresetModel, priceTermsOf } from './preset-schema.js';

const BUNDLED = ['farebox', 'hunt', 'huru', 'hoonify-ai', 'hiveops', 'hoonify-dev'] as const;

/** A bundled preset as plain YAML data, to be spoilt by a test. */
// biome-ignore lint/suspicious/noExplicitAny: the tests below put arbitrary faults into it
function documentOf(name: string): any {
  return parse(readFileSync(packageFile(`presets/${name}.yaml`), 'utf8'));
}

function perRunFigures(model: PresetModel) {
  const { price } = model;
  if (price.kind !== 'per_run') throw new Error(`${model.id} is not priced per run`);
  return {
    id: model.id,
    tier: model.tier,
    parameters: model.parameters,
    context: model.context_window,
    bestFor: model.best_for,
    perRun: formatAmount(price.price_per_run),
    included: price.included_tokens,
    overage: formatAmount(price.overage_per_thousand),
  };
}

describe.each(BUNDLED)('preset %s', (name) => {
  const preset = loadPreset(name);

  test('loads under its own name', () => {
    expect(preset.name).toBe(name);
  });

  test('prices every model, and none at nothing', () => {
    for (const model of preset.models) {
      const { outputPerMillionNanos, ...terms } = { outputPerMillionNanos: 1n, ...priceTermsOf(model) };
      const amounts = Object.values(terms).filter((value) => typeof value === 'bigint');
      expect(amounts.length).toBeGreaterThan(0);
      for (const amount of amounts) expect(amount).toBeGreaterThan(0n);
      // What generates nothing has no price for what it generates.
      if (model.kind === 'chat') expect(outputPerMillionNanos).toBeGreaterThan(0n);
    }
  });

  test('never lets one answer exceed the context', () => {
    for (const model of preset.models) expect(model.max_output_tokens).toBeLessThan(model.context_window);
  });

  test('names weights that node-llama-cpp can resolve', () => {
    const named = preset.models.filter(({ kind }) => kind !== 'transcription').flatMap((model) => [model, ...(model.variants ?? [])]);
    for (const { weights } of named.filter((candidate) => candidate.weights !== undefined)) {
      expect(weights?.uri).toMatch(/^hf:[\w.-]+\/[\w.-]+-GGUF:[A-Z0-9_]+$/);
      expect(weights?.uri.endsWith(`:${weights.quantization}`)).toBe(true);
    }
  });

  test('backs each family of rate-limit headers with a limit', () => {
    const { limits } = preset;
    if (limits.headers.includes('simple')) expect(limits.sliding_window).toBeDefined();
    if (limits.headers.includes('requests_tokens')) expect(limits.tokens_per_minute).toBeDefined();
    if (limits.headers.includes('minute_day')) expect(limits.token_bucket).toBeDefined();
  });
});

describe('hunt (document 000)', () => {
  const hunt = loadPreset('hunt');

  test('H5: the seven models with their tiers, contexts and prices', () => {
    const tiny = { tier: 'tiny', perRun: '0.005', included: 5000, overage: '0.002' };
    const standard = { tier: 'standard', perRun: '0.02', included: 5000, overage: '0.003' };
    const pro = { tier: 'pro', perRun: '0.08', included: 10000, overage: '0.005' };
    expect(hunt.models.map(perRunFigures)).toEqual([
      { id: 'hunt-phi-3.5-mini', ...tiny, parameters: '3.8B', context: 131072, bestFor: 'Classification, routing' },
      { id: 'hunt-qwen-2.5-0.5b', ...tiny, parameters: '0.5B', context: 32768, bestFor: 'Extraction, short tasks' },
      { id: 'hunt-llama-3.1-8b', ...standard, parameters: '8B', context: 131072, bestFor: 'Reasoning, analysis' },
      { id: 'hunt-mistral-7b', ...standard, parameters: '7B', context: 32768, bestFor: 'Fast extraction' },
      { id: 'hunt-qwen-2.5-7b', ...standard, parameters: '7B', context: 131072, bestFor: 'Multilingual, code' },
      { id: 'hunt-llama-3.1-70b', ...pro, parameters: '70B', context: 131072, bestFor: 'Complex reasoning' },
      { id: 'hunt-qwen-2.5-32b', ...pro, parameters: '32B', context: 131072, bestFor: 'Long-context agents' },
    ]);
  });

  test('H3: one dollar to start with', () => {
    expect(hunt.unit).toBe('USD');
    expect(formatAmount(hunt.starter_credit.project)).toBe('1');
  });

  test('H4: five active keys, 90 days, separate live and test prefixes', () => {
    expect(hunt.api_keys).toEqual({
      live_prefix: 'hunt_sk_live_',
      test_prefix: 'hunt_sk_test_',
      active_max: 5,
      unused_expiry_days: 90,
    });
  });

  test('H7, H8: 60 a minute, bursts to 120, 10 at once, plain headers', () => {
    expect(hunt.limits).toEqual({
      sliding_window: { requests_per_minute: 60, burst: 120 },
      concurrent_requests: 10,
      headers: ['simple'],
    });
  });

  test('H9: errors carry detail, and a lack of credit or a disabled key is 403', () => {
    expect(hunt.errors.shape).toBe('detail');
    expect(hunt.errors.disabled_key_status).toBe(403);
    expect(hunt.errors.insufficient_credit.status).toBe(403);
  });

  test('H11: every model has quantised weights', () => {
    for (const model of hunt.models) expect(model.weights?.quantization).toMatch(/^Q\d/);
  });
});

describe('huru (document 004)', () => {
  const huru = loadPreset('huru');

  test('U4: one credit for every started thousand tokens of huru/chat-1, and for every started 500 KB of huru/stt-1', () => {
    expect(huru.unit).toBe('credit');
    const ofKind = (kind: string) => huru.models.filter((model) => model.kind === kind);
    expect(ofKind('chat').map((model) => [model.id, priceTermsOf(model)])).toEqual([
      ['huru/chat-1', { kind: 'per_started_thousand', pricePerStartedThousandNanos: 1_000_000_000n }],
    ]);
    expect(ofKind('transcription').map((model) => [model.id, priceTermsOf(model)])).toEqual([
      ['huru/stt-1', { kind: 'per_started_audio_bytes', bytesPerUnit: 500_000, pricePerStartedUnitNanos: 1_000_000_000n }],
    ]);
  });

  test('U5, U11: consumers start with 10 credits, projects with some', () => {
    expect(formatAmount(huru.starter_credit.consumer)).toBe('10');
    expect(huru.starter_credit.project).toBeGreaterThan(0n);
  });

  test('U1, U2: the response object is named huru; keys begin sk_test_ and sk_live_', () => {
    expect(huru.brand).toMatchObject({ slug: 'huru', response_object: true });
    expect(huru.api_keys).toMatchObject({ live_prefix: 'sk_live_', test_prefix: 'sk_test_' });
  });

  test('U13: credit is released when the client goes away', () => {
    expect(huru.policies.cancelled_run).toBe('refund_all');
  });

  test('U13: metadata comes in stream events of its own', () => {
    expect(huru.brand.stream_metadata).toBe('events');
  });

  test('U14: a token bucket of 60 a minute and 1000 a day', () => {
    expect(huru.limits).toEqual({ token_bucket: { per_minute: 60, per_day: 1000 }, headers: ['minute_day'] });
  });

  test('U15: documented status and codes', () => {
    expect(huru.errors).toMatchObject({
      shape: 'error',
      exact_codes: false,
      insufficient_credit: { status: 402, type: 'billing_error', code: 'insufficient_credits' },
      invalid_request: { code: 'invalid_request' },
      authentication: { code: 'authentication_error' },
      rate_limited: { code: 'rate_limit_exceeded' },
      unavailable: { code: 'provider_unavailable' },
    });
  });
});

function perTokenFigures({ price }: PresetModel) {
  if (price.kind !== 'per_token') throw new Error('is not priced per token');
  return [formatAmount(price.input_per_million), formatAmount(price.output_per_million)];
}

describe('hoonify-ai (document 001)', () => {
  const preset = loadPreset('hoonify-ai');

  test('A1: keys begin hoo_', () => {
    expect(preset.api_keys.live_prefix).toBe('hoo_');
    expect(preset.api_keys.test_prefix).toMatch(/^hoo_/);
  });

  test('A7, A3: the ten models with provider and context', () => {
    expect(preset.models.map(({ id, provider, context, context_window }) => [id, provider, context, context_window])).toEqual([
      ['qwen-3', 'Qwen', '128K', 131_072],
      ['deepseek-r1', 'DeepSeek', '128K', 131_072],
      ['llama-4-scout', 'Meta', '10M', 10_485_760],
      ['qwen2-5-72b', 'Qwen', '128K', 131_072],
      ['deepseek-v3', 'DeepSeek', '128K', 131_072],
      ['llama-3-3-70b', 'Meta', '128K', 131_072],
      ['qwq-32b', 'Qwen', '32K', 32_768],
      ['gemma-2-27b', 'Google', '8K', 8_192],
      ['mistral-7b-instruct', 'Mistral', '32K', 32_768],
      ['mistral-large', 'Mistral', '128K', 131_072],
    ]);
    for (const { description } of preset.models) expect(description).not.toBe('');
  });

  test('A5: requests and tokens a minute, more of both in a higher plan', () => {
    expect(preset.limits.headers).toEqual(['requests_tokens']);
    const { sliding_window: window, tokens_per_minute: tokens } = preset.plans['production'] ?? {};
    expect(window?.requests_per_minute).toBeGreaterThan(preset.limits.sliding_window?.requests_per_minute ?? 0);
    expect(tokens).toBeGreaterThan(preset.limits.tokens_per_minute ?? 0);
  });

  test('A6: the printed error, 422 for what is valid and means nothing, and no status beside the documented ones', () => {
    expect(preset.errors).toMatchObject({
      shape: 'error',
      authentication: { type: 'authentication_error', code: 'invalid_api_key' },
      messages: { invalid_api_key: 'Invalid API key provided.' },
      semantic_status: 422,
      disabled_key_status: 401,
      insufficient_credit: { status: 403 },
    });
  });

  test('the document knows /v1 alone, and where it is', () => {
    expect([preset.unprefixed_routes, preset.brand.documented_base_url]).toEqual([false, 'https://api.hoonify.ai/v1']);
  });
});

describe('hiveops (document 002)', () => {
  const preset = loadPreset('hiveops');

  test('V1, V2: every endpoint with and without /v1, over https alone', () => {
    expect([preset.unprefixed_routes, preset.policies.https_only]).toEqual([true, true]);
    expect(preset.brand.documented_base_url).toBe('https://ai.hiveops.io');
  });

  test('V3: 60 requests and 150,000 tokens a minute', () => {
    expect(preset.limits).toEqual({
      sliding_window: { requests_per_minute: 60, burst: 60 },
      tokens_per_minute: 150_000,
      headers: ['requests_tokens'],
    });
  });

  test('V7, V8: the four models with contexts, prices, uses and providers', () => {
    const rows = preset.models.map((model) => [model.id, model.context_window, ...perTokenFigures(model), model.best_for, model.provider]);
    expect(rows).toEqual([
      ['llama3:8b-instruct-q8_0', 8_192, '0.01', '0.02', 'General-purpose tasks, fast responses', 'Meta AI'],
      ['llama-3-70b-instruct', 16_384, '0.1', '0.2', 'Complex reasoning, high-quality outputs', 'Meta AI'],
      ['gemma-2-9b-it', 8_192, '0.005', '0.01', 'Balanced performance and cost', 'Google'],
      ['mistral-7b-instruct-v0.3', 4_096, '0.001', '0.002', 'Budget-conscious applications, high volume', 'Mistral AI'],
    ]);
    expect(preset.models.map(({ description }) => description)).toEqual([
      'Llama 3 8B Instruct',
      'Llama 3 70B Instruct',
      'Gemma 2 9B IT',
      'Mistral 7B Instruct',
    ]);
  });

  test('V6: the two models of the printed list are as printed', () => {
    const printed = { created: 1_711_065_600, owned_by: 'meta' };
    expect(preset.models.slice(0, 2)).toMatchObject([printed, printed]);
  });

  test('V9: a balance too low is 403; the printed error of an unknown key; keys begin sk-', () => {
    expect(preset.errors).toMatchObject({
      shape: 'error',
      insufficient_credit: { status: 403 },
      authentication: { type: 'invalid_request_error', code: 'invalid_api_key' },
      messages: { invalid_api_key: 'Invalid API key provided' },
      semantic_status: 400,
    });
    expect(preset.api_keys.live_prefix).toBe('sk-');
  });
});

describe('hoonify-dev (document 003)', () => {
  const preset = loadPreset('hoonify-dev');

  test('D4: the three pools, each with the others near it, named in headers of the brand', () => {
    expect(preset.pools.map(({ id }) => id)).toEqual(['na', 'eu', 'apac']);
    for (const { id, nearest } of preset.pools) expect([id, ...nearest].sort()).toEqual(['apac', 'eu', 'na']);
    expect(headerBrand(preset.brand)).toBe('Hoonify');
  });

  test('D5: retries are recognised for five minutes', () => {
    expect(preset.policies.idempotency_window_seconds).toBe(300);
  });

  test('D6: fp16, fp8 and int4', () => {
    const names = preset.models.flatMap(({ variants }) => variants ?? []).map(({ quantization }) => quantization);
    expect([...new Set(names)].sort()).toEqual(['fp16', 'fp8', 'int4']);
  });

  test('D10: the open-weight families; D2: models that make embeddings', () => {
    const idsOf = (kind: string) => preset.models.filter((model) => model.kind === kind).map(({ id }) => id);
    expect(idsOf('chat')).toEqual(['llama-3.3-70b', 'qwen-2.5-72b', 'deepseek-v3', 'mixtral-8x22b']);
    expect(idsOf('embedding')).toEqual(['qwen-3-embedding-0.6b', 'nomic-embed-text-v1.5']);
    expect(idsOf('transcription')).toEqual([]);
  });

  test('D3: every model has a family', () => {
    for (const { family } of preset.models) expect(family).toBeDefined();
  });
});

describe('farebox (default)', () => {
  const farebox = loadPreset('farebox');

  test('sends all three families of headers and both error shapes', () => {
    expect(farebox.limits.headers).toEqual(['simple', 'requests_tokens', 'minute_day']);
    expect(farebox.errors.shape).toBe('both');
  });

  test('offers the bundled model and sells both by the token and by the run', () => {
    expect(farebox.models[0]?.id).toBe('farebox-tiny');
    expect(new Set(farebox.models.map((model) => model.price.kind))).toEqual(new Set(['per_token', 'per_run', 'per_audio_minute']));
  });

  test('only the bundled model has no weights to pull', () => {
    expect(farebox.models.filter((model) => model.weights === undefined).map((model) => model.id)).toEqual(['farebox-tiny']);
  });
});

describe('a faulty preset', () => {
  test('with an unpriced model does not load', () => {
    const preset = documentOf('hunt');
    delete preset.models[2].price;
    expect(() => parsePreset(stringify(preset), 'spoilt')).toThrow(PresetError);
    expect(() => parsePreset(stringify(preset), 'spoilt')).toThrow(/models\[2\]\.price/);
  });

  test('reports every fault at once', () => {
    const preset = documentOf('huru');
    preset.models[0].price.price_per_started_thousand = '-1';
    preset.limits.token_bucket.per_day = 0;
    preset.surprise = true;
    expect(() => parsePreset(stringify(preset), 'spoilt')).toThrow(/price_per_started_thousand/);
    expect(() => parsePreset(stringify(preset), 'spoilt')).toThrow(/per_day/);
    expect(() => parsePreset(stringify(preset), 'spoilt')).toThrow(/surprise/);
  });

  test('with a price that needs a tenth decimal does not load', () => {
    const preset = documentOf('huru');
    preset.models[0].price.price_per_started_thousand = '0.0000000001';
    expect(() => parsePreset(stringify(preset), 'spoilt')).toThrow(/at most nine decimals/);
  });

  test.each([
    ['a quantisation twice', (model: { variants: unknown[] }) => model.variants.push(model.variants[0]), /quantizations must be unique/],
    ['a pool that there is not', (model: { pools: string[] }) => Object.assign(model, { pools: ['mars'] }), /there is no pool mars/],
    ['an embedding model that generates', (model: object) => Object.assign(model, { kind: 'embedding' }), /max_output_tokens/],
    [
      'a variant priced in another way',
      (model: { variants: { price: unknown }[] }) =>
        Object.assign(model.variants[0] ?? {}, { price: { kind: 'per_started_thousand', price_per_started_thousand: '1' } }),
      /prices must be of the kind/,
    ],
  ])('with %s does not load', (_what, spoil, fault) => {
    const preset = documentOf('hoonify-dev');
    spoil(preset.models[0]);
    expect(() => parsePreset(stringify(preset), 'spoilt')).toThrow(fault);
  });

  test('with a model id twice does not load', () => {
    const preset = documentOf('huru');
    preset.models.push(preset.models[0]);
    expect(() => parsePreset(stringify(preset), 'spoilt')).toThrow(/model ids must be unique/);
  });

  test('that does not exist is named in the error', () => {
    expect(() => loadPreset('no-such-offer')).toThrow(/no-such-offer/);
  });

  test('may be given by its path', () => {
    expect(loadPreset(packageFile('presets/hunt.yaml').pathname).name).toBe('hunt');
  });
});
