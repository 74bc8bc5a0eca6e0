/**
 * Answers to one run: each prompt gets as many as were asked for, each an engine's run of its own with an equal share of the budget. They end
 * together, as one result, or fail together.
 *
 *     run of 2 prompts, 2 answers ─▶ lane 0: prompt 0, seed     lane 1: prompt 0, seed + 1
 *                                    lane 2: prompt 1, seed + 2  lane 3: prompt 1, seed + 3
 */
import { setMaxListeners } from 'node:events';
import {
  COUNTED_LOCALLY,
  type FinishReason,
  NO_USAGE,
  type Prompt,
  type RunRequested,
  type Sampling,
  type TokenUsage,
} from '../../events/contract/index.js';
import type { AnswerOutput } from './answer-output.js';
import { CANCELLED_BEFORE_START, type Engine, EngineError, type EngineResult, type EngineRun } from './engine.js';

/** Lanes of one run with its engine at once; the others wait here, so that one run cannot fill an engine's queue. */
export const LANES_UNDER_WAY_MAX = 16;

const LISTENERS_PER_LANE_MAX = 4;

export type LanesOptions = {
  readonly request: RunRequested;
  readonly engine: Engine;
  /** One for each lane, in order. */
  readonly answers: readonly AnswerOutput[];
  /** Aborting it ends all lanes. Aborted here when one has failed. */
  readonly abort: AbortController;
  /** The answer has something to put out. */
  readonly onOutput: (answer: AnswerOutput) => void;
};

/** How many lanes a run has; 0 for one that is no generation. */
export function lanesOf({ input, answers = 1 }: RunRequested): number {
  switch (input.kind) {
    case 'chat':
      return answers;
    case 'completion':
      return answers * input.prompts.length;
    case 'embedding':
    case 'transcription':
      return 0;
  }
}

/** Rejects with the first failure of a lane, when all of them have ended. */
export function runLanes(options: LanesOptions): Promise<EngineResult> {
  const lanes = lanesOf(options.request);
  const outputTokensBudget = Math.floor(options.request.outputTokensBudget / lanes);
  if (outputTokensBudget < 1) {
    return Promise.reject(new EngineError('engine_failed', 'The output budget has no token for each answer.', false));
  }
  // The usual run: nothing to share, nothing to add up.
  if (lanes === 1) return runLane(options, 0, outputTokensBudget);
  return runSeveral(options, lanes, outputTokensBudget);
}

async function runSeveral(options: LanesOptions, lanes: number, outputTokensBudget: number): Promise<EngineResult> {
  const { abort, request } = options;
  // One each, and whatever engines add for themselves; Node would take them for a leak.
  setMaxListeners(LISTENERS_PER_LANE_MAX * LANES_UNDER_WAY_MAX, abort.signal);
  const results: EngineResult[] = [];
  const failures: unknown[] = [];
  let next = 0;
  const takeTurns = async () => {
    while (next < lanes && failures.length === 0) {
      const lane = next;
      next += 1;
      try {
        const result = abort.signal.aborted ? CANCELLED_BEFORE_START : await runLane(options, lane, outputTokensBudget);
        results[lane] = result;
        if (result.finishReason !== null) endAnswer(options, lane, result.finishReason);
      } catch (error) {
        failures.push(error);
        abort.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(lanes, LANES_UNDER_WAY_MAX) }, takeTurns));
  if (failures.length > 0) throw failures[0];
  return together(results, request.answers ?? 1);
}

function endAnswer({ answers, onOutput }: LanesOptions, lane: number, finishReason: FinishReason): void {
  const answer = answers[lane] as AnswerOutput;
  answer.end(finishReason);
  onOutput(answer);
}

function runLane({ request, engine, answers, abort, onOutput }: LanesOptions, lane: number, outputTokensBudget: number) {
  const { runId, input, sampling, stop } = request;
  const answer = answers[lane] as AnswerOutput;
  const onText: EngineRun['onText'] = (text, logprobs) => {
    answer.addText(text, logprobs);
    onOutput(answer);
  };
  const { signal } = abort;
  // The usual run, which there are thousands of a second, is not put together from parts.
  if (input.kind === 'chat' && input.toolUse === undefined && input.format === undefined) {
    return engine.run({ runId, messages: input.messages, sampling: samplingOf(sampling, lane), stop, outputTokensBudget, onText, signal });
  }
  const run = { runId, sampling: samplingOf(sampling, lane), stop, outputTokensBudget, onText, signal };
  if (input.kind === 'completion') return engine.run({ ...run, messages: [], prompt: promptOf(input.prompts, lane, request) });
  if (input.kind !== 'chat') throw new Error(`a run of kind ${input.kind} has no lanes`);
  const { messages, toolUse, format } = input;
  const onToolCalls: EngineRun['onToolCalls'] = (deltas) => {
    answer.addToolCalls(deltas);
    onOutput(answer);
  };
  return engine.run({
    ...run,
    messages,
    ...(toolUse === undefined ? {} : { toolUse, onToolCalls }),
    ...(format === undefined ? {} : { format }),
  });
}

/** So that the answers of a seeded run differ, and are the same again the next time. */
function samplingOf(sampling: Sampling, lane: number): Sampling {
  return sampling.seed === null || lane === 0 ? sampling : { ...sampling, seed: sampling.seed + lane };
}

function promptOf(prompts: readonly Prompt[], lane: number, { answers = 1 }: RunRequested): Prompt {
  return prompts[Math.floor(lane / answers)] as Prompt;
}

/** One result of several; `answers` a prompt. Cancelled as a whole when any lane was. */
function together(results: readonly EngineResult[], answers: number): EngineResult {
  const isCancelled = results.some(({ outcome }) => outcome === 'cancelled');
  const isCountedLocally = results.some(({ usageSource }) => usageSource === COUNTED_LOCALLY);
  const fingerprint = results.find(({ systemFingerprint }) => systemFingerprint !== undefined)?.systemFingerprint;
  return {
    outcome: isCancelled ? 'cancelled' : 'completed',
    finishReason: isCancelled ? null : finishReasonOf(results),
    usage: usageOf(results, answers),
    ...(isCountedLocally ? { usageSource: COUNTED_LOCALLY } : {}),
    ...(fingerprint === undefined ? {} : { systemFingerprint: fingerprint }),
  };
}

function finishReasonOf(results: readonly EngineResult[]): FinishReason {
  for (const reason of ['length', 'tool_calls'] as const) if (results.some(({ finishReason }) => finishReason === reason)) return reason;
  return 'stop';
}

/** A prompt is paid for once, however many answers it gets: as the lane evaluated it that had least of it in a cache. */
function usageOf(results: readonly EngineResult[], answers: number): TokenUsage {
  let { promptTokens, cachedTokens, completionTokens } = NO_USAGE;
  for (let first = 0; first < results.length; first += answers) {
    const lanes = results.slice(first, first + answers).map(({ usage }) => usage);
    const evaluated = lanes.filter((usage) => usage.promptTokens > 0);
    const dearest = evaluated.reduce<TokenUsage | null>(
      (best, usage) => (best && best.cachedTokens <= usage.cachedTokens ? best : usage),
      null,
    );
    promptTokens += dearest?.promptTokens ?? 0;
    cachedTokens += dearest?.cachedTokens ?? 0;
    for (const usage of lanes) completionTokens += usage.completionTokens;
  }
  return { promptTokens, cachedTokens, completionTokens };
}
