/**
 * Reserves credit for a planned run, hands it to the workers and answers the client: as JSON, or as events while text comes. The last byte leaves
 * after the settlement. A client that goes away cancels its run, unless an idempotency key says that it will ask again.
 */
import type { ServerResponse } from 'node:http';
import type { MessageBus } from '../../../../events/bus/message-bus.js';
import { DEFAULT_POOL, type RunSettled } from '../../../../events/contract/index.js';
import type { Scheduler } from '../../../../platform/scheduler.js';
import { type LedgerClient, LedgerUnavailableError, type ReserveResult } from '../../../ledger/ledger-client.js';
import type { ErrorTable } from '../../error-table.js';
import type { ClaimedRun, Idempotency } from '../../idempotency/idempotent-run.js';
import type { RateLimiter, TokenReservation } from '../../limits/rate-limiter.js';
import type { LastRevisions } from '../../read-model/last-revisions.js';
import { refuse } from '../../refusals.js';
import type { RouteContext, RouteReply } from '../../route.js';
import type { Replies } from '../../runs/replies.js';
import { type RunEnding, RunInFlight } from '../../runs/run-in-flight.js';
import { sendJson } from '../../send-json.js';
import { type AnswerStyle, type Completion, completionBody, errorEvent, replayedBody, StreamEvents } from './completion.js';
import { type PlanDeps, type RunPlan, reserveCommand, runRequest } from './plan-run.js';
import type { ChatRequest } from './request-schema.js';
import { refusalOfEnding, refusalOfReservation } from './run-refusals.js';
import { completionFromText, completionToText } from './stored-completion.js';
import { StreamWriter } from './stream-writer.js';

export type AnswerDeps = PlanDeps & {
  readonly ledger: LedgerClient;
  readonly bus: MessageBus;
  readonly replies: Replies;
  readonly limiter: RateLimiter;
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
  deps: AnswerDeps,
  context: Context,
  plan: RunPlan,
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
  const answer = new RunAnswer(deps, context, current, tokens, claim);
  return answer.follow(reserved.outputTokensBudget);
}

/** Answers once more what was answered before. */
export function answerReplay(deps: AnswerDeps, context: Context, request: ChatRequest, stored: string): RouteReply {
  const { response } = context;
  const head = context.head();
  head.push('Idempotent-Replayed', 'true');
  const style = styleOf(deps);
  if (!request.stream) {
    sendJson(response, 200, replayedBody(stored), head);
    return SENT;
  }
  const completion = completionFromText(stored);
  const events = new StreamEvents({ ...completion, includeUsage: request.includeUsage, style });
  writeStreamHead(response, head);
  const text = completion.text === '' ? '' : events.delta(completion.text);
  response.end(events.opening() + text + events.closing(completion, true));
  return SENT;
}

async function reserve(deps: AnswerDeps, plan: RunPlan, tokens: TokenReservation, claim: ClaimedRun | null): Promise<ReserveResult> {
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

/** One answer under way: joins the run's news, the response and the claim. */
class RunAnswer {
  readonly #deps: AnswerDeps;
  readonly #context: Context;
  readonly #plan: RunPlan;
  readonly #tokens: TokenReservation;
  readonly #claim: ClaimedRun | null;
  readonly #events: StreamEvents | null;
  readonly #writer: StreamWriter | null;
  #run: RunInFlight | null = null;
  #text = '';
  #clientGone = false;
  #resolve: (ending: RunEnding | null) => void = () => undefined;

  constructor(deps: AnswerDeps, context: Context, plan: RunPlan, tokens: TokenReservation, claim: ClaimedRun | null) {
    this.#deps = deps;
    this.#context = context;
    this.#plan = plan;
    this.#tokens = tokens;
    this.#claim = claim;
    this.#events = plan.request.stream ? streamEventsOf(deps, plan) : null;
    this.#writer = this.#events === null ? null : this.#streamWriter(this.#events);
  }

  async follow(outputTokensBudget: number): Promise<RouteReply> {
    const { response } = this.#context;
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
    const { bus, scheduler, replies, onTrouble } = this.#deps;
    return new Promise((resolve) => {
      this.#resolve = resolve;
      const run = new RunInFlight({
        request: runRequest(this.#plan, outputTokensBudget, replies.topic),
        pool: DEFAULT_POOL,
        bus,
        scheduler,
        onTrouble,
        onText: (text) => this.#onText(text),
        onEnded: (ending) => {
          this.#noteSettlement(ending);
          resolve(ending);
        },
      });
      this.#run = run;
      replies.register(run);
      void run.publish();
      // The client may have gone while credit was being reserved; its 'close' is then in the past.
      if (this.#context.response.destroyed) this.#onClientGone();
    });
  }

  #onText(text: string): void {
    if (this.#writer === null || this.#claim !== null) this.#text += text;
    this.#writer?.text(text);
  }

  async #answer(ending: RunEnding): Promise<RouteReply> {
    if (ending.status !== 'completed') return this.#refuse(ending);
    const completion = completionOf(this.#plan, this.#text, ending.settled);
    const { response } = this.#context;
    if (this.#writer !== null && this.#events !== null) {
      await this.#claim?.completed(completionToText(completion));
      this.#writer.end(this.#events.closing(completion, false));
      return SENT;
    }
    const body = completionBody(completion, styleOf(this.#deps));
    await this.#claim?.completed(body);
    if (!response.destroyed) sendJson(response, 200, body, this.#context.head());
    return SENT;
  }

  async #refuse(ending: Exclude<RunEnding, { status: 'completed' }>): Promise<RouteReply> {
    await this.#tellClaim(ending);
    const refusal = refusalOfEnding(ending);
    if (ending.status === 'answer_lost') this.#deps.onTrouble('texts of a settled run did not arrive', { runId: this.#plan.runId });
    if (this.#writer === null || !this.#writer.isOpen) {
      // Text of this turn that was not written yet must not follow the refusal.
      this.#writer?.abandon();
      throw refusal;
    }
    this.#writer.end(errorEvent(this.#deps.errors.renderInStream(refusal.refusal, refusal.details)));
    return SENT;
  }

  async #tellClaim(ending: Exclude<RunEnding, { status: 'completed' }>): Promise<void> {
    if (this.#claim === null) return;
    if (ending.status === 'unsettled') await this.#claim.unknown();
    else if (ending.settled.chargedNanos === '0') await this.#claim.failed();
    else await this.#claim.answerLost();
  }

  #onClientGone(): void {
    const { response } = this.#context;
    if (this.#clientGone || response.writableFinished) return;
    this.#clientGone = true;
    this.#writer?.abandon();
    // Who sent a key will ask again: the run goes on, is charged once, and the answer waits.
    if (this.#claim !== null) return;
    this.#run?.cancel();
    this.#resolve(null);
  }

  /** The engine's counts replace the bound; of an unsettled run only the bound is known. */
  #noteSettlement(ending: RunEnding): void {
    if (ending.status === 'unsettled') return;
    const { usage, accountId, revision } = ending.settled;
    this.#tokens.settle(usage.promptTokens + usage.completionTokens);
    this.#deps.lastRevisions.note(accountId, revision, this.#plan.caller.projectId);
  }

  #streamWriter(events: StreamEvents): StreamWriter {
    const { response } = this.#context;
    return new StreamWriter({
      response,
      scheduler: this.#deps.scheduler,
      open: () => {
        writeStreamHead(response, this.#context.head());
        return events.opening();
      },
      deltaEvent: (text) => events.delta(text),
      onTooSlow: () => this.#onClientGone(),
    });
  }

  #startHeartbeat(writer: StreamWriter): () => void {
    let heardAtMs = this.#deps.clock.nowMs();
    let written = writer.eventsWritten;
    return this.#deps.replies.onTick((nowMs) => {
      if (writer.eventsWritten !== written) {
        written = writer.eventsWritten;
        heardAtMs = nowMs;
      } else if (nowMs - heardAtMs >= HEARTBEAT_MS) writer.event(HEARTBEAT);
    });
  }
}

function completionOf(plan: RunPlan, text: string, settled: RunSettled): Completion {
  return {
    runId: plan.runId,
    model: plan.model.id,
    createdAtSeconds: Math.floor(plan.createdAtMs / 1_000),
    text,
    finishReason: settled.finishReason ?? 'stop',
    usage: settled.usage,
    chargedNanos: BigInt(settled.chargedNanos),
    systemFingerprint: settled.systemFingerprint,
  };
}

function streamEventsOf(deps: AnswerDeps, plan: RunPlan): StreamEvents {
  return new StreamEvents({
    runId: plan.runId,
    model: plan.model.id,
    createdAtSeconds: Math.floor(plan.createdAtMs / 1_000),
    systemFingerprint: plan.systemFingerprint,
    includeUsage: plan.request.includeUsage,
    style: styleOf(deps),
  });
}

function styleOf(deps: AnswerDeps): AnswerStyle {
  return { brand: deps.preset.brand, unit: deps.preset.unit };
}

function writeStreamHead(response: ServerResponse, head: string[]): void {
  // X-Accel-Buffering: nginx would otherwise gather the events.
  head.push('content-type', 'text/event-stream; charset=utf-8', 'cache-control', 'no-cache', 'X-Accel-Buffering', 'no');
  response.writeHead(200, head);
}
