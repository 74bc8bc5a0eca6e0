/** Lets an operator book credit by hand: money received, or a correction. Every grant is an event with its reason. */
import { createHash } from 'node:crypto';
import { accountIdOf, formatAmount, parseAmount } from '../../../../events/contract/index.js';
import type { IdSource } from '../../../../platform/id-source.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import type { AccountOpening, GrantResult, LedgerClient } from '../../../ledger/ledger-client.js';
import { consumerOpening, projectOpening } from '../../directory/account-openings.js';
import type { Directory } from '../../directory/directory.js';
import { creditsField } from '../../presentation/amounts.js';
import { isId } from '../../presentation/fields.js';
import type { LastRevisions } from '../../read-model/last-revisions.js';
import { refuse } from '../../refusals.js';
import { idempotencyKey } from '../../request-headers.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { GrantObject, GrantRequest } from './schemas.js';

export type AdminGrantsDeps = {
  readonly directory: Pick<Directory, 'project' | 'consumerById'>;
  readonly ledger: Pick<LedgerClient, 'grant'>;
  readonly lastRevisions: LastRevisions;
  readonly preset: Pick<Preset, 'unit' | 'starter_credit'>;
  readonly ids: IdSource;
};

type GrantTarget = {
  readonly accountId: string;
  readonly projectId: string;
  readonly consumerId: string | null;
  readonly opening: AccountOpening;
};

export function adminGrantsRoutes(deps: AdminGrantsDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/admin/grants',
      operationId: 'grantCredit',
      summary: 'Give credit to a project or a consumer, or take it back',
      tag: 'Admin',
      policy: 'admin',
      requestHeaders: { 'Idempotency-Key': 'Repeating a grant with the same key grants once.' },
      body: GrantRequest,
      responses: {
        201: { description: 'The grant is in the books', schema: GrantObject },
        404: { description: 'No such project or consumer' },
        409: { description: 'The id was used for another grant, or the balance does not cover a negative adjustment' },
      },
      handle: async ({ request }, { body }) => {
        const amountNanos = signedAmount(body.amount, body.kind);
        const target =
          body.consumer_id === undefined ? await projectTarget(deps, body.project_id) : await consumerTarget(deps, body.consumer_id);
        const grantId = body.grant_id ?? grantIdOfKey(idempotencyKey(request)) ?? deps.ids.next('grt');
        const granted = await grant(deps, target, { grantId, kind: body.kind, amountNanos, reason: body.reason });
        deps.lastRevisions.note(target.accountId, granted.revision, target.projectId);
        return {
          status: 201,
          body: {
            object: 'grant',
            id: grantId,
            event_id: granted.eventId,
            kind: body.kind,
            project_id: target.projectId,
            consumer_id: target.consumerId,
            amount: formatAmount(amountNanos),
            unit: deps.preset.unit,
            reason: body.reason,
            balance: formatAmount(granted.availableNanos),
            ...creditsField('credits_balance', granted.availableNanos, deps.preset.unit),
          },
        };
      },
    }),
  ];
}

function signedAmount(text: string, kind: 'adjustment' | 'top_up'): bigint {
  const amountNanos = parseAmount(text) ?? 0n;
  if (amountNanos === 0n) throw refuse('invalid_parameter', { message: 'amount must not be zero.', param: 'amount' });
  if (amountNanos < 0n && kind === 'top_up') {
    throw refuse('invalid_parameter', { message: 'A top-up must be positive; take credit back with an adjustment.', param: 'amount' });
  }
  return amountNanos;
}

async function projectTarget(deps: AdminGrantsDeps, projectId: string | undefined): Promise<GrantTarget> {
  const project = projectId !== undefined && isId(projectId, 'prj_') ? await deps.directory.project(projectId) : null;
  if (project === null) throw refuse('resource_not_found', { message: 'There is no such project.', param: 'project_id' });
  return {
    accountId: accountIdOf(project.projectId),
    projectId: project.projectId,
    consumerId: null,
    opening: projectOpening(project, deps.preset),
  };
}

async function consumerTarget(deps: AdminGrantsDeps, consumerId: string): Promise<GrantTarget> {
  const consumer = isId(consumerId, 'con_') ? await deps.directory.consumerById(consumerId) : null;
  const project = consumer === null ? null : await deps.directory.project(consumer.projectId);
  if (consumer === null || project === null) {
    throw refuse('resource_not_found', { message: 'There is no such consumer.', param: 'consumer_id' });
  }
  return {
    accountId: accountIdOf(consumer.consumerId),
    projectId: consumer.projectId,
    consumerId: consumer.consumerId,
    opening: consumerOpening(consumer, project.environment, deps.preset),
  };
}

/**
 * The grant id that an Idempotency-Key stands for. It carries no time, so the ledger remembers it only within its window of the account's
 * latest grants and refuses it (never grants twice) beyond; a `grant_id` has no such limit.
 */
function grantIdOfKey(key: string | null): string | null {
  return key === null ? null : `grt_key_${createHash('sha256').update(key).digest('hex').slice(0, 40)}`;
}

type GrantTerms = {
  readonly grantId: string;
  readonly kind: 'adjustment' | 'top_up';
  readonly amountNanos: bigint;
  readonly reason: string;
};

async function grant(deps: AdminGrantsDeps, target: GrantTarget, terms: GrantTerms) {
  const result = await deps.ledger.grant({ accountId: target.accountId, opening: target.opening, ...terms });
  if (result.status === 'refused') throw grantRefusal(result.reason);
  return result;
}

function grantRefusal(reason: Extract<GrantResult, { status: 'refused' }>['reason']) {
  switch (reason) {
    case 'grant_exists_with_different_terms':
      return refuse('conflict', { message: 'This id was used for a grant of another amount or kind.' });
    case 'grant_id_too_old':
      return refuse('conflict', { message: 'This id is too old to tell whether it was used. Look at the books, then use a new one.' });
    case 'insufficient_credit':
      return refuse('conflict', { message: 'The adjustment is larger than the available balance.', param: 'amount' });
    case 'unit_mismatch':
      return refuse('conflict', { message: 'The account is kept in another unit than this offer.' });
    case 'amount_out_of_range':
      return refuse('invalid_parameter', { message: 'The amount is larger than one grant may be.', param: 'amount' });
  }
}
