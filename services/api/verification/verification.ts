/** Makes a settled request's receipt, checks it before anybody gets it, and where the hardware can, has it attested. */
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { withPrefix } from '../../../events/contract/index.js';
import { canonicalJson } from '../../../platform/canonical-json.js';
import type { LedgerClient } from '../../ledger/ledger-client.js';
import type { RequestRecord } from '../read-model/read-model.js';
import { checkReceipt, isGood } from './check-receipt.js';
import { type Receipt, signReceipt } from './receipt.js';
import { ReceiptFactsError, receiptFacts, type Service } from './receipt-facts.js';
import type { PublicReceiptKey, ReceiptSigner } from './receipt-keys.js';
import type { QuoteSource } from './tsm-quotes.js';

/** `tee`: a quote of the hardware vouches for the receipt. `signed`: the service's key does. `none`: nothing can. */
export type VerificationMode = 'tee' | 'signed' | 'none';

/** What receipts are signed with; without it there are none. */
export type ReceiptSigning = {
  readonly signer: ReceiptSigner;
  /** Keys that signed receipts before; they stay listed, so that those receipts stay good. */
  readonly retiredKeys: readonly PublicReceiptKey[];
  /** Only where the kernel has been seen to give quotes. */
  readonly quotes: QuoteSource | null;
};

export type VerificationReport = {
  readonly mode: VerificationMode;
  readonly receipt: Receipt | null;
  readonly reportId: string | null;
  /** SHA-256 of the quote, or of the signed receipt where there is none. */
  readonly quoteHash: string | null;
  readonly quote: { readonly platform: string; readonly base64: string } | null;
};

const NOTHING: VerificationReport = { mode: 'none', receipt: null, reportId: null, quoteHash: null, quote: null };

export type VerificationDeps = {
  readonly ledger: Pick<LedgerClient, 'accountEvents'>;
  readonly signing: ReceiptSigning | null;
  readonly service: Service;
  readonly logger: Logger;
};

export class Verification {
  readonly #deps: VerificationDeps;

  constructor(deps: VerificationDeps) {
    this.#deps = deps;
  }

  /** What answers say of themselves. */
  get mode(): VerificationMode {
    const { signing } = this.#deps;
    if (signing === null) return 'none';
    return signing.quotes === null ? 'signed' : 'tee';
  }

  /** The key in use first. */
  get keys(): readonly PublicReceiptKey[] {
    const { signing } = this.#deps;
    return signing === null ? [] : [signing.signer.publicKey, ...signing.retiredKeys];
  }

  /** Of a request that has ended. The same request has the same receipt. Rejects with `LedgerUnavailableError`. */
  async report(record: RequestRecord): Promise<VerificationReport> {
    const receipt = await this.#receiptOf(record);
    if (receipt === null) return NOTHING;
    const reportId = withPrefix(record.runId, 'att_');
    const text = canonicalJson(receipt);
    const quote = await this.#quoteOf(text);
    const evidence = quote === null ? text : quote.bytes;
    return {
      mode: quote === null ? 'signed' : 'tee',
      receipt,
      reportId,
      quoteHash: `0x${createHash('sha256').update(evidence).digest('hex')}`,
      quote: quote === null ? null : { platform: quote.platform, base64: quote.bytes.toString('base64') },
    };
  }

  async #receiptOf(record: RequestRecord): Promise<Receipt | null> {
    const { signing, ledger, service, logger } = this.#deps;
    if (signing === null) return null;
    try {
      const facts = await receiptFacts(ledger, record, service);
      if (facts === null) return null;
      const receipt = signReceipt(facts, signing.signer);
      const findings = checkReceipt(receipt, { trustedKeys: [signing.signer.publicKey] });
      if (isGood(findings)) return receipt;
      logger.error({ runId: record.runId, findings }, 'the books give no good receipt: run farebox verify');
      return null;
    } catch (error) {
      if (!(error instanceof ReceiptFactsError)) throw error;
      logger.error({ err: error, runId: record.runId }, 'views and log have parted: run farebox verify');
      return null;
    }
  }

  async #quoteOf(text: string) {
    const { signing, logger } = this.#deps;
    if (signing?.quotes == null) return null;
    return signing.quotes.quote(text).catch((error: unknown) => {
      logger.warn({ err: error }, 'no quote; the receipt is signed only');
      return null;
    });
  }
}
