/** What a bad input is, and the short ways to state one. */
import type { Call } from '../support/http-client.js';

export type BadInput = {
  readonly name: string;
  /** A chat completion by default. */
  readonly path?: string;
  /** Merged into a valid body, unless `call` brings a body of its own. */
  readonly body?: Readonly<Record<string, unknown>>;
  readonly call?: Call;
  /** A project's owner by default. */
  readonly as?: 'admin' | 'nobody';
  readonly status: number;
  /** The error's code where codes are exact. */
  readonly code: string;
  /** What the message must name. */
  readonly names?: string;
};

/** What the bad inputs must know of the offer that they are sent to. */
export type Offer = {
  readonly model: string;
  /** `null`: the offer has none, and the endpoint is not served. */
  readonly embeddingModel: string | null;
  readonly transcriptionModel: string | null;
  /** As in the names of headers. */
  readonly brand: string;
  readonly payments: 'local' | 'none' | 'paystack' | 'stripe';
};

/** A GET that is refused as invalid. */
export function badQuery(name: string, path: string, names: string): BadInput {
  return { name, path, call: { method: 'GET' }, status: 400, code: 'invalid_request', names };
}

/** A POST of exactly this JSON that is refused as invalid. */
export function badJson(name: string, path: string, json: unknown, names: string): BadInput {
  return { name, path, call: { json }, status: 400, code: 'invalid_request', names };
}

/** Something that does not exist. */
export function unknown(name: string, path: string, call: Call = { method: 'GET' }): BadInput {
  return { name, path, call, status: 404, code: 'resource_not_found' };
}
