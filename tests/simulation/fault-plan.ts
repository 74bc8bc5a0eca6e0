/** What goes wrong in a history, drawn from its seed: some seeds have one kind of fault only, some have nearly all. */
import type { SeededRandom } from './seeded-random.js';

/** `embedded`: one process, whose death takes the bus along. `distributed`: each component dies alone, the bus remembers. */
export type Deployment = 'embedded' | 'distributed';

/** Probabilities are per operation. */
export type FaultPlan = {
  readonly deployment: Deployment;
  /** A second ledger on the same store and accounts, reachable like the first. */
  readonly zombieLedger: boolean;
  readonly workers: number;
  /** Longest way of a message, append or answer. */
  readonly latencyMsMax: number;
  /** An append is refused before anything is written. */
  readonly appendRefused: number;
  /** An append is written and its answer never comes back. */
  readonly appendAnswerLost: number;
  /** An append is reported as failed and is written afterwards. */
  readonly appendLandsLate: number;
  readonly readFails: number;
  readonly publishRefused: number;
  /** A publication arrives and is reported as failed. */
  readonly publishAnswerLost: number;
  /** A message is published twice. */
  readonly publishDoubled: number;
  /** A handled batch is delivered again. */
  readonly deliveredAgain: number;
  /** A view's transaction fails, or is committed and reported as failed. */
  readonly commitFails: number;
  /** A call to the ledger never arrives, its answer never comes back, or it arrives twice. */
  readonly callLost: number;
  readonly callAnswerLost: number;
  readonly callDoubled: number;
  /** Components killed between two steps, per step. */
  readonly crash: number;
  /** An actor's clock jumps, per step. */
  readonly clockJump: number;
  readonly clockSkewMsMax: number;
  readonly engineFails: number;
  readonly engineSlow: number;
  readonly clientDisconnects: number;
  /** Reserve and settle commands sent again, with the same ids. */
  readonly commandRepeated: number;
  /** A run's result is stuck on its way, often beyond the deadline and the hold's end. */
  readonly resultLate: number;
  /** The view names holds that are not due yet. */
  readonly viewTooEager: number;
};

export function drawFaultPlan(random: SeededRandom): FaultPlan {
  /** Each kind of fault is present in some histories only, so that it is also met alone. */
  const sometimes = (probability: number, share = 0.4) => (random.chance(share) ? probability : 0);
  return {
    deployment: random.chance(0.35) ? 'embedded' : 'distributed',
    zombieLedger: random.chance(0.4),
    workers: random.between(1, 2),
    latencyMsMax: random.pick([0, 5, 40, 400]),
    appendRefused: sometimes(0.08),
    appendAnswerLost: sometimes(0.08),
    appendLandsLate: sometimes(0.08),
    readFails: sometimes(0.05),
    publishRefused: sometimes(0.06),
    publishAnswerLost: sometimes(0.06),
    publishDoubled: sometimes(0.1),
    deliveredAgain: sometimes(0.1),
    commitFails: sometimes(0.1),
    callLost: sometimes(0.05),
    callAnswerLost: sometimes(0.08),
    callDoubled: sometimes(0.1),
    crash: sometimes(0.012, 0.5),
    clockJump: sometimes(0.005, 0.25),
    clockSkewMsMax: 3_000,
    engineFails: sometimes(0.15),
    engineSlow: sometimes(0.15),
    clientDisconnects: sometimes(0.25),
    commandRepeated: sometimes(0.15),
    resultLate: sometimes(0.15, 0.3),
    viewTooEager: sometimes(0.3, 0.3),
  };
}

/** The plan of the last phase: everything heals. */
export function withoutFaults(plan: FaultPlan): FaultPlan {
  return {
    ...plan,
    latencyMsMax: Math.min(plan.latencyMsMax, 5),
    appendRefused: 0,
    appendAnswerLost: 0,
    appendLandsLate: 0,
    readFails: 0,
    publishRefused: 0,
    publishAnswerLost: 0,
    publishDoubled: 0,
    deliveredAgain: 0,
    commitFails: 0,
    callLost: 0,
    callAnswerLost: 0,
    callDoubled: 0,
    crash: 0,
    clockJump: 0,
    engineFails: 0,
    engineSlow: 0,
    clientDisconnects: 0,
    commandRepeated: 0,
    resultLate: 0,
    viewTooEager: 0,
  };
}
