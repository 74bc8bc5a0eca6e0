/** Puts together what a process needs to take payments, by its settings; `null` where none are taken. */
import type { Pool } from 'pg';
import type { Clock } from '../../../platform/clock.js';
import type { PaymentsClient } from '../../ledger/ledger-client.js';
import { type LocalProvider, localProvider } from './local-provider.js';
import type { PaymentProvider } from './payment-provider.js';
import type { PaymentSettings } from './payment-settings.js';
import { type PaymentsView, postgresPaymentsView } from './payments-view.js';
import { paystackProvider } from './paystack-provider.js';

export type Payments = {
  readonly provider: PaymentProvider;
  /** The same, where it is Farebox's own page. */
  readonly local: LocalProvider | null;
  readonly payments: PaymentsClient;
  readonly view: PaymentsView;
};

export type CreatePaymentsOptions = {
  readonly settings: PaymentSettings;
  readonly payments: PaymentsClient;
  readonly pool: Pool;
  readonly clock: Clock;
  readonly publicBaseUrl: string;
};

export async function createPayments(options: CreatePaymentsOptions): Promise<Payments | null> {
  const { settings, payments, pool } = options;
  const shared = { payments, view: postgresPaymentsView(pool), local: null };
  switch (settings.provider) {
    case 'none':
      return null;
    case 'local': {
      const local = localProvider(options);
      return { ...shared, provider: local, local };
    }
    case 'paystack':
      return { ...shared, provider: paystackProvider(settings) };
    case 'stripe': {
      // Its SDK is large; who does not use it does not wait for it.
      const { stripeProvider } = await import('./stripe-provider.js');
      return { ...shared, provider: stripeProvider(settings) };
    }
  }
}
