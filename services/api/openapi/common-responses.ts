/** What all routes have in common in the document: the error body of the preset's dialect, the refusals that any route may give, headers. */
import { headerBrand, type Preset } from '../../../presets/preset-schema.js';
import type { RouteDefinition } from '../route.js';
import type { JsonSchema } from './json-schemas.js';

type Limits = Preset['limits'];

const errorObject: JsonSchema = {
  type: 'object',
  properties: {
    message: { type: 'string', description: 'For people.' },
    type: { type: 'string' },
    code: { type: 'string', description: 'For programs.' },
    param: { type: 'string', description: 'The parameter or header at fault.' },
    checkout_url: { type: 'string', format: 'uri', description: 'Where the payer can top up; only for a lack of credit.' },
  },
  required: ['message', 'type', 'code'],
};

/** The body of every refusal. */
export function errorSchema(shape: Preset['errors']['shape']): JsonSchema {
  const detail = { type: 'string', description: 'The message again, in plain text.' };
  switch (shape) {
    case 'error':
      return { type: 'object', properties: { error: errorObject }, required: ['error'] };
    case 'detail':
      return { type: 'object', properties: { detail: { type: 'string' } }, required: ['detail'] };
    case 'both':
      return { type: 'object', properties: { error: errorObject, detail }, required: ['error', 'detail'] };
  }
}

/** Refusals that a route may give beside the ones it declares, by status. */
export function commonRefusals(route: RouteDefinition, preset: Pick<Preset, 'errors'>): ReadonlyMap<number, string> {
  const refusals = new Map<number, string>();
  const { errors } = preset;
  if (route.params !== undefined || route.query !== undefined || route.body !== undefined) refusals.set(400, 'The request is not valid');
  if (route.policy !== 'public') refusals.set(401, 'The key is missing or wrong');
  if (route.policy === 'admin') refusals.set(403, 'This needs the admin key');
  if (route.policy === 'project_key') {
    add(refusals, errors.disabled_key_status, 'The key was revoked or has expired');
    add(refusals, 403, 'The role of the key does not allow this');
  }
  if (route.billed === true) {
    add(refusals, errors.insufficient_credit.status, 'Not enough credit');
    add(refusals, errors.semantic_status, 'A parameter is out of range');
    add(refusals, 404, 'The model is not offered');
    add(refusals, 409, 'A request with this Idempotency-Key is still in progress');
    add(refusals, 422, 'The Idempotency-Key was used for a different request');
  }
  if (route.body !== undefined) {
    refusals.set(413, 'The body is too large');
    refusals.set(415, 'The body is not JSON');
  }
  if (isLimited(route)) refusals.set(429, 'Rate limit exceeded');
  refusals.set(500, 'Internal error');
  refusals.set(503, 'Temporarily unavailable; nothing was charged');
  return refusals;
}

function add(refusals: Map<number, string>, status: number, description: string): void {
  const known = refusals.get(status);
  refusals.set(status, known === undefined ? description : `${known}; or: ${description.charAt(0).toLowerCase()}${description.slice(1)}`);
}

export function isLimited(route: RouteDefinition): boolean {
  return route.policy === 'project_key' && route.limited !== false;
}

const REQUEST_HEADERS_OF_BILLED_ROUTES: Readonly<Record<string, string>> = {
  'Idempotency-Key': 'Repeating the request with the same key repeats the answer and is not charged again.',
  'X-Consumer-Email': 'Bills this end user of yours instead of the project; found or created by the address.',
  'X-Consumer-Name': 'Display name of the end user.',
};

/** Request headers that a route reads, by name. */
export function requestHeadersOf(route: RouteDefinition, preset: Pick<Preset, 'brand' | 'pools'>): Readonly<Record<string, string>> {
  return { ...(route.billed === true ? { ...REQUEST_HEADERS_OF_BILLED_ROUTES, ...brandHeaders(preset) } : {}), ...route.requestHeaders };
}

function brandHeaders({ brand, pools }: Pick<Preset, 'brand' | 'pools'>): Readonly<Record<string, string>> {
  const prefix = `X-${headerBrand(brand)}`;
  const ofPools = {
    [`${prefix}-Pool`]: `Pins the pool: ${pools.map(({ id }) => id).join(', ')}.`,
    [`${prefix}-Pool-Fallback`]: '`strict` (default): 503 where the pool has nobody for the model. `nearest`: the next pool then.',
  };
  return { [`${prefix}-Idempotency-Key`]: 'The same as Idempotency-Key.', ...(pools.length === 0 ? {} : ofPools) };
}

const HEADERS_OF_FAMILY: Readonly<Record<Limits['headers'][number], Readonly<Record<string, string>>>> = {
  simple: {
    'X-RateLimit-Limit': 'Requests a minute',
    'X-RateLimit-Remaining': 'Requests left',
    'X-RateLimit-Reset': 'When the window resets, in Unix seconds',
  },
  requests_tokens: {
    'X-RateLimit-Limit-Requests': 'Requests a minute',
    'X-RateLimit-Remaining-Requests': 'Requests left',
    'X-RateLimit-Reset-Requests': 'When the window resets, ISO 8601',
    'X-RateLimit-Limit-Tokens': 'Tokens a minute',
    'X-RateLimit-Remaining-Tokens': 'Tokens left',
    'X-RateLimit-Reset-Tokens': 'When the window resets, ISO 8601',
  },
  minute_day: {
    'X-RateLimit-Limit-Minute': 'Requests a minute',
    'X-RateLimit-Remaining-Minute': 'Requests left this minute',
    'X-RateLimit-Reset-Minute': 'When the minute is full again',
    'X-RateLimit-Limit-Day': 'Requests a day',
    'X-RateLimit-Remaining-Day': 'Requests left this day',
    'X-RateLimit-Reset-Day': 'When the day is full again',
  },
};

/** Headers of a route's responses, by component name. */
export function responseHeaders(limits: Limits): Record<string, JsonSchema> {
  const described: Record<string, string> = { 'X-Request-Id': 'Names this request; quote it when asking for help' };
  for (const family of limits.headers) Object.assign(described, HEADERS_OF_FAMILY[family]);
  return Object.fromEntries(Object.entries(described).map(([name, description]) => [name, { description, schema: { type: 'string' } }]));
}
