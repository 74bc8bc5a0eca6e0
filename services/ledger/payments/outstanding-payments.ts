/** Payments with amounts that are decided and not booked, found through the view; what is true is decided on the stream. */
import type { Pool } from 'pg';

export interface OutstandingPayments {
  /** Payments whose row has not changed since `beforeMs`: the writer of a younger one is probably still at it. */
  unbookedBefore(beforeMs: number, maxCount: number): Promise<string[]>;
}

export function postgresOutstandingPayments(pool: Pool): OutstandingPayments {
  return {
    async unbookedBefore(beforeMs, maxCount) {
      const { rows } = await pool.query<{ payment_id: string }>(
        `select payment_id from read_model.payments where unbooked > 0 and updated_at <= to_timestamp($1::float8 / 1000)
         order by updated_at limit $2`,
        [beforeMs, maxCount],
      );
      return rows.map((row) => row.payment_id);
    },
  };
}
