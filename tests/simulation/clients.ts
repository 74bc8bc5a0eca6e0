/** The people outside: they ask, hang up, ask again under the same key, top up, and repeat commands that had been answered long ago. */
import { accountIdOf, makeId, type PriceTerms } from '../../events/contract/index.js';
import type { AccountOpening, GrantCredit } from '../../services/ledger/ledger-client.js';
import type { Answer, ApiNode, Connection, SimulatedRequest } from './api-node.js';
import type { Deployment } from './deployment.js';
import { latencyMs } from './network.js';
import { HISTORY_STARTS_MS } from './timeline.js';
import { mustHold } from './violation.js';
import type { World } from './world.js';

const REQUESTS_MAX = 24;
const ARRIVALS_MS_MAX = 6_000;
/** Askings of one request; who has a key asks again until there is an answer. */
const ASKINGS_MAX = 5;
const TERMS: readonly PriceTerms[] = [
  {
    kind: 'per_token',
    inputPerMillionNanos: 1_000_001n,
    cachedInputPerMillionNanos: 333_333n,
    outputPerMillionNanos: 7_500_000n,
    rounding: 'up',
  },
  {
    kind: 'per_token',
    inputPerMillionNanos: 500_000n,
    cachedInputPerMillionNanos: 900_000n,
    outputPerMillionNanos: 2_500_000n,
    rounding: 'half_even',
  },
  {
    kind: 'per_run',
    pricePerRunNanos: 90n,
    includedTokens: 60,
    overagePerThousandNanos: 777n,
    overageUnit: 'token',
    rounding: 'half_even',
  },
  {
    kind: 'per_run',
    pricePerRunNanos: 40n,
    includedTokens: 30,
    overagePerThousandNanos: 55n,
    overageUnit: 'started_thousand',
    rounding: 'up',
  },
  { kind: 'per_started_thousand', pricePerStartedThousandNanos: 120n },
];

type Payer = { readonly accountId: string; readonly projectId: string; readonly opening: AccountOpening };

export class Clients {
  readonly #world: World;
  readonly #deployment: Deployment;
  readonly #answers = new Map<string, string>();
  #waiting = 0;
  #ids = 0;

  constructor(world: World, deployment: Deployment) {
    this.#world = world;
    this.#deployment = deployment;
  }

  /** Clients that have not had their last answer. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Plans everything that will be asked. */
  start(): void {
    const { random, timeline, outside } = this.#world;
    const payers = this.#payers();
    const requests = random.between(3, REQUESTS_MAX);
    for (let request = 0; request < requests; request += 1) {
      this.#waiting += 1;
      const asked = this.#request(random.pick(payers));
      timeline.after(outside, 'client asks', random.below(ARRIVALS_MS_MAX), () => this.#ask(asked, 1));
    }
    for (let grants = random.below(5); grants > 0; grants -= 1) {
      this.#waiting += 1;
      const grant = this.#grant(random.pick(payers));
      timeline.after(outside, 'client grants', random.below(ARRIVALS_MS_MAX), () => this.#askGrant(grant, 1));
    }
  }

  #payers(): Payer[] {
    const { random, oracle } = this.#world;
    const projectId = this.#id('prj');
    return Array.from({ length: random.between(1, 3) }, (_, index) => {
      const consumerId = this.#id('con');
      const holder = index === 0 ? ({ kind: 'project', projectId } as const) : ({ kind: 'consumer', projectId, consumerId } as const);
      const accountId = accountIdOf(index === 0 ? projectId : consumerId);
      const starterNanos = BigInt(random.pick([0, 300, 1_500, 40_000]));
      if (starterNanos > 0n) oracle.starters.set(accountId, starterNanos);
      return { accountId, projectId, opening: { holder, unit: 'USD', environment: 'live', starterNanos } };
    });
  }

  #request({ accountId, projectId, opening }: Payer): SimulatedRequest {
    const { random } = this.#world;
    return {
      projectId,
      accountId,
      opening,
      idempotencyKey: random.chance(0.4) ? `key-${random.below(3 * REQUESTS_MAX)}` : null,
      content: 'x'.repeat(1 + random.below(80)),
      outputTokensMax: 1 + random.below(40),
      outputTokensExplicit: random.chance(0.5),
      terms: random.pick(TERMS),
      cancelPolicy: random.pick(['charge_generated', 'refund_all']),
      deadlineAfterMs: random.between(1_500, 12_000),
      stream: random.chance(0.5),
    };
  }

  #grant({ accountId, opening }: Payer): GrantCredit {
    const { random } = this.#world;
    const isAdjustment = random.chance(0.4);
    const amount = BigInt(1 + random.below(2_000));
    const grant: GrantCredit = {
      accountId,
      grantId: this.#id('grt'),
      opening,
      kind: isAdjustment ? 'adjustment' : 'top_up',
      amountNanos: isAdjustment && random.chance(0.5) ? -amount : amount,
      reason: 'simulated',
    };
    this.#world.asks.grant(grant);
    return grant;
  }

  #ask(request: SimulatedRequest, asking: number): void {
    const { random, timeline, outside, network } = this.#world;
    const api = this.#deployment.api();
    let isOver = false;
    const end = (askAgain: boolean) => {
      if (isOver) return;
      isOver = true;
      if (askAgain && asking < ASKINGS_MAX) {
        timeline.after(outside, 'client asks again', random.between(50, 4_000), () => this.#ask(request, asking + 1));
      } else this.#waiting -= 1;
    };
    if (api === null) {
      end(true);
      return;
    }
    const connection: Connection = { isOpen: true, onClose: () => {} };
    // The connection breaks with its server; who has no key cannot know whether asking again would be charged again.
    api.actor.onDeath(() => end(request.idempotencyKey !== null));
    if (random.chance(network.faults.clientDisconnects)) {
      timeline.after(outside, 'client hangs up', random.below(2_000), () => {
        if (isOver) return;
        connection.isOpen = false;
        connection.onClose();
        end(request.idempotencyKey !== null);
      });
    }
    api.chat(request, connection).then(
      (answer) => {
        timeline.after(outside, `answer: ${answer.status}`, latencyMs(network), () => {
          if (isOver) return;
          this.#world.check(() => this.#checkAnswer(request, answer));
          end(request.idempotencyKey !== null && isWorthAskingAgain(answer));
        });
      },
      (error: unknown) => {
        this.#world.trace.note(`request failed: ${String(error)}`);
        timeline.after(outside, 'answer: failed', latencyMs(network), () => end(true));
      },
    );
    this.#maybeRepeat(api, request);
  }

  /** What the client is told is what the books say, and one key gives one answer. */
  #checkAnswer(request: SimulatedRequest, answer: Answer): void {
    if (answer.status !== 'completed' && answer.status !== 'replayed') return;
    const { oracle } = this.#world;
    const body = JSON.parse(answer.body) as { runId: string; text: string; chargedNanos: string; completionTokens: number };
    const run = oracle.runs.get(body.runId);
    const books = run === undefined ? 'nothing' : `${run.outcome} ${run.charged} ${run.usage?.completionTokens}`;
    const told = `completed ${body.chargedNanos} ${body.completionTokens}`;
    mustHold(told === books, '11 durable', () => `run ${body.runId} was answered as ${told}; the books say ${books}`);
    const isWhole = oracle.evidence.get(body.runId)?.some((one) => one.outcome === 'completed' && one.text === body.text) ?? false;
    mustHold(isWhole, 'answers are whole', () => `run ${body.runId} was answered with ${JSON.stringify(body.text)}`);
    if (request.idempotencyKey === null) return;
    const before = this.#answers.get(request.idempotencyKey);
    mustHold(
      before === undefined || before === answer.body,
      '5 idempotency',
      () => `key ${request.idempotencyKey}: ${before} became ${answer.body}`,
    );
    this.#answers.set(request.idempotencyKey, answer.body);
  }

  /** A proxy, a queue or a nervous operator sends an old command again. */
  #maybeRepeat(api: ApiNode, { accountId }: SimulatedRequest): void {
    const { random, network, timeline, outside, oracle, asks } = this.#world;
    if (!random.chance(network.faults.commandRepeated)) return;
    timeline.after(outside, 'command repeated', random.below(15_000), () => {
      if (!api.actor.isAlive) return;
      const commands = [...oracle.reservationsAsked.values()].flat().filter((one) => one.accountId === accountId);
      if (commands.length === 0) return;
      const command = random.pick(commands);
      api.ledger.reserve(command).then(
        (result) => asks.onReserved(command, result),
        () => {},
      );
    });
  }

  #askGrant(grant: GrantCredit, asking: number): void {
    const { random, timeline, outside, asks } = this.#world;
    const again = () => {
      if (asking === 2 * ASKINGS_MAX) this.#waiting -= 1;
      else timeline.after(outside, 'client grants again', random.between(50, 3_000), () => this.#askGrant(grant, asking + 1));
    };
    const api = this.#deployment.api();
    if (api === null) {
      again();
      return;
    }
    let isAnswered = false;
    const once = (work: () => void) => {
      if (!isAnswered) work();
      isAnswered = true;
    };
    api.actor.onDeath(() => once(again));
    api.ledger.grant(grant).then(
      (result) =>
        once(() => {
          asks.onGranted(grant, result);
          this.#waiting -= 1;
          if (random.chance(this.#world.network.faults.commandRepeated)) void api.ledger.grant(grant).catch(() => {});
        }),
      () => once(again),
    );
  }

  #id(prefix: 'prj' | 'con' | 'grt'): string {
    const random = new Uint8Array(10);
    this.#ids += 1;
    new DataView(random.buffer).setUint32(6, this.#ids);
    return makeId(prefix, HISTORY_STARTS_MS, random);
  }
}

function isWorthAskingAgain(answer: Answer): boolean {
  if (answer.status === 'refused') return answer.reason !== 'insufficient_credit' && answer.reason !== 'idempotency_key_reused';
  return answer.status === 'not_completed';
}
