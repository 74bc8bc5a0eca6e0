/**
 * One API instance: the request flow of `routes/chat-completions` without HTTP, over the API's real parts (idempotency, replies, runs in flight).
 * What the route does with a response is done with a connection that may close.
 */
import { createHash } from 'node:crypto';
import type { MessageBus } from '../../events/bus/message-bus.js';
import { DEFAULT_POOL, type PriceTerms, type RunRequested, type RunSettled } from '../../events/contract/index.js';
import type { IdSource } from '../../platform/id-source.js';
import type { IdempotencyStore } from '../../services/api/idempotency/idempotency-store.js';
import { type ClaimedRun, Idempotency } from '../../services/api/idempotency/idempotent-run.js';
import { RefusalError } from '../../services/api/refusals.js';
import { Replies } from '../../services/api/runs/replies.js';
import { type RunEnding, RunInFlight } from '../../services/api/runs/run-in-flight.js';
import { type AccountOpening, type LedgerClient, LedgerUnavailableError, type ReserveCredit } from '../../services/ledger/ledger-client.js';
import { overNetwork } from './network.js';
import type { Actor } from './timeline.js';
import type { World } from './world.js';

export type SimulatedRequest = {
  readonly projectId: string;
  readonly accountId: string;
  readonly opening: AccountOpening;
  readonly idempotencyKey: string | null;
  /** One character stands for one token of the bound. */
  readonly content: string;
  readonly outputTokensMax: number;
  readonly outputTokensExplicit: boolean;
  readonly terms: PriceTerms;
  readonly cancelPolicy: ReserveCredit['cancelPolicy'];
  readonly deadlineAfterMs: number;
  readonly stream: boolean;
};

export type Answer =
  | { readonly status: 'completed'; readonly body: string }
  | { readonly status: 'replayed'; readonly body: string }
  | { readonly status: 'refused'; readonly reason: string }
  | { readonly status: 'not_completed'; readonly ending: Exclude<RunEnding, { status: 'completed' }> }
  /** The client had gone and its run was cancelled. */
  | { readonly status: 'gone' };

/** The client's end of one request. */
export type Connection = { isOpen: boolean; onClose: () => void };

type Plan = { readonly request: SimulatedRequest; readonly runId: string; readonly terms: PriceTerms; readonly deadlineMs: number };

export class ApiNode {
  readonly actor: Actor;
  readonly ledger: LedgerClient;
  readonly replies: Replies;
  readonly #world: World;
  readonly #bus: MessageBus;
  readonly #idempotency: Idempotency;
  readonly #ids: IdSource;

  constructor(world: World, actor: Actor, ports: { readonly bus: MessageBus; readonly ledger: LedgerClient }) {
    const { clock, scheduler } = actor;
    this.actor = actor;
    this.ledger = ports.ledger;
    this.#world = world;
    this.#bus = ports.bus;
    this.#ids = world.idsOf(actor);
    const instanceId = this.#ids.next('ins');
    const onTrouble = (message: string) => world.trace.note(`trouble: ${message}`);
    this.replies = new Replies({ bus: ports.bus, clock, scheduler, instanceId, onError: (error) => world.onUnexpected(error) });
    this.#idempotency = new Idempotency({ store: connectKeys(world, actor), ledger: ports.ledger, clock, instanceId, onTrouble });
    this.replies.onTick((nowMs) => this.#idempotency.onTick(nowMs));
  }

  start(): Promise<void> {
    return this.replies.start();
  }

  async chat(request: SimulatedRequest, connection: Connection): Promise<Answer> {
    const runId = this.#ids.next('run');
    const plan: Plan = { request, runId, terms: request.terms, deadlineMs: this.actor.clock.nowMs() + request.deadlineAfterMs };
    try {
      if (request.idempotencyKey === null) return await this.#answer(plan, connection, null);
      const begun = await this.#idempotency.begin({
        projectId: request.projectId,
        key: request.idempotencyKey,
        // The API's digest covers the payer too: one key for two payers is two requests.
        requestDigest: createHash('sha256').update(`${request.accountId}\n${request.content}`).digest(),
        accountId: request.accountId,
        runId,
      });
      if ('replay' in begun) return { status: 'replayed', body: begun.replay };
      return await this.#answer({ ...plan, runId: begun.runId, terms: begun.terms ?? plan.terms }, connection, begun);
    } catch (error) {
      if (error instanceof RefusalError) return { status: 'refused', reason: error.refusal };
      if (error instanceof LedgerUnavailableError) return { status: 'refused', reason: 'ledger_unavailable' };
      throw error;
    }
  }

  async #answer(planned: Plan, connection: Connection, claimed: ClaimedRun | null): Promise<Answer> {
    let plan = planned;
    let claim = claimed;
    let reserved = await this.#reserve(plan, claim);
    if (reserved.status === 'refused' && reserved.reason === 'reservation_id_too_old' && claim !== null) {
      claim = await claim.restart();
      plan = { ...plan, runId: claim.runId };
      reserved = await this.#reserve(plan, claim);
    }
    if (reserved.status === 'refused') {
      await claim?.failed();
      return { status: 'refused', reason: reserved.reason };
    }
    let text = '';
    const ending = await this.#runToEnd(plan, reserved.outputTokensBudget, connection, claim, (more) => {
      text += more;
    });
    if (ending === null) return { status: 'gone' };
    if (ending.status !== 'completed') {
      await tellClaim(claim, ending);
      return { status: 'not_completed', ending };
    }
    const body = bodyOf(plan.runId, text, ending.settled);
    await claim?.completed(body);
    return { status: 'completed', body };
  }

  async #reserve(plan: Plan, claim: ClaimedRun | null) {
    const { request } = plan;
    const command: ReserveCredit = {
      accountId: request.accountId,
      runId: plan.runId,
      opening: request.opening,
      keyId: 'key_simulated',
      model: 'simulated',
      priceVersion: 'simulated',
      terms: plan.terms,
      promptTokensMax: request.content.length,
      outputTokensMax: request.outputTokensMax,
      outputTokensExplicit: request.outputTokensExplicit,
      cancelPolicy: request.cancelPolicy,
      deadlineMs: plan.deadlineMs,
    };
    this.#world.asks.reservation(command, request.idempotencyKey);
    try {
      const result = await this.ledger.reserve(command);
      this.#world.asks.onReserved(command, result);
      return result;
    } catch (error) {
      await claim?.unknown();
      throw error;
    }
  }

  #runToEnd(
    plan: Plan,
    outputTokensBudget: number,
    connection: Connection,
    claim: ClaimedRun | null,
    onText: (text: string) => void,
  ): Promise<RunEnding | null> {
    return new Promise((resolve) => {
      const run = new RunInFlight({
        request: runRequested(plan, outputTokensBudget, this.replies.topic),
        pool: DEFAULT_POOL,
        bus: this.#bus,
        scheduler: this.actor.scheduler,
        onOutput: ({ text }) => onText(text),
        abandon: (run) => this.ledger.abandonRun(run),
        onEnded: resolve,
        onTrouble: (message) => this.#world.trace.note(`trouble: ${message}`),
      });
      const onClientGone = () => {
        // Who sent a key will ask again: the run goes on.
        if (claim !== null) return;
        run.cancel();
        resolve(null);
      };
      connection.onClose = onClientGone;
      this.replies.register(run);
      void run.publish();
      if (!connection.isOpen) onClientGone();
    });
  }
}

function runRequested({ request, runId, deadlineMs }: Plan, outputTokensBudget: number, replyTopic: string): RunRequested {
  return {
    runId,
    accountId: request.accountId,
    attempt: 1,
    model: 'simulated',
    input: { kind: 'chat', messages: [{ role: 'user', content: request.content }] },
    sampling: { temperature: 1, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: null },
    stop: [],
    outputTokensBudget,
    stream: request.stream,
    environment: 'live',
    replyTopic,
    deadlineMs,
  };
}

async function tellClaim(claim: ClaimedRun | null, ending: Exclude<RunEnding, { status: 'completed' }>): Promise<void> {
  if (ending.status === 'unsettled') await claim?.unknown();
  else if (ending.settled.chargedNanos === '0') await claim?.failed();
  else await claim?.answerLost();
}

function bodyOf(runId: string, text: string, { chargedNanos, usage }: RunSettled): string {
  return JSON.stringify({ runId, text, chargedNanos, completionTokens: usage.completionTokens });
}

/** The keys' database: slower than memory, and it outlives the API. */
function connectKeys({ network, idempotencyKeys: keys }: World, actor: Actor): IdempotencyStore {
  const ask = <Result>(label: string, perform: () => Promise<Result>) => overNetwork(network, actor, label, 'done', perform);
  return {
    claim: (claim) => ask('claim key', () => keys.claim(claim)),
    takeOver: (claim, previousRunId, chargedRunId) => ask('take over key', () => keys.takeOver(claim, previousRunId, chargedRunId)),
    complete: (claim, answer) => ask('complete key', () => keys.complete(claim, answer)),
    release: (claim, chargedRunId) => ask('release key', () => keys.release(claim, chargedRunId)),
    abandon: (claim) => ask('abandon key', () => keys.abandon(claim)),
    renew: (instanceId, nowMs) => ask('renew keys', () => keys.renew(instanceId, nowMs)),
    purge: (nowMs) => keys.purge(nowMs),
  };
}
