/** Runs one history: a stretch with the seed's faults, then one without any, in which everything must converge. */
import { Clients } from './clients.js';
import { type Deployment, deploy } from './deployment.js';
import { checkEnd } from './end-checks.js';
import { type FaultPlan, withoutFaults } from './fault-plan.js';
import { type Mutation, NO_MUTATION } from './mutations/mutation.js';
import { HISTORY_STARTS_MS, settled } from './timeline.js';
import { Violation } from './violation.js';
import { World } from './world.js';

/** Faults stop here at the latest. */
const FAULTS_MS_MAX = 25_000;
/** Far beyond the longest deadline plus grace; what has not converged by then never will. */
const CONVERGENCE_MS_MAX = 90_000;
/** A history that takes more steps than this runs in circles. */
const STEPS_MAX = 60_000;
/** Convergence is looked at now and then; between two looks nothing can be missed, since it is a state, not an event. */
const STEPS_PER_LOOK = 8;

export type HistoryResult = {
  readonly seed: number;
  readonly plan: FaultPlan;
  readonly violation: Violation | null;
  /** Of every step, its time and what it wrote or published. */
  readonly traceHash: string;
  readonly trace: readonly string[];
  readonly steps: number;
  readonly events: number;
  readonly runs: number;
};

export async function runHistory(
  seed: number,
  options: { readonly mutation?: Mutation; readonly keepsTrace?: boolean } = {},
): Promise<HistoryResult> {
  const world = new World(seed, options.mutation ?? NO_MUTATION, options.keepsTrace ?? false);
  try {
    const deployment = deploy(world);
    const clients = new Clients(world, deployment);
    clients.start();
    await runFaulty(world, deployment, clients);
    await runCalm(world, deployment, clients);
    if (world.violation === null) await checkEnd(world, deployment);
  } catch (error) {
    world.fail(error);
  }
  return {
    seed,
    plan: world.plan,
    violation: world.violation,
    traceHash: world.trace.hash,
    trace: world.trace.lines,
    steps: world.timeline.steps,
    events: world.oracle.log.length,
    runs: world.oracle.runs.size,
  };
}

async function runFaulty(world: World, deployment: Deployment, clients: Clients): Promise<void> {
  const { timeline, network, random } = world;
  while (clients.waiting > 0 && timeline.nowMs < HISTORY_STARTS_MS + FAULTS_MS_MAX) {
    if (!(await step(world))) return;
    if (random.chance(network.faults.crash)) deployment.crash();
    if (random.chance(network.faults.clockJump)) {
      const skewMs = random.between(-network.faults.clockSkewMsMax, network.faults.clockSkewMsMax);
      random.pick(deployment.actors()).clockSkewMs = skewMs;
      world.trace.note(`a clock jumps to ${skewMs} ms off`);
    }
  }
}

async function runCalm(world: World, deployment: Deployment, clients: Clients): Promise<void> {
  const { timeline, network, trace } = world;
  trace.note('faults end');
  network.faults = withoutFaults(world.plan);
  deployment.heal();
  for (const actor of deployment.actors()) actor.clockSkewMs = 0;
  const giveUpAtMs = timeline.nowMs + CONVERGENCE_MS_MAX;
  for (let steps = 1; ; steps += 1) {
    if (!(await step(world))) return;
    if (steps % STEPS_PER_LOOK !== 0) continue;
    const missing = whatIsMissing(world, deployment, clients);
    if (missing === null) return;
    if (timeline.nowMs > giveUpAtMs) throw new Violation('4 liveness', `not converged without faults: ${missing}`);
  }
}

/** `false` when the history is over. */
async function step(world: World): Promise<boolean> {
  if (!world.timeline.step()) return false;
  await settled();
  if (world.timeline.steps > STEPS_MAX) throw new Violation('4 liveness', `more than ${STEPS_MAX} steps`);
  return world.violation === null;
}

function whatIsMissing({ oracle, views, published }: World, deployment: Deployment, clients: Clients): string | null {
  if (clients.waiting > 0) return `${clients.waiting} clients wait`;
  if (deployment.unfinished() > 0) return `${deployment.unfinished()} commands, runs or orphans are unfinished`;
  const open = [...oracle.runs].find(([, run]) => run.outcome === null);
  if (open !== undefined) return `run ${open[0]} is still held`;
  if (published.events < oracle.log.length) return `${published.events} of ${oracle.log.length} events are on the bus`;
  if (views.events < oracle.log.length) return `${views.events} of ${oracle.log.length} events are in the views`;
  return null;
}
