/** The error table in every bundled dialect. */
import { describe, expect, test } from '@jest/globals';
import { loadPreset } from '../../presets/load-preset.js';
import { createErrorTable } from './error-table.js';
import type { RefusalName } from './refusals.js';

const MONEY: readonly RefusalName[] = ['insufficient_credit'];

describe.each([
  ['farebox', ['error', 'detail'], 402],
  ['hunt', ['detail'], 403],
  ['huru', ['error'], 402],
  ['hoonify-ai', ['error'], 403],
  ['hiveops', ['error'], 403],
  ['hoonify-dev', ['error'], 402],
] as const)('%s', (name, keys, moneyStatus) => {
  const errors = createErrorTable(loadPreset(name).errors);

  test('bodies have the documented shape', () => {
    const body = JSON.parse(errors.render('invalid_api_key').body);
    expect(Object.keys(body)).toEqual(keys);
    if (name === 'hunt') expect(body).toEqual({ detail: 'Invalid API key' });
  });

  test('money refusals have the documented status and never a Retry-After', () => {
    for (const refusal of MONEY) {
      expect(errors.render(refusal, { retryAfterSeconds: 5 })).toMatchObject({ status: moneyStatus, retryAfterSeconds: null });
    }
  });

  test('causes never leave', () => {
    const rendered = errors.render('internal_error', { cause: new Error('secret') });
    expect([rendered.status, rendered.body.includes('secret')]).toEqual([500, false]);
  });

  test('an error inside a stream always has `error`', () => {
    expect(JSON.parse(errors.renderInStream('engine_at_capacity'))).toMatchObject({ error: { message: expect.any(String) } });
  });
});

test('U15: huru shows its documented codes and only those', () => {
  const errors = createErrorTable(loadPreset('huru').errors);
  const shown = (refusal: RefusalName) => {
    const { status, body } = errors.render(refusal);
    return [status, JSON.parse(body).error.code];
  };
  expect(shown('unsupported_parameter')).toEqual([400, 'invalid_request']);
  expect(shown('context_length_exceeded')).toEqual([400, 'invalid_request']);
  expect(shown('missing_api_key')).toEqual([401, 'authentication_error']);
  expect(shown('api_key_revoked')).toEqual([401, 'authentication_error']);
  expect(shown('insufficient_credit')).toEqual([402, 'insufficient_credits']);
  expect(shown('request_in_progress')).toEqual([409, 'request_in_progress']);
  expect(shown('concurrency_limited')).toEqual([429, 'rate_limit_exceeded']);
  expect(shown('engine_at_capacity')).toEqual([503, 'provider_unavailable']);
  expect(JSON.parse(errors.render('insufficient_credit', { checkoutUrl: 'https://x' }).body).error).toEqual({
    type: 'billing_error',
    code: 'insufficient_credits',
    message: expect.any(String),
    checkout_url: 'https://x',
  });
});

test.each([
  ['hoonify-ai', { message: 'Invalid API key provided.', type: 'authentication_error', code: 'invalid_api_key' }],
  ['hiveops', { message: 'Invalid API key provided', type: 'invalid_request_error', code: 'invalid_api_key' }],
])('A6, V9: the error that %s prints, to the letter', (name, error) => {
  const rendered = createErrorTable(loadPreset(name).errors).render('invalid_api_key');
  expect([rendered.status, JSON.parse(rendered.body)]).toEqual([401, { error }]);
});

test('A6: each refusal of a preset has one of the documented statuses, but for those that no document knows', () => {
  const errors = createErrorTable(loadPreset('hoonify-ai').errors);
  const statuses = (
    ['invalid_parameter', 'invalid_api_key', 'role_not_allowed', 'invalid_value', 'rate_limited', 'internal_error'] as const
  ).map((refusal) => errors.statusOf(refusal));
  expect([...statuses, errors.statusOf('provider_unavailable')]).toEqual([400, 401, 403, 422, 429, 500, 503]);
});

test('H9: a disabled key is 403 at hunt; A6: semantic faults are 422 where the preset says so', () => {
  expect(createErrorTable(loadPreset('hunt').errors).statusOf('api_key_expired')).toBe(403);
  const preset = loadPreset('farebox');
  expect(createErrorTable(preset.errors).statusOf('invalid_value')).toBe(400);
  expect(createErrorTable({ ...preset.errors, semantic_status: 422 }).statusOf('invalid_value')).toBe(422);
});
