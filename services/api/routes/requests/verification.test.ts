/** What a client gets to prove a request with (U9), over HTTP: the ledger, the projection and the route are real. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { accountIdOf, type PriceTerms, requestIdOfRun } from '../../../../events/contract/index.js';
import { canonicalJson } from '../../../../platform/canonical-json.js';
import { applyLivePage } from '../../../projector/postgres/apply-page.js';
import { type BooksApi, startBooksApi } from '../../testing/books-api.js';
import { checkReceipt, isGood } from '../../verification/check-receipt.js';
import { publicReceiptKey } from '../../verification/receipt-keys.js';
import { OTHER_SIGNER, SIGNER } from '../../verification/testing/settled-requests.js';
import { reportDigest } from '../../verification/tsm-quotes.js';

const terms: PriceTerms = { kind: 'per_started_thousand', pricePerStartedThousandNanos: 1_000_000n };
const opened: BooksApi[] = [];
let api: BooksApi;
let own: { projectId: string; key: string };

async function open(quotes: Parameters<typeof startBooksApi>[0] = {}): Promise<BooksApi> {
  const one = await startBooksApi(quotes);
  opened.push(one);
  return one;
}

beforeAll(async () => {
  api = await open({ receiptSigning: { signer: SIGNER, retiredKeys: [OTHER_SIGNER.publicKey], quotes: null } });
  own = await api.signUp('Own');
});
afterAll(() => Promise.all(opened.map((one) => one.close())));

/** A run of the project that the ledger has reserved and, unless it is to be left open, settled. */
async function aRun(books: BooksApi, project: { projectId: string }, outcome: 'completed' | 'failed' | null): Promise<string> {
  const runId = books.ids.next('run');
  const accountId = accountIdOf(project.projectId);
  await books.ledger.reserve({
    accountId,
    runId,
    opening: { holder: { kind: 'project', projectId: project.projectId }, unit: 'USD', environment: 'live', starterNanos: 0n },
    keyId: 'key_x',
    model: 'model-x',
    priceVersion: 'prices-1',
    terms,
    promptTokensMax: 100,
    outputTokensMax: 100,
    outputTokensExplicit: false,
    requestHash: 'a'.repeat(64),
    cancelPolicy: 'refund_all',
    deadlineMs: books.clock.nowMs() + 60_000,
  });
  if (outcome !== null) {
    await books.accountLedger.submit({
      type: 'SettleReservation',
      accountId,
      runId,
      outcome,
      finishReason: outcome === 'completed' ? 'stop' : null,
      usage: { promptTokens: 20, cachedTokens: 0, completionTokens: outcome === 'completed' ? 30 : 0 },
      errorCode: outcome === 'failed' ? 'engine_crashed' : null,
      attempt: 1,
      ...(outcome === 'completed' ? { responseHash: 'b'.repeat(64), systemFingerprint: 'fp_x' } : {}),
    });
  }
  await applyLivePage(books.database.pool, await books.store.readAll('', 10_000));
  return runId;
}

const verificationOf = (books: BooksApi, runId: string, key: string) =>
  books.call(`/v1/requests/${requestIdOfRun(runId)}/verification`, { key });

describe('GET /v1/requests/:id/verification (U9)', () => {
  test('200: the documented fields, and a receipt that holds against the keys that are listed', async () => {
    const runId = await aRun(api, own, 'completed');
    const { status, body } = await verificationOf(api, runId, own.key);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      verified: true,
      verification_mode: 'signed',
      provider: api.preset.brand.provider,
      report_id: runId.replace('run_', 'att_'),
      quote_hash: expect.stringMatching(/^0x[0-9a-f]{64}$/),
      verified_at: '2026-04-27T15:30:00.000Z',
      quote: null,
      receipt: {
        request_id: requestIdOfRun(runId),
        project_id: own.projectId,
        charged: '0.001',
        request_hash: 'a'.repeat(64),
        response_hash: 'b'.repeat(64),
        system_fingerprint: 'fp_x',
      },
    });
    const keys = await api.call('/v1/verification/keys');
    expect(keys.status).toBe(200);
    expect(keys.body.data).toMatchObject([
      { id: SIGNER.publicKey.id, algorithm: 'Ed25519', active: true },
      { id: OTHER_SIGNER.publicKey.id, active: false },
    ]);
    const trustedKeys = keys.body.data.map((key: { public_key: string }) => publicReceiptKey(key.public_key));
    expect(isGood(checkReceipt(body.receipt, { trustedKeys }))).toBe(true);
    expect((await verificationOf(api, runId, own.key)).body.receipt).toEqual(body.receipt);
  });

  test('200: a failed request has a receipt that says nothing was charged', async () => {
    const runId = await aRun(api, own, 'failed');
    const { body } = await verificationOf(api, runId, own.key);
    expect(body).toMatchObject({
      verified: true,
      receipt: { outcome: 'failed', error_code: 'engine_crashed', charged: '0', refunded: '0.001', response_hash: null },
    });
    expect(isGood(checkReceipt(body.receipt))).toBe(true);
  });

  test('409: a request that is still running has none yet', async () => {
    const runId = await aRun(api, own, null);
    const { status, body } = await verificationOf(api, runId, own.key);
    expect([status, body.error.code]).toEqual([409, 'request_in_progress']);
  });

  test("404: an unknown id and another project's get the same answer", async () => {
    const other = await api.signUp('Other');
    const runId = await aRun(api, own, 'completed');
    const foreign = await verificationOf(api, runId, other.key);
    const unknown = await verificationOf(api, api.ids.next('run'), other.key);
    expect([foreign.status, unknown.status]).toEqual([404, 404]);
    expect(foreign.body).toEqual(unknown.body);
    expect((await verificationOf(api, runId, 'hoo_wrong')).status).toBe(401);
  });

  test('200: without a key nothing is verified, and that is what it says', async () => {
    const keyless = await open();
    const project = await keyless.signUp('Own');
    const runId = await aRun(keyless, project, 'completed');
    const { status, body } = await verificationOf(keyless, runId, project.key);
    expect(status).toBe(200);
    expect(body).toMatchObject({ verified: false, verification_mode: 'none', report_id: null, quote_hash: null, receipt: null });
    expect((await keyless.call('/v1/verification/keys')).body).toEqual({ object: 'list', data: [] });
  });

  test('200: tee only with a quote of this very receipt; where the hardware fails, signed', async () => {
    let isBroken = false;
    const quotes = {
      quote: async (text: string) => {
        if (isBroken) throw new Error('no quote');
        return { platform: 'tdx_guest', bytes: reportDigest(text) };
      },
    };
    const attested = await open({ receiptSigning: { signer: SIGNER, retiredKeys: [], quotes } });
    const project = await attested.signUp('Own');
    const runId = await aRun(attested, project, 'completed');
    const { body } = await verificationOf(attested, runId, project.key);
    expect(body).toMatchObject({ verified: true, verification_mode: 'tee', quote: { platform: 'tdx_guest' } });
    expect(body.quote.base64).toBe(reportDigest(canonicalJson(body.receipt)).toString('base64'));
    isBroken = true;
    expect((await verificationOf(attested, runId, project.key)).body).toMatchObject({ verification_mode: 'signed', quote: null });
  });
});
