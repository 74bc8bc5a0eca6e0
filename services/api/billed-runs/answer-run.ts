/**
 * Reserves credit for a planned run, hands it to the workers and answers the client: as JSON, or as events while text comes. The last byte leaves
 * after the settlement. A client that goes away cancels its run, unless an idempotency key says that it will ask again.
 */
import type { MessageBus } from '../../../events/bus/message-bus.js';
import type { RunSettled } from '../../../events/contract/index.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import { type LedgerClient, LedgerUnavailableError, type ReserveResult } from '../../ledger/ledger-client.js';
import type { ErrorTable } from '../error-table.js';
import type { ClaimedRun, Idempotency } from '../idempotency/idempotent-run.js';
import type { Limiter, TokenReservation } from '../limits/limiter.js';
import type { LastRevisions } from '../read-model/last-revisions.js';
import { refuse } from '../refusals.js';
import type { RouteContext, RouteReply } from '../route.js';
import { poolHeaderName } from '../routing/pool-headers.js';
import type { Replies } from '../runs/replies.js';
import { type RunEnding, RunInFlight } from '../runs/run-in-flight.js';
import { type AnswerPart, type AnswerShape, answersOfAsk, type CompletedRun, type StreamShape } from './billed-run.js';
import { errorEvent } from './event-stream.js';
import { answersOf, GatheredOutput } from './gathered-output.js';
import { openedRun, type PlanDeps, type RunPlan, reserveCommand, runRequest } from './plan-run.js';
import { refusalOfEnding, refusalOfReservation } from './run-refusals.js';
import { sendPlain, streamOf, writeStreamHead } from './send-answer.js';
import { runToText } from './stored-run.js';
import { StreamWriter } from './stream-writer.js';

export type BilledRunDeps = PlanDeps & {
  readonly ledger: LedgerClient;
  readonly bus: MessageBus;
  readonly replies: Replies;
  readonly limiter: Limiter;
  readonly idempotency: Idempotency;
  readonly errors: ErrorTable;
  readonly scheduler: Scheduler;
  /** Told what each settlement did, so that a read which follows sees it. */
  readonly lastRevisions: LastRevisions;
  readonly publicBaseUrl: string;
  readonly onTrouble: (message: string, error: unknown) => void;
};

type Context = RouteContext<'project_key'>;

/** A stream that has been silent for this long gets a comment, so that proxies between do not take it for dead. */
const HEARTBEAT_MS = 15_000;
const HEARTBEAT = ': the run goes on\n\n';
const SENT: RouteReply = { sent: true };

/** Throws a `RefusalError` as long as nothing has been sent. */
export async function answerRun(
  deps: BilledRunDeps,
  context: Context,
  plan: RunPlan,
  shape: AnswerShape,
  tokens: TokenReservation,
  claimed: ClaimedRun | null,
): Promise<RouteReply> {
  let claim = claimed;
  let reserved = await reserve(deps, plan, tokens, claim);
  let current = plan;
  if (reserved.status === 'refused' && reserved.reason === 'reservation_id_too_old' && claim !== null) {
    claim = await claim.restart();
    current = { ...plan, runId: claim.runId };
    reserved = await reserve(deps, current, tokens, claim);
  }
  if (reserved.status === 'refused') {
    tokens.settle(0);
    await claim?.failed();
    throw refusalOfReservation(reserved, current, { unit: deps.preset.unit, publicBaseUrl: deps.publicBaseUrl });
  }
  const answer = new RunAnswer({ deps, context, plan: current, shape, tokens, claim });
  return answer.follow(reserved.outputTokensBudget);
}

async function reserve(deps: BilledRunDeps, plan: RunPlan, tokens: TokenReservation, claim: ClaimedRun | null): Promise<ReserveResult> {
  try {
    return await deps.ledger.reserve(reserveCommand(plan, deps.preset));
  } catch (error) {
    tokens.settle(0);
    // Whether the hold exists is not known. Nothing will run for it, so it expires.
    await claim?.unknown();
    if (error instanceof LedgerUnavailableError) throw refuse('ledger_unavailable', { cause: error });
    throw error;
  }
}

type RunAnswerOptions = {
  readonly deps: BilledRunDeps;
  readonly context: Context;
  readonly plan: RunPlan;
  readonly shape: AnswerShape;
  readonly tokens: TokenReservation;
  readonly claim: ClaimedRun | null;
};

/** One answer under way: joins the run's news, the response and the claim. */
class RunAnswer {
  readonly #options: RunAnswerOptions;
  readonly #events: StreamShape | null;
  readonly #writer: StreamWriter | null;
  readonly #gathered = new GatheredOutput();
  #run: RunInFlight | null = null;
  #clientGone = false;
  #resolve: (ending: RunEnding | null) => void = () => undefined;

  constructor(options: RunAnswerOptions) {
    this.#options = options;
    this.#events = options.plan.ask.stream ? streamOf(options.shape, openedRun(options.plan)) : null;
    this.#writer = this.#events === null ? null : this.#streamWriter(this.#events);
  }

  async follow(outputTokensBudget: number): Promise<RouteReply> {
    const { response } = this.#options.context;
    const onClose = () => this.#onClientGone();
    response.once('close', onClose);
    const stopHeartbeat = this.#writer === null ? null : this.#startHeartbeat(this.#writer);
    try {
      const ending = await this.#runToEnd(outputTokensBudget);
      return ending === null ? SENT : await this.#answer(ending);
    } finally {
      stopHeartbeat?.();
      response.off('close', onClose);
    }
  }

  /** `null`: the client is gone and its run was cancelled; the settlement follows without it. */
  #runToEnd(outputTokensBudget: number): Promise<RunEnding | null> {
    const { plan, deps } = this.#options;
    const { bus, scheduler, replies, ledger, onTrouble } = deps;
    return new Promise((resolve) => {
      this.#resolve = resolve;
      const run = new RunInFlight({
        request: runRequest(plan, outputTokensBudget, replies.topic),
        pool: plan.place.pool,
        bus,
        scheduler,
        onTrouble,
        onOutput: (output) => this.#onOutput(output),
        abandon: (run) => ledger.abandonRun(run),
        onEnded: (ending) => {
          this.#noteSettlement(ending);
          resolve(ending);
        },
      });
      this.#run = run;
      replies.register(run);
      void run.publish();
      // The client may have gone while credit was being reserved; its 'close' is then in the past.
      if (this.#options.context.response.destroyed) this.#onClientGone();
    });
  }

  #onOutput(part: AnswerPart): void {
    if (this.#writer === null || this.#options.claim !== null) this.#gathered.add(part);
    this.#writer?.part(part);
  }

  async #answer(ending: RunEnding): Promise<RouteReply> {
    if (ending.status !== 'completed') return this.#refuse(ending);
    const { shape, claim, context } = this.#options;
    const run = this.#completedRun(ending.settled);
    if (this.#writer !== null && this.#events !== null) {
      await claim?.completed(runToText(run));
      this.#writer.end(this.#events.closing(run, false));
      return SENT;
    }
    if (shape.isWhole?.(run) === false) return this.#refuse({ status: 'answer_lost', settled: ending.settled });
    const body = await shape.body(run);
    await claim?.completed(body);
    if (!context.response.destroyed) sendPlain(context.response, body, shape.contentType, this.#head());
    return SENT;
  }

  #completedRun(settled: RunSettled): CompletedRun {
    const { plan } = this.#options;
    const parts = this.#gathered.take();
    const isGathered = this.#writer === null || this.#options.claim !== null;
    return {
      ...openedRun(plan),
      answers: isGathered ? answersOf(parts, answersOfAsk(plan.ask), settled.finishReason) : [],
      finishReason: settled.finishReason,
      usage: settled.usage,
      chargedNanos: BigInt(settled.chargedNanos),
      systemFingerprint: settled.systemFingerprint,
    };
  }

  async #refuse(ending: Exclude<RunEnding, { status: 'completed' }>): Promise<RouteReply> {
    await this.#tellClaim(ending);
    const refusal = refusalOfEnding(ending, this.#options.plan.ask.promptParameter);
    if (ending.status === 'answer_lost')
      this.#options.deps.onTrouble('texts of a settled run did not arrive', { runId: this.#options.plan.runId });
    if (this.#writer === null || !this.#writer.isOpen) {
      // Text of this turn that was not written yet must not follow the refusal.
      this.#writer?.abandon();
      throw refusal;
    }
    this.#writer.end(errorEvent(this.#options.deps.errors.renderInStream(refusal.refusal, refusal.details)));
    return SENT;
  }

  async #tellClaim(ending: Exclude<RunEnding, { status: 'completed' }>): Promise<void> {
    const { claim } = this.#options;
    if (claim === null) return;
    if (ending.status === 'unsettled') await claim.unknown();
    else if (ending.settled.chargedNanos === '0') await claim.failed();
    else await claim.answerLost();
  }

  #onClientGone(): void {
    const { response } = this.#options.context;
    if (this.#clientGone || response.writableFinished) return;
    this.#clientGone = true;
    this.#writer?.abandon();
    // Who sent a key will ask again: the run goes on, is charged once, and the answer waits.
    if (this.#options.claim !== null) return;
    this.#run?.cancel();
    this.#resolve(null);
  }

  /** The engine's counts replace the bound; of an unsettled run only the bound is known. */
  #noteSettlement(ending: RunEnding): void {
    if (ending.status === 'unsettled') return;
    const { usage, accountId, revision } = ending.settled;
    this.#options.tokens.settle(usage.promptTokens + usage.completionTokens);
    this.#options.deps.lastRevisions.note(accountId, revision, this.#options.plan.caller.projectId);
  }

  #streamWriter(events: StreamShape): StreamWriter {
    const { context, deps } = this.#options;
    const { response } = context;
    return new StreamWriter({
      response,
      scheduler: deps.scheduler,
      open: () => {
        writeStreamHead(response, this.#head());
        return events.opening();
      },
      partEvents: events.part,
      onTooSlow: () => this.#onClientGone(),
    });
  }

  #head(): string[] {
    const { context, deps, plan } = this.#options;
    const head = context.head();
    if (plan.place.isPoolShown) head.push(poolHeaderName(deps.preset), plan.place.pool);
    return head;
  }

  #startHeartbeat(writer: StreamWriter): () => void {
    const { clock, replies } = this.#options.deps;
    let heardAtMs = clock.nowMs();
    let written = writer.eventsWritten;
    return replies.onTick((nowMs) => {
      if (writer.eventsWritten !== written) {
        written = writer.eventsWritten;
        heardAtMs = nowMs;
      } else if (nowMs - heardAtMs >= HEARTBEAT_MS) writer.event(HEARTBEAT);
    });
  }
}
