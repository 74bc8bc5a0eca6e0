/** Serves the ledger's internal protocol: checks the secret, decodes a batch, runs its calls together, answers each. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { type LedgerClient, LedgerUnavailableError, type PaymentsClient } from '../ledger-client.js';
import type { Settle } from '../reactors/settle-finished-runs.js';
import { CALLS_BYTES_MAX, type CallOutcome, callsFromText, type LedgerCall, outcomesToText } from './wire.js';

export type ServeCallsOptions = {
  readonly ledger: LedgerClient;
  /** Calls about payments fail without. */
  readonly payments?: PaymentsClient;
  /** Settlements that other instances hand over are made here. */
  readonly settle: Settle;
  /** Shared with the callers. */
  readonly secret: string;
  readonly logger: Logger;
};

/** A handler of `POST CALLS_PATH`. 401 for a wrong secret, 400 for what is no batch, 413 beyond `CALLS_BYTES_MAX`. */
export function serveCalls({ ledger, payments, settle, secret, logger }: ServeCallsOptions) {
  const expected = digestOf(`Bearer ${secret}`);
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (!timingSafeEqual(digestOf(request.headers.authorization ?? ''), expected)) return end(response, 401, 'wrong secret');
    const text = await readText(request);
    if (text === null) return end(response, 413, 'too many calls');
    let calls: LedgerCall[];
    try {
      calls = callsFromText(text);
    } catch (error) {
      logger.error({ err: error }, 'ledger calls not readable');
      return end(response, 400, 'not a batch of ledger calls');
    }
    const outcomes = await Promise.all(calls.map((call) => outcomeOf(call, { ledger, payments, settle }, logger)));
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(outcomesToText(outcomes));
  };
}

type Served = { readonly ledger: LedgerClient; readonly payments: PaymentsClient | undefined; readonly settle: Settle };

async function outcomeOf(call: LedgerCall, served: Served, logger: Logger): Promise<CallOutcome> {
  try {
    return { status: 'ok', result: await resultOf(call, served) };
  } catch (error) {
    if (error instanceof LedgerUnavailableError) return { status: 'unavailable', message: error.message };
    logger.error({ err: error, method: call.method }, 'ledger call failed');
    return { status: 'failed', message: 'the ledger failed' };
  }
}

function resultOf(call: LedgerCall, { ledger, payments, settle }: Served): Promise<unknown> {
  switch (call.method) {
    case 'openAccount':
      return ledger.openAccount(call.command);
    case 'reserve':
      return ledger.reserve(call.command);
    case 'grant':
      return ledger.grant(call.command);
    case 'settle':
      return settle(call.command);
    case 'balance':
      return ledger.balance(call.accountId);
    case 'reservation':
      return ledger.reservation(call.accountId, call.runId);
    case 'abandonRun':
      return ledger.abandonRun(call.run);
    case 'accountEvents':
      return ledger.accountEvents(call.range);
    case 'submitPayment':
      return served(payments).submitPayment(call.command);
    case 'payment':
      return served(payments).payment(call.paymentId);
  }
}

function served(payments: PaymentsClient | undefined): PaymentsClient {
  if (payments === undefined) throw new Error('this ledger serves no payments');
  return payments;
}

/** `null` when it is longer than allowed. */
async function readText(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > CALLS_BYTES_MAX) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Digests have one length, which a constant-time comparison needs. */
function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function end(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { 'content-type': 'text/plain' });
  response.end(message);
}
