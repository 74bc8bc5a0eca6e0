/** What a payment may become: given its events, when something is said about it, then what follows. */
import { describe, expect, test } from '@jest/globals';
import type { PaymentEvent } from '../../../events/contract/index.js';
import { decidePayment } from './decide-payment.js';
import { emptyPayment, evolvePayment, paymentOf } from './payment-state.js';
import type { PaymentCommand, PaymentFinding, RecordReversalCommand } from './payments-client.js';
import { FINDING, NOW_MS, OFFER, OPEN, PAYMENT_ID } from './testing/payment-examples.js';

function given(...commands: readonly PaymentCommand[]) {
  const state = emptyPayment();
  const events: PaymentEvent[] = [];
  const say = (command: PaymentCommand, nowMs = NOW_MS) => {
    const decision = decidePayment(command, state, nowMs);
    if (decision.kind === 'accepted')
      for (const event of decision.events) {
        evolvePayment(state, event, nowMs);
        events.push(event);
      }
    return decision;
  };
  for (const command of commands) say(command);
  return { state, events, say, payment: () => paymentOf(state) };
}

const record = (changes: Partial<PaymentFinding> = {}): PaymentCommand => ({
  type: 'RecordPayment',
  paymentId: PAYMENT_ID,
  source: 'webhook',
  finding: { ...FINDING, ...changes },
});
const reversal = (changes: Partial<RecordReversalCommand> = {}): RecordReversalCommand => ({
  type: 'RecordReversal',
  paymentId: PAYMENT_ID,
  provider: 'paystack',
  reversalId: 'refund-1',
  kind: 'refund',
  status: 'active',
  amountMinor: 1_000n,
  currency: 'NGN',
  ...changes,
});
const dispute = (changes: Partial<RecordReversalCommand> = {}) => reversal({ reversalId: 'dispute-1', kind: 'dispute', ...changes });

describe('verifying', () => {
  test('what was paid as asked is credited as sold, once, however often it is said', () => {
    const { say, events } = given(OPEN, OFFER);
    expect(say(record())).toMatchObject({ kind: 'accepted', events: [{ type: 'PaymentVerified', creditNanos: 100_000_000_000n }] });
    expect(say(record({ providerPaymentId: 'another' }))).toEqual({ kind: 'unchanged' });
    expect(events.filter(({ type }) => type === 'PaymentVerified')).toHaveLength(1);
  });

  test('two who verify at different times grant under one id', () => {
    const [one, other] = [given(OPEN, OFFER), given(OPEN, OFFER)];
    const grantIdOf = (decision: ReturnType<typeof one.say>) =>
      JSON.stringify(decision, (_key, value) => (typeof value === 'bigint' ? '' : value));
    expect(grantIdOf(one.say(record(), NOW_MS + 5))).toBe(grantIdOf(other.say(record(), NOW_MS + 60_000)));
  });

  test.each([
    ['amount', { amountMinor: 999n }],
    ['amount', { amountMinor: 1_001n }],
    ['currency', { currency: 'USD' }],
    ['mode', { mode: 'live' as const }],
    ['account', { accountId: 'acc_another' }],
    ['reference', { reference: 'huru_topup_another' }],
  ])('another %s than was asked for credits nothing, is noted once, and leaves the right payment possible', (mismatch, changes) => {
    const { say, payment } = given(OPEN, OFFER);
    expect(say(record(changes))).toMatchObject({ kind: 'accepted', events: [{ type: 'PaymentMismatched', mismatch }] });
    expect(say(record(changes))).toEqual({ kind: 'unchanged' });
    expect(payment()).toMatchObject({ status: 'mismatched', creditedNanos: 0n, unbooked: 0 });
    expect(say(record())).toMatchObject({ kind: 'accepted', events: [{ type: 'PaymentVerified' }] });
  });

  test('another provider’s word counts for nothing', () => {
    const { say } = given(OPEN, OFFER);
    expect(say(record({ provider: 'stripe' }))).toEqual({ kind: 'rejected', reason: 'wrong_provider' });
  });

  test('money that comes after the payment was given up counts; giving up after the money does not', () => {
    const failure = { type: 'RecordFailure', paymentId: PAYMENT_ID, outcome: 'abandoned', reason: 'expired' } as const;
    const { say, payment } = given(OPEN, OFFER, failure);
    expect(payment()?.status).toBe('abandoned');
    expect(say(record()).kind).toBe('accepted');
    expect(say(failure)).toEqual({ kind: 'unchanged' });
    expect(payment()?.status).toBe('paid');
  });

  test('nothing is said of a payment that nobody opened', () => {
    for (const command of [record(), reversal(), OFFER]) {
      expect(given().say(command)).toEqual({ kind: 'rejected', reason: 'unknown_payment' });
    }
  });

  test('a name that is taken by another purchase is refused, by the same it is the same', () => {
    const { say } = given(OPEN);
    expect(say(OPEN)).toEqual({ kind: 'unchanged' });
    for (const other of [{ packId: 'credits_25' }, { accountId: 'acc_other' }, { successUrl: 'https://x.example/' }]) {
      expect(say({ ...OPEN, ...other })).toEqual({ kind: 'rejected', reason: 'payment_exists_with_different_terms' });
    }
  });
});

describe('money that goes back', () => {
  const paid = () => given(OPEN, OFFER, record());
  const movedBy = (decision: ReturnType<ReturnType<typeof paid>['say']>) =>
    decision.kind === 'accepted' ? decision.events.map((event) => ('creditNanos' in event ? event.creditNanos : null)) : decision.kind;

  test('a refund of everything takes exactly all of the credit', () => {
    const { say } = paid();
    expect(movedBy(say(reversal()))).toEqual([-100_000_000_000n]);
    expect(movedBy(say(reversal()))).toBe('unchanged');
  });

  test('parts take their share, rounded up, and together exactly the whole', () => {
    const { say } = paid();
    const parts = [333n, 333n, 334n].map((amountMinor, n) => movedBy(say(reversal({ reversalId: `refund-${n}`, amountMinor }))));
    expect(parts).toEqual([[-33_300_000_000n], [-33_300_000_000n], [-33_400_000_000n]]);
    const odd = given({ ...OPEN, creditNanos: 100n, amountMinor: 3n }, OFFER, record({ amountMinor: 3n }));
    const shares = [1n, 1n, 1n].map((amountMinor, n) => movedBy(odd.say(reversal({ reversalId: `r${n}`, amountMinor }))));
    expect(shares).toEqual([[-34n], [-33n], [-33n]]);
  });

  test('a refund that failed gives back what it took, and its late beginning takes nothing', () => {
    const { say } = paid();
    say(reversal());
    expect(movedBy(say(reversal({ status: 'lifted' })))).toEqual([100_000_000_000n]);
    expect(movedBy(say(reversal()))).toBe('unchanged');
  });

  test('a dispute takes at once; won it gives back, lost it does not', () => {
    const won = paid();
    expect(movedBy(won.say(dispute()))).toEqual([-100_000_000_000n]);
    expect(movedBy(won.say(dispute({ status: 'lifted' })))).toEqual([100_000_000_000n]);
    const lost = paid();
    lost.say(dispute());
    expect(movedBy(lost.say(dispute({ status: 'final' })))).toEqual([null]);
    expect(movedBy(lost.say(dispute({ status: 'lifted' })))).toBe('unchanged');
  });

  test('a dispute heard of only when it was lost takes as its opening would have', () => {
    const { say, events } = paid();
    expect(movedBy(say(dispute({ status: 'final' })))).toEqual([-100_000_000_000n, null]);
    expect(events.slice(-2).map(({ type }) => type)).toEqual(['DisputeOpened', 'DisputeLost']);
  });

  test('refund and dispute of the same money take it once', () => {
    const { say } = paid();
    say(reversal({ amountMinor: 600n }));
    expect(movedBy(say(dispute()))).toEqual([-40_000_000_000n]);
  });

  test.each([
    ['another provider', { provider: 'stripe' }, 'wrong_provider'],
    ['another currency', { currency: 'USD' }, 'wrong_currency'],
    ['a negative amount', { amountMinor: -1n }, 'amount_out_of_range'],
  ])('%s is refused', (_name, changes, reason) => {
    expect(paid().say(reversal(changes))).toEqual({ kind: 'rejected', reason });
  });

  test('what was never credited is not taken back', () => {
    expect(movedBy(given(OPEN, OFFER).say(reversal()))).toBe('unchanged');
  });

  test('every amount has a grant id of its own', () => {
    const { say, state } = paid();
    for (let n = 0; n < 40; n += 1) {
      say(dispute({ reversalId: `d${n}`, amountMinor: 10n }));
      say(dispute({ reversalId: `d${n}`, status: 'lifted', amountMinor: 10n }));
    }
    expect(new Set(state.bookings.map(({ grantId }) => grantId)).size).toBe(81);
    for (const { grantId } of state.bookings) expect(grantId).toMatch(/^grt_[0-9a-hjkmnp-tv-z]{26}$/);
  });

  test('reversals are bounded', () => {
    const { say } = paid();
    for (let n = 0; n < 100; n += 1) say(reversal({ reversalId: `r${n}`, amountMinor: 1n }));
    expect(say(reversal({ reversalId: 'one more', amountMinor: 1n }))).toEqual({ kind: 'rejected', reason: 'too_many_reversals' });
  });
});
