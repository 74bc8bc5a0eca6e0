/**
 * The path of every request: route → policy → limits → body → validation → handler → answer. One function instead of a stack of middleware,
 * because each of Express's layers costs more than the checks themselves. Every refusal leaves through the error table.
 */
import type { Request, Response } from 'express';
import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Clock } from '../../platform/clock.js';
import type { IdSource } from '../../platform/id-source.js';
import { LedgerUnavailableError } from '../ledger/ledger-client.js';
import { authenticateProject } from './authenticate.js';
import type { Directory } from './directory/directory.js';
import type { ErrorTable } from './error-table.js';
import type { Limiter, LimitPass } from './limits/limiter.js';
import type { RateLimitHeaderWriter } from './limits/rate-limit-headers.js';
import type { TransportCheck } from './plain-http.js';
import { BODY_BYTES_MAX, ClientGoneError, parseJson, readBody } from './read-body.js';
import { type RefusalDetails, RefusalError, refuse } from './refusals.js';
import type { RequestMetrics } from './request-metrics.js';
import type { Caller, RouteContext, RouteDefinition, RouteReply } from './route.js';
import { checkRole } from './route-roles.js';
import { RouteTable } from './route-table.js';
import type { UnservedText } from './routes/unserved/unserved-surfaces.js';
import { sendJson } from './send-json.js';
import { isDatabaseUnavailable } from './unavailable.js';
import { refusalOfValidation } from './validation-refusal.js';

export type ServeDeps = {
  readonly directory: Directory;
  readonly limiter: Limiter;
  readonly rateLimitHeaders: RateLimitHeaderWriter;
  readonly errors: ErrorTable;
  readonly checkAdmin: (request: Request) => void;
  readonly checkTransport: TransportCheck;
  /** What to do instead of calling a part of OpenAI's API that is not served. */
  readonly unserved: UnservedText;
  /** Whether what is under `/v1` answers without it too. */
  readonly hasUnprefixedRoutes: boolean;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly logger: Logger;
  readonly metrics: RequestMetrics;
  /** Whether new work is refused because the server is going down. */
  readonly isDraining: () => boolean;
};

/**
 * A refused upload is read on and thrown away up to this, so that the client sees the answer instead of a reset, which SDKs repeat. It is twice
 * what any route takes: the recordings that people find to be too long are about that large.
 */
const REFUSED_BODY_BYTES_MAX = 64 * BODY_BYTES_MAX;
/** nginx's status for a client that went away; only in metrics. */
const CLIENT_GONE_STATUS = 499;
const NOTHING = {};
const NO_HEADERS: Readonly<Record<string, string>> = {};

/** Serves any of `routes`. Throws at start-up when two routes share a method and path. */
export function requestServer(
  deps: ServeDeps,
  routes: readonly RouteDefinition[],
): (request: Request, response: Response) => Promise<void> {
  const table = new RouteTable<RouteDefinition>();
  for (const route of routes) {
    table.add(route.method, route.path, route);
    const alias = deps.hasUnprefixedRoutes ? unprefixedPath(route) : null;
    if (alias !== null) table.add(route.method, alias, route);
  }
  return (request, response) => new Exchange(deps, request, response).serve(table);
}

/** Only what a project's key opens: pages, webhooks and administration have one address. */
function unprefixedPath({ policy, path }: RouteDefinition): string | null {
  return policy === 'project_key' && path.startsWith('/v1/') ? path.slice('/v1'.length) : null;
}

/** One request and its response. */
class Exchange {
  readonly #deps: ServeDeps;
  readonly #request: Request;
  readonly #response: Response;
  readonly #requestId: string;
  readonly #startedAt = performance.now();
  #route: RouteDefinition | null = null;
  #caller: Caller | null = null;
  #pass: LimitPass | null = null;

  constructor(deps: ServeDeps, request: Request, response: Response) {
    this.#deps = deps;
    this.#request = request;
    this.#response = response;
    this.#requestId = deps.ids.next('req');
  }

  async serve(table: RouteTable<RouteDefinition>): Promise<void> {
    let gone = false;
    try {
      const { route, params } = this.#find(table);
      this.#route = route;
      await this.#admit(route);
      const reply = await this.#handle(route, params);
      if (!('sent' in reply)) this.#send(reply);
      gone = this.#response.destroyed && !this.#response.writableFinished;
    } catch (error) {
      gone = error instanceof ClientGoneError || this.#response.destroyed;
      this.#refuse(error);
    } finally {
      this.#pass?.release();
      const status = gone ? CLIENT_GONE_STATUS : this.#response.statusCode;
      this.#deps.metrics.observe(this.#route, status, (performance.now() - this.#startedAt) / 1_000);
    }
  }

  #find(table: RouteTable<RouteDefinition>) {
    const path = pathOf(this.#request.url);
    this.#deps.checkTransport(this.#request, path);
    const match = table.find(this.#request.method, path);
    switch (match.status) {
      case 'found':
        return match;
      case 'method_not_allowed':
        this.#response.setHeader('Allow', match.allow);
        throw refuse('method_not_allowed', { message: `The endpoint takes ${match.allow}.` });
      case 'not_found': {
        const message = this.#deps.unserved(path);
        throw message === null ? refuse('endpoint_not_found') : refuse('endpoint_not_served', { message });
      }
    }
  }

  /** Policy and limits. The pass is released when the exchange ends, however it ends. */
  async #admit(route: RouteDefinition): Promise<void> {
    const { directory, limiter, clock, checkAdmin, isDraining } = this.#deps;
    // Probes, metrics and documents are answered to the end; nothing new is made.
    const isLookedAt = route.policy === 'public' && route.method === 'get';
    if (isDraining() && !isLookedAt) throw refuse('shutting_down');
    if (route.policy === 'public') return;
    if (route.policy === 'admin') return checkAdmin(this.#request);
    const caller = await authenticateProject(this.#request, directory, clock);
    this.#caller = caller;
    if (route.limited === false) return checkRole(route.operationId, caller.role);
    const asked = limiter.admit(caller);
    const admission = asked instanceof Promise ? await asked : asked;
    if (admission.status === 'refused') {
      throw refuse(admission.refusal, { message: admission.message, retryAfterSeconds: admission.retryAfterSeconds });
    }
    this.#pass = admission;
    checkRole(route.operationId, caller.role);
  }

  async #handle(route: RouteDefinition, params: Readonly<Record<string, string>>): Promise<RouteReply> {
    const readsItself = route.body === undefined || route.bodyType !== undefined;
    const rawBody = readsItself ? null : await readBody(this.#request);
    const input = {
      params: route.params === undefined ? NOTHING : validated(route.params, params, 'path'),
      query: route.query === undefined ? NOTHING : validated(route.query, queryOf(this.#request.url), 'query'),
      body: route.body === undefined || rawBody === null ? undefined : validated(route.body, parseJson(rawBody), 'body'),
    };
    const context = {
      request: this.#request,
      response: this.#response,
      caller: this.#caller,
      requestId: this.#requestId,
      rawBody,
      head: () => this.#head(),
    } as RouteContext<never>;
    // Billed routes write their head in one go; handlers of others may write through Express and need not know of these headers.
    if (route.billed !== true) this.#presetHead();
    return route.handle(context, input as Parameters<typeof route.handle>[1]);
  }

  /** A fresh list each time: the figures are those of now, and the receiver adds its own. */
  #head(): string[] {
    const head = ['x-request-id', this.#requestId];
    if (this.#route === null || this.#route.policy === 'project_key') this.#deps.rateLimitHeaders(head, this.#caller);
    return head;
  }

  #presetHead(): void {
    const head = this.#head();
    for (let index = 0; index < head.length; index += 2) this.#response.setHeader(head[index] ?? '', head[index + 1] ?? '');
  }

  #send(reply: Extract<RouteReply, { status: number }>): void {
    const head = this.#head();
    for (const [name, value] of Object.entries(reply.headers ?? NO_HEADERS)) head.push(name, value);
    sendJson(this.#response, reply.status, JSON.stringify(reply.body), head);
  }

  #refuse(error: unknown): void {
    const response = this.#response;
    if (error instanceof ClientGoneError || response.destroyed) {
      response.destroy();
      return;
    }
    const { name, details } = refusalOf(error);
    const refusal = this.#deps.errors.render(name, details);
    this.#log(error, name, refusal.status);
    if (response.headersSent) {
      // Half an answer cannot be taken back; breaking off tells the client that it is not whole.
      response.destroy();
      return;
    }
    const head = this.#head();
    if (refusal.retryAfterSeconds !== null) head.push('Retry-After', String(refusal.retryAfterSeconds));
    if (name === 'body_too_large') this.#discardBody();
    sendJson(response, refusal.status, refusal.body, head);
  }

  /** The connection stays: closed under a client that is still sending, it would be reset before the client has read the answer. */
  #discardBody(): void {
    const request = this.#request;
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > REFUSED_BODY_BYTES_MAX) request.destroy();
    });
    request.resume();
  }

  #log(error: unknown, refusal: string, status: number): void {
    const { logger } = this.#deps;
    const isFault = status >= 500;
    if (!isFault && !logger.isLevelEnabled('debug')) return;
    const facts = { requestId: this.#requestId, route: this.#route?.path, refusal, status, err: causeOf(error) };
    if (refusal === 'internal_error') logger.error(facts, 'a request failed');
    else if (isFault) logger.warn(facts, 'a request could not be served');
    else logger.debug(facts, 'a request was refused');
  }
}

function refusalOf(error: unknown): { readonly name: RefusalError['refusal']; readonly details: RefusalDetails } {
  if (error instanceof RefusalError) return { name: error.refusal, details: error.details };
  if (error instanceof LedgerUnavailableError) return { name: 'ledger_unavailable', details: {} };
  if (isDatabaseUnavailable(error))
    return { name: 'provider_unavailable', details: { message: 'The service is temporarily unavailable.' } };
  return { name: 'internal_error', details: {} };
}

function causeOf(error: unknown): unknown {
  return error instanceof RefusalError ? (error.details.cause ?? error.message) : error;
}

function validated(schema: z.ZodType, value: unknown, place: 'path' | 'query' | 'body'): unknown {
  const result = schema.safeParse(value);
  if (!result.success) throw refusalOfValidation(result.error, place);
  return result.data;
}

function pathOf(url: string): string {
  const query = url.indexOf('?');
  const path = query < 0 ? url : url.slice(0, query);
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

/** A name that occurs twice becomes a list, which schemas of single values refuse. */
function queryOf(url: string): Record<string, string | string[]> {
  const query: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>;
  const start = url.indexOf('?');
  if (start < 0) return query;
  for (const [name, value] of new URLSearchParams(url.slice(start + 1))) {
    const known = query[name];
    if (known === undefined) query[name] = value;
    else query[name] = Array.isArray(known) ? [...known, value] : [known, value];
  }
  return query;
}
