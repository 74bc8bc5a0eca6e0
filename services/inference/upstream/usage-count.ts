/**
 * The token counts a run is charged by. The upstream's own, where they can be true; ours, marked as such, where it gives none or gives one
 * that cannot be. Nothing ever goes beyond what the run's hold was made for.
 */
import { COUNTED_LOCALLY, plainPromptTokensBound, promptTokensBound, type TokenUsage } from '../../../events/contract/index.js';
import { countTokens as countByBytes, countPlainPromptTokens, countPromptTokens } from '../echo/echo-tokens.js';
import type { EngineResult, EngineRun } from '../engine.js';

/** Counts the tokens of a text. The default is the echo engine's documented rule: four bytes of UTF-8 are a token. */
export type CountTokens = (text: string) => number;
export const countTokensByBytes: CountTokens = countByBytes;

export type UsageFault =
  | 'usage_missing'
  | 'prompt_tokens_impossible'
  | 'cached_tokens_impossible'
  | 'completion_tokens_impossible'
  | 'completion_tokens_above_budget';

export type CountedUsage = {
  readonly usage: TokenUsage;
  readonly source: NonNullable<EngineResult['usageSource']>;
  /** What was wrong with the upstream's counts, for the log. */
  readonly faults: readonly UsageFault[];
};

type PromptParts = Pick<EngineRun, 'messages' | 'toolUse' | 'prompt'>;

export type GeneratedText = PromptParts & {
  /** Everything generated that we saw: answer, thoughts, calls, a stop sequence. */
  readonly text: string;
  /** Pieces it came in. A server sends a piece when it has generated at least one token. */
  readonly pieces: number;
  readonly outputTokensBudget: number;
  /** Prompt and answer together. */
  readonly contextTokens: number;
};

/** `reported` is the `usage` object as it came, or anything else when none did. */
export function countUsage(reported: unknown, generated: GeneratedText, countTokens: CountTokens): CountedUsage {
  const faults: UsageFault[] = [];
  const given = typeof reported === 'object' && reported !== null ? (reported as Record<string, unknown>) : null;
  if (given === null) faults.push('usage_missing');
  const prompt = promptTokens(given, generated, countTokens, faults);
  const completion = completionTokens(given, generated, countTokens, faults);
  const usage: TokenUsage = {
    promptTokens: prompt.tokens,
    cachedTokens: prompt.isLocal ? 0 : cachedTokens(given, prompt.tokens, faults),
    completionTokens: completion.tokens,
  };
  return { usage, source: prompt.isLocal || completion.isLocal ? COUNTED_LOCALLY : 'engine', faults };
}

/** Whether a count that comes along with the text shows that the budget has been passed. */
export function isBeyondBudget(reported: unknown, outputTokensBudget: number): boolean {
  if (typeof reported !== 'object' || reported === null) return false;
  const tokens = (reported as Record<string, unknown>)['completion_tokens'];
  return isCount(tokens) && tokens > outputTokensBudget;
}

/** The most tokens that the prompt can have, as the run's hold was made for. */
export function promptBound({ prompt, messages, toolUse }: PromptParts): number {
  return prompt === undefined ? promptTokensBound(messages, toolUse) : plainPromptTokensBound([prompt]);
}

type Count = { readonly tokens: number; readonly isLocal: boolean };

function promptTokens(
  given: Record<string, unknown> | null,
  generated: GeneratedText,
  countTokens: CountTokens,
  faults: UsageFault[],
): Count {
  const tokens = given?.['prompt_tokens'];
  const bound = Math.min(promptBound(generated), generated.contextTokens);
  // No template makes a prompt of nothing; Ollama says 0 for one that it had in its cache.
  if (isCount(tokens) && tokens > 0 && tokens <= bound) return { tokens, isLocal: false };
  if (given !== null) faults.push('prompt_tokens_impossible');
  const { prompt, messages, toolUse } = generated;
  const counted = prompt === undefined ? countPromptTokens(messages, toolUse, countTokens) : countPlainPromptTokens(prompt, countTokens);
  return { tokens: Math.min(counted, bound), isLocal: true };
}

function completionTokens(
  given: Record<string, unknown> | null,
  { text, pieces, outputTokensBudget }: GeneratedText,
  countTokens: CountTokens,
  faults: UsageFault[],
): Count {
  const tokens = given?.['completion_tokens'];
  if (isCount(tokens) && (tokens > 0 || text === '')) {
    if (tokens > outputTokensBudget) faults.push('completion_tokens_above_budget');
    return { tokens: Math.min(tokens, outputTokensBudget), isLocal: false };
  }
  if (given !== null) faults.push('completion_tokens_impossible');
  const counted = text === '' ? 0 : Math.max(pieces, countTokens(text));
  return { tokens: Math.min(counted, outputTokensBudget), isLocal: true };
}

/** Optional everywhere; at most the prompt. A count that cannot be true is taken for none at all. */
function cachedTokens(given: Record<string, unknown> | null, promptTokens: number, faults: UsageFault[]): number {
  const details = given?.['prompt_tokens_details'];
  if (typeof details !== 'object' || details === null) return 0;
  const tokens = (details as Record<string, unknown>)['cached_tokens'];
  if (tokens === undefined || tokens === null) return 0;
  if (isCount(tokens) && tokens <= promptTokens) return tokens;
  faults.push('cached_tokens_impossible');
  return 0;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
