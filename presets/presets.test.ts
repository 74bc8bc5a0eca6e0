/** Holds the bundled presets to the figures of the documents they stand for, literally, and shows that a faulty preset does not load. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { parse, stringify } from 'yaml';
import { formatAmount } from '../events/contract/index.js';
import { packageFile } from '../platform/package-root.js';
import { loadPreset, PresetError, parsePreset } from './load-preset.js';
import { type PresetModel, priceTermsOf } from './preset-schema.js';

const BUNDLED = ['farebox', 'hunt', 'huru'] as const;

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
      const amounts = Object.values(priceTermsOf(model)).filter((value) => typeof value === 'bigint');
      expect(amounts.length).toBeGreaterThan(0);
      for (const amount of amounts) expect(amount).toBeGreaterThan(0n);
    }
  });

  test('never lets one answer exceed the context', () => {
    for (const model of preset.models) expect(model.max_output_tokens).toBeLessThan(model.context_window);
  });

  test('names weights that node-llama-cpp can resolve', () => {
    for (const model of preset.models.filter((candidate) => candidate.weights !== undefined)) {
      expect(model.weights?.uri).toMatch(/^hf:[\w.-]+\/[\w.-]+-GGUF:[A-Z0-9_]+$/);
      expect(model.weights?.uri.endsWith(`:${model.weights.quantization}`)).toBe(true);
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

  test('U4: one credit for every started thousand tokens of huru/chat-1', () => {
    expect(huru.unit).toBe('credit');
    expect(huru.models.map((model) => model.id)).toEqual(['huru/chat-1']);
    expect(huru.models.map(priceTermsOf)).toEqual([{ kind: 'per_started_thousand', pricePerStartedThousandNanos: 1_000_000_000n }]);
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

describe('farebox (default)', () => {
  const farebox = loadPreset('farebox');

  test('sends all three families of headers and both error shapes', () => {
    expect(farebox.limits.headers).toEqual(['simple', 'requests_tokens', 'minute_day']);
    expect(farebox.errors.shape).toBe('both');
  });

  test('offers the bundled model and sells both by the token and by the run', () => {
    expect(farebox.models[0]?.id).toBe('farebox-tiny');
    expect(new Set(farebox.models.map((model) => model.price.kind))).toEqual(new Set(['per_token', 'per_run']));
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
