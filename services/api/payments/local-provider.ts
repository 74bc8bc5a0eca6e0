/**
 * Farebox's own checkout: a page where a click is the payment. What was paid there is kept in a table of its own, the stand-in for a provider's
 * books, so that everything after the click is the same as with real money: it is asked for, verified, credited once, reconciled.
 */
import type { Pool } from 'pg';
import type { Clock } from '../../../platform/clock.js';
import { LISTED_PAYMENTS_MAX, type PaymentProvider } from './payment-provider.js';

export const LOCAL_CHECKOUT_PATH = '/checkout';

const CHECKOUT_LIFE_MS = 24 * 60 * 60 * 1_000;

export type LocalProvider = PaymentProvider & {
  /** Marks an offered checkout as paid. `false` when there is none of this reference. Paying twice pays once. */
  pay(reference: string): Promise<boolean>;
};

type Row = { reference: string; account_id: string; amount_minor: string; currency: string; paid_at: Date | null };

export function localProvider(options: { readonly pool: Pool; readonly clock: Clock; readonly publicBaseUrl: string }): LocalProvider {
  const { pool, clock } = options;
  const base = options.publicBaseUrl.replace(/\/+$/, '');
  return {
    name: 'local',
    mode: 'test',
    async offer({ reference, accountId, openedAtMs, amountMinor, currency }) {
      await pool.query(
        `insert into payments.local_payments (reference, account_id, amount_minor, currency, offered_at)
         values ($1, $2, $3, $4, to_timestamp($5::float8 / 1000)) on conflict (reference) do nothing`,
        [reference, accountId, amountMinor.toString(), currency, openedAtMs],
      );
      return {
        providerReference: reference,
        authorizationUrl: `${base}${LOCAL_CHECKOUT_PATH}/${reference}`,
        expiresAtMs: openedAtMs + CHECKOUT_LIFE_MS,
      };
    },
    async payment({ reference }) {
      const { rows } = await pool.query<Row>('select * from payments.local_payments where reference = $1', [reference]);
      const [row] = rows;
      if (row === undefined) return { status: 'unknown' };
      if (row.paid_at === null) return { status: 'pending' };
      return {
        status: 'paid',
        finding: {
          provider: 'local',
          mode: 'test',
          reference,
          providerReference: reference,
          providerPaymentId: reference,
          accountId: row.account_id,
          amountMinor: BigInt(row.amount_minor),
          currency: row.currency,
        },
      };
    },
    reversals: async () => [],
    async list({ fromMs, toMs }) {
      const { rows } = await pool.query<Row>(
        `select * from payments.local_payments where offered_at between to_timestamp($1::float8 / 1000) and to_timestamp($2::float8 / 1000)
         order by offered_at limit $3`,
        [fromMs, toMs, LISTED_PAYMENTS_MAX],
      );
      const payments = rows.map((row) => ({
        reference: row.reference,
        isPaid: row.paid_at !== null,
        amountMinor: BigInt(row.amount_minor),
        currency: row.currency,
      }));
      return { payments, reversed: [] };
    },
    readWebhook: async () => ({ status: 'forged', reason: 'the local checkout sends no webhooks' }),
    async pay(reference) {
      const { rowCount } = await pool.query(
        'update payments.local_payments set paid_at = coalesce(paid_at, to_timestamp($2::float8 / 1000)) where reference = $1',
        [reference, clock.nowMs()],
      );
      return rowCount === 1;
    },
  };
}
