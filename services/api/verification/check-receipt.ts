/**
 * Checks a receipt without asking anybody: its signature, that its fields say what its events say, that the charge is what the terms give for the
 * usage, that charge and refund make up the hold, and that the events' hashes lead from one place in the account's chain to the next. Each
 * check says in words what it found.
 */
import { createHash } from 'node:crypto';
import { chainAfter } from '../../../events/account-chain.js';
import { formatAmount } from '../../../events/contract/index.js';
import { canonicalJson } from '../../../platform/canonical-json.js';
import { dearestUse, explainCharge, explainPrice } from '../routes/requests/explain-charge.js';
import { type Receipt, type ReceiptEvent, ReceiptSchema, signedTextOf } from './receipt.js';
import { decoded, factsOfEvents } from './receipt-facts.js';
import { isSignedBy, type PublicReceiptKey, publicReceiptKey } from './receipt-keys.js';

export type CheckName = 'shape' | 'signature' | 'key' | 'fields' | 'charge' | 'chain' | 'request' | 'response';

/** `unknown`: there is nothing to hold it against; that is no fault, and no proof either. */
export type ReceiptFinding = { readonly check: CheckName; readonly result: 'passed' | 'failed' | 'unknown'; readonly words: string };

export type ReceiptCheckOptions = {
  /** Keys that are known to be the service's; without them the signature proves only that nothing was changed since it was made. */
  readonly trustedKeys?: readonly PublicReceiptKey[];
  /** Texts that the request may have been, each with how it came about; the first is the likeliest. */
  readonly requests?: readonly { readonly bytes: Uint8Array; readonly how: string }[];
  /** The text that an answer is hashed by, see `answer-hash.ts`. */
  readonly answerText?: string;
};

/** A receipt is good when nothing failed. */
export function checkReceipt(document: unknown, options: ReceiptCheckOptions = {}): ReceiptFinding[] {
  const parsed = ReceiptSchema.safeParse(document);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return [failed('shape', `This is no receipt: ${issue?.path.join('.') || 'the document'}: ${issue?.message}`)];
  }
  // As it came: what the schema would leave out of its copy, the signature must not cover.
  const receipt = document as Receipt;
  const findings = [
    passed('shape', `A receipt of ${receipt.service.name} for request ${receipt.request_id}, made at ${receipt.issued_at}.`),
    checkSignature(receipt),
    checkKey(receipt, options.trustedKeys ?? null),
    checkFields(receipt),
    checkCharge(receipt),
    checkChain(receipt),
  ];
  if (options.requests !== undefined) findings.push(checkRequest(receipt, options.requests));
  if (options.answerText !== undefined) findings.push(checkResponse(receipt, options.answerText));
  return findings;
}

export function isGood(findings: readonly ReceiptFinding[]): boolean {
  return findings.every(({ result }) => result !== 'failed');
}

const passed = (check: CheckName, words: string): ReceiptFinding => ({ check, result: 'passed', words });
const failed = (check: CheckName, words: string): ReceiptFinding => ({ check, result: 'failed', words });
const unknown = (check: CheckName, words: string): ReceiptFinding => ({ check, result: 'unknown', words });

/** The receipt's own key; `null` when it is none, or goes by another's name. */
function keyOfReceipt({ key }: Receipt): PublicReceiptKey | null {
  try {
    const known = publicReceiptKey(key.public_key);
    return known.id === key.id && known.publicKey === key.public_key ? known : null;
  } catch {
    return null;
  }
}

function checkSignature(receipt: Receipt): ReceiptFinding {
  const key = keyOfReceipt(receipt);
  if (key === null) return failed('signature', 'The key in the receipt is none, or does not have the id that it is given.');
  // Base64 has spare bits: one signature has one text, or a change to it could go unseen.
  const isOneText = Buffer.from(receipt.signature, 'base64').toString('base64') === receipt.signature;
  if (isOneText && isSignedBy(key, signedTextOf(receipt), receipt.signature)) {
    return passed('signature', `Signed by ${key.id}; nothing has been changed since.`);
  }
  return failed('signature', 'The signature does not fit: the receipt has been changed since it was signed.');
}

function checkKey({ key }: Receipt, trusted: readonly PublicReceiptKey[] | null): ReceiptFinding {
  if (trusted === null) {
    return unknown(
      'key',
      `Whether ${key.id} is the service's own key was not checked: give --key with what its /v1/verification/keys lists.`,
    );
  }
  const isTrusted = trusted.some(({ publicKey }) => publicKey === key.public_key);
  return isTrusted ? passed('key', `${key.id} is a key that you trust.`) : failed('key', `${key.id} is none of the keys that you trust.`);
}

function checkFields(receipt: Receipt): ReceiptFinding {
  try {
    const facts: Readonly<Record<string, unknown>> = factsOfEvents(receipt.events);
    const fields = receipt as unknown as Readonly<Record<string, unknown>>;
    const other = Object.keys(facts).find((name) => canonicalJson(facts[name]) !== canonicalJson(fields[name]));
    if (other !== undefined) return failed('fields', `"${other}" is not what the events in the receipt say.`);
    const misplaced = misplacedEvent(receipt);
    if (misplaced !== null) return failed('fields', misplaced);
    return passed('fields', 'Every field says what the events say.');
  } catch (error) {
    return failed('fields', `The events in the receipt cannot be read: ${(error as Error).message}.`);
  }
}

/** All four are of one run and one account, and the three of the ending stand in a row behind the hold. */
function misplacedEvent({ run_id: runId, payer, events }: Receipt): string | null {
  const all = Object.entries(events);
  for (const [name, { data }] of all) {
    if (data['runId'] !== runId || data['accountId'] !== payer.account_id) return `The ${name} is of another run or account.`;
  }
  const { hold, charge, refund, settlement } = events;
  const isInRow = hold.revision < charge.revision && refund.revision === charge.revision + 1 && settlement.revision === refund.revision + 1;
  return isInRow ? null : 'The events do not stand where such events stand.';
}

function checkCharge(receipt: Receipt): ReceiptFinding {
  try {
    const hold = decoded(receipt.events.hold, 'CreditReserved');
    const { usage, chargedNanos } = decoded(receipt.events.charge, 'UsageRecorded');
    const { refundedNanos } = decoded(receipt.events.refund, 'CreditRefunded');
    const settled = decoded(receipt.events.settlement, 'ReservationSettled');
    const bound = dearestUse(hold.terms, { ...hold, audioHeld: hold.audio ?? null });
    if (explainPrice(hold.terms, bound).priceNanos !== hold.heldNanos)
      return failed('charge', 'The hold is not what the terms give for the most that could be used.');
    const { priceNanos } = explainPrice(hold.terms, usage);
    const { addsUp, waiver } = explainCharge(priceNanos, {
      status: settled.outcome,
      cancelPolicy: hold.cancelPolicy,
      usage,
      heldNanos: hold.heldNanos,
      chargedNanos,
      refundedNanos,
    });
    const isOneCharge = settled.chargedNanos === chargedNanos && settled.refundedNanos === refundedNanos;
    const [charged, refunded, held] = [chargedNanos, refundedNanos, hold.heldNanos].map(formatAmount);
    if (addsUp !== true || !isOneCharge) {
      const booked = `${charged} charged and ${refunded} refunded of ${held} held do not add up`;
      return failed('charge', `The terms give ${formatAmount(priceNanos)} ${receipt.unit} for this usage; ${booked}.`);
    }
    const why = waiver === null ? '' : ` (${waiver.replaceAll('_', ' ')})`;
    return passed(
      'charge',
      `${charged} ${receipt.unit} charged is what the terms give${why}; with ${refunded} refunded it makes up the ${held} held.`,
    );
  } catch (error) {
    return failed('charge', `The charge cannot be worked out: ${(error as Error).message}.`);
  }
}

function checkChain({ chain, events }: Receipt): ReceiptFinding {
  const parts = [
    { name: 'hold', links: chain.hold, row: [events.hold] },
    { name: 'settlement', links: chain.settlement, row: [events.charge, events.refund, events.settlement] },
  ];
  let linked = 0;
  for (const { name, links, row } of parts) {
    if (links.after === null && links.before === null) continue;
    if (links.after !== hashAfter(links.before, row))
      return failed('chain', `The hashes of the ${name} do not lead from one place in the account's chain to the next.`);
    linked += 1;
  }
  const isNeighbour = events.charge.revision === events.hold.revision + 1;
  if (isNeighbour && chain.settlement.before !== chain.hold.after) return failed('chain', 'The settlement does not follow on the hold.');
  if (linked === 0) return unknown('chain', 'The books had no hash chain yet when this request was settled.');
  return passed(
    'chain',
    `In the account's chain the settlement has the hash ${chain.settlement.after}, at revision ${events.settlement.revision}.`,
  );
}

function hashAfter(before: string | null, row: readonly ReceiptEvent[]): string | null {
  let hash = before;
  for (const { id, type, version, data } of row) hash = chainAfter(hash, { id, type, version, data });
  return hash;
}

const sha256 = (content: Uint8Array | string) => createHash('sha256').update(content).digest('hex');

function checkRequest(receipt: Receipt, requests: NonNullable<ReceiptCheckOptions['requests']>): ReceiptFinding {
  if (receipt.request_hash === null) return unknown('request', 'The receipt names no request: it was made before requests were hashed.');
  const found = requests.find(({ bytes }) => sha256(bytes) === receipt.request_hash);
  if (found !== undefined) return passed('request', `The request is the one that was sent (${found.how}).`);
  return failed('request', 'The request is another than the one that was sent. Its body counts byte by byte, as it went over the wire.');
}

function checkResponse(receipt: Receipt, answerText: string): ReceiptFinding {
  if (receipt.response_hash === null) return unknown('response', 'The receipt names no answer: none was generated.');
  if (sha256(answerText) === receipt.response_hash) return passed('response', 'The answer is the one that was generated.');
  return failed('response', 'The answer is another than the one that was generated.');
}
