/**
 * A route as data: one definition drives the Express handler, the policy check, the validation and the OpenAPI document. A route without
 * a policy does not compile. Each lives in a folder of its own under `routes/`; `routes/index.ts` is the contents page.
 */
import type { Request, Response } from 'express';
import type { z } from 'zod';
import type { Environment } from '../../events/contract/index.js';
import type { KeyRole } from './directory/directory.js';

/** Who may call: anyone, the holder of a project's key, or the holder of the admin key. */
export type RoutePolicy = 'public' | 'project_key' | 'admin';

/** The authenticated project behind a request. */
export type Caller = {
  readonly projectId: string;
  readonly keyId: string;
  readonly role: KeyRole;
  readonly environment: Environment;
  /** Whose limits apply; the preset's default without one. */
  readonly plan?: string | null;
};

export type RouteInput<Params, Query, Body> = {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
};

/** What a handler answers. `sent`: it wrote to the response itself (streams). */
export type RouteReply =
  | { readonly status: number; readonly body: unknown; readonly headers?: Readonly<Record<string, string>> }
  | { readonly sent: true };

export type RouteResponse = {
  readonly description: string;
  readonly schema?: z.ZodType;
  /** `application/json` by default. */
  readonly contentType?: string;
};

export type RouteContext<Policy extends RoutePolicy> = {
  readonly request: Request;
  readonly response: Response;
  /** Present exactly on `project_key` routes. */
  readonly caller: Policy extends 'project_key' ? Caller : null;
  /** `req_` and a ULID; a run made for this request carries the same ULID. Sent as `x-request-id`. */
  readonly requestId: string;
  /** The body as it came, where the route reads one; idempotency keys are bound to its digest. */
  readonly rawBody: Buffer | null;
  /**
   * The headers every response carries (request id, rate limits), as a flat list of names and values for `writeHead`. Replies returned as
   * values get them by themselves, and so do handlers that answer `sent`, except on billed routes, which write their own head with this.
   */
  readonly head: () => string[];
};

export type RouteDefinition<
  Policy extends RoutePolicy = RoutePolicy,
  Params extends z.ZodType = z.ZodType,
  Query extends z.ZodType = z.ZodType,
  Body extends z.ZodType = z.ZodType,
> = {
  readonly method: 'get' | 'post' | 'delete';
  /** Express path, such as `/v1/requests/:id`; `*name` at the end takes the rest of the path, slashes included. */
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly tag: string;
  readonly policy: Policy;
  /** Whether a call may be charged; such a route must leave a ledger entry, and a test asks each one. */
  readonly billed?: boolean;
  /** Whether the rate limits apply; true for `project_key` routes by default. */
  readonly limited?: boolean;
  /** Headers of the request that the route reads itself: name to description, for the OpenAPI document. */
  readonly requestHeaders?: Readonly<Record<string, string>>;
  readonly params?: Params;
  readonly query?: Query;
  readonly body?: Body;
  /** JSON by default, parsed and validated. A handler of multipart forms reads the request itself; its `body` only describes them. */
  readonly bodyType?: 'multipart/form-data';
  /** By status. Refusals common to all routes are added by the OpenAPI generator. */
  readonly responses: Readonly<Record<number, RouteResponse>>;
  readonly handle: (
    context: RouteContext<Policy>,
    input: RouteInput<z.infer<Params>, z.infer<Query>, z.infer<Body>>,
  ) => Promise<RouteReply>;
};

/** Keeps the inferred types of params, query and body for the handler. */
export function defineRoute<
  Policy extends RoutePolicy,
  Params extends z.ZodType = z.ZodType<Record<string, never>>,
  Query extends z.ZodType = z.ZodType<Record<string, never>>,
  Body extends z.ZodType = z.ZodType<undefined>,
>(definition: RouteDefinition<Policy, Params, Query, Body>): RouteDefinition {
  return definition as unknown as RouteDefinition;
}
