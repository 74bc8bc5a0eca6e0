/** What the ledger guarantees about one account, as given/when/then. */
import { describe, expect, test } from '@jest/globals';
import type { PriceTerms } from '../../../events/contract/index.js';
import { ACCOUNT, apply, given, NOW_MS, OPENING, PER_RUN, reserve, runId, settle, USD } from '../testing/account-spec.js';
import { CLOSED_RESERVATIONS_MAX, emptyAccount, evolve, GRANTS_MAX } from './account-state.js';
import { EXPIRY_GRACE_MS, type GrantCreditCommand } from './commands.js';
import { GRANT_NANOS_MAX, OPEN_RESERVATIONS_MAX } from './decide.js';
import { InvariantError } from './invariant.js';

const PER_TOKEN: PriceTerms = {
  kind: 'per_token',
  inputPerMillionNanos: 10_000_000n,
  cachedInputPerMillionNanos: 1_000_000n,
  outputPerMillionNanos: 20_000_000n,
  rounding: 'up',
};

const grant = (overrides: Partial<GrantCreditCommand> = {}): GrantCreditCommand => ({
  type: 'GrantCredit',
  accountId: ACCOUNT,
  grantId: 'grt_1',
  opening: OPENING,
  kind: 'top_up',
  amountNanos: 5n * USD,
  reason: 'paid by invoice',
  ...overrides,
});

describe('opening', () => {
  test('an account opens once, with its starter credit from promotions', () => {
    const opened = given().when({ type: 'OpenAccount', accountId: ACCOUNT, opening: OPENING });
    const state = opened.thenEvents(
      { type: 'AccountOpened', unit: 'USD' },
      { type: 'CreditGranted', kind: 'starter', postings: [{ from: 'promotions', to: 'available', amountNanos: USD }] },
    );
    expect(state.availableNanos).toBe(USD);
    given(reserve()).when({ type: 'OpenAccount', accountId: ACCOUNT, opening: OPENING }).thenUnchanged();
  });

  test('the first reservation opens the account in the same append', () => {
    given()
      .when(reserve())
      .thenEvents({ type: 'AccountOpened' }, { type: 'CreditGranted' }, { type: 'CreditReserved', heldNanos: 20_000_000n });
  });

  test('without starter credit nothing is granted', () => {
    given()
      .when({ type: 'OpenAccount', accountId: ACCOUNT, opening: { ...OPENING, starterNanos: 0n } })
      .thenEvents({ type: 'AccountOpened' });
  });
});

describe('reserving', () => {
  test('a hold moves from available to held and freezes the quote', () => {
    const state = given(grant())
      .when(reserve())
      .thenEvents({
        type: 'CreditReserved',
        terms: PER_RUN,
        priceVersion: '2026-11',
        outputTokensBudget: 1_000,
        postings: [{ from: 'available', to: 'held', amountNanos: 20_000_000n }],
      });
    expect([state.availableNanos, state.heldNanos]).toEqual([6n * USD - 20_000_000n, 20_000_000n]);
  });

  test('credit for fifty runs admits exactly fifty of two hundred', () => {
    const state = emptyAccount();
    const kinds = Array.from({ length: 200 }, (_, n) => apply(state, reserve({ runId: runId(n) })).kind);
    expect(kinds.filter((kind) => kind === 'accepted')).toHaveLength(50);
    expect(state.availableNanos).toBe(0n);
  });

  test('the same reservation again changes nothing', () => {
    given(reserve()).when(reserve()).thenUnchanged();
  });

  test('the same run id for something else is refused', () => {
    given(reserve())
      .when(reserve({ model: 'other' }))
      .thenRefused({ reason: 'reservation_exists_with_different_request' });
    given(reserve())
      .when(reserve({ terms: { ...PER_RUN, pricePerRunNanos: 1n } as PriceTerms }))
      .thenRefused({ reason: 'reservation_exists_with_different_request' });
  });

  test('a settled run cannot be reserved again', () => {
    given(reserve(), settle()).when(reserve()).thenRefused({ reason: 'reservation_already_settled' });
  });

  test('a run id from before the remembered window is refused', () => {
    const state = emptyAccount();
    apply(state, grant({ amountNanos: GRANT_NANOS_MAX }));
    for (let n = 0; n <= CLOSED_RESERVATIONS_MAX; n += 1) {
      apply(state, reserve({ runId: runId(n, 1_000) }));
      apply(state, settle({ runId: runId(n, 1_000) }));
    }
    expect(state.closed.size).toBe(CLOSED_RESERVATIONS_MAX);
    expect(apply(state, reserve({ runId: runId(0, 1_000) }))).toMatchObject({ refusal: { reason: 'reservation_id_too_old' } });
    expect(apply(state, reserve({ runId: runId(0, 0) })).kind).toBe('accepted');
  });

  test('open reservations are bounded', () => {
    const state = emptyAccount();
    apply(state, grant({ amountNanos: GRANT_NANOS_MAX }));
    for (let n = 0; n < OPEN_RESERVATIONS_MAX; n += 1) apply(state, reserve({ runId: runId(n) }));
    expect(apply(state, reserve({ runId: runId(OPEN_RESERVATIONS_MAX) }))).toMatchObject({ refusal: { reason: 'account_at_capacity' } });
  });

  test('another unit is refused', () => {
    given(grant())
      .when(reserve({ opening: { ...OPENING, unit: 'credit' } }))
      .thenRefused({ reason: 'unit_mismatch' });
  });

  test('without an explicit maximum the output is capped to what the balance affords', () => {
    const starterNanos = 1_200n;
    // 100 prompt tokens cost 1,000 nanos; each output token 20: ten are affordable.
    given()
      .when(reserve({ terms: PER_TOKEN, opening: { ...OPENING, starterNanos } }))
      .thenEvents(
        { type: 'AccountOpened' },
        { type: 'CreditGranted' },
        { type: 'CreditReserved', outputTokensBudget: 10, heldNanos: 1_200n },
      );
  });

  test('an explicit maximum that is too dear is refused, with how many tokens are affordable', () => {
    given()
      .when(reserve({ terms: PER_TOKEN, outputTokensExplicit: true, opening: { ...OPENING, starterNanos: 1_219n } }))
      .thenRefused({ reason: 'insufficient_credit', affordableOutputTokens: 10, requiredNanos: 21_000n, availableNanos: 1_219n });
  });

  test('nothing is admitted on a negative balance, not even at no cost', () => {
    const state = emptyAccount();
    apply(state, grant());
    state.availableNanos = -1n;
    const free = { terms: { kind: 'free', reason: 'repeat' } } as const;
    expect(apply(state, reserve(free)).kind).toBe('rejected');
    expect(apply(state, reserve({ ...free, outputTokensMin: 0, outputTokensMax: 0 })).kind).toBe('rejected');
  });

  test('several answers need a token each: fewer than that are of no use', () => {
    // 100 prompt tokens cost 1,000 nanos; each output token 20.
    const four = (starterNanos: bigint) => reserve({ terms: PER_TOKEN, outputTokensMin: 4, opening: { ...OPENING, starterNanos } });
    given()
      .when(four(1_079n))
      .thenRefused({ reason: 'insufficient_credit', requiredNanos: 1_080n, availableNanos: 1_079n, affordableOutputTokens: 3 });
    given()
      .when(four(1_080n))
      .thenEvents({ type: 'AccountOpened' }, { type: 'CreditGranted' }, { type: 'CreditReserved', outputTokensBudget: 4 });
  });

  test('where nothing is generated no output token is held, and the hold must fit all the same', () => {
    const embedding = (starterNanos: bigint) =>
      reserve({ terms: PER_TOKEN, outputTokensMin: 0, outputTokensMax: 0, opening: { ...OPENING, starterNanos } });
    given()
      .when(embedding(999n))
      .thenRefused({ reason: 'insufficient_credit', requiredNanos: 1_000n, availableNanos: 999n, affordableOutputTokens: 0 });
    const state = given()
      .when(embedding(1_000n))
      .thenEvents(
        { type: 'AccountOpened' },
        { type: 'CreditGranted' },
        { type: 'CreditReserved', outputTokensBudget: 0, heldNanos: 1_000n },
      );
    expect(state.availableNanos).toBe(0n);
    given(embedding(1_000n)).when(embedding(1_000n)).thenUnchanged();
  });

  test('audio is held by its measure, to the nano', () => {
    const audio = { bytes: 1_000_001, milliseconds: 61_000 };
    const terms: PriceTerms = { kind: 'per_started_audio_bytes', bytesPerUnit: 500_000, pricePerStartedUnitNanos: 100_000_000n };
    const heard = reserve({ terms, audio, promptTokensMax: 0, outputTokensMin: 0, outputTokensMax: 0 });
    const spec = given(heard);
    expect(spec.state.heldNanos).toBe(300_000_000n);
    spec.when(heard).thenUnchanged();
    spec.when({ ...heard, audio: { ...audio, bytes: 1 } }).thenRefused({ reason: 'reservation_exists_with_different_request' });
    spec
      .when(settle({ usage: { promptTokens: 0, cachedTokens: 0, completionTokens: 0, audio } }))
      .thenEvents(
        { type: 'UsageRecorded', chargedNanos: 300_000_000n },
        { type: 'CreditRefunded', refundedNanos: 0n },
        { type: 'ReservationSettled' },
      );
  });

  test('the hash of the request is booked, and tells another request under the same id', () => {
    const hashed = reserve({ requestHash: 'a'.repeat(64) });
    given()
      .when(hashed)
      .thenEvents({ type: 'AccountOpened' }, { type: 'CreditGranted' }, { type: 'CreditReserved', requestHash: 'a'.repeat(64) });
    given(hashed).when(hashed).thenUnchanged();
    given(hashed)
      .when({ ...hashed, requestHash: 'b'.repeat(64) })
      .thenRefused({ reason: 'reservation_exists_with_different_request' });
  });
});

describe('settling', () => {
  test('a completed run is charged, the rest of the hold refunded, and the reservation closed', () => {
    const overTokens = { promptTokens: 4_000, cachedTokens: 0, completionTokens: 1_500 };
    const long = reserve({ promptTokensMax: 4_000, outputTokensMax: 3_000 });
    const state = given(long)
      .when(settle({ usage: overTokens }))
      .thenEvents(
        { type: 'UsageRecorded', chargedNanos: 23_000_000n, postings: [{ from: 'held', to: 'revenue', amountNanos: 23_000_000n }] },
        { type: 'CreditRefunded', refundedNanos: 3_000_000n, postings: [{ from: 'held', to: 'available', amountNanos: 3_000_000n }] },
        { type: 'ReservationSettled', chargedNanos: 23_000_000n, refundedNanos: 3_000_000n, outcome: 'completed' },
      );
    expect([state.availableNanos, state.heldNanos, state.open.size]).toEqual([USD - 23_000_000n, 0n, 0]);
  });

  test('a run settled twice is charged once', () => {
    given(reserve(), settle()).when(settle()).thenUnchanged();
    given(reserve(), settle())
      .when(settle({ usage: { promptTokens: 100, cachedTokens: 0, completionTokens: 900 } }))
      .thenUnchanged();
  });

  test('a result for a run that was never reserved changes nothing', () => {
    given(grant()).when(settle()).thenUnchanged();
  });

  test('a failed run costs nothing, whatever it had generated', () => {
    const state = given(reserve())
      .when(settle({ outcome: 'failed', errorCode: 'engine_crashed', finishReason: null }))
      .thenEvents(
        { type: 'UsageRecorded', chargedNanos: 0n, postings: [] },
        { type: 'CreditRefunded', refundedNanos: 20_000_000n },
        { type: 'ReservationSettled', outcome: 'failed', errorCode: 'engine_crashed' },
      );
    expect(state.availableNanos).toBe(USD);
  });

  test('a cancelled run is charged for what it generated, or not, as its frozen policy says', () => {
    const charged = (policy: 'charge_generated' | 'refund_all', completionTokens: number) => {
      const usage = { promptTokens: 20, cachedTokens: 0, completionTokens };
      const { decision } = given(reserve({ cancelPolicy: policy })).when(settle({ outcome: 'cancelled', finishReason: null, usage }));
      return decision.kind === 'accepted' && decision.events[0]?.type === 'UsageRecorded' ? decision.events[0].chargedNanos : null;
    };
    expect(charged('charge_generated', 5)).toBe(20_000_000n);
    expect(charged('charge_generated', 0)).toBe(0n);
    expect(charged('refund_all', 5)).toBe(0n);
  });

  test('a charge never exceeds the hold', () => {
    given(reserve({ promptTokensMax: 10, outputTokensMax: 10, terms: PER_TOKEN }))
      .when(settle({ usage: { promptTokens: 1_000, cachedTokens: 0, completionTokens: 10 } }))
      .thenEvents(
        { type: 'UsageRecorded', chargedNanos: 300n },
        { type: 'CreditRefunded', refundedNanos: 0n },
        { type: 'ReservationSettled' },
      );
  });

  test('audio that came out longer than it was measured is charged its hold at most', () => {
    const terms: PriceTerms = { kind: 'per_audio_minute', pricePerMinuteNanos: 60_000n, rounding: 'up' };
    const audio = { bytes: 10, milliseconds: 1_000 };
    given(reserve({ terms, audio, promptTokensMax: 0, outputTokensMin: 0, outputTokensMax: 0 }))
      .when(settle({ usage: { promptTokens: 0, cachedTokens: 0, completionTokens: 0, audio: { ...audio, milliseconds: 9_000 } } }))
      .thenEvents({ type: 'UsageRecorded', chargedNanos: 1_000n }, { type: 'CreditRefunded' }, { type: 'ReservationSettled' });
  });

  test('the hash of the answer and what ran are booked with the settlement, and left out where there are none', () => {
    given(reserve())
      .when(settle({ responseHash: 'c'.repeat(64), systemFingerprint: 'fp_1' }))
      .thenEvents(
        { type: 'UsageRecorded' },
        { type: 'CreditRefunded' },
        { type: 'ReservationSettled', responseHash: 'c'.repeat(64), systemFingerprint: 'fp_1' },
      );
    const { decision } = given(reserve()).when(settle());
    expect(decision.kind === 'accepted' && decision.events[2]).not.toHaveProperty('responseHash');
  });

  test('counts that no engine gave are marked as such in the books, and only those', () => {
    given(reserve())
      .when(settle({ usageSource: 'counted_locally' }))
      .thenEvents(
        { type: 'UsageRecorded', usageSource: 'counted_locally', chargedNanos: 20_000_000n },
        { type: 'CreditRefunded' },
        { type: 'ReservationSettled' },
      );
    const { decision } = given(reserve()).when(settle());
    expect(decision.kind === 'accepted' && decision.events[0]).not.toHaveProperty('usageSource');
  });

  test('prices are those of the reservation, whatever they are today', () => {
    const state = given(reserve()).state;
    const decision = apply(state, settle());
    expect(decision.kind === 'accepted' && decision.events[0]).toMatchObject({ chargedNanos: 20_000_000n });
  });
});

describe('expiring', () => {
  const expire = { type: 'ExpireReservation', accountId: ACCOUNT, runId: runId(1) } as const;

  const overdueMs = NOW_MS + 60_000 + EXPIRY_GRACE_MS;

  test('a hold past its deadline and grace is refunded in full', () => {
    const state = given(reserve())
      .when(expire, overdueMs)
      .thenEvents(
        { type: 'UsageRecorded', chargedNanos: 0n },
        { type: 'CreditRefunded', refundedNanos: 20_000_000n },
        { type: 'ReservationSettled', outcome: 'expired', errorCode: 'deadline_exceeded' },
      );
    expect([state.availableNanos, state.heldNanos]).toEqual([USD, 0n]);
  });

  test('not a millisecond before', () => {
    given(reserve())
      .when(expire, overdueMs - 1)
      .thenUnchanged();
  });

  test('a late result after expiry charges nothing', () => {
    const spec = given(reserve());
    apply(spec.state, expire, overdueMs);
    expect(apply(spec.state, settle())).toEqual({ kind: 'unchanged' });
  });

  test.each(['completed', 'cancelled'] as const)('a result that comes when the hold is overdue charges nothing: %s', (outcome) => {
    const state = given(reserve())
      .when(settle({ outcome }), overdueMs)
      .thenEvents(
        { type: 'UsageRecorded', chargedNanos: 0n },
        { type: 'CreditRefunded', refundedNanos: 20_000_000n },
        { type: 'ReservationSettled', outcome: 'expired', errorCode: 'deadline_exceeded' },
      );
    expect([state.availableNanos, state.heldNanos]).toEqual([USD, 0n]);
  });

  test('a result within the grace is charged as ever, and a failure keeps its cause however late it comes', () => {
    given(reserve())
      .when(settle(), overdueMs - 1)
      .thenEvents(
        { type: 'UsageRecorded', chargedNanos: 20_000_000n },
        { type: 'CreditRefunded' },
        { type: 'ReservationSettled', outcome: 'completed' },
      );
    given(reserve())
      .when(settle({ outcome: 'failed', errorCode: 'engine_crashed' }), overdueMs)
      .thenEvents(
        { type: 'UsageRecorded', chargedNanos: 0n },
        { type: 'CreditRefunded' },
        { type: 'ReservationSettled', outcome: 'failed', errorCode: 'engine_crashed' },
      );
  });
});

describe('granting', () => {
  test('a top-up comes from its provider and counts once', () => {
    const state = given()
      .when(grant({ provider: 'paystack' }))
      .thenEvents(
        { type: 'AccountOpened' },
        { type: 'CreditGranted', kind: 'starter' },
        { type: 'CreditGranted', kind: 'top_up', postings: [{ from: 'payments:paystack', to: 'available', amountNanos: 5n * USD }] },
      );
    expect(state.availableNanos).toBe(6n * USD);
    expect(apply(state, grant())).toEqual({ kind: 'unchanged' });
  });

  test('the same grant id with another amount is refused', () => {
    given(grant())
      .when(grant({ amountNanos: 1n }))
      .thenRefused({ reason: 'grant_exists_with_different_terms' });
  });

  test('a negative adjustment takes credit, but not below zero', () => {
    const state = given(grant())
      .when(grant({ grantId: 'grt_2', kind: 'adjustment', amountNanos: -2n * USD }))
      .thenEvents({ type: 'CreditGranted', postings: [{ from: 'available', to: 'adjustments', amountNanos: 2n * USD }] });
    expect(state.availableNanos).toBe(4n * USD);
    given(grant())
      .when(grant({ grantId: 'grt_2', kind: 'adjustment', amountNanos: -7n * USD }))
      .thenRefused({ reason: 'insufficient_credit' });
  });

  test.each([
    ['nothing', 'top_up', 0n],
    ['a negative top-up', 'top_up', -1n],
    ['more than the largest grant', 'adjustment', GRANT_NANOS_MAX + 1n],
  ] as const)('%s is refused', (_name, kind, amountNanos) => {
    given().when(grant({ kind, amountNanos })).thenRefused({ reason: 'amount_out_of_range' });
  });

  test('a forgotten grant id is refused rather than credited again, and so is one that does not tell its age', () => {
    const state = emptyAccount();
    const old = (n: number) => grant({ grantId: runId(n, 1_000).replace('run_', 'grt_'), amountNanos: 1n });
    for (let n = 0; n <= GRANTS_MAX; n += 1) apply(state, old(n));
    expect(apply(state, old(0))).toMatchObject({ refusal: { reason: 'grant_id_too_old' } });
    expect(apply(state, grant({ grantId: 'by-hand' }))).toMatchObject({ refusal: { reason: 'grant_id_too_old' } });
    expect(apply(state, grant({ grantId: runId(0).replace('run_', 'grt_') })).kind).toBe('accepted');
  });
});

test('a settlement that does not add up to its hold is a bug and throws', () => {
  const { state } = given(reserve());
  const broken = {
    type: 'ReservationSettled',
    accountId: ACCOUNT,
    runId: runId(1),
    outcome: 'completed',
    finishReason: 'stop',
    errorCode: null,
  } as const;
  expect(() => evolve(state, { ...broken, chargedNanos: 1n, refundedNanos: 1n, attempt: 1 })).toThrow(InvariantError);
});
