/**
 * The same batches through node-llama-cpp's documented interface, for releases that `native-batch.ts` does not know. All sequences are asked
 * in one turn of the event loop, so its queue puts them into one decode; it is slower because each keeps its own promise chain and sampler.
 * `controlledEvaluate` takes no grammar and gives logits only after sampling changed them, so answers in a format, tool calls and probabilities
 * are refused.
 */
import { type LlamaContext, type LlamaContextSequence, type Token, TokenBias } from 'node-llama-cpp';
import type { Sampling } from '../../../events/contract/index.js';
import { EngineError } from '../engine.js';
import { type BatchDecoder, type BatchItem, NO_TOKEN, type TokenSampler } from './batch-decoder.js';

/** The library makes a new sampler for each token, so the state lives here: a seed of its own per token, and the answer's tokens. */
class PublicSampler implements TokenSampler {
  readonly chosen: Token[] = [];
  constructor(
    readonly sampling: Sampling,
    readonly seed: number,
    readonly bias: TokenBias | null,
  ) {}
  dispose(): void {}
}

export function publicBatchDecoder(context: LlamaContext, slotTokens: number): BatchDecoder {
  const sequences = Array.from({ length: context.totalSequences }, () => context.getSequence());
  return {
    slots: context.totalSequences,
    slotTokens,
    batchTokens: context.batchSize,
    createSampler(sampling, seed, grammar) {
      if (grammar !== null) throw cannot('hold an answer to a format or to tool calls');
      if (sampling.logprobs !== undefined) throw cannot('tell the probabilities of tokens');
      return new PublicSampler(sampling, seed, tokenBias(context, sampling));
    },
    decode: (items) => Promise.all(items.map((item) => evaluate(sequenceOf(sequences, item.slot), item))),
    async truncate(slot, tokens) {
      const sequence = sequenceOf(sequences, slot);
      if (tokens === 0 || sequence.needsCheckpoints) {
        await sequence.clearHistory();
        return 0;
      }
      await sequence.eraseContextTokenRanges([{ start: tokens, end: sequence.nextTokenIndex }]);
      return sequence.nextTokenIndex;
    },
  };
}

function cannot(what: string): EngineError {
  return new EngineError('invalid_prompt', `The engine cannot ${what} with this release of its library.`, false);
}

function tokenBias(context: LlamaContext, { logitBias = [] }: Sampling): TokenBias | null {
  if (logitBias.length === 0) return null;
  const bias = new TokenBias(context.model.tokenizer);
  for (const [token, logit] of logitBias) bias.set(token as Token, { logit });
  return bias;
}

function sequenceOf(sequences: readonly LlamaContextSequence[], slot: number): LlamaContextSequence {
  const sequence = sequences[slot];
  if (sequence === undefined) throw new RangeError(`no slot ${slot}`);
  return sequence;
}

async function evaluate(sequence: LlamaContextSequence, { tokens, sampler }: BatchItem): Promise<number> {
  const input = Array.from(tokens) as Token[];
  if (!(sampler instanceof PublicSampler)) {
    await sequence.evaluateWithoutGeneratingNewTokens(input);
    return NO_TOKEN;
  }
  const last = input.pop();
  if (last === undefined) throw new RangeError('nothing to evaluate');
  const { sampling, seed, chosen, bias } = sampler;
  const options = {
    temperature: sampling.temperature,
    topK: sampling.topK,
    topP: sampling.topP,
    minP: sampling.minP,
    ...(bias === null ? {} : { tokenBias: bias }),
    // A sampler that starts afresh with one seed would draw the same lot for every token.
    seed: (seed + Math.imul(chosen.length, 0x9e3779b1)) >>> 0,
    repeatPenalty: {
      punishTokens: chosen,
      maxPunishTokens: Math.max(1, chosen.length),
      penalty: 1,
      frequencyPenalty: sampling.frequencyPenalty,
      presencePenalty: sampling.presencePenalty,
    },
  };
  const results = await sequence.controlledEvaluate([...input, [last, { generateNext: { token: true, options } }]]);
  const token = results.at(-1)?.next?.token;
  if (token === undefined || token === null) throw new Error('the model gave no token');
  chosen.push(token);
  return token;
}
