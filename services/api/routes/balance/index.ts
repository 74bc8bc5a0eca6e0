/** What the caller's project can spend, from the ledger's own truth rather than a view. */
import { z } from 'zod';
import { accountIdOf, formatAmount } from '../../../../events/contract/index.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import type { LedgerClient } from '../../../ledger/ledger-client.js';
import { creditsField } from '../../presentation/amounts.js';
import { amountText, environmentName, unitText } from '../../presentation/fields.js';
import { defineRoute, type RouteDefinition } from '../../route.js';

export type BalanceDeps = {
  readonly ledger: Pick<LedgerClient, 'balance'>;
  readonly preset: Pick<Preset, 'unit' | 'starter_credit'>;
};

export const BalanceObject = z
  .object({
    object: z.literal('balance'),
    project_id: z.string(),
    environment: environmentName,
    unit: unitText,
    available: amountText.meta({ description: 'What can be spent now.' }),
    held: amountText.meta({ description: 'Reserved for requests that are running.' }),
    credits_balance: z.number().optional().meta({ description: 'Only where the unit is credits.' }),
  })
  .meta({ id: 'Balance' });

export function balanceRoutes(deps: BalanceDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/balance',
      operationId: 'getBalance',
      summary: 'What the project can spend, and what is held for running requests',
      tag: 'Billing',
      policy: 'project_key',
      responses: { 200: { description: 'The balance', schema: BalanceObject } },
      handle: async ({ caller }) => {
        const balance = await readBalance(deps, accountIdOf(caller.projectId));
        return {
          status: 200,
          body: {
            object: 'balance',
            project_id: caller.projectId,
            environment: caller.environment,
            unit: balance.unit,
            available: formatAmount(balance.availableNanos),
            held: formatAmount(balance.heldNanos),
            ...creditsField('credits_balance', balance.availableNanos, balance.unit),
          },
        };
      },
    }),
  ];
}

/** An account that was never opened will be, with its starter credit, by the project's first request: that is what it can spend. */
async function readBalance(deps: BalanceDeps, accountId: string) {
  const balance = await deps.ledger.balance(accountId);
  return balance ?? { unit: deps.preset.unit, availableNanos: deps.preset.starter_credit.project, heldNanos: 0n };
}
