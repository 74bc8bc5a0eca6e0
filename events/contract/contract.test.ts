/** The shared language: ids, streams, and event shapes on the wire. */
import { describe, expect, test } from '@jest/globals';
import { canonicalJson } from '../../platform/canonical-json.js';
import {
  ACCOUNT_EVENT_WIRE_SCHEMAS,
  type AccountEvent,
  accountIdOf,
  accountIdOfStream,
  accountStream,
  decodeAccountEvent,
  encodeAccountEvent,
  eventIdOf,
  idTimeMs,
  makeId,
  type PriceTerms,
  requestIdOfRun,
  runIdOfRequest,
  toNewEvent,
  UnreadableEventError,
  type Upcaster,
  upcast,
} from './index.js';

const RANDOM = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 250]);
const postings = [{ from: 'available', to: 'held', amountNanos: 5n }] as const;
const holder = { kind: 'consumer', projectId: 'prj_a', consumerId: 'con_a' } as const;

const TERMS: readonly PriceTerms[] = [
  {
    kind: 'per_run',
    pricePerRunNanos: 1n,
    includedTokens: 2,
    overagePerThousandNanos: 3n,
    overageUnit: 'started_thousand',
    rounding: 'half_even',
  },
  { kind: 'per_started_thousand', pricePerStartedThousandNanos: 1n },
  { kind: 'per_started_audio_bytes', bytesPerUnit: 1, pricePerStartedUnitNanos: 2n },
  { kind: 'per_audio_minute', pricePerMinuteNanos: 1n, rounding: 'half_even' },
  { kind: 'free', reason: 'a repetition' },
];

const EXAMPLES: readonly AccountEvent[] = [
  { type: 'AccountOpened', accountId: 'acc_a', holder, unit: 'USD', environment: 'live' },
  { type: 'CreditGranted', accountId: 'acc_a', grantId: 'grt_a', kind: 'adjustment', amountNanos: -5n, reason: 'correction', postings },
  {
    type: 'CreditReserved',
    accountId: 'acc_a',
    runId: 'run_a',
    holder,
    keyId: 'key_a',
    model: 'm',
    heldNanos: 12_345_678_901_234_567_890n,
    priceVersion: 'v1',
    terms: {
      kind: 'per_token',
      inputPerMillionNanos: 1n,
      cachedInputPerMillionNanos: 2n,
      outputPerMillionNanos: 3n,
      rounding: 'half_even',
    },
    promptTokensMax: 1,
    outputTokensBudget: 2,
    cancelPolicy: 'refund_all',
    deadlineMs: 3,
    postings,
  },
  {
    type: 'UsageRecorded',
    accountId: 'acc_a',
    runId: 'run_a',
    usage: { promptTokens: 1, cachedTokens: 0, completionTokens: 2 },
    chargedNanos: 4n,
    postings,
  },
  { type: 'CreditRefunded', accountId: 'acc_a', runId: 'run_a', refundedNanos: 0n, postings: [] },
  {
    type: 'ReservationSettled',
    accountId: 'acc_a',
    runId: 'run_a',
    outcome: 'failed',
    finishReason: null,
    errorCode: 'engine_crashed',
    chargedNanos: 0n,
    refundedNanos: 9n,
    attempt: 1,
  },
];

const HASH = 'ab'.repeat(32);

/** With everything that may be absent, and one of every kind of terms. */
const FULL_EXAMPLES: readonly AccountEvent[] = EXAMPLES.flatMap((event): AccountEvent[] => {
  switch (event.type) {
    case 'CreditReserved': {
      const full = { ...event, audio: { bytes: 1, milliseconds: 2 }, requestHash: HASH };
      return TERMS.map((terms) => ({ ...full, terms }));
    }
    case 'UsageRecorded':
      return [{ ...event, usage: { ...event.usage, audio: { bytes: 1, milliseconds: 2 } }, usageSource: 'counted_locally' }];
    case 'ReservationSettled':
      return [{ ...event, responseHash: HASH, systemFingerprint: 'fp_a' }];
    default:
      return [];
  }
});

describe('account events on the wire', () => {
  test('every event has an example here', () => {
    expect(new Set(EXAMPLES.map((event) => event.type))).toEqual(new Set(Object.keys(ACCOUNT_EVENT_WIRE_SCHEMAS)));
  });

  test.each([...EXAMPLES, ...FULL_EXAMPLES].map((event) => [event.type, event] as const))(
    '%s matches its schema and survives JSON',
    (type, event) => {
      const written = encodeAccountEvent(event);
      const wire = JSON.parse(JSON.stringify(written));
      // The hash chain takes twice the time for what it has to put in order itself.
      expect(JSON.stringify(written)).toBe(canonicalJson(written));
      expect(ACCOUNT_EVENT_WIRE_SCHEMAS[type].parse(wire)).toEqual(wire);
      expect(decodeAccountEvent({ type, version: 1, data: wire })).toEqual(event);
    },
  );

  test('an event this build does not know stops the reader', () => {
    expect(() => decodeAccountEvent({ type: 'CreditVanished', version: 1, data: {} })).toThrow(UnreadableEventError);
    expect(() => decodeAccountEvent({ type: 'CreditRefunded', version: 99, data: {} })).toThrow(UnreadableEventError);
  });

  test('upcasters are walked one version at a time and a missing step stops the reader', () => {
    const upcasters = new Map<string, Upcaster>([
      ['Thing/1', (data) => ({ ...data, two: 2 })],
      ['Thing/2', (data) => ({ ...data, three: 3 })],
    ]);
    expect(upcast('Thing', 1, 3, { one: 1 }, upcasters)).toEqual({ one: 1, two: 2, three: 3 });
    expect(() => upcast('Thing', 1, 4, {}, upcasters)).toThrow('no upcaster for Thing version 3');
  });

  test('a retried command carries the same event ids, another command different ones', () => {
    const [, , reserved] = EXAMPLES;
    if (reserved === undefined) throw new Error('example missing');
    const command = { commandId: 'reserve/run_a', nowMs: 1 };
    expect(toNewEvent(reserved, command).id).toBe(toNewEvent(reserved, { ...command, nowMs: 2 }).id);
    expect(toNewEvent(reserved, command).id).not.toBe(toNewEvent(reserved, { ...command, commandId: 'reserve/run_b' }).id);
    // Recorded once: ids are for ever, so the namespace and the name's form must never change.
    expect(eventIdOf('reserve/run_a', 'CreditReserved')).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-/);
  });
});

describe('ids', () => {
  test('they carry their time and sort by it', () => {
    const early = makeId('run', 1_790_000_000_000, RANDOM);
    const late = makeId('run', 1_790_000_000_001, RANDOM);
    expect(idTimeMs(early)).toBe(1_790_000_000_000);
    expect(early < late).toBe(true);
    expect(early).toMatch(/^run_[0-9a-hjkmnp-tv-z]{26}$/);
  });

  test('different random bytes give different ids', () => {
    const ids = new Set(Array.from({ length: 256 }, (_, byte) => makeId('run', 0, new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0, byte]))));
    expect(ids.size).toBe(256);
  });

  test('a run and its request share one ULID, a holder and its account too', () => {
    expect(runIdOfRequest(requestIdOfRun('run_abc'))).toBe('run_abc');
    expect(accountIdOf('prj_abc')).toBe('acc_abc');
    expect(accountIdOfStream(accountStream('acc_abc'))).toBe('acc_abc');
    expect(accountIdOfStream('payment-x')).toBeNull();
  });

  test.each(['', 'run_', 'run_short', `run_${'u'.repeat(26)}`])('%j is no id', (text) => {
    expect(idTimeMs(text)).toBeNull();
  });
});
