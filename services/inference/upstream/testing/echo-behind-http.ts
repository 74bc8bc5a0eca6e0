/** The echo engine behind OpenAI's protocol: an upstream that keeps every promise, for the contract of all engines. */
import type { ChatMessage, Prompt, Sampling, TokenLogprob, ToolCallDelta, ToolUse } from '../../../../events/contract/index.js';
import { eventLoopScheduler } from '../../../../platform/scheduler.js';
import { EchoEngine } from '../../echo/echo-engine.js';
import { EngineError, type EngineResult, type EngineRun } from '../../engine.js';
import { chunkOf, type OpenAiExchange } from './openai-server.js';

const SAMPLING: Sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: null };

/** Runs that one upstream takes at once; the engine in front of it has the tighter bound. */
const SLOTS = 1_000;

type Body = OpenAiExchange['request']['body'];

/** Answers requests with what the echo engine says, a chunk a token, and stops generating when the client goes away. */
export function echoAnswers(contextTokens: number): (exchange: OpenAiExchange) => Promise<void> {
  const pacing = { scheduler: eventLoopScheduler, tokenDelayMs: 0, slots: SLOTS, queuedMax: 0 };
  const engine = new EchoEngine({ contextTokens, pacing });
  return async (exchange) => {
    const abort = new AbortController();
    void exchange.closed.then(() => abort.abort());
    try {
      if (exchange.request.path.endsWith('/embeddings')) await embed(engine, exchange, abort.signal);
      else await generate(engine, exchange, abort.signal);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      exchange.refuse(400, { error: { message: error.message, type: 'invalid_request_error', code: error.code } });
    }
  };
}

async function generate(engine: EchoEngine, exchange: OpenAiExchange, signal: AbortSignal): Promise<void> {
  const { body, path } = exchange.request;
  const isPrompt = path.endsWith('/v1/completions');
  const opened = () => (exchange.response.headersSent ? exchange : exchange.open());
  const { finishReason, usage } = await engine.run({
    ...runOf(body, isPrompt),
    signal,
    onText: (text, logprobs) => {
      if (isPrompt) opened().event(promptChunk(text, logprobs));
      else if (logprobs === undefined) opened().text(text);
      else opened().event(withLogprobs(chunkOf({ content: text }), logprobs));
    },
    onToolCalls: (deltas) => opened().event(chunkOf({ tool_calls: deltas.map(wireDelta) })),
  });
  if (finishReason === null) return;
  if (isPrompt) opened().event({ ...promptChunk(''), choices: [{ index: 0, text: '', finish_reason: finishReason }] });
  else opened().finish(finishReason);
  exchange.usage(wireUsage(usage));
  exchange.done();
}

async function embed(engine: EchoEngine, exchange: OpenAiExchange, signal: AbortSignal): Promise<void> {
  const { body } = exchange.request;
  const { dimensions } = body as { dimensions?: number };
  const inputs = body['input'] as Prompt[];
  const { vectors, usage } = await engine.embed({
    runId: 'run_upstream',
    inputs,
    signal,
    ...(dimensions === undefined ? {} : { dimensions }),
  });
  const rows = vectors.map((vector, index) => ({ object: 'embedding', index, embedding: [...vector] }));
  exchange.refuse(200, { object: 'list', data: rows, usage: { prompt_tokens: usage.promptTokens, total_tokens: usage.promptTokens } });
}

function runOf(body: Body, isPrompt: boolean): Omit<EngineRun, 'onText' | 'signal'> {
  const logprobs = (isPrompt ? body['logprobs'] : body['top_logprobs']) as number | undefined;
  const toolUse = toolUseOf(body);
  const format = body['response_format'] as { type: string; json_schema?: { schema: never } } | undefined;
  return {
    runId: 'run_upstream',
    messages: isPrompt ? [] : (body['messages'] as Record<string, unknown>[]).map(messageOf),
    sampling: logprobs === undefined ? SAMPLING : { ...SAMPLING, logprobs },
    stop: (body['stop'] ?? []) as string[],
    outputTokensBudget: body['max_tokens'] as number,
    ...(isPrompt ? { prompt: body['prompt'] as Prompt } : {}),
    ...(toolUse === undefined ? {} : { toolUse }),
    ...(format === undefined ? {} : { format: formatOf(format) }),
  };
}

function formatOf(format: { type: string; json_schema?: { schema: never } }): NonNullable<EngineRun['format']> {
  return format.json_schema === undefined ? { kind: 'json_object' } : { kind: 'json_schema', schema: format.json_schema.schema };
}

function toolUseOf(body: Body): ToolUse | undefined {
  const tools = body['tools'] as { function: ToolUse['tools'][number] }[] | undefined;
  if (tools === undefined) return undefined;
  const choice = body['tool_choice'] as 'auto' | 'required' | { function: { name: string } };
  return {
    tools: tools.map(({ function: tool }) => tool),
    choice: typeof choice === 'string' ? choice : choice.function,
    parallel: body['parallel_tool_calls'] !== false,
  };
}

function messageOf(message: Record<string, unknown>): ChatMessage {
  const calls = message['tool_calls'] as { id: string; function: { name: string; arguments: string } }[] | undefined;
  const { role, content } = message as { role: ChatMessage['role']; content: string | null };
  if (calls === undefined) return { role, content: content ?? '' };
  return { role, content: content ?? '', toolCalls: calls.map(({ id, function: called }) => ({ id, ...called })) };
}

function wireDelta({ call, id, name, argumentsText }: ToolCallDelta) {
  const first = id === undefined ? {} : { id, type: 'function' };
  return { index: call, ...first, function: { ...(name === undefined ? {} : { name }), arguments: argumentsText } };
}

function promptChunk(text: string, logprobs: readonly TokenLogprob[] | undefined = undefined) {
  const tokens = logprobs?.map(({ token }) => token);
  const lists = { tokens, token_logprobs: logprobs?.map(({ logprob }) => logprob), top_logprobs: null };
  return {
    id: 'cmpl-1',
    object: 'text_completion',
    choices: [{ index: 0, text, finish_reason: null, logprobs: tokens === undefined ? null : lists }],
  };
}

function withLogprobs(chunk: ReturnType<typeof chunkOf>, logprobs: readonly TokenLogprob[]) {
  const content = logprobs.map(({ top, ...said }) => ({ ...said, top_logprobs: top }));
  return { ...chunk, choices: chunk.choices.map((choice) => ({ ...choice, logprobs: { content } })) };
}

function wireUsage({ promptTokens, cachedTokens, completionTokens }: EngineResult['usage']) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}
