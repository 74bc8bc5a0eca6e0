/** Who takes the money: nothing unsafe starts. */
import { describe, expect, test } from '@jest/globals';
import { paymentSettingsFrom } from './payment-settings.js';

const PAYSTACK = { FAREBOX_PAYMENTS: 'paystack', PAYSTACK_SECRET_KEY: 'sk_test_0123456789', FAREBOX_PAYMENTS_EMAIL: 'billing@example.com' };
const STRIPE = { FAREBOX_PAYMENTS: 'stripe', STRIPE_SECRET_KEY: 'sk_live_0123456789', STRIPE_WEBHOOK_SECRET: 'whsec_0123456789' };

describe('payment settings', () => {
  test('say nothing and get what the deployment has by itself', () => {
    expect(paymentSettingsFrom({}, 'local')).toEqual({ provider: 'local' });
    expect(paymentSettingsFrom({}, 'none')).toEqual({ provider: 'none' });
    expect(paymentSettingsFrom(PAYSTACK, 'none')).toMatchObject({ provider: 'paystack', fallbackEmail: 'billing@example.com' });
    expect(paymentSettingsFrom(STRIPE, 'local')).toMatchObject({ provider: 'stripe' });
  });

  test.each([
    ['an empty Paystack key', { ...PAYSTACK, PAYSTACK_SECRET_KEY: '' }, 'PAYSTACK_SECRET_KEY'],
    ['no address for receipts', { ...PAYSTACK, FAREBOX_PAYMENTS_EMAIL: '' }, 'FAREBOX_PAYMENTS_EMAIL'],
    ['an empty webhook secret', { ...STRIPE, STRIPE_WEBHOOK_SECRET: '' }, 'STRIPE_WEBHOOK_SECRET'],
    ['a webhook secret of blanks', { ...STRIPE, STRIPE_WEBHOOK_SECRET: 'whsec_         ' }, 'STRIPE_WEBHOOK_SECRET'],
    ['no Stripe key', { ...STRIPE, STRIPE_SECRET_KEY: '' }, 'STRIPE_SECRET_KEY'],
    ['a publishable key', { ...STRIPE, STRIPE_SECRET_KEY: 'pk_live_0123456789' }, 'STRIPE_SECRET_KEY'],
    ['a provider that nobody has', { FAREBOX_PAYMENTS: 'cash' }, 'FAREBOX_PAYMENTS'],
    ['clicks for money beside a real provider’s key', { ...STRIPE, FAREBOX_PAYMENTS: 'local' }, 'STRIPE_SECRET_KEY'],
    ['a real provider’s key that nothing would use', { PAYSTACK_SECRET_KEY: PAYSTACK.PAYSTACK_SECRET_KEY }, 'PAYSTACK_SECRET_KEY'],
  ])('%s refuses to start, naming the variable', (_name, environment, named) => {
    expect(() => paymentSettingsFrom(environment, 'local')).toThrow(named);
  });
});
