/** What a worker does for a run, by the kind of its input: generates answers, embeds, or transcribes. */
import { NO_USAGE, type RunInput, type RunRequested } from '../../events/contract/index.js';
import { AnswerOutput } from './answer-output.js';
import { type Engine, EngineError, type EngineResult } from './engine.js';
import type { MediaSource } from './media-source.js';
import { lanesOf, runLanes } from './run-lanes.js';

export type RunWork = {
  readonly request: RunRequested;
  readonly engine: Engine;
  /** Those of `answersOf`. */
  readonly answers: readonly AnswerOutput[];
  readonly abort: AbortController;
  readonly onOutput: (answer: AnswerOutput) => void;
  readonly mediaSource: MediaSource | undefined;
};

type Embedding = Extract<RunInput, { kind: 'embedding' }>;
type Transcription = Extract<RunInput, { kind: 'transcription' }>;

/** Where the run's answers will be gathered. */
export function answersOf(request: RunRequested): AnswerOutput[] {
  const { input } = request;
  if (input.kind === 'embedding') return input.inputs.map((_, index) => new AnswerOutput(index));
  const lanes = lanesOf(request);
  return lanes > 1 ? Array.from({ length: lanes }, (_, index) => new AnswerOutput(index)) : [new AnswerOutput(null)];
}

/** Rejects with `EngineError`, or with whatever a bug throws. */
export function workOn(work: RunWork): Promise<EngineResult> {
  const { input } = work.request;
  switch (input.kind) {
    case 'chat':
    case 'completion':
      return runLanes(work);
    case 'embedding':
      return embed(work, input);
    case 'transcription':
      return transcribe(work, input);
  }
}

async function embed({ request, engine, answers, abort, onOutput }: RunWork, input: Embedding): Promise<EngineResult> {
  const { runId, model } = request;
  if (engine.embed === undefined) throw new EngineError('model_unavailable', `${model} makes no embeddings here.`, true);
  const { inputs, dimensions } = input;
  const result = await engine.embed({ runId, inputs, signal: abort.signal, ...(dimensions === undefined ? {} : { dimensions }) });
  const { vectors, usage, ...rest } = result;
  if (vectors.length !== inputs.length) {
    throw new EngineError('engine_failed', `The engine made ${vectors.length} embeddings of ${inputs.length} inputs.`, true);
  }
  for (const [index, answer] of answers.entries()) {
    answer.setEmbedding(base64Of(vectors[index] as Float32Array));
    onOutput(answer);
  }
  return { ...rest, outcome: 'completed', finishReason: 'stop', usage: { ...usage, completionTokens: 0 } };
}

/** Every machine that Farebox is built for is little-endian, so the vector's memory is the wire's. */
function base64Of({ buffer, byteOffset, byteLength }: Float32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64');
}

async function transcribe(work: RunWork, input: Transcription): Promise<EngineResult> {
  const { request, engine, answers, abort, onOutput } = work;
  const { language, prompt } = input;
  if (engine.transcribe === undefined) throw new EngineError('model_unavailable', `${request.model} does not hear here.`, true);
  const samples = await samplesOf(work, input);
  const transcript = await engine.transcribe({
    runId: request.runId,
    samples,
    temperature: request.sampling.temperature,
    signal: abort.signal,
    ...(language === undefined ? {} : { language }),
    ...(prompt === undefined ? {} : { prompt }),
  });
  const [answer] = answers;
  if (answer === undefined) throw new Error('a transcription has one answer');
  answer.setTranscript(JSON.stringify(transcript), transcript.text);
  onOutput(answer);
  return { outcome: 'completed', finishReason: 'stop', usage: { ...NO_USAGE, audio: input.usage } };
}

/** What goes wrong on the way to the samples is told to nobody but the log: addresses of API instances are in it. */
async function samplesOf({ mediaSource, abort }: RunWork, { mediaId, mediaUrl }: Transcription): Promise<Buffer> {
  if (mediaSource === undefined) throw new EngineError('engine_failed', 'This worker cannot get at audio.', true);
  const { signal } = abort;
  let onAbort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(new EngineError('engine_failed', 'The run was aborted.', true));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([mediaSource({ mediaId, ...(mediaUrl === undefined ? {} : { mediaUrl }) }), aborted]);
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    throw new EngineError('engine_failed', 'The audio could not be had.', true, { cause });
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
