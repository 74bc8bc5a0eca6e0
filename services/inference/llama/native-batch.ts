/**
 * Batches straight on node-llama-cpp's addon. This is the one file that touches what the package does not document, so it checks the
 * version and every method it needs, and `public-batch.ts` does the same work through the documented interface where they are not there.
 *
 * Why: node-llama-cpp's own queue lets sequences drop out of step (each is queued again by its own promise chain), so decodes go out half
 * empty. Here a decode holds every sequence that has a token to evaluate. Sampling is queued behind the decode without waiting for it: the
 * child has a single pool thread (`UV_THREADPOOL_SIZE=1`), which takes work in order, and that saves a trip through the event loop a token.
 * Measured against that queue: 0.4 to 1.0 times the CPU time per token at 1, 4 and 8 clients, the less the smaller the model.
 */
import type { LlamaContext } from 'node-llama-cpp';
import type { Sampling } from '../../../events/contract/index.js';
import { type BatchDecoder, type BatchItem, NO_TOKEN, type TokenSampler } from './batch-decoder.js';

/** The releases whose addon was read for this file: 3.22.x. */
const KNOWN_RELEASE = /^3\.22\./;

/** The part of the addon's context that is used here (dist/bindings/AddonTypes.d.ts). */
type AddonContext = {
  initBatch(tokens: number): void;
  /** Returns the places of the wanted logits in the batch. */
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  sampleToken(logitIndex: number, sampler: AddonSampler): Promise<number>;
  disposeSequence(sequence: number): void;
  removeTokenCellsFromSequence(sequence: number, from: number, to: number): boolean;
  getSequenceKvCacheMinPosition(sequence: number): number;
};

type AddonSampler = { dispose(): void; applyConfig(config: Record<string, unknown>): void };

type Internals = { readonly _ctx: AddonContext };
type ModelInternals = {
  readonly _model: object;
  readonly _llama: { readonly _bindings: { readonly AddonSampler: new (model: object) => AddonSampler } };
};

const CONTEXT_METHODS = [
  'initBatch',
  'addToBatch',
  'decodeBatch',
  'sampleToken',
  'disposeSequence',
  'removeTokenCellsFromSequence',
  'getSequenceKvCacheMinPosition',
] as const satisfies readonly (keyof AddonContext)[];

const NO_LOGITS = new Uint32Array(0);

class NativeSampler implements TokenSampler {
  constructor(readonly addon: AddonSampler) {}
  dispose(): void {
    this.addon.dispose();
  }
}

/** `null` when this release of node-llama-cpp is not known to fit, or the pool has more than one thread. */
export function nativeBatchDecoder(context: LlamaContext, release: string, slotTokens: number): BatchDecoder | null {
  const addon = (context as unknown as Partial<Internals>)._ctx;
  const model = context.model as unknown as Partial<ModelInternals>;
  const Sampler = model._llama?._bindings?.AddonSampler;
  const addonModel = model._model;
  const fits =
    KNOWN_RELEASE.test(release) &&
    process.env['UV_THREADPOOL_SIZE'] === '1' &&
    addon !== undefined &&
    CONTEXT_METHODS.every((method) => typeof addon[method] === 'function') &&
    typeof Sampler === 'function' &&
    typeof Sampler.prototype?.applyConfig === 'function' &&
    addonModel !== undefined;
  return fits ? new NativeBatchDecoder(context, addon, (config) => configuredSampler(new Sampler(addonModel), config), slotTokens) : null;
}

class NativeBatchDecoder implements BatchDecoder {
  readonly slots: number;
  readonly batchTokens: number;

  constructor(
    context: LlamaContext,
    readonly addon: AddonContext,
    readonly makeSampler: (config: Record<string, unknown>) => NativeSampler,
    readonly slotTokens: number,
  ) {
    this.slots = context.totalSequences;
    this.batchTokens = context.batchSize;
  }

  createSampler(sampling: Sampling, seed: number): TokenSampler {
    return this.makeSampler(samplerConfig(sampling, seed, this.slotTokens));
  }

  async decode(items: readonly BatchItem[]): Promise<readonly number[]> {
    const { addon } = this;
    addon.initBatch(items.reduce((tokens, item) => tokens + item.tokens.length, 0));
    const logitIndexes = items.map(({ slot, position, tokens, sampler }) => {
      const wanted = sampler === null ? NO_LOGITS : Uint32Array.of(tokens.length - 1);
      return addon.addToBatch(slot, position, tokens, wanted)[0] ?? NO_TOKEN;
    });
    const decoded = addon.decodeBatch();
    const chosen = items.map(({ sampler }, index) =>
      sampler === null ? NO_TOKEN : addon.sampleToken(logitIndexes[index] ?? NO_TOKEN, (sampler as NativeSampler).addon),
    );
    // Waits for the samplers even when the decode has failed, so that none is at work when it is disposed of.
    const [outcome, ...tokens] = await Promise.allSettled([decoded, ...chosen]);
    if (outcome.status === 'rejected') throw outcome.reason;
    return tokens.map((token) => {
      if (token.status === 'rejected') throw token.reason;
      return token.value;
    });
  }

  truncate(slot: number, tokens: number): Promise<number> {
    const kept = tokens > 0 && this.addon.removeTokenCellsFromSequence(slot, tokens, -1);
    // A sliding-window cache has dropped the beginning, and recurrent models keep no past at all: then nothing can be used again.
    if (kept && this.addon.getSequenceKvCacheMinPosition(slot) === 0) return Promise.resolve(tokens);
    this.addon.disposeSequence(slot);
    return Promise.resolve(0);
  }
}

function configuredSampler(addon: AddonSampler, config: Record<string, unknown>): NativeSampler {
  addon.applyConfig(config);
  return new NativeSampler(addon);
}

/**
 * The addon's names for OpenAI's parameters. What is at its neutral value is left out: each stage of the chain costs a pass over the
 * vocabulary. Penalties count the answer's own tokens, as OpenAI's do; the sampler adds each token that it chooses.
 */
function samplerConfig(sampling: Sampling, seed: number, historyTokensMax: number): Record<string, unknown> {
  const { temperature, topP, topK, minP, frequencyPenalty, presencePenalty } = sampling;
  const config: Record<string, unknown> = { temperature, seed };
  if (topK > 0) config['topK'] = topK;
  if (topP < 1) config['topP'] = topP;
  if (minP > 0) config['minP'] = minP;
  if (frequencyPenalty !== 0 || presencePenalty !== 0) {
    config['repeatPenaltyTokens'] = new Uint32Array(0);
    config['repeatPenaltyMaxTokens'] = historyTokensMax;
    config['repeatPenalty'] = 1;
    config['repeatPenaltyFrequencyPenalty'] = frequencyPenalty;
    config['repeatPenaltyPresencePenalty'] = presencePenalty;
  }
  return config;
}
