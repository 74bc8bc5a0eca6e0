/** Reads back what the fold must know of the past: touched accounts and the models of runs reserved on earlier pages. */
import type { ClientBase } from 'pg';
import {
  accountIdOfStream,
  BEFORE_EVERYTHING,
  type Environment,
  type Position,
  paymentIdOfStream,
  type RecordedEvent,
} from '../../../events/contract/index.js';
import type { AccountContext } from '../domain/projected-event.js';
import type { PastContext } from '../domain/read-model-changes.js';
import { readPayments } from './read-payments.js';
import { READ_MODEL_PROJECTION, type ReadModelSchema } from './write-changes.js';

type AccountRow = {
  account_id: string;
  holder_kind: string;
  project_id: string;
  consumer_id: string | null;
  unit: string;
  environment: Environment;
  revision: string;
};

/**
 * Locks the accounts' rows, so that two projectors of one account cannot both believe an event to be new. The runs are read by a second
 * statement, because its snapshot must be younger than the locks.
 */
export async function readPast(client: ClientBase, schema: ReadModelSchema, events: readonly RecordedEvent[]): Promise<PastContext> {
  const accountIds = [...new Set(events.map((event) => accountIdOfStream(event.stream)).filter((id) => id !== null))].sort();
  const { rows } = await client.query<AccountRow>({
    name: `${schema}-past-accounts`,
    text: `select account_id, holder_kind, project_id, consumer_id, unit, environment, revision
           from ${schema}.account_balances where account_id = any($1::text[]) order by account_id for update`,
    values: [accountIds],
  });
  const accounts = new Map(rows.map((row) => [row.account_id, accountOf(row)]));
  const openRuns = await readOpenRuns(client, schema, newEvents(events, accounts));
  const paymentIds = [...new Set(events.map((event) => paymentIdOfStream(event.stream)).filter((id) => id !== null))].sort();
  return { accounts, openRuns, payments: await readPayments(client, schema, paymentIds) };
}

/** A reservation that is delivered again is none of this page's: its run is on an earlier one. */
function newEvents(events: readonly RecordedEvent[], accounts: ReadonlyMap<string, AccountContext>): readonly RecordedEvent[] {
  return events.filter(({ stream, revision }) => revision > (accounts.get(accountIdOfStream(stream) ?? '')?.revision ?? -1));
}

function accountOf(row: AccountRow): AccountContext {
  const { account_id: accountId, unit, environment } = row;
  const holder =
    row.consumer_id === null
      ? ({ kind: 'project', projectId: row.project_id } as const)
      : ({ kind: 'consumer', projectId: row.project_id, consumerId: row.consumer_id } as const);
  return { accountId, holder, unit, environment, revision: Number(row.revision) };
}

/** Runs of the page whose reservation lies on an earlier one. */
async function readOpenRuns(client: ClientBase, schema: ReadModelSchema, events: readonly RecordedEvent[]): Promise<Map<string, string>> {
  const runIds = new Set<string>();
  const reservedHere = new Set<string>();
  for (const { type, data } of events) {
    const runId = data['runId'];
    if (typeof runId !== 'string') continue;
    if (type === 'CreditReserved') reservedHere.add(runId);
    else if (!reservedHere.has(runId)) runIds.add(runId);
  }
  if (runIds.size === 0) return new Map();
  const { rows } = await client.query<{ run_id: string; model: string }>({
    name: `${schema}-past-runs`,
    text: `select run_id, model from ${schema}.requests where run_id = any($1::text[])`,
    values: [[...runIds]],
  });
  return new Map(rows.map((row) => [row.run_id, row.model]));
}

/** How far the views have come; `BEFORE_EVERYTHING` when they are empty. */
export async function readCheckpoint(client: Pick<ClientBase, 'query'>, schema: ReadModelSchema): Promise<Position> {
  const { rows } = await client.query<{ position: string }>(`select position from ${schema}.checkpoints where projection = $1`, [
    READ_MODEL_PROJECTION,
  ]);
  return rows[0]?.position ?? BEFORE_EVERYTHING;
}
