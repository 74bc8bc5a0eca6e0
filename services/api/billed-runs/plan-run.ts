/** Turns what a route was asked into what the ledger is asked to hold and what the workers are asked to do. */
import { accountIdOf, type PriceTerms, type RunInput, type RunRequested, runIdOfRequest } from '../../../events/contract/index.js';
import type { Clock } from '../../../platform/clock.js';
import type { IdSource } from '../../../platform/id-source.js';
import type { Preset, PresetModel } from '../../../presets/preset-schema.js';
import type { AccountOpening, ReserveCredit } from '../../ledger/ledger-client.js';
import { consumerOpening, projectOpening } from '../directory/account-openings.js';
import type { Directory } from '../directory/directory.js';
import type { ModelCatalogue, ModelUse } from '../model-catalogue.js';
import { refuse } from '../refusals.js';
import { type ConsumerHeaders, consumerHeaders } from '../request-headers.js';
import type { Caller, RouteContext } from '../route.js';
import type { EngineContext } from '../routing/engine-context.js';
import { findEngine } from '../routing/find-engine.js';
import { answersOfAsk, type OpenedRun, type RunAsk } from './billed-run.js';

/** Whose account pays, and how it is opened when it does not exist yet. */
export type Payer = { readonly accountId: string; readonly opening: AccountOpening; readonly consumerId: string | null };

/** What runs, and where. */
export type RunPlace = {
  readonly model: PresetModel;
  readonly terms: PriceTerms;
  /** The variant's; `null` where the model has one only. */
  readonly quantization: string | null;
  readonly pool: string;
  /** Whether answers name the pool. */
  readonly isPoolShown: boolean;
  readonly contextTokensMax: number;
  readonly systemFingerprint: string;
};

export type RunPlan = {
  readonly runId: string;
  readonly ask: RunAsk;
  readonly place: RunPlace;
  readonly caller: Caller;
  readonly payer: Payer;
  readonly terms: PriceTerms;
  readonly promptTokensMax: number;
  /** Of all answers together. */
  readonly outputTokensMax: number;
  readonly createdAtMs: number;
  readonly deadlineMs: number;
};

export type PlanDeps = {
  readonly preset: Preset;
  readonly models: ModelCatalogue;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly engineContext: EngineContext;
};

const USE_OF_INPUT: Readonly<Record<RunInput['kind'], ModelUse>> = {
  chat: 'chat',
  completion: 'chat',
  embedding: 'embedding',
  transcription: 'transcription',
};

/**
 * Throws a `RefusalError` for a model that is not offered, not for this use or served by nobody, an output that it does not give, or a consumer
 * header that is not valid.
 */
export async function planRun(
  deps: PlanDeps,
  context: RouteContext<'project_key'>,
  ask: RunAsk,
): Promise<{ readonly plan: RunPlan; readonly consumerEmail: string | null }> {
  const { caller } = context;
  const place = placeOf(deps, context, ask);
  // Where something is generated, a prompt leaves room for a token.
  const promptTokensEach = ask.output === null ? place.contextTokensMax : place.contextTokensMax - 1;
  const promptTokensMax = Math.min(ask.promptTokensBound, ask.prompts * promptTokensEach);
  const outputTokensMax = outputTokensOfAnswer(ask, place) * answersOfAsk(ask);
  const consumer = consumerHeaders(context.request);
  const payer = consumer === null ? projectPayer(deps, caller) : await consumerPayer(deps, caller, consumer);
  const nowMs = deps.clock.nowMs();
  const plan: RunPlan = {
    runId: runIdOfRequest(context.requestId),
    ask,
    place,
    caller,
    payer,
    terms: place.terms,
    promptTokensMax,
    outputTokensMax,
    createdAtMs: nowMs,
    deadlineMs: nowMs + deps.preset.policies.run_timeout_seconds * 1_000,
  };
  return { plan, consumerEmail: consumer?.email ?? null };
}

/** The one place where model, variant and pool are chosen. */
function placeOf(deps: PlanDeps, context: RouteContext<'project_key'>, ask: RunAsk): RunPlace {
  const offered = deps.models.offered(ask.model, ask.quantization, USE_OF_INPUT[ask.input.kind]);
  const { model, terms, variant } = offered;
  const engine = findEngine(deps, context.request, offered, context.caller.environment);
  return {
    model,
    terms,
    quantization: variant?.quantization ?? null,
    pool: engine.pool,
    isPoolShown: deps.preset.pools.length > 0,
    contextTokensMax: Math.min(model.context_window, engine.contextTokensMax),
    systemFingerprint: engine.systemFingerprint,
  };
}

/** The most that each answer may have. Throws `invalid_value` when the client asks for more than the model gives. */
function outputTokensOfAnswer({ output }: RunAsk, { model, contextTokensMax }: RunPlace): number {
  if (output === null) return 0;
  const outputTokensMax = Math.min(model.max_output_tokens, contextTokensMax - 1);
  if (output.tokensAsked === null) return outputTokensMax;
  if (output.tokensAsked > outputTokensMax) {
    const param = output.parameter;
    throw refuse('invalid_value', { message: `${param} must be at most ${outputTokensMax} for the model ${model.id}.`, param });
  }
  return output.tokensAsked;
}

function projectPayer(deps: PlanDeps, caller: Caller): Payer {
  return { accountId: accountIdOf(caller.projectId), opening: projectOpening(caller, deps.preset), consumerId: null };
}

async function consumerPayer(deps: PlanDeps, caller: Caller, headers: ConsumerHeaders): Promise<Payer> {
  const { consumerId, projectId } = await deps.directory.findOrCreateConsumer({
    projectId: caller.projectId,
    consumerId: deps.ids.next('con'),
    ...headers,
    nowMs: deps.clock.nowMs(),
  });
  const opening = consumerOpening({ projectId, consumerId }, caller.environment, deps.preset);
  return { accountId: accountIdOf(consumerId), opening, consumerId };
}

export function reserveCommand(plan: RunPlan, preset: Preset): ReserveCredit {
  const { ask } = plan;
  return {
    accountId: plan.payer.accountId,
    runId: plan.runId,
    opening: plan.payer.opening,
    keyId: plan.caller.keyId,
    model: plan.place.model.id,
    priceVersion: preset.price_version,
    terms: plan.terms,
    promptTokensMax: plan.promptTokensMax,
    outputTokensMax: plan.outputTokensMax,
    outputTokensExplicit: ask.output !== null && ask.output.tokensAsked !== null,
    outputTokensMin: ask.output === null ? 0 : answersOfAsk(ask),
    ...(ask.audio === undefined ? {} : { audio: ask.audio }),
    requestHash: ask.requestHash,
    cancelPolicy: preset.policies.cancelled_run,
    deadlineMs: plan.deadlineMs,
  };
}

export function runRequest(plan: RunPlan, outputTokensBudget: number, replyTopic: string): RunRequested {
  const { ask, place } = plan;
  return {
    runId: plan.runId,
    accountId: plan.payer.accountId,
    attempt: 1,
    model: place.model.id,
    ...(place.quantization === null ? {} : { quantization: place.quantization }),
    input: ask.input,
    sampling: ask.sampling,
    ...(ask.answersPerPrompt === 1 ? {} : { answers: ask.answersPerPrompt }),
    stop: [...ask.stop],
    outputTokensBudget,
    stream: ask.stream,
    environment: plan.caller.environment,
    replyTopic,
    deadlineMs: plan.deadlineMs,
  };
}

/** What a stream says of a run at once. */
export function openedRun({ runId, place, createdAtMs }: RunPlan): OpenedRun {
  return {
    runId,
    model: place.model.id,
    createdAtSeconds: Math.floor(createdAtMs / 1_000),
    systemFingerprint: place.systemFingerprint,
    ...(place.isPoolShown ? { pool: place.pool } : {}),
  };
}
