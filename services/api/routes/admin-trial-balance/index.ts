/** The trial balance: what stands on every ledger account, and whether it sums to zero, per unit and environment. */
import { z } from 'zod';
import { formatAmount } from '../../../../events/contract/index.js';
import { amountText, count, environmentName, unitText } from '../../presentation/fields.js';
import type { ReadModel, TrialBalanceLine } from '../../read-model/read-model.js';
import { defineRoute, type RouteDefinition } from '../../route.js';

export type AdminTrialBalanceDeps = { readonly readModel: Pick<ReadModel, 'trialBalance'> };

export const TrialBalanceObject = z
  .object({
    object: z.literal('trial_balance'),
    balanced: z.boolean().meta({ description: 'Whether every book below sums to zero.' }),
    books: z.array(
      z.object({
        unit: unitText,
        environment: environmentName,
        balanced: z.boolean(),
        sum: amountText,
        accounts: z.array(z.object({ account: z.string().meta({ examples: ['revenue'] }), balance: amountText, postings: count })),
      }),
    ),
  })
  .meta({ id: 'TrialBalance' });

export function adminTrialBalanceRoutes(deps: AdminTrialBalanceDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/admin/trial-balance',
      operationId: 'getTrialBalance',
      summary: 'What stands on every ledger account, and whether it sums to zero',
      tag: 'Admin',
      policy: 'admin',
      responses: { 200: { description: 'The trial balance', schema: TrialBalanceObject } },
      handle: async () => {
        const books = booksOf(await deps.readModel.trialBalance());
        return { status: 200, body: { object: 'trial_balance', balanced: books.every((book) => book.balanced), books } };
      },
    }),
  ];
}

function booksOf(lines: readonly TrialBalanceLine[]) {
  const byBook = new Map<string, TrialBalanceLine[]>();
  for (const line of lines) {
    const name = `${line.unit}\n${line.environment}`;
    const book = byBook.get(name) ?? [];
    book.push(line);
    byBook.set(name, book);
  }
  return [...byBook.values()].map((book) => {
    const sumNanos = book.reduce((sum, line) => sum + line.balanceNanos, 0n);
    return {
      unit: book[0]?.unit,
      environment: book[0]?.environment,
      balanced: sumNanos === 0n,
      sum: formatAmount(sumNanos),
      accounts: book.map((line) => ({ account: line.ledgerAccount, balance: formatAmount(line.balanceNanos), postings: line.postings })),
    };
  });
}
