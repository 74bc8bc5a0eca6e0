/** The consumers of the caller's project, with their balances. Newest first; identity from the directory, money from the views. */
import { accountIdOf, formatAmount } from '../../../../events/contract/index.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import type { Consumer, Directory } from '../../directory/directory.js';
import { creditsField, isoTime, isoTimeOrNull } from '../../presentation/amounts.js';
import { isId } from '../../presentation/fields.js';
import type { LastRevisions } from '../../read-model/last-revisions.js';
import type { AccountView, ReadModel } from '../../read-model/read-model.js';
import { catchUpWithAccounts } from '../../read-model/read-your-writes.js';
import { refuse } from '../../refusals.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { ConsumerDetail, ConsumerList, ConsumerParams, ConsumersQuery } from './schemas.js';

export type ConsumersDeps = {
  readonly directory: Pick<Directory, 'consumer' | 'listConsumers'>;
  readonly readModel: ReadModel;
  readonly lastRevisions: LastRevisions;
  readonly preset: Pick<Preset, 'unit' | 'starter_credit'>;
};

export function consumersRoutes(deps: ConsumersDeps): RouteDefinition[] {
  return [listRoute(deps), detailRoute(deps)];
}

function listRoute(deps: ConsumersDeps): RouteDefinition {
  return defineRoute({
    method: 'get',
    path: '/v1/consumers',
    operationId: 'listConsumers',
    summary: 'List the consumers of the project with their balances, newest first',
    tag: 'Consumers',
    policy: 'project_key',
    query: ConsumersQuery,
    responses: { 200: { description: 'A page of consumers', schema: ConsumerList } },
    handle: async ({ caller }, { query }) => {
      if (query.after !== undefined && !isId(query.after, 'con_')) {
        throw refuse('invalid_parameter', { message: 'after must be the id of a consumer.', param: 'after' });
      }
      // One more than the page tells whether there is another.
      const found = await deps.directory.listConsumers(caller.projectId, { limit: query.limit + 1, after: query.after ?? null });
      const page = found.slice(0, query.limit);
      const hasMore = found.length > page.length;
      const accountIds = page.map((consumer) => accountIdOf(consumer.consumerId));
      const headers = await catchUpWithAccounts(deps, accountIds);
      const accounts = await deps.readModel.accounts(accountIds);
      return {
        status: 200,
        headers,
        body: {
          object: 'list',
          data: page.map((consumer) => consumerObject(consumer, accounts.get(accountIdOf(consumer.consumerId)), deps.preset)),
          has_more: hasMore,
          next_after: hasMore ? (page.at(-1)?.consumerId ?? null) : null,
        },
      };
    },
  });
}

function detailRoute(deps: ConsumersDeps): RouteDefinition {
  return defineRoute({
    method: 'get',
    path: '/v1/consumers/:id',
    operationId: 'getConsumer',
    summary: 'Get one consumer with balance and billing totals',
    tag: 'Consumers',
    policy: 'project_key',
    params: ConsumerParams,
    responses: {
      200: { description: 'The consumer', schema: ConsumerDetail },
      404: { description: 'No such consumer in this project' },
    },
    handle: async ({ caller }, { params }) => {
      const consumer = isId(params.id, 'con_') ? await deps.directory.consumer(caller.projectId, params.id) : null;
      if (consumer === null) throw refuse('resource_not_found', { message: 'There is no such consumer.' });
      const accountId = accountIdOf(consumer.consumerId);
      const headers = await catchUpWithAccounts(deps, [accountId]);
      const account = (await deps.readModel.accounts([accountId])).get(accountId);
      const billing = await deps.readModel.consumerBilling(caller.projectId, consumer.consumerId);
      return {
        status: 200,
        headers,
        body: {
          ...consumerObject(consumer, account, deps.preset),
          billing: {
            granted: formatAmount(billing?.grantedNanos ?? 0n),
            charged: formatAmount(billing?.chargedNanos ?? 0n),
            requests: billing?.requests ?? 0,
            last_request_at: isoTimeOrNull(billing?.lastRequestAtMs ?? null),
          },
        },
      };
    },
  });
}

/** A consumer's account is opened, with its starter credit, by its first reservation; until then that credit is what it can spend. */
function consumerObject(consumer: Consumer, account: AccountView | undefined, preset: ConsumersDeps['preset']) {
  const availableNanos = account === undefined ? preset.starter_credit.consumer : account.availableNanos;
  return {
    id: consumer.consumerId,
    object: 'consumer' as const,
    email: consumer.email,
    name: consumer.name,
    ...creditsField('credits_balance', availableNanos, preset.unit),
    balance: formatAmount(availableNanos),
    held: formatAmount(account?.heldNanos ?? 0n),
    unit: preset.unit,
    created_at: isoTime(consumer.createdAtMs),
  };
}
