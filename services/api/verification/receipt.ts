/**
 * A receipt: what a request was, what it cost and where that stands in the books, signed. Everything in it comes from the account's own events, so
 * the same request has the same receipt whenever it is asked for. Fields are listed in docs/verification.md.
 */
import { z } from 'zod';
import { canonicalJson } from '../../../platform/canonical-json.js';
import type { PublicReceiptKey, ReceiptSigner } from './receipt-keys.js';

export const RECEIPT_VERSION = 1;

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const id = z.string().min(1).max(200);
const name = z.string().max(500);
const count = z.number().int().nonnegative();
const amount = z.string().regex(/^\d{1,30}(\.\d{1,9})?$/);
const time = z.iso.datetime();

/** An event as its hash covers it, and where it stands. */
const ReceiptEvent = z.strictObject({
  id,
  type: name,
  version: count,
  revision: count,
  position: name,
  data: z.record(z.string(), z.json()),
});
export type ReceiptEvent = z.infer<typeof ReceiptEvent>;

/** Hashes before the first and after the last of some events in a row; `null` in books from before the chain. */
const Links = z.strictObject({ before: hash.nullable(), after: hash.nullable() });

export const ReceiptSchema = z
  .strictObject({
    object: z.literal('receipt'),
    version: z.literal(RECEIPT_VERSION),
    service: z.strictObject({ name, url: name }),
    request_id: id,
    run_id: id,
    project_id: id,
    payer: z.strictObject({ kind: z.enum(['project', 'consumer']), id, account_id: id }),
    model: name,
    system_fingerprint: name.nullable(),
    request_hash: hash.nullable(),
    response_hash: hash.nullable(),
    outcome: z.enum(['completed', 'cancelled', 'failed', 'expired']),
    finish_reason: name.nullable(),
    error_code: name.nullable(),
    usage: z.strictObject({
      counted_by: z.enum(['engine', 'worker']),
      prompt_tokens: count,
      cached_tokens: count,
      completion_tokens: count,
      audio: z.strictObject({ bytes: count, milliseconds: count }).nullable(),
    }),
    unit: name,
    price: z.strictObject({ version: name, terms: z.record(z.string(), z.json()) }),
    held: amount,
    charged: amount,
    refunded: amount,
    events: z.strictObject({ hold: ReceiptEvent, charge: ReceiptEvent, refund: ReceiptEvent, settlement: ReceiptEvent }),
    chain: z.strictObject({ hold: Links, settlement: Links }),
    reserved_at: time,
    issued_at: time.meta({ description: 'When the books closed on the request.' }),
    key: z.strictObject({ id, algorithm: z.literal('Ed25519'), public_key: name }),
    signature: z.string().max(200).meta({ description: 'Base64, over the canonical JSON (RFC 8785) of all other fields.' }),
  })
  .meta({ id: 'Receipt' });

export type Receipt = z.infer<typeof ReceiptSchema>;
export type ReceiptFacts = Omit<Receipt, 'key' | 'signature' | 'object' | 'version'>;

/** The text that is signed: everything but the signature. */
export function signedTextOf({ signature: _signature, ...signed }: Receipt): string {
  return canonicalJson(signed);
}

export function signReceipt(facts: ReceiptFacts, signer: ReceiptSigner): Receipt {
  const unsigned: Receipt = { object: 'receipt', version: RECEIPT_VERSION, ...facts, key: keyObject(signer.publicKey), signature: '' };
  return { ...unsigned, signature: signer.sign(signedTextOf(unsigned)) };
}

export function keyObject({ id: keyId, publicKey }: PublicReceiptKey): Receipt['key'] {
  return { id: keyId, algorithm: 'Ed25519', public_key: publicKey };
}
