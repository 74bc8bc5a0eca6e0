/**
 * Invariant 13: what the accounts were credited by a payment provider never exceeds what that provider's answers justify. Both sides come from
 * the log, from streams of their own: grants from the accounts', verifications from the payments'.
 */
import type { Discrepancy } from '../verify.js';
import type { ViewSums } from './view-sums.js';

const PAYMENTS_ACCOUNT = /^(\S+) (\S+) payments:(\S+)$/;

/** Staff who took money by hand are their own evidence. */
const MANUAL_PROVIDER = 'manual';

export function creditsBeyondPayments(sums: Pick<ViewSums, 'trial_balance' | 'payments'>): Discrepancy[] {
  const discrepancies: Discrepancy[] = [];
  for (const [key, { balance_nanos: balanceNanos = 0n }] of sums.trial_balance) {
    const [, unit = '', environment = '', provider = ''] = PAYMENTS_ACCOUNT.exec(key) ?? [];
    if (provider === '' || provider === MANUAL_PROVIDER) continue;
    const payments = sums.payments.get(`${provider} ${unit} ${environment}`) ?? {};
    // Credit leaves payments:<provider>, so it stands below zero by what was given and not taken back.
    const creditedNanos = -balanceNanos;
    const justifiedNanos = (payments['verified_nanos'] ?? 0n) - (payments['clawed_back_nanos'] ?? 0n);
    if (creditedNanos <= justifiedNanos) continue;
    discrepancies.push({
      check: `credits from payments:${provider} in ${unit} ${environment} exceed verified payments`,
      view: creditedNanos.toString(),
      log: justifiedNanos.toString(),
    });
  }
  return discrepancies;
}
