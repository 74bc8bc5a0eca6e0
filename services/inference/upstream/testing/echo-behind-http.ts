/** The echo engine behind OpenAI's protocol: an upstream that keeps every promise, for the contract of all engines. */
import type { ChatMessage, Sampling } from '../../../../events/contract/index.js';
import { eventLoopScheduler } from '../../../../platform/scheduler.js';
import { EchoEngine } from '../../echo/echo-engine.js';
import { EngineError } from '../../engine.js';
import type { OpenAiExchange } from './openai-server.js';

const SAMPLING: Sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: null };

/** Runs that one upstream takes at once; the engine in front of it has the tighter bound. */
const SLOTS = 1_000;

/** Answers requests with what the echo engine says, a chunk a token, and stops generating when the client goes away. */
export function echoAnswers(contextTokens: number): (exchange: OpenAiExchange) => Promise<void> {
  const pacing = { scheduler: eventLoopScheduler, tokenDelayMs: 0, slots: SLOTS, queuedMax: 0 };
  const engine = new EchoEngine({ contextTokens, pacing });
  return async (exchange) => {
    const { body } = exchange.request;
    const abort = new AbortController();
    void exchange.closed.then(() => abort.abort());
    try {
      const { finishReason, usage } = await engine.run({
        runId: 'run_upstream',
        messages: body['messages'] as ChatMessage[],
        sampling: SAMPLING,
        stop: (body['stop'] ?? []) as string[],
        outputTokensBudget: body['max_tokens'] as number,
        onText: (text) => {
          if (!exchange.response.headersSent) exchange.open();
          exchange.text(text);
        },
        signal: abort.signal,
      });
      if (finishReason === null) return;
      const { promptTokens, cachedTokens, completionTokens } = usage;
      exchange.finish(finishReason);
      exchange.usage({
        prompt_tokens: promptTokens,
        completion_tokens: completionTokens,
        total_tokens: promptTokens + completionTokens,
        prompt_tokens_details: { cached_tokens: cachedTokens },
      });
      exchange.done();
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      exchange.refuse(400, { error: { message: error.message, type: 'invalid_request_error', code: error.code } });
    }
  };
}
