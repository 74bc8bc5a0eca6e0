/** What receipts are signed with, from the environment. */
import { z } from 'zod';
import { setting } from '../../../platform/settings.js';
import { publicReceiptKey, ReceiptKeyError, receiptSigner } from './receipt-keys.js';
import { TSM_REPORTS_PATH, workingQuotes } from './tsm-quotes.js';
import type { ReceiptSigning } from './verification.js';

/** Keys that still count; one a year for decades. */
const RETIRED_KEYS_MAX = 50;

/** The key is read here already, so that a wrong one is told with all other faults of the settings. */
const keyText = (read: (text: string) => unknown) =>
  z.string().superRefine((text, context) => {
    try {
      read(text);
    } catch (error) {
      if (!(error instanceof ReceiptKeyError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
    }
  });

export const SIGNING_SETTINGS = {
  /** PEM private key (PKCS #8) or 32-byte seed in base64. Every instance of the API needs the same. */
  FAREBOX_RECEIPT_KEY: setting(keyText(receiptSigner).optional()),
  /** Public keys of earlier ones in base64, separated by commas. */
  FAREBOX_RECEIPT_RETIRED_KEYS: setting(
    z
      .string()
      .default('')
      .transform((text) =>
        text
          .split(',')
          .map((key) => key.trim())
          .filter((key) => key !== ''),
      )
      .pipe(z.array(keyText(publicReceiptKey)).max(RETIRED_KEYS_MAX)),
  ),
  /** Where the kernel's attestation reports are; a setting for tests and unusual mounts. */
  FAREBOX_TSM_PATH: setting(z.string().default(TSM_REPORTS_PATH)),
};

export type SigningSettings = {
  readonly FAREBOX_RECEIPT_KEY?: string | undefined;
  readonly FAREBOX_RECEIPT_RETIRED_KEYS: readonly string[];
  readonly FAREBOX_TSM_PATH: string;
};

/** `null` without a key: then nothing is verified, and answers say so. `keyMade` is used where the operator gave none. */
export async function receiptSigning(settings: SigningSettings, keyMade?: () => string): Promise<ReceiptSigning | null> {
  const key = settings.FAREBOX_RECEIPT_KEY ?? keyMade?.();
  if (key === undefined) return null;
  return {
    signer: receiptSigner(key),
    retiredKeys: settings.FAREBOX_RECEIPT_RETIRED_KEYS.map(publicReceiptKey),
    quotes: await workingQuotes(settings.FAREBOX_TSM_PATH),
  };
}
