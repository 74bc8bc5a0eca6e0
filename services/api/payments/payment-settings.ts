/** Who takes the money, from the environment. What cannot be safe refuses to start: an empty secret would let anybody sign a webhook. */
import { z } from 'zod';
import type { Environment } from '../../../platform/settings.js';
import { SettingsError, setting } from '../../../platform/settings.js';

export const PAYMENT_CHOICES = ['none', 'local', 'paystack', 'stripe'] as const;

export const PAYMENT_SETTINGS = {
  FAREBOX_PAYMENTS: setting(z.enum(PAYMENT_CHOICES).optional()),
  /** Where receipts of payers without an address go; Paystack wants one for every payment. */
  FAREBOX_PAYMENTS_EMAIL: setting(z.email().max(254).optional()),
  PAYSTACK_SECRET_KEY: setting(
    z
      .string()
      .regex(/^sk_(live|test)_[!-~]{8,250}$/, 'must begin with sk_live_ or sk_test_')
      .optional(),
  ),
  STRIPE_SECRET_KEY: setting(
    z
      .string()
      .regex(/^[rs]k_(live|test)_[!-~]{8,250}$/, 'must begin with sk_live_ or sk_test_')
      .optional(),
  ),
  STRIPE_WEBHOOK_SECRET: setting(
    z
      .string()
      .regex(/^whsec_[!-~]{8,250}$/, 'must begin with whsec_')
      .optional(),
  ),
};

const Schema = z.object(PAYMENT_SETTINGS);

export type PaymentSettings =
  | { readonly provider: 'none' | 'local' }
  | { readonly provider: 'paystack'; readonly secretKey: string; readonly fallbackEmail: string }
  | { readonly provider: 'stripe'; readonly secretKey: string; readonly webhookSecret: string };

/** `standard` is who takes payments where the operator says nothing. Throws `SettingsError`. */
export function paymentSettingsOf(settings: z.infer<typeof Schema>, standard: 'none' | 'local'): PaymentSettings {
  const provider = settings.FAREBOX_PAYMENTS ?? standard;
  const { PAYSTACK_SECRET_KEY: paystack, STRIPE_SECRET_KEY: stripe, STRIPE_WEBHOOK_SECRET: webhookSecret } = settings;
  switch (provider) {
    case 'none':
    case 'local':
      // Clicks must not buy what others pay for.
      if (paystack !== undefined || stripe !== undefined) {
        const name = paystack === undefined ? 'STRIPE_SECRET_KEY' : 'PAYSTACK_SECRET_KEY';
        throw fault(`FAREBOX_PAYMENTS: is ${provider}, but ${name} is set; say which provider takes the payments`);
      }
      return { provider };
    case 'paystack':
      return {
        provider,
        secretKey: needed('PAYSTACK_SECRET_KEY', paystack, provider),
        fallbackEmail: needed('FAREBOX_PAYMENTS_EMAIL', settings.FAREBOX_PAYMENTS_EMAIL, provider),
      };
    case 'stripe':
      return {
        provider,
        secretKey: needed('STRIPE_SECRET_KEY', stripe, provider),
        webhookSecret: needed('STRIPE_WEBHOOK_SECRET', webhookSecret, provider),
      };
  }
}

/** For a process that has no other use for these variables. */
export function paymentSettingsFrom(environment: Environment, standard: 'none' | 'local'): PaymentSettings {
  const parsed = Schema.safeParse(environment);
  if (!parsed.success) throw fault(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('\n  '));
  return paymentSettingsOf(parsed.data, standard);
}

function needed(name: string, value: string | undefined, provider: string): string {
  if (value === undefined) throw fault(`${name}: must be set and not empty when FAREBOX_PAYMENTS is ${provider}`);
  return value;
}

function fault(text: string): SettingsError {
  return new SettingsError(`these settings cannot be used:\n  ${text}`);
}
