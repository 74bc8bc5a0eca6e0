/** `farebox payments reconcile`: our payments held against the provider's list, and what finance must know said in lines. */
import { eventStoreDbFromEnvironment } from '../../../events/store/eventstoredb/connection-settings.js';
import { systemClock } from '../../../platform/clock.js';
import { createLogger } from '../../../platform/logging.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { createPayments } from '../../api/payments/create-payments.js';
import { needsAttention, reconcilePayments } from '../../api/payments/reconcile-payments.js';
import { AccountLedger } from '../../ledger/accounts/account-ledger.js';
import { inProcessLedgerClient } from '../../ledger/in-process-ledger-client.js';
import { paymentLedger } from '../../ledger/payments/payment-ledger.js';
import { postgresSnapshotStore } from '../../ledger/snapshots/postgres-snapshot-store.js';
import { openDatabase } from '../database.js';
import { readSettings } from '../settings.js';

/** Exit code when somebody must look at something. */
const EXIT_ATTENTION = 3;
const EXIT_USAGE = 2;
const DAYS_DEFAULT = 7;
const DAYS_MAX = 366;
const DAY_MS = 24 * 60 * 60 * 1_000;

/** Safe beside a running deployment: expected revisions and grant ids are what keep a payment from being credited twice. */
export async function reconcile(environment: NodeJS.ProcessEnv, words: readonly string[]): Promise<number> {
  const days = daysOf(words);
  if (days === null) {
    process.stderr.write(`farebox payments reconcile [--days 1 to ${DAYS_MAX}; ${DAYS_DEFAULT} by default]\n`);
    return EXIT_USAGE;
  }
  const { logLevel, dataDirectory, databaseUrl, payments: settings, publicUrl } = readSettings(environment);
  if (settings.provider === 'none') {
    process.stdout.write('no payments are taken: FAREBOX_PAYMENTS is none\n');
    return 0;
  }
  const logger = createLogger({ level: logLevel, name: 'farebox' });
  const database = await openDatabase({ dataDirectory, databaseUrl, eventStoreDb: eventStoreDbFromEnvironment(environment), logger });
  try {
    const { pool, store } = database;
    const clock = systemClock;
    const snapshots = postgresSnapshotStore(pool);
    const ledger = inProcessLedgerClient(new AccountLedger({ store, snapshots, clock, scheduler: eventLoopScheduler, logger }));
    const client = paymentLedger({ store, ledger, clock, logger });
    const payments = await createPayments({ settings, payments: client, pool, clock, publicBaseUrl: publicUrl ?? 'http://localhost' });
    if (payments === null) return 0;
    const toMs = clock.nowMs();
    const result = await reconcilePayments(payments, { fromMs: toMs - days * DAY_MS, toMs });
    for (const { kind, reference, detail } of result.findings) process.stdout.write(`${kind} ${reference}: ${detail}\n`);
    const attention = result.findings.filter(needsAttention).length;
    const putRight = result.findings.length - attention;
    process.stdout.write(
      `${days} days at ${payments.provider.name}: ${result.payments} payments here, ${result.listed} there; ${putRight} put right, ${attention} to look at\n`,
    );
    return attention === 0 ? 0 : EXIT_ATTENTION;
  } finally {
    await database.close();
  }
}

function daysOf(words: readonly string[]): number | null {
  if (words.length === 0) return DAYS_DEFAULT;
  const [flag, value = ''] = words;
  const days = flag === '--days' && /^\d{1,3}$/.test(value) && words.length === 2 ? Number(value) : 0;
  return days >= 1 && days <= DAYS_MAX ? days : null;
}
