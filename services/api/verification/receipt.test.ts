/** A receipt is good as it was made, the same whenever it is asked for, and not good any more when anything in it is changed. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { textOfAnswers } from '../../../events/contract/index.js';
import { canonicalJson } from '../../../platform/canonical-json.js';
import { OPENING, USD } from '../../ledger/testing/account-spec.js';
import { checkReceipt, isGood } from './check-receipt.js';
import { type Receipt, signedTextOf } from './receipt.js';
import { publicReceiptKey } from './receipt-keys.js';
import { OTHER_SIGNER, recordOf, SERVICE, type SettledRequest, SIGNER, settledRequest } from './testing/settled-requests.js';
import { Verification } from './verification.js';

const TRUSTED = { trustedKeys: [SIGNER.publicKey] };
const AUDIO = { bytes: 700_000, milliseconds: 61_000 };

const REQUESTS = Object.entries<SettledRequest>({
  'a completed request': {},
  'one with another request in between': { between: true },
  'a failed one': { settle: { outcome: 'failed', errorCode: 'engine_crashed', finishReason: null } },
  'one that was cancelled before anything came': {
    settle: { outcome: 'cancelled', finishReason: null, usage: { promptTokens: 9, cachedTokens: 0, completionTokens: 0 } },
  },
  'a charge that was capped at its hold': {
    reserve: {
      terms: {
        kind: 'per_token',
        inputPerMillionNanos: 10n ** 9n,
        cachedInputPerMillionNanos: 1n,
        outputPerMillionNanos: 1n,
        rounding: 'up',
      },
    },
    settle: { usage: { promptTokens: 5_000, cachedTokens: 0, completionTokens: 1 } },
  },
  'a transcription': {
    reserve: {
      terms: { kind: 'per_audio_minute', pricePerMinuteNanos: 6_000_001n, rounding: 'half_even' },
      audio: AUDIO,
      promptTokensMax: 0,
      outputTokensMax: 0,
      outputTokensMin: 0,
    },
    settle: { usage: { promptTokens: 0, cachedTokens: 0, completionTokens: 0, audio: AUDIO } },
  },
  'one that a consumer paid for, counted by the worker': {
    reserve: { opening: { ...OPENING, holder: { kind: 'consumer', projectId: 'prj_test', consumerId: 'con_test' } } },
    settle: { usageSource: 'counted_locally' },
  },
});

async function receiptOf(request: SettledRequest = {}): Promise<Receipt> {
  const { verification, record } = await settledRequest(request);
  const { receipt } = await verification.report(record);
  if (receipt === null) throw new Error('no receipt');
  return receipt;
}

const resultsOf = (document: unknown, options = {}) =>
  Object.fromEntries(checkReceipt(document, { ...TRUSTED, ...options }).map(({ check, result }) => [check, result]));

/** The receipt's JSON with one value replaced, or left out when `value` is `undefined`. */
function changed(receipt: Receipt, path: readonly string[], value: unknown): Receipt {
  const copy = JSON.parse(JSON.stringify(receipt));
  let place = copy;
  for (const key of path.slice(0, -1)) place = place[key];
  const last = path.at(-1) ?? '';
  if (value === undefined) delete place[last];
  else place[last] = value;
  return copy;
}

function resigned(receipt: Receipt, signer = SIGNER): Receipt {
  const { id, publicKey } = signer.publicKey;
  const unsigned = { ...receipt, key: { ...receipt.key, id, public_key: publicKey } };
  return { ...unsigned, signature: signer.sign(signedTextOf(unsigned)) };
}

/** Every place in a JSON value, the value at its root left out. */
function placesOf(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, member]) => [[...path, key], ...placesOf(member, [...path, key])]);
}

function valueAt(receipt: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<string, unknown>)[key], receipt);
}

/** Other values of the same kind where there are some, and of another kind. */
function otherValues(value: unknown): unknown[] {
  if (typeof value === 'number') return [value + 1, -1, String(value)];
  if (typeof value === 'boolean') return [!value];
  if (value === null) return ['a', 'c'.repeat(64)];
  if (Array.isArray(value)) return [[], [...value, ...value]];
  if (typeof value === 'object') return [{}, { ...value, extra: 1 }];
  const text = value as string;
  // The first character, the length, the case, and another word altogether: each fits the shape of some field.
  const others = [`0${text.slice(1)}`, `${text}0`, text.toUpperCase(), '', 'project'];
  return others.filter((other) => other !== text);
}

describe.each(REQUESTS)('the receipt of %s', (_name, request) => {
  test('is good, whoever checks it', async () => {
    const receipt = await receiptOf(request);
    expect(checkReceipt(receipt, TRUSTED).filter(({ result }) => result !== 'passed')).toEqual([]);
    expect(isGood(checkReceipt(JSON.parse(JSON.stringify(receipt, null, 2)), TRUSTED))).toBe(true);
  });

  test('is not good when a change is signed again with another key', async () => {
    const receipt = await receiptOf(request);
    expect(resultsOf(resigned(receipt, OTHER_SIGNER))).toMatchObject({ signature: 'passed', key: 'failed' });
    expect(isGood(checkReceipt(resigned(receipt, OTHER_SIGNER)))).toBe(true);
    expect(checkReceipt(receipt).find(({ check }) => check === 'key')?.result).toBe('unknown');
  });
});

/** These have every field between them. */
const TELLING = REQUESTS.filter(([name]) => ['a completed request', 'a failed one', 'a transcription'].includes(name));

describe.each(TELLING)('the receipt of %s', (_name, request) => {
  test('is not good with any field changed, left out or put in', async () => {
    const receipt = await receiptOf(request);
    const unseen: string[] = [];
    const places = placesOf(receipt);
    expect(places.length).toBeGreaterThan(80);
    for (const path of places) {
      for (const other of [undefined, ...otherValues(valueAt(receipt, path))]) {
        const document = changed(receipt, path, other);
        if (canonicalJson(document) === canonicalJson(receipt)) continue;
        if (isGood(checkReceipt(document, TRUSTED))) unseen.push(`${path.join('.')}: ${JSON.stringify(other)}`);
      }
    }
    for (const path of [[], ...places.filter((place) => typeof valueAt(receipt, place) === 'object' && valueAt(receipt, place) !== null)]) {
      for (const key of ['extra', '__proto__', '0']) {
        const text = JSON.stringify(receipt);
        const document =
          path.length === 0 ? JSON.parse(text.replace('{', `{"${key}":{},`)) : changed(receipt, path, withKey(valueAt(receipt, path), key));
        if (isGood(checkReceipt(document, TRUSTED))) unseen.push(`${path.join('.')}: ${key} put in`);
      }
    }
    expect(unseen).toEqual([]);
  });
});

function withKey(value: unknown, key: string): unknown {
  const text = JSON.stringify(value);
  return Array.isArray(value) ? [...value, key] : JSON.parse(text === '{}' ? `{"${key}":{}}` : text.replace('{', `{"${key}":{},`));
}

describe('even the holder of the key cannot make', () => {
  /** Fields that nothing else in the receipt says again. */
  const TAKEN_AT_ITS_WORD = /^(service|unit$|key|signature$|object$|version$|reserved_at$|issued_at$|events\.\w+\.(revision|position)$)/;

  test.each(REQUESTS)('a receipt that contradicts its own events: %s', async (_name, request) => {
    const unseen: string[] = [];
    const receipt = await receiptOf(request);
    for (const path of placesOf(receipt)) {
      const name = path.join('.');
      if (TAKEN_AT_ITS_WORD.test(name)) continue;
      for (const other of otherValues(valueAt(receipt, path))) {
        const document = changed(receipt, path, other);
        if (canonicalJson(document) === canonicalJson(receipt)) continue;
        if (isGood(checkReceipt(resigned(document), TRUSTED))) unseen.push(`${name}: ${JSON.stringify(other)}`);
      }
    }
    expect(unseen).toEqual([]);
  });

  test.each([
    ['a dearer charge', ['charged'], '0.9', 'fields'],
    ['an event of another run', ['events', 'refund', 'data', 'runId'], 'run_other', 'fields'],
    ['a hash of its own', ['chain', 'settlement', 'after'], 'c'.repeat(64), 'chain'],
    ['a charge that the terms do not give', ['events', 'charge', 'data', 'chargedNanos'], '1', 'charge'],
    ['a hold that the terms do not give', ['events', 'hold', 'data', 'promptTokensMax'], 9_999, 'charge'],
  ])('%s', async (_name, path, value, check) => {
    expect(resultsOf(resigned(changed(await receiptOf(), path, value)))[check]).toBe('failed');
  });
});

describe('what a receipt is held against', () => {
  const answerText = textOfAnswers([{ text: 'Hello!' }]);
  const sha256 = (content: string) => createHash('sha256').update(content).digest('hex');
  const body = Buffer.from('{"model":"m"}');

  test('the request and the answer that it names', async () => {
    const receipt = await receiptOf({ reserve: { requestHash: sha256(body.toString()) }, settle: { responseHash: sha256(answerText) } });
    const requests = [{ bytes: body, how: 'byte by byte' }];
    expect(resultsOf(receipt, { requests, answerText })).toMatchObject({ request: 'passed', response: 'passed' });
    const others = { requests: [{ bytes: Buffer.from('{}'), how: 'byte by byte' }], answerText: textOfAnswers([{ text: 'Hello' }]) };
    expect(resultsOf(receipt, others)).toMatchObject({ request: 'failed', response: 'failed' });
  });

  test('one that names none proves nothing of them', async () => {
    const { verification, events, record } = await settledRequest({ settle: { outcome: 'failed', finishReason: null } });
    expect(events.at(-1)?.data).toHaveProperty('responseHash');
    const { receipt } = await verification.report(record);
    const nameless = resigned({ ...(receipt as Receipt), request_hash: null, response_hash: null });
    expect(resultsOf(nameless, { requests: [], answerText })).toMatchObject({ request: 'unknown', response: 'unknown', fields: 'failed' });
  });

  test.each([
    ['nothing', null],
    ['a text', 'receipt'],
    ['another document', { object: 'request' }],
    ['a list', []],
  ])('%s is no receipt', (_name, document) => {
    expect(checkReceipt(document)).toEqual([{ check: 'shape', result: 'failed', words: expect.stringMatching(/^This is no receipt/) }]);
  });
});

describe('where receipts come from', () => {
  test('the same request has the same receipt, and another key gives another signature only', async () => {
    const { verification, record, client } = await settledRequest();
    const first = await verification.report(record);
    expect(await verification.report(record)).toEqual(first);
    expect(first).toMatchObject({ mode: 'signed', reportId: record.runId.replace('run_', 'att_'), quote: null });
    expect(first.quoteHash).toBe(`0x${createHash('sha256').update(canonicalJson(first.receipt)).digest('hex')}`);
    const signing = { signer: OTHER_SIGNER, retiredKeys: [SIGNER.publicKey], quotes: null };
    const rotated = new Verification({ ledger: client, signing, service: SERVICE, logger: undefined as never });
    const { receipt } = await rotated.report(record);
    expect({ ...receipt, key: null, signature: null }).toEqual({ ...first.receipt, key: null, signature: null });
    expect(rotated.keys).toEqual([OTHER_SIGNER.publicKey, SIGNER.publicKey]);
    expect(isGood(checkReceipt(first.receipt, { trustedKeys: rotated.keys }))).toBe(true);
  });

  test('a log that was changed gives none', async () => {
    const { verification, client, record, events } = await settledRequest();
    const forged = events.map((event) =>
      event.type === 'UsageRecorded' ? { ...event, data: { ...event.data, chargedNanos: '5' } } : event,
    );
    const lying = {
      ...client,
      accountEvents: async ({ fromRevision, maxCount }: { fromRevision: number; maxCount: number }) =>
        forged.slice(fromRevision, fromRevision + maxCount),
    };
    const { pino } = await import('pino');
    const deps = { signing: { signer: SIGNER, retiredKeys: [], quotes: null }, service: SERVICE, logger: pino({ level: 'silent' }) };
    expect(await new Verification({ ...deps, ledger: lying }).report(record)).toMatchObject({ mode: 'none', receipt: null });
    const elsewhere = { ...record, revisions: { reserved: 2, settled: 4 } };
    expect(await new Verification({ ...deps, ledger: client }).report(elsewhere)).toMatchObject({ mode: 'none', receipt: null });
    expect((await verification.report(record)).receipt).not.toBeNull();
  });

  test('views from before receipts give none, and books from before the chain say so', async () => {
    const { verification, record, client, events } = await settledRequest();
    expect(await verification.report({ ...record, revisions: { reserved: null, settled: null } })).toMatchObject({
      mode: 'none',
      receipt: null,
    });
    const older = events.map(({ metadata: { chain: _chain, ...metadata }, ...event }) => ({ ...event, metadata }));
    const { pino } = await import('pino');
    const ledger = {
      ...client,
      accountEvents: async ({ fromRevision, maxCount }: { fromRevision: number; maxCount: number }) =>
        older.slice(fromRevision, fromRevision + maxCount),
    };
    const signing = { signer: SIGNER, retiredKeys: [], quotes: null };
    const { receipt } = await new Verification({ ledger, signing, service: SERVICE, logger: pino({ level: 'silent' }) }).report(record);
    expect(resultsOf(receipt)).toMatchObject({ signature: 'passed', chain: 'unknown' });
    expect(recordOf(older, record.runId)).toEqual(record);
  });

  test('an account of one credit and one request has its receipt, too', async () => {
    const receipt = await receiptOf({ reserve: { opening: { ...OPENING, starterNanos: 20_000_000n } } });
    expect(receipt).toMatchObject({ held: '0.02', charged: '0.02', refunded: '0', events: { hold: { revision: 2 } } });
    expect(USD).toBe(1_000_000_000n);
  });

  test('a key has one id, whichever form it is given in', () => {
    expect(publicReceiptKey(SIGNER.publicKey.publicKey)).toEqual(SIGNER.publicKey);
  });
});
