/**
 * The LedgerClient of a process that reaches the ledger over HTTP. Each account has a preferred instance (rendezvous hashing), which keeps
 * its state warm there; that is only speed. Any instance may serve any account, because the expected revision is the fence, and every call
 * is idempotent, so one whose answer was lost is asked again elsewhere.
 *
 *     call ──▶ queue of its instance ──one request per turn──▶ instance ──▶ answer
 *                   ▲                                            │ cannot be reached: left alone for a while
 *                   └───────────── the next best instance ◀──────┘
 */
import type { Logger } from 'pino';
import type { LedgerClient, PaymentsClient } from '../ledger-client.js';
import { LedgerUnavailableError } from '../ledger-client.js';
import type { Settle } from '../reactors/settle-finished-runs.js';
import { CALLS_PATH, CALLS_PER_REQUEST_MAX, type CallOutcome, callsToText, type LedgerCall, outcomesFromText } from './wire.js';

/** An answer takes no longer than the ledger itself waits for its store (5 s), and the way. */
export const REQUEST_TIMEOUT_MS = 6_000;

/** A caller waits no longer than this over all instances; then the outcome is unknown. */
export const CALL_TIMEOUT_MS = 8_000;

/** An instance that could not be reached is left alone this long, unless no other is left. */
export const DOWN_MS = 1_000;

/** Requests under way to one instance: the ledger decides one batch while it writes the one before. */
const REQUESTS_IN_FLIGHT_MAX = 4;

/** Calls waiting for one instance; beyond it callers are told at once. */
const CALLS_QUEUED_MAX = 20_000;

/** Tries of one call over all instances. */
const TRIES_MAX = 4;

export type HttpLedgerClientOptions = {
  /** Base URLs of the ledger's instances. At least one. */
  readonly instances: readonly string[];
  readonly secret: string;
  readonly logger: Logger;
  readonly monotonicNowMs?: () => number;
};

export type HttpLedgerClient = LedgerClient &
  PaymentsClient & {
    /** Where this account is wanted: the base URL of its preferred instance, as given. */
    preferredFor(accountId: string): string;
    readonly settle: Settle;
    /** Whether an instance answers and is ready. */
    isReady(): Promise<boolean>;
  };

type Waiting = {
  readonly call: LedgerCall;
  readonly accountId: string;
  readonly sinceMs: number;
  tries: number;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
};

type Instance = { readonly url: string; readonly queue: Waiting[]; inFlight: number; isFlushDeferred: boolean; downUntilMs: number };

export function httpLedgerClient(options: HttpLedgerClientOptions): HttpLedgerClient {
  const { secret, logger, monotonicNowMs = () => performance.now() } = options;
  const instances = options.instances.map(
    (url): Instance => ({ url: url.replace(/\/+$/, ''), queue: [], inFlight: 0, isFlushDeferred: false, downUntilMs: 0 }),
  );
  if (instances.length === 0) throw new RangeError('a ledger client needs at least one instance');

  function call<Result>(accountId: string, asked: LedgerCall): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      const waiting = {
        call: asked,
        accountId,
        sinceMs: monotonicNowMs(),
        tries: 0,
        resolve: resolve as (result: unknown) => void,
        reject,
      };
      enqueue(waiting);
    });
  }

  function enqueue(waiting: Waiting): void {
    const instance = preferred(instances, waiting.accountId, monotonicNowMs());
    if (instance.queue.length >= CALLS_QUEUED_MAX) {
      waiting.reject(new LedgerUnavailableError('too many calls wait for the ledger'));
      return;
    }
    waiting.tries += 1;
    instance.queue.push(waiting);
    flushSoon(instance);
  }

  /** Deferred, so that all calls of this turn of the event loop share a request. */
  function flushSoon(instance: Instance): void {
    if (instance.isFlushDeferred) return;
    instance.isFlushDeferred = true;
    setImmediate(() => {
      instance.isFlushDeferred = false;
      while (instance.queue.length > 0 && instance.inFlight < REQUESTS_IN_FLIGHT_MAX) {
        const batch = instance.queue.splice(0, CALLS_PER_REQUEST_MAX);
        instance.inFlight += 1;
        void send(instance, batch).finally(() => {
          instance.inFlight -= 1;
          if (instance.queue.length > 0) flushSoon(instance);
        });
      }
    });
  }

  async function send(instance: Instance, batch: readonly Waiting[]): Promise<void> {
    let outcomes: CallOutcome[];
    try {
      outcomes = await post(instance.url, batch);
      instance.downUntilMs = 0;
    } catch (error) {
      logger.warn({ err: error, instance: instance.url, calls: batch.length }, 'ledger instance not reached');
      instance.downUntilMs = monotonicNowMs() + DOWN_MS;
      for (const waiting of batch) tryElsewhere(waiting, error);
      return;
    }
    batch.forEach((waiting, index) => {
      const outcome = outcomes[index];
      if (outcome?.status === 'ok') waiting.resolve(outcome.result);
      else if (outcome?.status === 'unavailable') waiting.reject(new LedgerUnavailableError(outcome.message));
      else waiting.reject(new Error(`the ledger failed at ${waiting.call.method}`));
    });
  }

  async function post(url: string, batch: readonly Waiting[]): Promise<CallOutcome[]> {
    const response = await fetch(`${url}${CALLS_PATH}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: callsToText(batch.map((waiting) => waiting.call)),
      redirect: 'error',
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`the ledger answered ${response.status}: ${text.slice(0, 200)}`);
    return outcomesFromText(text, batch.length);
  }

  function tryElsewhere(waiting: Waiting, cause: unknown): void {
    const isLate = monotonicNowMs() - waiting.sinceMs >= CALL_TIMEOUT_MS;
    if (isLate || waiting.tries >= TRIES_MAX) waiting.reject(new LedgerUnavailableError('no ledger instance answered', { cause }));
    else enqueue(waiting);
  }

  return {
    openAccount: (command) => call(command.accountId, { method: 'openAccount', command }),
    reserve: (command) => call(command.accountId, { method: 'reserve', command }),
    grant: (command) => call(command.accountId, { method: 'grant', command }),
    balance: (accountId) => call(accountId, { method: 'balance', accountId }),
    settle: (command) => call(command.accountId, { method: 'settle', command }),
    preferredFor: (accountId) => preferred(instances, accountId, monotonicNowMs()).url,
    reservation: (accountId, runId) => call(accountId, { method: 'reservation', accountId, runId }),
    // A payment has no preferred instance of its own account's: routing is only speed, and there is no cached state to be near.
    submitPayment: (command) => call(command.paymentId, { method: 'submitPayment', command }),
    payment: (paymentId) => call(paymentId, { method: 'payment', paymentId }),
    abandonRun: async (run) => {
      await call(run.accountId, { method: 'abandonRun', run });
    },
    accountEvents: (range) => call(range.accountId, { method: 'accountEvents', range }),
    async isReady() {
      const answers = await Promise.all(instances.map(({ url }) => answersReady(url)));
      return answers.includes(true);
    },
  };
}

/** The live instance with the highest score for the account; when all are down, the one that has been down longest. */
function preferred(instances: readonly Instance[], accountId: string, nowMs: number): Instance {
  const scored = instances.map((instance) => ({ instance, score: scoreOf(instance.url, accountId) }));
  scored.sort((left, right) => right.score - left.score);
  const live = scored.find(({ instance }) => instance.downUntilMs <= nowMs);
  if (live !== undefined) return live.instance;
  return instances.reduce((best, instance) => (instance.downUntilMs < best.downUntilMs ? instance : best));
}

/**
 * Rendezvous hashing (Thaler and Ravishankar, 1998): each instance scores each account, so that one that leaves moves only its own accounts.
 * FNV-1a with a final avalanche (MurmurHash3's), because scores of similar texts must not be similar.
 */
function scoreOf(url: string, accountId: string): number {
  let hash = 0x811c9dc5;
  for (const text of [accountId, url])
    for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** A look at readiness takes no longer than this. */
const READY_TIMEOUT_MS = 1_000;

async function answersReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(READY_TIMEOUT_MS) });
    await response.text();
    return response.status === 200;
  } catch {
    return false;
  }
}
