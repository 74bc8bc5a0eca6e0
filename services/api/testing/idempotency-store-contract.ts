/** What every idempotency store promises. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  CLAIM_LEASE_MS,
  IDEMPOTENCY_RETENTION_MS,
  type IdempotencyClaim,
  type IdempotencyStore,
} from '../idempotency/idempotency-store.js';

export type StoreUnderTest = { readonly store: IdempotencyStore; close(): Promise<void> };

const NOW_MS = Date.parse('2026-04-27T15:30:00Z');
const digest = (text: string) => createHash('sha256').update(text).digest();

export function describeIdempotencyStore(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(name, () => {
    let under: StoreUnderTest;
    let keys = 0;
    beforeAll(async () => {
      under = await open();
    });
    afterAll(() => under.close());

    function claimOf(overrides: Partial<IdempotencyClaim> = {}): IdempotencyClaim {
      keys += 1;
      return {
        projectId: 'prj_1',
        key: `key-${keys}`,
        requestDigest: digest('a request'),
        runId: 'run_1',
        accountId: 'acc_1',
        instanceId: 'ins_1',
        nowMs: NOW_MS,
        ...overrides,
      };
    }

    test('of many simultaneous claims exactly one wins', async () => {
      const claim = claimOf();
      const results = await Promise.all(Array.from({ length: 20 }, (_, n) => under.store.claim({ ...claim, runId: `run_${n}` })));
      expect(results.filter((result) => result.status === 'claimed')).toHaveLength(1);
      expect(results.filter((result) => result.status === 'running')).toHaveLength(19);
    });

    test('a completed claim is replayed, and only to the same request of the same project', async () => {
      const claim = claimOf();
      await under.store.claim(claim);
      await under.store.complete(claim, '{"answer":"\\u0000"}');
      expect(await under.store.claim({ ...claim, runId: 'run_2' })).toEqual({ status: 'completed', answer: '{"answer":"\\u0000"}' });
      expect(await under.store.claim({ ...claim, requestDigest: digest('another') })).toEqual({ status: 'other_request' });
      expect(await under.store.claim({ ...claim, projectId: 'prj_2' })).toEqual({ status: 'claimed', chargedRunId: null });
    });

    test('a released claim may be tried again by the same request; what was charged stays known', async () => {
      const claim = claimOf();
      await under.store.claim(claim);
      await under.store.release(claim, null);
      expect(await under.store.claim({ ...claim, requestDigest: digest('another') })).toEqual({ status: 'other_request' });
      const second = { ...claim, runId: 'run_2' };
      expect(await under.store.claim(second)).toEqual({ status: 'claimed', chargedRunId: null });
      await under.store.release(second, 'run_2');
      const third = { ...claim, runId: 'run_3' };
      expect(await under.store.claim(third)).toEqual({ status: 'claimed', chargedRunId: 'run_2' });
      await under.store.release(third, 'run_3');
      expect(await under.store.claim({ ...claim, runId: 'run_4' })).toEqual({ status: 'claimed', chargedRunId: 'run_2' });
    });

    test('a claim whose lease is over is stale; it is taken over once', async () => {
      const claim = claimOf();
      await under.store.claim(claim);
      const later = { ...claim, runId: 'run_2', instanceId: 'ins_2', nowMs: NOW_MS + CLAIM_LEASE_MS };
      expect(await under.store.claim({ ...later, nowMs: later.nowMs - 1 })).toEqual({ status: 'running' });
      expect(await under.store.claim(later)).toEqual({ status: 'stale', runId: 'run_1', accountId: 'acc_1', chargedRunId: null });
      const takers = await Promise.all(['run_2', 'run_3'].map((runId) => under.store.takeOver({ ...later, runId }, 'run_1', 'run_1')));
      expect(takers.filter((taken) => taken)).toHaveLength(1);
      expect(await under.store.claim(later)).toEqual({ status: 'running' });
    });

    test('who lost a claim can no longer change it', async () => {
      const claim = claimOf();
      await under.store.claim(claim);
      const later = { ...claim, runId: 'run_2', nowMs: NOW_MS + CLAIM_LEASE_MS };
      expect(await under.store.takeOver(later, 'run_1', null)).toBe(true);
      await under.store.complete(claim, 'late');
      await under.store.release(claim, 'run_1');
      await under.store.abandon(claim);
      expect(await under.store.claim(later)).toEqual({ status: 'running' });
    });

    test('renewal keeps an instance’s claims; an abandoned one is stale at once and not renewed', async () => {
      const kept = claimOf({ instanceId: 'ins_renewing' });
      const abandoned = claimOf({ instanceId: 'ins_renewing' });
      await under.store.claim(kept);
      await under.store.claim(abandoned);
      await under.store.abandon(abandoned);
      await under.store.renew('ins_renewing', NOW_MS + CLAIM_LEASE_MS);
      const nowMs = NOW_MS + CLAIM_LEASE_MS + 1;
      expect(await under.store.claim({ ...kept, nowMs })).toEqual({ status: 'running' });
      expect(await under.store.claim({ ...abandoned, nowMs })).toMatchObject({ status: 'stale', runId: 'run_1' });
    });

    test('after the retention a key is as new, even before it is purged', async () => {
      const claim = claimOf();
      await under.store.claim(claim);
      await under.store.release(claim, 'run_1');
      const expired = NOW_MS + IDEMPOTENCY_RETENTION_MS;
      expect(await under.store.claim({ ...claim, requestDigest: digest('another'), nowMs: expired })).toEqual({
        status: 'claimed',
        chargedRunId: null,
      });
      const other = claimOf();
      await under.store.claim(other);
      expect(await under.store.purge(expired)).toBeGreaterThan(0);
      expect(await under.store.purge(expired)).toBe(0);
      expect(await under.store.claim({ ...claim, requestDigest: digest('another'), nowMs: expired })).toEqual({ status: 'running' });
    });
  });
}
