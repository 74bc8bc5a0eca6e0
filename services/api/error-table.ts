/**
 * The one error table: every refusal's status, type, code and public text, in the dialect that the preset documents. Compiled once at
 * start-up; a refusal without a row does not compile.
 */
import type { Preset } from '../../presets/preset-schema.js';
import type { RefusalDetails, RefusalName } from './refusals.js';

/** Which documented entry of the preset's dialect a refusal belongs to. */
type Family = 'invalid_request' | 'authentication' | 'permission' | 'insufficient_credit' | 'rate_limited' | 'unavailable' | 'internal';

type Row = {
  readonly status: number | 'semantic' | 'money' | 'disabled_key';
  readonly family: Family;
  /**
   * `documented`: always the family's own code. `exact`: the refusal's name, unless the preset keeps to its documented codes. `name`: always
   * the refusal's name, because no document has a code for it.
   */
  readonly code: 'documented' | 'exact' | 'name';
  readonly message: string;
  /** Seconds after which trying again may help; `null` where it cannot. */
  readonly retryAfterSeconds: number | null;
};

const INVALID = { family: 'invalid_request', retryAfterSeconds: null } as const;
const AUTHENTICATION = { family: 'authentication', retryAfterSeconds: null } as const;
const UNAVAILABLE = { status: 503, family: 'unavailable' } as const;

const ROWS: Readonly<Record<RefusalName, Row>> = {
  malformed_json: { ...INVALID, status: 400, code: 'exact', message: 'The request body is not valid JSON.' },
  invalid_parameter: { ...INVALID, status: 400, code: 'documented', message: 'The request is not valid.' },
  invalid_value: { ...INVALID, status: 'semantic', code: 'documented', message: 'A parameter of the request is out of range.' },
  unsupported_parameter: { ...INVALID, status: 400, code: 'exact', message: 'A parameter of the request is not supported.' },
  body_too_large: { ...INVALID, status: 413, code: 'name', message: 'The request body is too large.' },
  unsupported_media_type: { ...INVALID, status: 415, code: 'name', message: 'Send the body as application/json.' },
  context_length_exceeded: { ...INVALID, status: 400, code: 'exact', message: 'The prompt is longer than the context of the model.' },
  missing_api_key: {
    ...AUTHENTICATION,
    status: 401,
    code: 'exact',
    message: 'No API key was given. Send it as "Authorization: Bearer YOUR_API_KEY".',
  },
  invalid_api_key: { ...AUTHENTICATION, status: 401, code: 'documented', message: 'Invalid API key' },
  api_key_revoked: { ...AUTHENTICATION, status: 'disabled_key', code: 'exact', message: 'This API key has been revoked.' },
  api_key_expired: { ...AUTHENTICATION, status: 'disabled_key', code: 'exact', message: 'This API key expired because it was not used.' },
  admin_key_required: { ...AUTHENTICATION, status: 403, code: 'name', message: 'This needs the admin key.' },
  role_not_allowed: {
    status: 403,
    family: 'permission',
    code: 'documented',
    message: 'The role of this API key does not allow this operation.',
    retryAfterSeconds: null,
  },
  https_required: { ...INVALID, status: 403, code: 'name', message: 'Requests over plain HTTP are refused. Use https.' },
  insufficient_credit: {
    status: 'money',
    family: 'insufficient_credit',
    code: 'documented',
    message: 'Not enough credit.',
    retryAfterSeconds: null,
  },
  model_not_found: { ...INVALID, status: 404, code: 'name', message: 'This model is not offered.' },
  endpoint_not_found: { ...INVALID, status: 404, code: 'name', message: 'There is no such endpoint.' },
  endpoint_not_served: { ...INVALID, status: 404, code: 'name', message: 'This part of the API is not served.' },
  method_not_allowed: { ...INVALID, status: 405, code: 'name', message: 'The endpoint does not take this method.' },
  resource_not_found: { ...INVALID, status: 404, code: 'name', message: 'Not found.' },
  conflict: { ...INVALID, status: 409, code: 'name', message: 'The request conflicts with what exists.' },
  active_key_limit_reached: { ...INVALID, status: 409, code: 'name', message: 'The project already has as many active keys as it may.' },
  request_in_progress: {
    status: 409,
    family: 'invalid_request',
    code: 'name',
    message: 'A request with this Idempotency-Key is still in progress.',
    retryAfterSeconds: 1,
  },
  idempotency_key_reused: { ...INVALID, status: 422, code: 'name', message: 'This Idempotency-Key was used for a different request.' },
  rate_limited: { status: 429, family: 'rate_limited', code: 'documented', message: 'Rate limit exceeded.', retryAfterSeconds: 1 },
  concurrency_limited: {
    status: 429,
    family: 'rate_limited',
    code: 'exact',
    message: 'Too many requests at the same time.',
    retryAfterSeconds: 1,
  },
  model_loading: { ...UNAVAILABLE, code: 'exact', message: 'The model is still loading.', retryAfterSeconds: 5 },
  engine_at_capacity: { ...UNAVAILABLE, code: 'exact', message: 'The server is at capacity.', retryAfterSeconds: 1 },
  provider_unavailable: {
    ...UNAVAILABLE,
    code: 'documented',
    message: 'The model is temporarily unavailable. Nothing was charged.',
    retryAfterSeconds: 2,
  },
  ledger_unavailable: {
    ...UNAVAILABLE,
    code: 'exact',
    message: 'Credit cannot be checked right now. Nothing was charged.',
    retryAfterSeconds: 2,
  },
  run_timed_out: { ...UNAVAILABLE, code: 'exact', message: 'The run did not finish in time.', retryAfterSeconds: 2 },
  shutting_down: { ...UNAVAILABLE, code: 'exact', message: 'The server is restarting.', retryAfterSeconds: 2 },
  internal_error: { status: 500, family: 'internal', code: 'documented', message: 'Internal error.', retryAfterSeconds: null },
};

/** A refusal as it leaves: `body` is JSON text. */
export type RenderedRefusal = {
  readonly status: number;
  readonly retryAfterSeconds: number | null;
  readonly body: string;
};

export interface ErrorTable {
  render(name: RefusalName, details?: RefusalDetails): RenderedRefusal;
  /** The payload of an error inside a stream. It always has `error`, because that is how OpenAI's SDKs recognise one. */
  renderInStream(name: RefusalName, details?: RefusalDetails): string;
  statusOf(name: RefusalName): number;
}

export function createErrorTable(errors: Preset['errors']): ErrorTable {
  const statusOf = (name: RefusalName): number => {
    const { status } = ROWS[name];
    if (status === 'semantic') return errors.semantic_status;
    if (status === 'money') return errors.insufficient_credit.status;
    if (status === 'disabled_key') return errors.disabled_key_status;
    return status;
  };
  return {
    statusOf,
    render(name, details = {}) {
      const error = describe(errors, name, details);
      const body =
        errors.shape === 'error' ? { error } : errors.shape === 'detail' ? { detail: error.message } : { error, detail: error.message };
      return { status: statusOf(name), retryAfterSeconds: retryAfter(name, details), body: JSON.stringify(body) };
    },
    renderInStream(name, details = {}) {
      const error = describe(errors, name, details);
      return JSON.stringify(errors.shape === 'error' ? { error } : { error, detail: error.message });
    },
  };
}

function describe(errors: Preset['errors'], name: RefusalName, details: RefusalDetails) {
  const row = ROWS[name];
  const documented = row.family === 'internal' ? { type: 'server_error', code: 'internal_error' } : errors[row.family];
  const showsName = row.code === 'name' || (row.code === 'exact' && errors.exact_codes);
  return {
    type: documented.type,
    code: showsName ? name : documented.code,
    message: details.message ?? errors.messages[name] ?? row.message,
    ...(details.param === undefined ? {} : { param: details.param }),
    ...(details.checkoutUrl === undefined ? {} : { checkout_url: details.checkoutUrl }),
  };
}

/** Rows that name no delay never get one: a client that waits and retries on a money refusal only repeats it. */
function retryAfter(name: RefusalName, details: RefusalDetails): number | null {
  const row = ROWS[name];
  if (row.retryAfterSeconds === null) return null;
  return details.retryAfterSeconds ?? row.retryAfterSeconds;
}
