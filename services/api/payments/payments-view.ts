/** Payments as finance and reconciliation list them: from the view, a moment behind the streams. */
import type { Pool } from 'pg';

export type PaymentLine = {
  readonly paymentId: string;
  readonly reference: string;
  readonly provider: string;
  readonly environment: string;
  readonly mode: string;
  readonly consumerId: string | null;
  readonly unit: string;
  readonly packId: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly creditNanos: bigint;
  readonly creditedNanos: bigint;
  readonly clawedBackNanos: bigint;
  readonly reversedMinor: bigint;
  readonly status: string;
  readonly openedAtMs: number;
  readonly expiresAtMs: number | null;
  readonly verifiedAtMs: number | null;
};

export interface PaymentsView {
  /** Newest first; `after` is the last payment id of the previous page. */
  listPayments(projectId: string, page: { readonly limit: number; readonly after: string | null }): Promise<PaymentLine[]>;
  /** Those opened at a provider in a time, oldest first. */
  openedBetween(provider: string, window: { readonly fromMs: number; readonly toMs: number }, maxCount: number): Promise<PaymentLine[]>;
}

const COLUMNS = `payment_id, reference, provider, environment, mode, consumer_id, unit, pack_id, amount_minor, currency, credit_nanos,
  credited_nanos, clawed_back_nanos, reversed_minor, status, opened_at, expires_at, verified_at`;

type Row = {
  payment_id: string;
  reference: string;
  provider: string;
  environment: string;
  mode: string;
  consumer_id: string | null;
  unit: string;
  pack_id: string;
  amount_minor: string;
  currency: string;
  credit_nanos: string;
  credited_nanos: string;
  clawed_back_nanos: string;
  reversed_minor: string;
  status: string;
  opened_at: Date;
  expires_at: Date | null;
  verified_at: Date | null;
};

export function postgresPaymentsView(pool: Pool): PaymentsView {
  return {
    async listPayments(projectId, { limit, after }) {
      const { rows } = await pool.query<Row>(
        `select ${COLUMNS} from read_model.payments
         where project_id = $1 and ($2::text is null or (opened_at, payment_id) <
           (select last.opened_at, last.payment_id from read_model.payments last where last.payment_id = $2 and last.project_id = $1))
         order by opened_at desc, payment_id desc limit $3`,
        [projectId, after, limit],
      );
      return rows.map(lineOf);
    },
    async openedBetween(provider, { fromMs, toMs }, maxCount) {
      const { rows } = await pool.query<Row>(
        `select ${COLUMNS} from read_model.payments
         where provider = $1 and opened_at between to_timestamp($2::float8 / 1000) and to_timestamp($3::float8 / 1000)
         order by opened_at limit $4`,
        [provider, fromMs, toMs, maxCount],
      );
      return rows.map(lineOf);
    },
  };
}

function lineOf(row: Row): PaymentLine {
  return {
    paymentId: row.payment_id,
    reference: row.reference,
    provider: row.provider,
    environment: row.environment,
    mode: row.mode,
    consumerId: row.consumer_id,
    unit: row.unit,
    packId: row.pack_id,
    amountMinor: BigInt(row.amount_minor),
    currency: row.currency,
    creditNanos: BigInt(row.credit_nanos),
    creditedNanos: BigInt(row.credited_nanos),
    clawedBackNanos: BigInt(row.clawed_back_nanos),
    reversedMinor: BigInt(row.reversed_minor),
    status: row.status,
    openedAtMs: row.opened_at.getTime(),
    expiresAtMs: row.expires_at?.getTime() ?? null,
    verifiedAtMs: row.verified_at?.getTime() ?? null,
  };
}
