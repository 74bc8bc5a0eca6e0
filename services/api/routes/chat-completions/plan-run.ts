/** Turns a valid chat request into what the ledger is asked to hold and what the workers are asked to do. */
import {
  accountIdOf,
  type Environment,
  type PriceTerms,
  promptTokensBound,
  type RunRequested,
  runIdOfRequest,
} from '../../../../events/contract/index.js';
import type { Clock } from '../../../../platform/clock.js';
import type { IdSource } from '../../../../platform/id-source.js';
import type { Preset, PresetModel } from '../../../../presets/preset-schema.js';
import type { AccountOpening, ReserveCredit } from '../../../ledger/ledger-client.js';
import { consumerOpening, projectOpening } from '../../directory/account-openings.js';
import type { Directory } from '../../directory/directory.js';
import type { ModelCatalogue } from '../../model-catalogue.js';
import { refuse } from '../../refusals.js';
import { type ConsumerHeaders, consumerHeaders } from '../../request-headers.js';
import type { Caller, RouteContext } from '../../route.js';
import type { ChatRequest } from './request-schema.js';

/** The most this request may generate. Throws `invalid_value` when the client asks for more than the model gives. */
export function outputTokensBound(request: ChatRequest, model: PresetModel, contextTokensMax: number): number {
  const outputTokensMax = Math.min(model.max_output_tokens, contextTokensMax - 1);
  if (request.outputTokensAsked === null) return outputTokensMax;
  if (request.outputTokensAsked > outputTokensMax) {
    const param = request.outputTokensParameter;
    throw refuse('invalid_value', { message: `${param} must be at most ${outputTokensMax} for the model ${model.id}.`, param });
  }
  return request.outputTokensAsked;
}

/** Whose account pays, and how it is opened when it does not exist yet. */
export type Payer = { readonly accountId: string; readonly opening: AccountOpening; readonly consumerId: string | null };

export type RunPlan = {
  readonly runId: string;
  readonly request: ChatRequest;
  readonly model: PresetModel;
  readonly systemFingerprint: string;
  readonly caller: Caller;
  readonly payer: Payer;
  readonly terms: PriceTerms;
  readonly promptTokensMax: number;
  readonly outputTokensMax: number;
  readonly createdAtMs: number;
  readonly deadlineMs: number;
};

/** What is loaded for a model: the engine's context may be smaller than the one the offer promises, and then the lesser counts. */
export type EngineContext = (
  model: string,
  environment: Environment,
) => { readonly contextTokensMax: number; readonly systemFingerprint: string } | null;

export type PlanDeps = {
  readonly preset: Preset;
  readonly models: ModelCatalogue;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly engineContext: EngineContext;
};

/** Throws a `RefusalError` for a model that is not offered or that nothing serves, an output that it does not give, or a consumer header that is not valid. */
export async function planRun(
  deps: PlanDeps,
  context: RouteContext<'project_key'>,
  request: ChatRequest,
): Promise<{ readonly plan: RunPlan; readonly consumerEmail: string | null }> {
  const { caller } = context;
  const { model, terms } = deps.models.offered(request.model);
  const engine = deps.engineContext(model.id, caller.environment);
  if (engine === null) throw refuse('provider_unavailable', { message: `Nothing serves ${model.id} at the moment.` });
  const contextTokensMax = Math.min(model.context_window, engine.contextTokensMax);
  const promptTokensMax = Math.min(promptTokensBound(request.messages), contextTokensMax - 1);
  const outputTokensMax = outputTokensBound(request, model, contextTokensMax);
  const consumer = consumerHeaders(context.request);
  const payer = consumer === null ? projectPayer(deps, caller) : await consumerPayer(deps, caller, consumer);
  const nowMs = deps.clock.nowMs();
  const plan = {
    runId: runIdOfRequest(context.requestId),
    request,
    model,
    systemFingerprint: engine.systemFingerprint,
    caller,
    payer,
    terms,
    promptTokensMax,
    outputTokensMax,
    createdAtMs: nowMs,
    deadlineMs: nowMs + deps.preset.policies.run_timeout_seconds * 1_000,
  };
  return { plan, consumerEmail: consumer?.email ?? null };
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
  return {
    accountId: plan.payer.accountId,
    runId: plan.runId,
    opening: plan.payer.opening,
    keyId: plan.caller.keyId,
    model: plan.model.id,
    priceVersion: preset.price_version,
    terms: plan.terms,
    promptTokensMax: plan.promptTokensMax,
    outputTokensMax: plan.outputTokensMax,
    outputTokensExplicit: plan.request.outputTokensAsked !== null,
    cancelPolicy: preset.policies.cancelled_run,
    deadlineMs: plan.deadlineMs,
  };
}

export function runRequest(plan: RunPlan, outputTokensBudget: number, replyTopic: string): RunRequested {
  return {
    runId: plan.runId,
    accountId: plan.payer.accountId,
    attempt: 1,
    model: plan.model.id,
    input: { kind: 'chat', messages: [...plan.request.messages] },
    sampling: plan.request.sampling,
    stop: [...plan.request.stop],
    outputTokensBudget,
    stream: plan.request.stream,
    environment: plan.caller.environment,
    replyTopic,
    deadlineMs: plan.deadlineMs,
  };
}
