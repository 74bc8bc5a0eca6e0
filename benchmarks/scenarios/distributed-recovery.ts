/** How long the service goes without a paid success after one process is killed under load, and how long until every client has had one. */
import type { Pool } from 'pg';
import type { DistributedFarebox } from '../support/distributed.js';
import type { Figure } from '../support/figures.js';
import { type Asked, startPayingClients } from '../support/paying-clients.js';
import type { ServiceChild } from '../support/service-child.js';
import { SettlementWatch } from '../support/settlement-watch.js';

const CLIENTS = 16;
/** Both ledgers have accounts among them. */
const PROJECTS = 8;
/** A consumer group finds out at different moments of its session. */
const KILLS = 2;
const BEFORE_KILL_MS = 2_000;
const RECOVERY_MS_MAX = 60_000;
const LOOK_EVERY_MS = 5;
const SUCCESS_MS_MAX = 5_000;
const GROUP_MEMBER_SUCCESS_MS_MAX = 10_000;

type Victim = { readonly name: string; readonly service: ServiceChild; readonly maxMs: number };

type Recovery = {
  /** From the kill to the first answer to a request that was sent after it. */
  readonly firstMs: number;
  /** Until each client has had such an answer. */
  readonly everyClientMs: number;
  /** Until such a request's settlement is in the views. */
  readonly viewsMs: number;
};

export async function recoveryFigures(farebox: DistributedFarebox, pool: Pool, say: (line: string) => void): Promise<Figure[]> {
  const keys: string[] = [];
  for (let n = 0; n < PROJECTS; n += 1) keys.push(await farebox.payingKey(`recovery-${n}`));
  const victims: Victim[] = [
    { name: 'the API, started again', service: farebox.api, maxMs: SUCCESS_MS_MAX },
    ...farebox.ledgers.map((service, n) => ({ name: `ledger ${n + 1} of 2`, service, maxMs: GROUP_MEMBER_SUCCESS_MS_MAX })),
    { name: 'the projector, started again', service: farebox.projector, maxMs: GROUP_MEMBER_SUCCESS_MS_MAX },
    { name: 'worker 1 of 2', service: farebox.workers[0] as ServiceChild, maxMs: GROUP_MEMBER_SUCCESS_MS_MAX },
  ];
  const figures: Figure[] = [];
  for (const victim of victims) {
    const recoveries: Recovery[] = [];
    for (let kill = 0; kill < KILLS; kill += 1) {
      const recovery = await recover(farebox, pool, keys, victim.service);
      say(
        `${victim.name} killed: paid success after ${Math.round(recovery.firstMs)} ms, of every client after ${Math.round(recovery.everyClientMs)} ms, in the views after ${Math.round(recovery.viewsMs)} ms`,
      );
      recoveries.push(recovery);
    }
    figures.push(...figuresOf(victim, recoveries));
  }
  return figures;
}

/** The slower of the kills. */
function figuresOf({ name, maxMs }: Victim, recoveries: readonly Recovery[]): Figure[] {
  const worst = (of: (recovery: Recovery) => number) => Math.max(...recoveries.map(of));
  const held = (what: string, value: number): Figure => ({
    name: `kill -9 of ${name}: ${what}`,
    value,
    unit: 'ms',
    target: { text: `<= ${maxMs} ms`, isMet: value <= maxMs },
  });
  return [
    held(
      'next paid success',
      worst(({ firstMs }) => firstMs),
    ),
    held(
      `of every one of ${CLIENTS} clients`,
      worst(({ everyClientMs }) => everyClientMs),
    ),
    held(
      'settlement in the views',
      worst(({ viewsMs }) => viewsMs),
    ),
  ];
}

/** A killed API or projector is started again at once, because there is no other; of the rest another takes over first. */
async function recover(farebox: DistributedFarebox, pool: Pool, keys: readonly string[], victim: ServiceChild): Promise<Recovery> {
  let killedMs = Number.POSITIVE_INFINITY;
  let firstMs = Number.NaN;
  let viewsMs = Number.NaN;
  const recovered = new Set<number>();
  let everyClientMs = Number.NaN;
  const watch = new SettlementWatch(pool, ({ seenMs }) => {
    if (Number.isNaN(viewsMs)) viewsMs = seenMs - killedMs;
  });
  const onAsked = ({ client, sentMs, endedMs, runId }: Asked) => {
    if (runId === null || sentMs < killedMs) return;
    if (Number.isNaN(firstMs)) firstMs = endedMs - killedMs;
    if (Number.isNaN(viewsMs)) watch.expect(runId, sentMs);
    recovered.add(client);
    if (recovered.size === CLIENTS && Number.isNaN(everyClientMs)) everyClientMs = endedMs - killedMs;
  };
  const clients = startPayingClients({ baseUrl: farebox.baseUrl, keys, clients: CLIENTS, onAsked });
  await pause(BEFORE_KILL_MS);
  killedMs = performance.now();
  await victim.end('SIGKILL');
  const isAlone = victim === farebox.api || victim === farebox.projector;
  if (isAlone) victim.startAgain();
  while (Number.isNaN(everyClientMs) || Number.isNaN(viewsMs)) {
    if (performance.now() - killedMs > RECOVERY_MS_MAX)
      throw new Error(`no recovery in ${RECOVERY_MS_MAX} ms after a ${victim.name} was killed`);
    await pause(LOOK_EVERY_MS);
  }
  if (!isAlone) victim.startAgain();
  await victim.ready();
  await clients.stop();
  await watch.stop();
  return { firstMs, everyClientMs, viewsMs };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
