/**
 * Names of payments. The reference that people and providers see holds the payment's id, so a webhook finds its stream without any table; the
 * id is a digest of the account and of what makes two requests the same purchase, so an impatient second click finds the first one's payment.
 */
import { createHash } from 'node:crypto';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const ID_CHARACTERS = 26;
const REFERENCE = /^[a-z][a-z0-9-]{0,30}[_-]topup[_-]([0-9a-hjkmnp-tv-z]{26})$/;

/** `pay_` and 130 bits. It carries no time, unlike other ids: two requests a minute apart may be one purchase. */
export function paymentIdOf(accountId: string, attempt: string): string {
  const digest = createHash('sha256').update(`${accountId}\n${attempt}`).digest();
  let id = 'pay_';
  for (let index = 0; index < ID_CHARACTERS; index += 1) id += ALPHABET.charAt((digest[index] ?? 0) & 31);
  return id;
}

/** `huru_topup_…`. */
export function referenceOf(brandSlug: string, paymentId: string): string {
  return `${brandSlug}_topup_${paymentId.slice('pay_'.length)}`;
}

/** The payment behind a reference in either spelling, or `null` for what is none of ours. */
export function paymentIdOfReference(reference: string): string | null {
  const id = REFERENCE.exec(reference)?.[1];
  return id === undefined ? null : `pay_${id}`;
}
