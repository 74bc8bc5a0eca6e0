/**
 * The token of the local checkout's form. It is an HMAC over the payment as it stands and a nonce that only this browser has in a cookie: a page
 * elsewhere cannot make a browser post it, another payment does not take it, and once the payment has moved on it fits no more.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const NONCE_BYTES = 16;
const COOKIE_NAME = 'farebox_checkout';
const COOKIE = /(?:^|;\s*)farebox_checkout=([0-9a-f]{32})(?:;|$)/;

export type TokenPayment = { readonly paymentId: string; readonly revision: number };

export function newNonce(): string {
  return randomBytes(NONCE_BYTES).toString('hex');
}

export function nonceCookie(nonce: string, path: string, isSecure: boolean): string {
  return `${COOKIE_NAME}=${nonce}; Path=${path}; HttpOnly; SameSite=Strict${isSecure ? '; Secure' : ''}`;
}

export function nonceOf(request: IncomingMessage): string | null {
  return COOKIE.exec(request.headers.cookie ?? '')?.[1] ?? null;
}

/** `secret` is the same in every instance of a deployment. */
export function oneTimeToken(secret: string, { paymentId, revision }: TokenPayment, nonce: string): string {
  return createHmac('sha256', secret).update(`local-checkout\n${paymentId}\n${revision}\n${nonce}`).digest('hex');
}

export function isToken(given: string, expected: string): boolean {
  const [left, right] = [Buffer.from(given), Buffer.from(expected)];
  return left.length === right.length && timingSafeEqual(left, right);
}
