/** Results are settled by the instance that has the account, over HTTP between two real ones, and here when that one cannot be reached. */
import { expect, test } from '@jest/globals';
import { NO_USAGE } from '../../../events/contract/index.js';
import type { SettleReservationCommand } from '../domain/commands.js';
import { LedgerUnavailableError } from '../ledger-client.js';
import type { Settlement } from '../reactors/settle-finished-runs.js';
import { settleWherePreferred } from './settle-where-preferred.js';

const COMMAND: SettleReservationCommand = {
  type: 'SettleReservation',
  accountId: 'acc_1',
  runId: 'run_1',
  outcome: 'completed',
  finishReason: 'stop',
  usage: NO_USAGE,
  errorCode: null,
  attempt: 1,
};
const HERE: Settlement = { closed: null, availableNanos: 1n, revision: 1 };
const THERE: Settlement = { closed: null, availableNanos: 2n, revision: 2 };

function settling(preferred: string, peer: () => Promise<Settlement>) {
  const asked: string[] = [];
  const settle = settleWherePreferred({
    ownUrl: 'http://here',
    peers: {
      preferredFor: () => preferred,
      settle: () => {
        asked.push('there');
        return peer();
      },
    },
    settleHere: async () => {
      asked.push('here');
      return HERE;
    },
  });
  return { settle, asked };
}

test('an account of this instance is settled here', async () => {
  const { settle, asked } = settling('http://here', async () => THERE);
  expect([await settle(COMMAND), asked]).toEqual([HERE, ['here']]);
});

test('an account of another is settled there', async () => {
  const { settle, asked } = settling('http://there', async () => THERE);
  expect([await settle(COMMAND), asked]).toEqual([THERE, ['there']]);
});

test('when no instance answers it is settled here; a fault is a fault', async () => {
  const gone = settling('http://there', () => Promise.reject(new LedgerUnavailableError('gone')));
  expect([await gone.settle(COMMAND), gone.asked]).toEqual([HERE, ['there', 'here']]);
  const broken = settling('http://there', () => Promise.reject(new Error('a bug')));
  await expect(broken.settle(COMMAND)).rejects.toThrow('a bug');
});
