/** The way between an actor and everything outside it: each message takes its time, and the fault plan decides what becomes of it. */
import type { FaultPlan } from './fault-plan.js';
import type { SeededRandom } from './seeded-random.js';
import type { Actor, Timeline } from './timeline.js';

/** A fault of the plan, as the component sees it. */
export class SimulatedFault extends Error {
  override readonly name = 'SimulatedFault';
}

export type Network = {
  readonly timeline: Timeline;
  readonly random: SeededRandom;
  /** Whatever does not die with a component: the disk, the broker, the wire. */
  readonly outside: Actor;
  /** The plan that holds now. */
  faults: FaultPlan;
};

export function latencyMs(network: Network): number {
  const { latencyMsMax } = network.faults;
  return latencyMsMax === 0 ? 0 : network.random.below(latencyMsMax + 1);
}

/** How a request over the network may end. */
export type Fate = 'done' | 'refused' | 'answer_lost' | 'lands_late';

export function drawFate(
  network: Network,
  odds: { readonly refused: number; readonly answerLost: number; readonly landsLate?: number },
): Fate {
  const { random } = network;
  if (random.chance(odds.refused)) return 'refused';
  if (random.chance(odds.answerLost)) return 'answer_lost';
  if (random.chance(odds.landsLate ?? 0)) return 'lands_late';
  return 'done';
}

/** Runs a handler that may return a promise, throw or do neither. */
export async function handled(handle: () => Promise<void> | void): Promise<void> {
  await handle();
}

/** How much later a write that was reported as failed still lands. */
const LANDS_LATE_MS_MAX = 3_000;

/**
 * Sends `request` from `actor` to the outside and brings the answer back. `perform` runs where crashes of the actor do not reach it; the answer
 * of a dead actor's request goes nowhere.
 */
export function overNetwork<Answer>(
  network: Network,
  actor: Actor,
  label: string,
  fate: Fate,
  perform: () => Promise<Answer>,
): Promise<Answer> {
  const { timeline, outside } = network;
  return new Promise((resolve, reject) => {
    if (!actor.isAlive) return;
    const refuse = () => reject(new SimulatedFault(`${label}: ${fate}`));
    if (fate === 'refused') {
      timeline.after(actor, `${label} refused`, latencyMs(network), refuse);
      return;
    }
    let performAfterMs = latencyMs(network);
    if (fate === 'lands_late') {
      timeline.after(actor, `${label} reported failed`, performAfterMs, refuse);
      performAfterMs += network.random.below(LANDS_LATE_MS_MAX);
    }
    timeline.after(outside, label, performAfterMs, () => {
      perform().then(
        (answer) => {
          if (fate === 'lands_late') return;
          const comeBack = fate === 'answer_lost' ? refuse : () => resolve(answer);
          timeline.after(actor, `${label} answered`, latencyMs(network), comeBack);
        },
        (error: unknown) => {
          if (fate !== 'lands_late') timeline.after(actor, `${label} failed`, latencyMs(network), () => reject(error));
        },
      );
    });
  });
}
