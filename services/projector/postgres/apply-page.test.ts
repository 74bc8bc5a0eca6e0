/** Pages in a real database: however the log is cut, repeated or raced for, the rows are those of the log. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { accountStream, type RecordedEvent, toNewEvent } from '../../../events/contract/index.js';
import type { TestDatabase } from '../../../platform/testing/postgres-for-tests.js';
import { RevisionGapError } from '../domain/read-model-changes.js';
import { makeLog } from '../testing/histories.js';
import { emptyViews, openProjectorDatabase, readViews, type ViewRows } from '../testing/projector-database.js';
import { applyLivePage } from './apply-page.js';
import { readCheckpoint } from './read-past.js';

const LOG = makeLog({ accounts: 4, runsPerAccount: 7, openRuns: 1, overlap: 2, stepMs: 400_000 });

let database: TestDatabase;
let expected: ViewRows;

beforeAll(async () => {
  database = await openProjectorDatabase();
  await applyLivePage(database.pool, LOG);
  expected = await readViews(database.pool);
});
afterAll(() => database.drop());
beforeEach(() => emptyViews(database.pool));

async function applyPages(pages: readonly (readonly RecordedEvent[])[]): Promise<void> {
  for (const page of pages) await applyLivePage(database.pool, page);
}

function cut(log: readonly RecordedEvent[], cuts: readonly number[]): RecordedEvent[][] {
  const ends = [...new Set([...cuts, log.length])].sort((left, right) => left - right);
  return ends.map((end, index) => log.slice(ends[index - 1] ?? 0, end));
}

test('the rows are what the log says', () => {
  expect(expected['requests']).toHaveLength(28);
  expect(expected['account_balances']).toHaveLength(4);
  const last = LOG.filter((event) => event.type === 'ReservationSettled').at(-1) as RecordedEvent;
  const request = expected['requests']?.find((row) => row['run_id'] === last.data['runId']);
  expect(request).toMatchObject({
    status: last.data['outcome'],
    charged_nanos: last.data['chargedNanos'],
    settled_event_id: last.id,
    settled_at: new Date(last.metadata.occurredAtMs),
  });
});

test('any cut into pages gives the same rows, and the checkpoint stands at the end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: LOG.length - 1 }), { minLength: 1, maxLength: 25 }), async (cuts) => {
      await emptyViews(database.pool);
      await applyPages(cut(LOG, cuts));
      expect(await readViews(database.pool)).toEqual(expected);
      expect(await readCheckpoint(database.pool, 'read_model')).toBe(LOG.at(-1)?.position);
    }),
    { numRuns: 12 },
  );
});

test('pages that are delivered again, whole or overlapping what is new, change nothing', async () => {
  const page = fc.record({ back: fc.nat(60), length: fc.integer({ min: 1, max: 70 }) });
  await fc.assert(
    fc.asyncProperty(fc.array(page, { minLength: 3, maxLength: 12 }), async (pages) => {
      await emptyViews(database.pool);
      let applied = 0;
      for (const { back, length } of [...pages, { back: 30, length: LOG.length }]) {
        const from = Math.max(0, applied - back);
        await applyLivePage(database.pool, LOG.slice(from, from + length));
        applied = Math.max(applied, Math.min(from + length, LOG.length));
      }
      expect(await readViews(database.pool)).toEqual(expected);
      expect(await readCheckpoint(database.pool, 'read_model')).toBe(LOG.at(-1)?.position);
    }),
    { numRuns: 25 },
  );
});

test('projectors that race for the same events apply each of them once', async () => {
  const untilApplied = async (page: readonly RecordedEvent[]): Promise<void> => {
    for (;;) {
      try {
        await applyLivePage(database.pool, page);
        return;
      } catch (error) {
        // Two opened the same account: one is told so by the database, and finds the account known when it tries again, as the bus would.
        if ((error as { code?: string }).code !== '23505') throw error;
      }
    }
  };
  for (const page of cut(LOG, [3, 9, 21, 60, 61])) await Promise.all([untilApplied(page), untilApplied(page), untilApplied([...page])]);
  expect(await readViews(database.pool)).toEqual(expected);
});

test('projectors of different accounts that share a project neither block for ever nor lose sums', async () => {
  const streams = [...new Set(LOG.map((event) => event.stream))];
  const project = async (stream: string) => {
    for (const page of cut(
      LOG.filter((event) => event.stream === stream),
      [2, 3, 5, 8, 13],
    ))
      await applyLivePage(database.pool, page);
  };
  await Promise.all(streams.map(project));
  expect(await readViews(database.pool)).toEqual(expected);
});

test('a page that fails leaves neither rows nor a checkpoint behind', async () => {
  await applyLivePage(database.pool, LOG.slice(0, 30));
  const before = await readViews(database.pool);
  const stream = LOG[0]?.stream;
  const withGap = LOG.slice(30).filter((event) => event.stream !== stream || event.revision !== 12);
  await expect(applyLivePage(database.pool, withGap)).rejects.toBeInstanceOf(RevisionGapError);
  expect(await readViews(database.pool)).toEqual(before);
  expect(await readCheckpoint(database.pool, 'read_model')).toBe(LOG[29]?.position);
});

describe('amounts', () => {
  test('sums may exceed what a 64-bit number holds', async () => {
    const accountId = 'acc_rich';
    const amountNanos = 1_000_000_000n * 1_000_000_000n;
    const opened = {
      type: 'AccountOpened',
      accountId,
      holder: { kind: 'consumer', projectId: 'prj_rich', consumerId: 'con_rich' },
      unit: 'USD',
      environment: 'live',
    } as const;
    const grant = (n: number) =>
      ({
        type: 'CreditGranted',
        accountId,
        grantId: `grt_${n}`,
        kind: 'top_up',
        amountNanos,
        reason: 'rich',
        postings: [{ from: 'payments:manual', to: 'available', amountNanos }],
      }) as const;
    const events = [opened, ...Array.from({ length: 12 }, (_, n) => grant(n))].map((event, revision) => ({
      ...toNewEvent(event, { commandId: `rich/${revision}`, nowMs: 1_790_000_000_000 }),
      stream: accountStream(accountId),
      revision,
      position: String(revision).padStart(16, '0'),
    }));
    await applyPages(cut(events, [4, 9]));
    const { rows } = await database.pool.query('select available_nanos, granted_nanos from read_model.account_balances');
    expect(rows).toEqual([{ available_nanos: (12n * amountNanos).toString(), granted_nanos: (12n * amountNanos).toString() }]);
  });

  test('the table itself refuses a request whose charge and refund are not its hold', async () => {
    await applyLivePage(database.pool, LOG);
    await expect(
      database.pool.query("update read_model.requests set charged_nanos = charged_nanos + 1 where status = 'completed'"),
    ).rejects.toMatchObject({ constraint: 'requests_books_close' });
  });
});
