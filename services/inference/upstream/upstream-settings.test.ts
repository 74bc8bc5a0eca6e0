/** What a preset may say of an upstream, and what it may not. */
import { describe, expect, test } from '@jest/globals';
import { SERVED_BY_MAX, ServedBySchema, UpstreamSchema } from '../../../presets/served-by.js';
import { upstreamTarget } from './upstream-settings.js';

const ENTRY = { name: 'near', base_url: 'https://api.example.com/v1', model: 'acme/model-7b' };

describe('an upstream in a preset', () => {
  test('needs a name, an address and a model; the rest has defaults', () => {
    expect(UpstreamSchema.parse(ENTRY)).toEqual({
      ...ENTRY,
      parameters: [
        'temperature',
        'top_p',
        'frequency_penalty',
        'presence_penalty',
        'seed',
        'stop',
        'logit_bias',
        'logprobs',
        'tools',
        'response_format',
      ],
      output_limit: 'max_tokens',
      usage: 'final',
      timeouts: { first_byte_ms: 60_000, idle_ms: 30_000 },
      concurrent_requests_max: 64,
      queued_requests_max: 256,
    });
  });

  test.each(['https://api.example.com/v1', 'http://localhost:8000/v1', 'http://127.0.0.1:11434/v1/', 'http://[::1]:8080/v1'])(
    'may be at %s',
    (base_url) => {
      expect(UpstreamSchema.safeParse({ ...ENTRY, base_url }).success).toBe(true);
    },
  );

  test.each([
    'http://api.example.com/v1',
    'http://localhost.example.com/v1',
    'http://127.0.0.1.example.com/v1',
    'https://user:secret@api.example.com/v1',
    'https://api.example.com/v1?key=secret',
    'https://api.example.com/v1#x',
    'file:///etc/passwd',
    'ftp://localhost/v1',
    'api.example.com/v1',
    '',
  ])('may not be at %j', (base_url) => {
    expect(UpstreamSchema.safeParse({ ...ENTRY, base_url }).success).toBe(false);
  });

  test.each([
    { api_key: 'sk-secret' },
    { api_key_env: 'not a name' },
    { parameters: ['user'] },
    { timeouts: { idle_ms: 0 } },
    { name: 'Near' },
  ])('may not say %j', (wrong) => {
    expect(UpstreamSchema.safeParse({ ...ENTRY, ...wrong }).success).toBe(false);
  });

  test('several have an order, names of their own, and the local weights among them once', () => {
    const far = { ...ENTRY, name: 'far' };
    expect(ServedBySchema.parse([ENTRY, 'local_weights', far])).toMatchObject([{ name: 'near' }, 'local_weights', { name: 'far' }]);
    const many = Array.from({ length: SERVED_BY_MAX + 1 }, (_, index) => ({ ...ENTRY, name: `n${index}` }));
    for (const wrong of [[], [ENTRY, ENTRY], ['local_weights', 'local_weights'], many])
      expect(ServedBySchema.safeParse(wrong).success).toBe(false);
  });
});

describe('the key of an upstream', () => {
  const entry = UpstreamSchema.parse({ ...ENTRY, base_url: 'https://api.example.com/v1/', api_key_env: 'ACME_KEY' });

  test('comes from the environment', () => {
    expect(upstreamTarget(entry, { ACME_KEY: ' sk-secret\n' })).toMatchObject({
      status: 'usable',
      target: { apiKey: 'sk-secret', baseUrl: 'https://api.example.com/v1', firstByteMsMax: 60_000 },
    });
  });

  test.each([undefined, '', '  '])('%j is no key, and the refusal names the variable', (ACME_KEY) => {
    expect(upstreamTarget(entry, { ACME_KEY })).toEqual({ status: 'refused', reason: expect.stringContaining('ACME_KEY') });
  });

  test('that could smuggle a header in is refused without being quoted', () => {
    const refused = upstreamTarget(entry, { ACME_KEY: 'sk\r\nx: y' });
    expect(refused).toMatchObject({ status: 'refused' });
    expect(JSON.stringify(refused)).not.toContain('x: y');
  });
});
