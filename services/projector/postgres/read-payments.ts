/** Reads back the rows of payments that a page touches, locked until the page is written. */
import type { ClientBase } from 'pg';
import type { PaymentRow, ReversalRow } from '../domain/payments.js';
import type { ReadModelSchema } from './write-changes.js';

type Row = {
  payment_id: string;
  reference: string;
  provider: string;
  mode: PaymentRow['mode'];
  environment: PaymentRow['environment'];
  account_id: string;
  project_id: string;
  consumer_id: string | null;
  unit: string;
  pack_id: string;
  amount_minor: string;
  currency: string;
  credit_nanos: string;
  status: string;
  provider_reference: string | null;
  provider_payment_id: string | null;
  mismatch: string | null;
  verified_nanos: string;
  credited_nanos: string;
  clawed_back_nanos: string;
  reversals: string;
  reversed_minor: string;
  unbooked: number;
  opened_at: Date;
  expires_at: Date | null;
  verified_at: Date | null;
  credited_at: Date | null;
  updated_at: Date;
  revision: string;
};

/** Costs nothing where a page touches no payment. */
export async function readPayments(
  client: ClientBase,
  schema: ReadModelSchema,
  paymentIds: readonly string[],
): Promise<Map<string, PaymentRow>> {
  if (paymentIds.length === 0) return new Map();
  const { rows } = await client.query<Row>({
    name: `${schema}-past-payments`,
    text: `select * from ${schema}.payments where payment_id = any($1::text[]) order by payment_id for update`,
    values: [paymentIds],
  });
  return new Map(rows.map((row) => [row.payment_id, paymentRowOf(row)]));
}

function paymentRowOf(row: Row): PaymentRow {
  return {
    paymentId: row.payment_id,
    reference: row.reference,
    provider: row.provider,
    mode: row.mode,
    environment: row.environment,
    accountId: row.account_id,
    projectId: row.project_id,
    consumerId: row.consumer_id,
    unit: row.unit,
    packId: row.pack_id,
    amountMinor: BigInt(row.amount_minor),
    currency: row.currency,
    creditNanos: BigInt(row.credit_nanos),
    status: row.status,
    providerReference: row.provider_reference,
    providerPaymentId: row.provider_payment_id,
    mismatch: row.mismatch,
    verifiedNanos: BigInt(row.verified_nanos),
    creditedNanos: BigInt(row.credited_nanos),
    clawedBackNanos: BigInt(row.clawed_back_nanos),
    reversals: JSON.parse(row.reversals) as Record<string, ReversalRow>,
    reversedMinor: BigInt(row.reversed_minor),
    unbooked: row.unbooked,
    openedAtMs: row.opened_at.getTime(),
    expiresAtMs: row.expires_at?.getTime() ?? null,
    verifiedAtMs: row.verified_at?.getTime() ?? null,
    creditedAtMs: row.credited_at?.getTime() ?? null,
    updatedAtMs: row.updated_at.getTime(),
    revision: Number(row.revision),
  };
}
