/**
 * Every way the API says no, by exact name. Handlers throw `RefusalError`; `error-table.ts` maps the name to status, code and public text in
 * the preset's dialect. Causes go to the log only.
 */

export type RefusalName =
  | 'malformed_json'
  | 'invalid_parameter'
  /** The structure is valid, the meaning is not (a number out of range): 400 or 422, as the preset documents. */
  | 'invalid_value'
  | 'unsupported_parameter'
  | 'body_too_large'
  | 'unsupported_media_type'
  | 'context_length_exceeded'
  | 'missing_api_key'
  | 'invalid_api_key'
  | 'api_key_revoked'
  | 'api_key_expired'
  | 'admin_key_required'
  /** The key is good, its role does not allow the operation. */
  | 'role_not_allowed'
  | 'https_required'
  | 'insufficient_credit'
  | 'model_not_found'
  | 'endpoint_not_found'
  /** Part of OpenAI's API that is not offered; the message says what to do instead. */
  | 'endpoint_not_served'
  | 'method_not_allowed'
  | 'resource_not_found'
  | 'conflict'
  | 'active_key_limit_reached'
  | 'request_in_progress'
  | 'idempotency_key_reused'
  | 'rate_limited'
  | 'concurrency_limited'
  | 'model_loading'
  | 'engine_at_capacity'
  | 'provider_unavailable'
  | 'ledger_unavailable'
  | 'run_timed_out'
  | 'shutting_down'
  | 'internal_error';

export type RefusalDetails = {
  /** Public text; the table has a default for each name. Never holds a secret or another tenant's data. */
  readonly message?: string;
  /** Name of the offending parameter or header, shown as `param`. */
  readonly param?: string;
  /** Where the payer can top up; only with `insufficient_credit`. */
  readonly checkoutUrl?: string;
  /** Seconds; sent as `Retry-After` where trying again can help. Never with money refusals. */
  readonly retryAfterSeconds?: number;
  /** For the log. */
  readonly cause?: unknown;
};

export class RefusalError extends Error {
  override readonly name = 'RefusalError';
  readonly refusal: RefusalName;
  readonly details: RefusalDetails;
  constructor(refusal: RefusalName, details: RefusalDetails = {}) {
    super(details.message ?? refusal, { cause: details.cause });
    this.refusal = refusal;
    this.details = details;
  }
}

/** `throw refuse('model_not_found', { message })` reads as what it does. */
export function refuse(name: RefusalName, details: RefusalDetails = {}): RefusalError {
  return new RefusalError(name, details);
}
