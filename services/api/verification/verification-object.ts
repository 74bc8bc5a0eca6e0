/** Shows a verification report and the keys behind it, in the documented shape. */
import { isoTime } from '../presentation/amounts.js';
import { keyObject } from './receipt.js';
import type { PublicReceiptKey } from './receipt-keys.js';
import type { VerificationReport } from './verification.js';

export function verificationObject({ mode, receipt, reportId, quoteHash, quote }: VerificationReport, provider: string, nowMs: number) {
  return {
    verified: receipt !== null,
    verification_mode: mode,
    provider,
    report_id: reportId,
    quote_hash: quoteHash,
    verified_at: receipt === null ? null : isoTime(nowMs),
    quote,
    receipt,
  };
}

/** The first key of the list is the one in use. */
export function keyBody(key: PublicReceiptKey, index: number) {
  return { ...keyObject(key), active: index === 0 };
}
