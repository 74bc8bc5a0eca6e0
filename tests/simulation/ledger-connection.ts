/** The API's calls to the ledger service: any live node may answer, a call may get lost, twice sent or answered in vain. */
import { type LedgerClient, LedgerUnavailableError } from '../../services/ledger/ledger-client.js';
import type { LedgerNode } from './components.js';
import { latencyMs } from './network.js';
import type { Actor } from './timeline.js';
import type { World } from './world.js';

/** The HTTP client's patience; longer than the ledger's own. */
const CALL_TIMEOUT_MS = 6_000;

export function connectLedger(world: World, actor: Actor, nodes: () => readonly LedgerNode[]): LedgerClient {
  const call = <Answer>(label: string, ask: (client: LedgerClient) => Promise<Answer>): Promise<Answer> => {
    const { network, timeline } = world;
    const { random, faults } = network;
    const isLost = random.chance(faults.callLost);
    const isAnswerLost = random.chance(faults.callAnswerLost);
    const calls = random.chance(faults.callDoubled) ? 2 : 1;
    return new Promise((resolve, reject) => {
      const stopWaiting = timeline.after(actor, `${label} timed out`, CALL_TIMEOUT_MS, () =>
        reject(new LedgerUnavailableError(`${label}: no answer`)),
      );
      for (let sent = 0; sent < calls && !isLost; sent += 1) {
        timeline.after(world.outside, `call ${label}`, latencyMs(network), () => {
          const alive = nodes().filter((node) => node.actor.isAlive);
          const answer = (work: () => void) => {
            if (isAnswerLost) return;
            timeline.after(actor, `${label} answered`, latencyMs(network), () => {
              stopWaiting();
              work();
            });
          };
          if (alive.length === 0) {
            answer(() => reject(new LedgerUnavailableError('no ledger is there')));
            return;
          }
          ask(random.pick(alive).client).then(
            (result) => answer(() => resolve(result)),
            (error: unknown) => answer(() => reject(error)),
          );
        });
      }
    });
  };
  return {
    openAccount: (command) => call('open account', (client) => client.openAccount(command)),
    reserve: (command) => call('reserve', (client) => client.reserve(command)),
    grant: (command) => call('grant', (client) => client.grant(command)),
    balance: (accountId) => call('balance', (client) => client.balance(accountId)),
    reservation: (accountId, runId) => call('reservation', (client) => client.reservation(accountId, runId)),
    accountEvents: (range) => call('account events', (client) => client.accountEvents(range)),
    abandonRun: (run) => call('abandon run', (client) => client.abandonRun(run)),
  };
}
